"""`make` says in one sentence which Python it needs, and installs nothing into another one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from batchinf_assets.project import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = SpecifierSet(PROJECT["requires-python"])
ENVIRONMENTS = [".venv", ".venv-mlflow", ".venv-rivals"]
PYTHON = f"""#!{sys.executable}
import sys
from pathlib import Path
kind, rest = sys.argv[1], sys.argv[2:]
if kind == "-m":
    Path("asked").write_text(" ".join(rest))
    sys.exit("made no environment")
sys.version_info = ({{}}, 0, "final", 0)
exec(rest[0])
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what `make` installs from, and no environment."""
    names = [path.name for path in CHECKOUT.glob("requirements*.lock")]
    for name in [*names, "Makefile", "pyproject.toml"]:
        shutil.copy(CHECKOUT / name, tmp_path)
    return tmp_path


def install(checkout: Path, version: str, environment: str = ".venv") -> str:
    """Run `make` with a Python that calls itself of that version; return what it says."""
    python = checkout / "python"
    python.write_text(PYTHON.format(version.replace(".", ", ")), encoding="utf-8")
    python.chmod(0o755)
    command = ["make", "PYTHON=./python", f"{environment}/installed"]
    bare = {
        "PATH": os.environ["PATH"]
    }  # without what the `make` that runs this test says to others
    done = subprocess.run(
        command, cwd=checkout, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    return done.stderr


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("version", ["2.7", "3.10", "3.15"])
def test_an_unsupported_python_is_told_in_one_sentence(
    checkout: Path, version: str, environment: str
) -> None:
    told, stopped = install(checkout, version, environment).splitlines()
    assert told == (
        f"batchinf runs on Python 3.11 to 3.14, and ./python is {version}. "
        "Name another one, for instance: make demo PYTHON=python3.13"
    )
    assert stopped.startswith("make: ***")
    assert not (checkout / "asked").exists()
    assert version not in DECLARED


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("version", ["3.11", "3.14"])
def test_every_supported_python_makes_the_environment(
    checkout: Path, version: str, environment: str
) -> None:
    assert "made no environment" in install(checkout, version, environment)
    assert (checkout / "asked").read_text() == f"venv --clear {environment}"
    assert version in DECLARED


def test_an_environment_that_has_no_pip_is_made_anew(checkout: Path) -> None:
    """Python leaves one where Debian's package python3-venv was missing."""
    half = checkout / ".venv" / "bin" / "python"
    half.parent.mkdir(parents=True)
    half.symlink_to(sys.executable)
    assert "made no environment" in install(checkout, "3.13")
