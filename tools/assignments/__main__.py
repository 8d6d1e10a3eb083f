"""python -m tools.assignments."""

import sys

from tools.assignments.make import main

sys.exit(main())
