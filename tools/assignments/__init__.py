'''Assignments: masters in assignments/, from which students, graders and instructors each get their own.

    assignments/<stem>/
        assignment.md   the master, a MyST notebook: story, problems, solutions
        given.py        the numbers: given(seed) -> dict[str, Any]
        public.py       tests that students see
        hidden.py       tests that they do not
        mistakes.py     MISTAKES, ten common wrong solutions with their marks, and RIGHT, right ones written otherwise
        rubric.md       the open question: what is expected, and for how many points

`load(stem, seed)` reads all of it into an `Assignment` and refuses, with the file and the reason, what is not as
follows.

**assignment.md.** The header of a chapter (jupytext's), with one entry more:

    assignment: {minutes: 90, seconds: 60, call_seconds: 10, memory_gib: 4}

minutes are what a student needs, `seconds` what all cells of the notebook may take, `call_seconds` one call of an
adapter, `memory_gib` the process. `without: [attnlib.hardness]` names packages that answers may not use: the
grader's worker cannot import them, and the text has to say so. The first cell opens with `# Title` and contains the
objectives, at least three list items that each link to a chapter. A link to a chapter is `[](chapters/memory)` (its
title becomes the text) or `[the cache](chapters/memory#sec-kv-cache)`; both become addresses of the published book.
`{{ name }}` and `{{ model.width }}` stand for numbers of `given`, in Markdown only: code reads `GIVEN["name"]`.
Other roles and directives of MyST are not for notebooks and are refused. Cells of Markdown end at `+++`.

A problem begins with a Markdown cell that has its id, and owns all cells up to the next problem:

    +++ {"problem": "layer-flops"}

    ## FLOPs of a layer

    … text …

    *Deliverable*: a function `layer_flops` that …

In the notebook the heading becomes "## Problem 1: FLOPs of a layer (6 points)": its points are those of its tests. It
has one code cell tagged `answer`. In it, lines from `# BEGIN SOLUTION` to `# END SOLUTION` become `raise
NotImplementedError  # your code here`, or `...  # your code here` where they are not indented. The cell holds the
marker (below) between these two lines. The cell that runs its public tests, `check("layer-flops")`, is added by the
build after the problem's last cell.

The last problem is the open one: `+++ {"problem": "open", "points": 4}`, followed by a Markdown cell `+++ {"tags":
["answer-text"]}` in which students write. It has no tests; rubric.md has list items `- (2) …` whose points add up to
its points, and says what is expected with numbers `{{= expression }}`, computed after the solution's cells. The
section `## Changes` ends the notebook (`+++ {"section": "changes"}`): a list of `- 2026-11-30: …`, newest first.

One code cell is tagged `adapters`: functions `run_<name>(…)`, which call whatever students have written. Tests call
these and nothing else. Other code cells are the students' to run and change (imports, experiments). No cell is magic:
IPython's `%` and `!` are for the install cell, which the build adds.

**given.py.** `given(seed)` returns plain JSON values, drawn with `Draw` (tools.assignments.draw), so that another
seed changes every number; `load` compares with seed 0 and refuses a seed that repeats one at its place.

**public.py and hidden.py.** Functions of (student, given), each registered with a problem and its points:

    from tools.assignments.harness import near, test

    @test("layer-flops", points=1)
    def grouped_heads(student: Any, given: dict[str, Any]) -> None:
        """With fewer key heads than query heads the projections take fewer FLOPs."""
        near(student.run_layer_flops(16, 8, 4, 2)["projections"], 4096)

The first line of the docstring is what a student reads when the test fails; of a hidden test he reads nothing more.
A test fails when it raises. Arguments and results of `student.run_…` are numbers, strings, None, bools, lists,
dicts with such keys, NumPy arrays: nothing else crosses to the process that has the student's code. public.py is
pasted into a function of the notebook, below harness.py, so that its names and the student's never meet; it imports
nothing but the harness, `typing.Any`, the standard library and NumPy. hidden.py may import `attnlib`, too, as its
reference; it stands alone, as Otter and nbgrader get its text. Tests use `near`, which takes any number or array of
the right shape and no NaN, with a stated tolerance; a float, a fraction or a boolean is as good as an integer.
Products of a student's arrays are made in int64 or float64: 256 is 0 in uint8.

**mistakes.py.** `MISTAKES: tuple[Variant, ...]`, ten, and `RIGHT`, which replace every problem twice or more:
`Variant(name, replaced, points)`; replaced maps a problem to the whole source of its answer cell, or to pairs (old,
new) that each occur once in the solution; points says what the problems that lose something get. The others get all
of theirs. The key "adapters" replaces the adapters.

**Markers.** `marker(stem)` is one word, such as `leakaccountxq`. It stands in every solution, in hidden.py and
mistakes.py as a comment, `# leakaccountxq`, and in rubric.md. A test looks for it in everything that the build
publishes.
'''

from tools.assignments.draw import Draw as Draw
from tools.assignments.master import ASSIGNMENTS as ASSIGNMENTS
from tools.assignments.master import Assignment as Assignment
from tools.assignments.master import Cell as Cell
from tools.assignments.master import Problem as Problem
from tools.assignments.master import Test as Test
from tools.assignments.master import Variant as Variant
from tools.assignments.master import load as load
from tools.assignments.master import marker as marker
from tools.assignments.master import stems as stems
