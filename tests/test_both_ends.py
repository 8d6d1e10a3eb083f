"""The oldest JAX and the newest count the same: what the tables of the book say does not depend on the version."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from counts import counts

ROOT = Path(__file__).parent.parent
OLDEST = ROOT / ".venv-oldest" / "bin" / "python"


@pytest.mark.skipif(Path(sys.prefix).name == ".venv-oldest", reason="this is the oldest version")
@pytest.mark.skipif(not OLDEST.exists() and "CI" not in os.environ, reason="make test makes the other environment")
def test_every_kernel_and_layer_counts_the_same_on_the_oldest_version():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = [OLDEST, "-W", "ignore", ROOT / "tests" / "counts.py"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    oldest, here = json.loads(done.stdout), counts()
    assert len(here) > 40
    assert oldest == here, jax.__version__
