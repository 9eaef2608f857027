"""One attempt at a window: it holds the window's lease, and the ledger hears how it ended.

An attempt is one run's work at one window. It goes through stages, one per asset; each stage takes
the lease anew and leaves a record, and the ledger puts the records of an attempt together.
"""

from __future__ import annotations

import atexit
import hashlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchinf_assets.errors import (
    BatchinfError,
    HeldForApproval,
    LostRace,
    ModelRefused,
    Preempted,
    RunOverCap,
    WindowRefused,
)
from batchinf_assets.lake.entries import exists
from batchinf_assets.lake.lease import HeldLease, Lease, hold, read_lease
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.worker import Worker
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.side_by_side import OneByOne, Order
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import (
    ROLLBACK,
    AttemptRecord,
    State,
    reason_code,
    reason_text,
)
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.telemetry.recorder import Recorder
from batchinf_assets.telemetry.resources import ResourceUse, Span, measure
from batchinf_assets.windows import Window

PUBLISHED = "published"
"""The last stage."""

FENCED = {
    "evaluation": ("evaluation", "sketches"),
    PUBLISHED: ("predictions",),
    ROLLBACK: ("predictions",),
}
"""The tables that a stage commits to under the token."""

LEDGER_PATIENCE_SECONDS = 5.0
"""How long the last stage of an attempt waits for the ledger; what is not written by then waits
on the local disk."""


@dataclass(kw_only=True)
class Attempt:
    """An attempt at a window, while one of its stages runs.

    Attributes:
        run_id: The run.
        trace_id: Of the attempt, 32 hex digits; the same in all its stages.
        held: The lease.
        require_left: Raises where the run may begin no further shard.
        order: The window's place among those that the run works on at the same time.
        state: How the stage ends, if nothing goes wrong.
        manifest: The revision that was worked on, once there is one.
        manifest_sha256: Digest of its published manifest.
        bytes_written: Size of the output files that the stage wrote; None in other stages.
        retries: How often it tried again; None in other stages.
        why: `reason_code` and `reason` of the record, where something was taken back.
    """

    run_id: str
    trace_id: str
    held: HeldLease
    require_left: Callable[[], None] = lambda: None
    order: Order = field(default_factory=OneByOne)
    state: State = "scored"
    manifest: Manifest | None = field(default=None, init=False)
    manifest_sha256: str | None = field(default=None, init=False)
    bytes_written: int | None = field(default=None, init=False)
    retries: int | None = field(default=None, init=False)
    why: dict[str, str] = field(default_factory=dict[str, str], init=False)

    @property
    def token(self) -> int:
        """Number of the attempt; higher than that of any earlier one at the window."""
        return self.held.lease.token

    def require_held(self) -> None:
        """Make sure that nobody took the window over.

        Raises:
            LostRace: Somebody did.
        """
        self.held.require_held()

    def require_next_shard(self) -> None:
        """Make sure that another shard may begin.

        Raises:
            LostRace: Somebody took the window over.
            RunOverCap: The run has taken more than its cap.
        """
        self.require_held()
        self.require_left()

    def works_on(self, manifest: Manifest) -> None:
        """Remember which revision this attempt works on."""
        self.manifest = manifest

    def scored(self, manifest: Manifest, *, bytes_written: int, retries: int) -> None:
        """Remember the scored revision and what it took."""
        self.manifest, self.bytes_written, self.retries = manifest, bytes_written, retries

    def published(self, manifest: Manifest, sha256: str, *, changed: bool) -> None:
        """Remember that the revision is visible now."""
        self.manifest, self.manifest_sha256 = manifest, sha256
        self.state = "published" if changed else "unchanged"

    def took_back(self, event: str, reason: str, manifest: Manifest | None) -> None:
        """Remember what readers see instead of what they saw, if anything, and why."""
        self.state, self.manifest = "rolled_back", manifest
        self.why = {"reason_code": event, "reason": reason}


@contextmanager
def attempting(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    *,
    run_id: str,
    stage: str,
    again: int = 0,
) -> Generator[Attempt]:
    """Hold the window's lease while the body works at one stage, and record how that ended.

    A dead attempt whose lease is found expired is recorded as killed, and shut out of the
    predictions table's log: should it wake up, it cannot publish.

    Args:
        project: Where lake and ledger are.
        spec: The pipeline.
        window: The window.
        run_id: The run.
        stage: The asset that is worked on, or `ROLLBACK`.
        again: How often this run tried this stage before; the record of each such try counts it.

    Raises:
        LostRace: Another run works on the window.
        LeaseInvalid: The lease file is damaged.
        StorageRefused: The store lets us not read or write it.
        StorageUnavailable: The store does not answer.
        OSError: The lease cannot be read or written.
    """
    stage_of = _Stage(
        project=project, spec=spec, window=window, run_id=run_id, name=stage, again=again
    )
    with measure() as span:
        try:
            with stage_of.lease() as held:
                attempt = Attempt(run_id=run_id, trace_id=stage_of.trace_id, held=held)
                with stage_of.recorded(attempt, span):
                    yield attempt
        except (BatchinfError, OSError) as error:
            if stage_of.began is None:  # before the lease was ours
                stage_of.record(stage_of.failed(error, span.use))
            raise


def close_killed(
    project: Project, spec: PipelineSpec, window: Window, *, run_id: str, stage: str
) -> None:
    """Record an attempt whose process is known to be dead, and free its window for the next one.

    Nothing happens where somebody else works on the window, or where nobody did.

    Args:
        project: Where lake and ledger are.
        spec: The pipeline.
        window: The window.
        run_id: The run whose process died.
        stage: What that worked on.
    """
    found = _Stage(project=project, spec=spec, window=window, run_id=run_id, name=stage, again=0)
    last = read_lease(lease_place(project, spec, window), window.key)
    if last is None or last.state == "free":
        return
    with suppress(LostRace), found.lease(died=last.hold if last.holder == run_id else None):
        pass


def predictions_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the pipeline's predictions table: published rows only."""
    return WindowTable(
        project.lake / spec.name / "predictions", arrow_schema(spec.prediction_table)
    )


def lease_place(project: Project, spec: PipelineSpec, window: Window) -> Place:
    """Return where the lease of a window lies."""
    return project.lake / spec.name / "_leases" / f"{window.folder_name}.json"


def recorder_of(project: Project) -> Recorder:
    """Return what this process writes the project's ledger with."""
    return _recorder(project.lake, unwritten_attempts(project))


def unwritten_attempts(project: Project) -> Path:
    """Return where records wait that the ledger could not take: no other lake's are among them."""
    lake = hashlib.sha256(str(project.lake).encode()).hexdigest()[:16]
    return project.dagster_home / "unwritten_attempts" / lake


@lru_cache(maxsize=8)
def _recorder(lake: Place, spool: Path) -> Recorder:
    recorder = Recorder(Ledger(lake), spool=spool)
    atexit.register(recorder.close)
    return recorder


@dataclass(kw_only=True)
class _Stage:
    """One stage of an attempt, and what the ledger is told of it."""

    project: Project
    spec: PipelineSpec
    window: Window
    run_id: str
    name: str
    again: int
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: Attempt | None = None

    @property
    def trace_id(self) -> str:
        """The same for every stage of a run's work at a window, and for nothing else."""
        return hashlib.sha256(f"{self.run_id}/{self.window.key}".encode()).hexdigest()[:32]

    def lease(self, died: str | None = None) -> AbstractContextManager[HeldLease]:
        table = predictions_table(self.project, self.spec)
        place = lease_place(self.project, self.spec, self.window)

        def bury(dead: Lease, token: int) -> None:
            table.fence(self.window, token)
            self.record(self.killed(dead))

        return hold(
            place,
            window=self.window.key,
            holder=self.run_id,
            stage=self.name,
            on_takeover=bury,
            at_least=self._lowest_token(place),
            died=died,
        )

    def _lowest_token(self, place: Place) -> int:
        """Return the lowest token allowed: a lease that was lost or restored is behind the logs."""
        if exists(place) and self.name not in FENCED:
            return 1
        folder = self.project.lake / self.spec.name
        tables = FENCED.get(self.name, FENCED[PUBLISHED])
        logs = (WindowTable(folder / name, pa.schema([])) for name in tables)
        known = max(log.token_of(self.window) for log in logs)
        lease = read_lease(place, self.window.key)
        return known + 1 if lease is None or lease.token < known else 1

    @contextmanager
    def recorded(self, attempt: Attempt, span: Span) -> Generator[None]:
        """Record how the body ends, while the lease is still held."""
        self.began = attempt
        try:
            yield
        except SystemExit:  # how SIGTERM ends a process that works on windows for its run
            told = Preempted("The process was told to leave.", next_step="Run the window again.")
            self.record(self.failed(told, span.use))
            raise
        except BaseException as error:
            self.record(self.failed(error, span.use))
            raise
        self.record(self.ended(attempt, span.use))

    def record(self, record: AttemptRecord) -> None:
        recorder = recorder_of(self.project)
        recorder.record(record)
        if record.state != "scored":
            recorder.flush(LEDGER_PATIENCE_SECONDS)

    def ended(self, attempt: Attempt, use: ResourceUse) -> AttemptRecord:
        return replace(self._record(attempt.state), **attempt.why, **_used(self.name, use))

    def failed(self, error: BaseException, use: ResourceUse) -> AttemptRecord:
        return replace(
            self._record(_state(error)),
            reason_code=reason_code(error),
            reason=reason_text(error),
            **_used(self.name, use),
        )

    def killed(self, dead: Lease) -> AttemptRecord:
        return replace(
            self._record("killed"),
            attempt=dead.token,
            run_id=dead.holder,
            stage=dead.stage,
            worker=str(dead.worker),
            started_at=dead.since,
            ended_at=dead.beat_at,
            trace_id=replace(self, run_id=dead.holder).trace_id,
            reason_code="killed",
            reason="Its lease expired without a release.",
            **_KNOWN_OF_NOBODY_ELSE,
        )

    def _record(self, state: State) -> AttemptRecord:
        manifest = self.began.manifest if self.began else None
        shards = manifest.shards if manifest and self.name == "predictions" else None
        wrote = self.began is not None and self.began.bytes_written is not None
        return AttemptRecord(
            pipeline=self.spec.name,
            window=self.window.key,
            attempt=self.began.token if self.began else 0,
            run_id=self.run_id,
            state=state,
            stage=self.name,
            started_at=self.at,
            ended_at=datetime.now(UTC),
            worker=str(Worker.here()),
            trace_id=self.trace_id,
            revision=manifest.revision if manifest else None,
            manifest_sha256=self.began.manifest_sha256 if self.began else None,
            rows=manifest.counts.scored if manifest and manifest.shards else None,
            shards_total=shards.planned if shards else None,
            shards_computed=shards.computed if shards and wrote else None,
            shards_reused=shards.reused if shards and wrote else None,
            bytes_written=self.began.bytes_written if self.began else None,
            retries=self._retries(),
        )

    def _retries(self) -> int | None:
        """Each try has a record of its own, and readers add them up: so this one counts once."""
        inside = self.began.retries if self.began else None
        return (inside or 0) + 1 if self.again else inside


_KNOWN_OF_NOBODY_ELSE: dict[str, None] = dict.fromkeys(
    (
        "revision",
        "manifest_sha256",
        "rows",
        "shards_total",
        "shards_computed",
        "shards_reused",
        "retries",
    )
)


def _used(stage: str, use: ResourceUse) -> dict[str, Any]:
    return {
        "stage_seconds": {stage: use.wall_seconds},
        "cpu_seconds": use.cpu_seconds,
        "io_read_bytes": use.io_read_bytes,
        "io_write_bytes": use.io_write_bytes,
        "io_seconds": use.io_seconds,
        "peak_memory_bytes": use.peak_memory_bytes,
    }


def _state(error: BaseException) -> State:
    if isinstance(error, LostRace):
        return "lost_race"
    if isinstance(error, Preempted):
        return "preempted"
    refusals = WindowRefused | ModelRefused | HeldForApproval | RunOverCap
    return "refused" if isinstance(error, refusals) else "failed"
