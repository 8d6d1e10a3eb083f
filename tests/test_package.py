"""The wheel and the source archive: they build, install in a clean environment, and have their data and types."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SMOKE = """
import pathlib, attnlib
from attnlib import cost, registry
from attnlib.book import results, widgets
home = pathlib.Path(attnlib.__file__).parent
assert home.is_relative_to({prefix!r}), home
assert (home / "py.typed").exists() and (home / "__init__.pyi").exists()
assert results.load("exact")[0].groups and "<script>" in widgets.growth_chart()._repr_html_()
x = __import__("numpy").ones((4, 2), "f")
assert all(entry.fn(x, x, x, **entry.arguments(4, 2)).shape == (4, 2) for entry in registry.MECHANISMS)
print(cost.attention(512, 64).flops)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel, and the source archive, built with the setuptools of this environment."""
    pytest.importorskip("setuptools", reason="an environment without what builds a package")
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"  # setuptools leaves folders of its own beside what it builds
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "attnlib", source / "attnlib", ignore=shutil.ignore_patterns("__pycache__"))
    for what in ("wheel", "sdist"):
        program = f"import sys; from setuptools import build_meta; build_meta.build_{what}(sys.argv[1])"
        command = [sys.executable, "-W", "ignore", "-c", program, str(folder)]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def test_wheel_and_source_archive_hold_every_file_of_the_library(built):
    wheel, archive = built
    tracked = subprocess.run(["git", "ls-files", "attnlib"], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()}
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(("tests", "tools", "theme"))]
    with tarfile.open(archive) as tar:
        assert wanted <= {name.partition("/")[2] for name in tar.getnames()}


@pytest.mark.parametrize("which", [0, 1], ids=["wheel", "source archive"])
def test_installs_and_runs_in_a_clean_environment(built, tmp_path, which):
    """Its dependencies are those of this environment, and so is what builds the source: nothing is downloaded."""
    venv.create(tmp_path / "clean", with_pip=False)
    python = tmp_path / "clean" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install", "--no-deps", "--no-index"]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = alone | {"PYTHONPATH": sysconfig.get_path("purelib")}
    building = [[], ["--no-build-isolation"]][which]
    subprocess.run([*pip, *building, str(built[which])], env=environment, check=True, capture_output=True)
    done = subprocess.run(
        [python, "-W", "ignore", "-c", SMOKE.format(prefix=str(tmp_path))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1].isdigit()
