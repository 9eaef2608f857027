"""The commands, called in this process with a project of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from batchinf_assets.cli import main

Run = Callable[..., Result]
Told = Callable[..., str]


@pytest.fixture
def batchinf(environ: dict[str, str]) -> Run:  # noqa: ARG001 - it points the process here
    """Run a command."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    return run


@pytest.fixture
def fine(batchinf: Run) -> Told:
    """Run a command that succeeds without complaint, and return what it told."""

    def run(*arguments: str) -> str:
        result = batchinf(*arguments)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return result.stdout

    return run


@pytest.fixture
def refused(batchinf: Run) -> Callable[..., str]:
    """Run a command that must complain in one line, and return that line."""

    def run(*arguments: str, code: int = 1) -> str:
        result = batchinf(*arguments)
        assert result.exit_code == code, result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith("batchinf: ")
        return line

    return run
