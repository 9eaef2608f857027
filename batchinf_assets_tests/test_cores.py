"""How many cores a process takes: those it is bound to, within its quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchinf_assets.cores import usable_cores


def test_at_least_one_core_may_be_used() -> None:
    assert usable_cores() >= 1


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("20000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("max 100000\n", 8),
        ("no quota at all\n", 8),
        ("many 100000\n", 8),
        ("", 8),
        (None, 8),
    ],
)
def test_cores_are_those_of_the_process_within_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    quota = tmp_path / "cpu.max"
    if content is not None:
        quota.write_text(content)
    assert usable_cores(quota) == cores
