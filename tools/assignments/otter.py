"""An assignment in Otter-Grader's formats: an archive for `otter run`, and test files for `otter generate`.

The first needs no container; the second packs what a container, or Gradescope, is made from.
"""

from __future__ import annotations

import io
import json
import zipfile

from tools.assignments.master import Assignment
from tools.assignments.notebook import numbers, tests_text
from tools.files import ROOT
from tools.repository import read_repository


def test_file(made: Assignment, problem: str) -> str:
    """The tests of a problem, exception-based."""
    cases: list[str] = []
    for test in made.tests:
        if test.problem == problem:
            about = (
                f"name={test.name!r}, points={test.points}, hidden={test.hidden}, failure_message={test.message!r}"
            )
            call = f"    {test.name}(Student(env), copy.deepcopy(GIVEN))"
            cases.append(f"@test_case({about})\ndef _case_{len(cases) + 1}(env):\n{call}\n")
    head = f"OK_FORMAT = False\n\nname = {problem!r}\npoints = None\n\nfrom otter.test_files import test_case"
    return "\n\n\n".join([head, numbers(made), tests_text(made, "public.py", "hidden.py"), *cases])


def files(made: Assignment) -> dict[str, str]:
    """`path: text` of what `otter generate -t tests -c otter_config.json -r requirements.txt` takes."""
    config = {"lang": "python", "show_stdout": False, "show_hidden": False}
    tests = {f"tests/{x.id}.py": test_file(made, x.id) for x in made.graded}
    return tests | {
        "otter_config.json": json.dumps(config, indent=2) + "\n",
        "requirements.txt": f"attnlib[book] @ git+{read_repository(ROOT).url}\n",
    }


def archive(made: Assignment) -> bytes:
    """The archive for `otter run -a autograder.zip submission.ipynb`, the same bytes for the same assignment."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for path, text in files(made).items():
            packed.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
