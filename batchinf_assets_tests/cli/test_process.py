"""The command as a process: it ends at once, and leaves nothing out that anybody waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchinf_assets.project import CHECKOUT

ENDING = """
import atexit, sys, threading, time
from pathlib import Path
from batchinf_assets.cli.process import main

class Last:
    def __del__(self):
        Path("freed").touch()

def go_on():
    time.sleep(0.5)
    Path("the thread").touch()

last = Last()
atexit.register(Path("at exit").touch)
threading.Thread(target=go_on).start()
sys.argv = ["batchinf", *sys.argv[1:]]
main()
"""


def ended(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENDING, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_threads_and_what_runs_at_the_end_are_waited_for_and_nothing_is_freed(
    tmp_path: Path,
) -> None:
    assert ended(tmp_path, "--version").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at exit", "the thread"]


def test_all_that_was_said_arrives_with_the_exit_code(tmp_path: Path) -> None:
    done = ended(tmp_path, "--help")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].split()[0] == "verify"
    refused = ended(tmp_path, "status", "no_such_pipeline")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no_such_pipeline" in refused.stderr


@pytest.mark.parametrize(("unflushed", "asked"), [("", "--help"), ("waiting", "no-such-command")])
def test_a_reader_that_left_is_no_traceback(unflushed: str, asked: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    script = f"import sys; sys.argv = ['batchinf', '{asked}']; sys.stdout.write('{unflushed}');"
    script += "from batchinf_assets.cli.process import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
