"""How files land, told by the path of one of them and by the names of its neighbours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from batchinf_assets.errors import LandedFileMissing, UsageError
from batchinf_assets.lake.entries import is_file
from batchinf_assets.snapshots.listing import landed_files
from batchinf_assets.windows import LAST_DAY_OF_EVERY_MONTH, Every, WindowSpec

_KEY = re.compile(r"\d{4}-\d{2}-\d{2}(-\d{2}:\d{2})?")
_EPOCH = date(1970, 1, 1)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Files of one kind, one for each window.

    Attributes:
        pattern: Path below the landing folder, with `{window}` in it.
        files: By window key, in order.
    """

    pattern: str
    files: dict[str, Path]

    @classmethod
    def around(cls, file: Path, landing: Path) -> Drop:
        """Return the drop that a landed file belongs to.

        Raises:
            LandedFileMissing: There is no such file.
            UsageError: It lies elsewhere, or its path names no window.
        """
        if not is_file(file):
            raise LandedFileMissing(f"There is no file {file}.", next_step="Name one that landed.")
        if not file.resolve().is_relative_to(landing.resolve()):
            raise UsageError(
                f"{file} does not lie below the landing folder {landing}.",
                next_step="Move it there, or set BATCHINF_LANDING.",
            )
        name = file.resolve().relative_to(landing.resolve()).as_posix()
        found = list(_KEY.finditer(name))
        if len(found) != 1 or not _finest(found[0][0]).has(found[0][0]):
            raise UsageError(
                f"{name} does not name one window.",
                next_step="Call files by the local start of their window, such as "
                "visits/2025-05-01.parquet, or visits/2025-05-01-13:00.parquet for hours.",
            )
        pattern = f"{name[: found[0].start()]}{{window}}{name[found[0].end() :]}"
        grid = _finest(found[0][0])
        files = {key: Path(str(path)) for key, path in landed_files(landing, pattern, grid).items()}
        return cls(pattern=pattern, files=dict(sorted(files.items())))

    @property
    def every(self) -> Every:
        """How far windows lie apart, as far as the names tell: of a single file, a day."""
        if _is_hour(next(iter(self.files))):
            return "hour"
        days = [date.fromisoformat(key) for key in self.files]
        gaps = [later - earlier for earlier, later in pairwise(days)]
        same_day_of_month = len({day.day for day in days}) == 1
        if not gaps:
            return "day"
        if same_day_of_month and days[0].day <= LAST_DAY_OF_EVERY_MONTH:
            return "month"
        return "day" if any(gap % _WEEK for gap in gaps) else "week"

    @property
    def starts_at(self) -> str:
        """The local time of day at which windows start; of hours the minute."""
        first = next(iter(self.files))
        return f"00:{first[-2:]}" if _is_hour(first) else "00:00"


def _finest(key: str) -> WindowSpec:
    if _is_hour(key):
        return WindowSpec(every="hour", start=_EPOCH, starts_at=f"00:{key[-2:]}")
    return WindowSpec(every="day", start=_EPOCH)


def _is_hour(key: str) -> bool:
    return ":" in key


def days_of(keys: Sequence[str]) -> list[date]:
    """Return the days on which windows start, each once, in order."""
    return sorted({datetime.strptime(key[:10], "%Y-%m-%d").date() for key in keys})  # noqa: DTZ007
