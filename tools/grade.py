"""Grade a folder of notebooks: `python -m tools.grade ASSIGNMENT SUBMISSIONS --out results.csv`.

What it protects against and what not stands in assignments/GRADING.md.
"""

from tools.grading.run import main

if __name__ == "__main__":
    raise SystemExit(main())
