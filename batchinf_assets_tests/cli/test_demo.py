"""Commands of the demo."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

WINDOW, NEXT = "2013-07-01", "2013-07-02"

Told = Callable[..., str]


def test_demo_land_drops_files_once(
    fine: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_LANDING", str(tmp_path / "drops"))
    days = ("--from", WINDOW, "--to", NEXT)
    assert "6 files written, 0 unchanged." in fine("demo", "land", *days)
    landed = sorted(path.name for path in (tmp_path / "drops" / "flights").iterdir())
    assert landed == [f"{WINDOW}.parquet", f"{NEXT}.parquet"]
    again = json.loads(fine("demo", "land", *days, "--json"))
    assert (again["days"], again["files_written"], again["files_unchanged"]) == (2, 0, 6)
