"""One attempt at a window as a value: how it ended, why, and what it took.

Where attempts are kept is `ledger`'s business; `docs/formats/ledger.md` explains every field.
"""

from __future__ import annotations

import errno
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

import duckdb

from batchinf_assets.checks import blocking_failures
from batchinf_assets.errors import (
    BatchinfError,
    LandedFileUnreadable,
    ModelRefused,
    RunOverCap,
    WindowRefused,
)

State = Literal[
    "rolled_back",
    "published",
    "unchanged",
    "scored",
    "refused",
    "failed",
    "lost_race",
    "preempted",
    "killed",
]

ROLLBACK, MAINTENANCE = "rollback", "maintenance"
"""Stages of an attempt that makes nothing of a window: its runs go through the assets."""

REASON_CHARACTERS = 500
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
LARGEST_NUMBER = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """How one run's work at one window under one lease token ended.

    Figures are None where they are unknown, never 0.

    Attributes:
        pipeline: The pipeline's name.
        window: The window's key.
        attempt: The lease token: counts the attempts of a window.
        run_id: The run that held the lease.
        state: How it ended.
        stage: The asset in which it ended; `ROLLBACK` or `MAINTENANCE` beside the window's runs.
        started_at: When the attempt, or this asset's part of it, began.
        ended_at: When it ended; for `killed` the last sign of life, not the time of the discovery.
        worker: Who worked, as `host:pid`.
        trace_id: The trace, 32 hex digits.
        revision: The revision that was worked on, if the attempt got that far.
        manifest_sha256: Digest of the published manifest's file.
        reason_code: A stable word, see `reason_code`.
        reason: A sentence, see `reason_text`.
        stage_seconds: Wall time by stage, in seconds.
        rows: Rows of the revision.
        bytes_written: Bytes of the output files that this attempt wrote.
        shards_total: Shards of the revision.
        shards_computed: Shards that this attempt scored.
        shards_reused: Finished shards that it found.
        cpu_seconds: CPU time, user and system.
        io_read_bytes: Bytes fetched from block devices.
        io_write_bytes: Bytes sent to block devices.
        io_seconds: Time waited for block devices, at least.
        peak_memory_bytes: Largest resident set.
        retries: Shards that were scored again, and stages that were tried again in the same run.

    Raises:
        ValueError: A time has no zone or lies outside the years 1970 to 2199, or a number is
            negative, not finite or larger than a table holds.
    """

    pipeline: str
    window: str
    attempt: int
    run_id: str
    state: State
    stage: str
    started_at: datetime
    ended_at: datetime
    worker: str
    trace_id: str | None = None
    revision: str | None = None
    manifest_sha256: str | None = None
    reason_code: str | None = None
    reason: str | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    rows: int | None = None
    bytes_written: int | None = None
    shards_total: int | None = None
    shards_computed: int | None = None
    shards_reused: int | None = None
    cpu_seconds: float | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    io_seconds: float | None = None
    peak_memory_bytes: int | None = None
    retries: int | None = None

    def __post_init__(self) -> None:
        if self.started_at.tzinfo is None or self.ended_at.tzinfo is None:
            raise ValueError("started_at and ended_at must carry a time zone")
        if not min(self.started_at, self.ended_at) >= EARLIEST:
            raise ValueError("started_at and ended_at must not lie before 1970")
        if not max(self.started_at, self.ended_at) < LATEST:
            raise ValueError("started_at and ended_at must lie before 2200")
        for name in _NUMBERS:
            _require_storable(name, getattr(self, name))
        for stage, seconds in self.stage_seconds.items():
            _require_storable(f"stage_seconds of {stage}", seconds)

    @property
    def attempt_id(self) -> str:
        """Names the attempt: `<pipeline>/<window>/<attempt>/<run id>`.

        The run is part of it because tokens may start again at 1 where a lease was removed by hand.
        """
        return f"{self.pipeline}/{self.window}/{self.attempt}/{self.run_id}"

    @property
    def tells_of_window(self) -> bool:
        """Whether it says what became of the window: a rollback only where it changed something."""
        return self.state == "rolled_back" or self.stage not in (ROLLBACK, MAINTENANCE)

    @property
    def month(self) -> str:
        """The UTC month in which the attempt ended, such as `2026-11`."""
        return self.ended_at.astimezone(UTC).strftime("%Y-%m")


FIELDS = tuple(each.name for each in fields(AttemptRecord))

_NUMBERS = (
    "attempt",
    "rows",
    "bytes_written",
    "shards_total",
    "shards_computed",
    "shards_reused",
    "cpu_seconds",
    "io_read_bytes",
    "io_write_bytes",
    "io_seconds",
    "peak_memory_bytes",
    "retries",
)


def _require_storable(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= LARGEST_NUMBER:  # nor is what is no number
        raise ValueError(f"{name} must be from 0 to {LARGEST_NUMBER}")


def storable(value: object) -> object:
    """Return a value as JSON and Parquet can hold it: undecodable file names have surrogates."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def merged(records: Sequence[AttemptRecord]) -> AttemptRecord:
    """Make one record of all those that an attempt left.

    They are the same one twice (a lost acknowledgement), one for each asset that the run worked
    in, or `killed` by whoever found the expired lease. A published attempt stays so, whatever came
    later, unless it took something back; else the last record that tells of the window says how it
    ended, and `killed` counts only if it is that one.

    Args:
        records: At least one; all of one `attempt_id`.
    """
    counted = _counted(records)
    last = counted[-1]
    changes: dict[str, Any] = {name: _of_known(name, counted, sum) for name in _COUNTED}
    changes |= {name: _of_all(name, counted, sum) for name in _MEASURED}
    changes |= {name: _of_known(name, counted, lambda found: found[-1]) for name in _LAST_KNOWN}
    return replace(
        last,
        **changes,
        shards_reused=_of_known("shards_reused", counted, lambda found: found[0]),
        peak_memory_bytes=_of_all("peak_memory_bytes", counted, max),
        stage_seconds=_added(record.stage_seconds for record in counted),
        started_at=min(record.started_at for record in counted),
    )


_COUNTED = ("bytes_written", "shards_computed", "retries")
_MEASURED = ("cpu_seconds", "io_read_bytes", "io_write_bytes", "io_seconds")
_LAST_KNOWN = ("revision", "manifest_sha256", "trace_id", "rows", "shards_total")


def _counted(records: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    once = {(r.state, r.stage, r.started_at, r.ended_at): r for r in reversed(records)}
    ordered = sorted(once.values(), key=_precedence)
    own = [record for record in ordered if record.state != "killed"]
    after = ordered[ordered.index(own[-1]) + 1 :] if own else ordered
    return [*own, *after[:1]]


def _precedence(record: AttemptRecord) -> tuple[bool | datetime, ...]:
    what_counts = ("rolled_back", "published", "unchanged")
    ended_well = (record.state == state for state in what_counts)
    return record.tells_of_window, *ended_well, record.ended_at, record.state != "killed"


def _of_known(
    name: str, records: Iterable[AttemptRecord], combine: Callable[[list[Any]], Any]
) -> Any:
    known = [value for record in records if (value := getattr(record, name)) is not None]
    return combine(known) if known else None


def _of_all(
    name: str, records: Sequence[AttemptRecord], combine: Callable[[list[Any]], Any]
) -> Any:
    """A sum that lacks an unknown part would pass for the whole: it is unknown too."""
    values = [getattr(record, name) for record in records]
    return None if None in values else combine(values)


def _added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for stage, seconds in part.items():
            total[stage] = total.get(stage, 0.0) + seconds
    return total


def reason_code(error: BaseException) -> str:
    """Return a stable word for a failure, for alerts and for grouping.

    Errors of this package give their class, `landed_file_missing`. Refused models give the clause
    too, `model_refused/unsigned`, refused windows the first check that stopped them,
    `window_refused/contract`, landed files their fault, `landed_file_unreadable/empty`, and runs
    above their cap what is, `run_over_cap/spent`. A full disk and exhausted memory give
    `out_of_space` and `out_of_memory`, also as the cause of another error. The operating system's
    other refusals give `storage_refused` and `io_error`; what else is foreign gives
    `unexpected/<class>`.
    """
    exhausted = _exhausted(error)
    if exhausted is not None:
        return exhausted
    if isinstance(error, OSError) and error.errno in _REFUSED_BY_THE_SYSTEM:
        return _REFUSED_BY_THE_SYSTEM[error.errno]
    name = _snake(type(error).__name__)
    if not isinstance(error, BatchinfError):
        return f"unexpected/{name}"
    clause = _clause(error)
    return f"{name}/{clause}" if clause else name


def _clause(error: BatchinfError) -> str | None:
    if isinstance(error, ModelRefused | LandedFileUnreadable | RunOverCap):
        return error.reason
    if isinstance(error, WindowRefused):
        return next((check.name for check in blocking_failures(error.checks)), None)
    return None


def reason_text(error: BaseException) -> str:
    """Return what may be shown of a failure, in one line of at most 500 characters.

    Of a foreign error it is the class alone: its message may quote a URL with a password in it.
    Control characters, also those that turn the direction of writing, are escaped.
    """
    said = error.message if isinstance(error, BatchinfError) else type(error).__name__
    line = next(iter(said.strip().splitlines()), "")
    return "".join(map(_printable, line))[:REASON_CHARACTERS]


_EXHAUSTED = {errno.ENOSPC: "out_of_space", errno.EDQUOT: "out_of_space"}
_REFUSED_BY_THE_SYSTEM = {
    errno.EIO: "io_error",
    errno.EACCES: "storage_refused",
    errno.EPERM: "storage_refused",
    errno.EROFS: "storage_refused",
}


def _exhausted(error: BaseException | None) -> str | None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))  # deltalake raises errors that are their own cause
        if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
            return "out_of_memory"
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            return _EXHAUSTED[error.errno]
        error = error.__cause__
    return None


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _printable(character: str) -> str:
    harmless = unicodedata.category(character)[0] != "C"
    return character if harmless else character.encode("unicode_escape").decode()
