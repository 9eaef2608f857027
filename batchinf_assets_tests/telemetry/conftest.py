"""Records of attempts, and a ledger of their own for each test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from batchinf_assets.telemetry.attempt import AttemptRecord
from batchinf_assets.telemetry.ledger import Ledger

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class MakeRecord(Protocol):
    def __call__(self, attempt: int = 1, *, minute: int = 0, **changes: Any) -> AttemptRecord: ...


@pytest.fixture
def attempted() -> MakeRecord:
    """Make a record that ends `minute` minutes after noon and took one minute."""

    def make(attempt: int = 1, *, minute: int = 0, **changes: Any) -> AttemptRecord:
        ended = NOON + timedelta(minutes=minute)
        fields: dict[str, Any] = {
            "pipeline": "flight_delays",
            "window": "2026-10-31",
            "attempt": attempt,
            "run_id": f"run-{attempt}",
            "state": "published",
            "stage": "published",
            "started_at": ended - timedelta(minutes=1),
            "ended_at": ended,
            "worker": "host:1",
        }
        return AttemptRecord(**fields | changes)

    return make


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "lake")
