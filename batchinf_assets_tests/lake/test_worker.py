"""Whether a process that is named in a lease still lives, as far as that can be known."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from batchinf_assets.lake.worker import Worker


def test_this_process_lives_and_one_with_its_number_and_another_start_has_died() -> None:
    here = Worker.here()
    assert here.started is not None
    assert not here.has_died(here)
    assert here.model_copy(update={"started": here.started - 1}).has_died(here)


def test_a_process_that_nobody_has_waited_for_has_died_too() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        worker = described(process.pid)
        assert not worker.has_died(Worker.here())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert worker.has_died(Worker.here())
    assert worker.has_died(Worker.here())


@pytest.mark.parametrize(
    "unlike", [{"boot_id": "another"}, {"boot_id": None}, {"pid_namespace": "pid:[1]"}]
)
def test_of_a_process_elsewhere_nothing_is_known(unlike: dict[str, str | None]) -> None:
    here = Worker.here()
    there = here.model_copy(update={"started": 1, **unlike})
    assert not there.has_died(here)


def test_without_proc_a_process_is_named_by_host_and_number_and_only_time_tells(
    tmp_path: Path,
) -> None:
    here = Worker.here(proc=tmp_path)
    assert here == Worker(host=here.host, pid=os.getpid())
    gone = here.model_copy(update={"pid": 2**22})
    assert not gone.has_died(here)
    known = Worker.here()
    assert not known.model_copy(update={"started": 1}).has_died(known, proc=tmp_path)


def described(pid: int) -> Worker:
    stat = Path(f"/proc/{pid}/stat").read_text()
    started = int(stat.rpartition(")")[2].split()[19])
    return Worker.here().model_copy(update={"pid": pid, "started": started})
