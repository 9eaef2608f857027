"""A window with two published revisions, as tests of what is taken back begin with it."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from batchinf_assets.lake.table import WindowTable
from batchinf_assets.publishing import announcements as telling
from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.rollback.plan import RollbackRequest
from batchinf_assets.publishing.rollback.roll_back import Rollback, roll_back
from batchinf_assets.scoring.condemnations import condemned
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets_tests.publishing.desk import Desk, Held

NOW = datetime(2013, 7, 5, 5, tzinfo=UTC)
ROWS = 737
HELD = Held()


class Died(Exception):
    """Stands for the process dying: nothing after it runs."""


def die(*_arguments: object, **_named: object) -> None:
    raise Died


@contextmanager
def dying_at(owner: object, name: str) -> Generator[None]:
    """Let the body die where it would call this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Died):
            yield


BEFORE_COMMIT = (WindowTable, "commit")
BEFORE_ANNOUNCEMENT = (telling, "keep_decision")


def without_first(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


@dataclass(frozen=True)
class Shown:
    """A window with two published revisions, the later one visible."""

    desk: Desk
    old: str
    bad: str

    def roll_back(
        self, to: str | None = None, lease: Held = HELD, now: datetime = NOW, **more: Any
    ) -> Rollback:
        desk = self.desk
        asked: dict[str, Any] = {"by": "tests", "reason": "Wrong weather", "at": now, "to": to}
        request = RollbackRequest(**(asked | more))
        return roll_back(desk.project, desk.registry, desk.spec, desk.window, request, lease=lease)

    def verdict(self, revision: str) -> str | None:
        found = condemned(self.desk.project, self.desk.spec, self.desk.window, revision)
        return found.reason if found else None

    def told(self) -> list[tuple[str, str | None, str | None]]:
        found = announcements(self.desk.project, self.desk.spec, self.desk.window)
        return [(each.event, each.before, each.after) for each in found]

    def commits(self) -> int:
        return DeltaTable(self.table).version()

    @property
    def table(self) -> Path:
        return Path(str(predictions_table(self.desk.project, self.desk.spec).folder))

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.table.rglob("*.parquet")}


def two_revisions(desk: Desk, kept: Path) -> Shown:
    """Publish a window and a correction of it.

    Args:
        desk: The window, evaluated.
        kept: Where the first test leaves its lake for the others to copy.
    """
    lake = Path(str(desk.project.lake))
    if not kept.exists():
        desk.publish()
        desk.correct(without_first)
        desk.prepare()
        desk.publish()
        shutil.copytree(lake, kept)
    else:
        shutil.rmtree(lake)
        shutil.copytree(kept, lake)
        desk.correct(without_first)
    bad = desk.visible()
    assert bad
    (old,) = {*desk.store.revisions(desk.window)} - {bad}
    return Shown(desk, old, bad)
