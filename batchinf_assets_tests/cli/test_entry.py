"""The command itself: its help, its version, and how a failure is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result

from batchinf_assets import __version__
from batchinf_assets.cli import main
from batchinf_assets.errors import UnknownWindow

Run = Callable[..., Result]
Told = Callable[..., str]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", [*commands(main)], ids=" ".join)
def test_every_command_explains_itself(fine: Told, command: tuple[str, ...]) -> None:
    told = fine(*command, "--help")
    assert told.startswith("Usage: ")
    assert told == fine(*command, "-h")


def test_version_is_that_of_the_package(fine: Told) -> None:
    assert fine("--version") == f"batchinf, version {__version__}\n"


def test_debug_lets_the_failure_through(batchinf: Run) -> None:
    result = batchinf("--debug", "run", "flight_delays", "nope")
    assert isinstance(result.exception, UnknownWindow)


def test_debug_shows_the_traceback_in_a_real_process() -> None:
    command = [Path(sys.executable).with_name("batchinf"), "--debug", "run", "flight_delays", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback ")
    assert "UnknownWindow: 'x' is not a window." in done.stderr
