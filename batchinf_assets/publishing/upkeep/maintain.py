"""Maintenance: remove what no manifest needs any more, and keep the tables' logs quick to open.

First a plan, which only reads; then what is on it is done, window by window under the window's
lease, and only where it still holds. What must stay is said in `retention`, what goes in
`unneeded`.

A revision that goes loses its manifest first, then the signature, then its files: whenever this is
interrupted, every manifest that is still there verifies, and the next maintenance finds the rest as
files that no manifest names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from batchinf_assets.errors import BatchinfError, LostRace, ManifestInvalid, UnknownWindow
from batchinf_assets.lake.lease import LeaseInvalid
from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.publishing.stored_files import (
    all_files,
    files_by_window,
    files_of_window,
    remove_file,
    window_of,
)
from batchinf_assets.publishing.upkeep.maintenance_lease import holding_window, live_lease
from batchinf_assets.publishing.upkeep.table_upkeep import (
    TableTask,
    plan_tables,
    run_task,
    unused_files,
)
from batchinf_assets.publishing.upkeep.unneeded import Removal, Survey
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Remove = Callable[[Place, Place], None]


@dataclass(frozen=True, kw_only=True)
class LeftAlone:
    """What maintenance does not touch.

    Attributes:
        what: The key of a window, or a table.
        why: Why not, as a sentence.
        damaged: Whether something has to be mended; else a run works there.
    """

    what: str
    why: str
    damaged: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What maintenance would do, or what it did.

    Attributes:
        removals: Files, in the order to remove them.
        tasks: What to do to Delta tables.
        left_alone: What is not touched.
    """

    removals: tuple[Removal, ...]
    tasks: tuple[TableTask, ...]
    left_alone: tuple[LeftAlone, ...]

    @property
    def bytes(self) -> int:
        """The size of all files to remove."""
        return sum(removal.bytes for removal in self.removals)


def plan_maintenance(project: Project, spec: PipelineSpec, now: datetime) -> Plan:
    """Say what a pipeline does not need any more; nothing is changed.

    Args:
        project: Where the tables are.
        spec: The pipeline, with its retention.
        now: The time.

    Raises:
        ManifestInvalid: The log of a table is damaged.
        StorageUnavailable: The store does not answer.
        OSError: A folder cannot be read.
    """
    survey = Survey.take(project, spec, now)
    found = files_by_window(survey.folder, all_files(survey.folder))
    removals = [*survey.temporary(found.pop(None, []))]
    left_alone: list[LeftAlone] = []
    for name, files in sorted((str(name), files) for name, files in found.items()):
        planned, reason = _planned(survey, name, files)
        removals += planned
        left_alone += [reason] if reason else []
    return Plan(
        removals=(*removals, *unused_files(project, spec, now)),
        tasks=tuple(plan_tables(project, spec)),
        left_alone=tuple(left_alone),
    )


def apply(
    project: Project,
    spec: PipelineSpec,
    plan: Plan,
    now: datetime,
    *,
    run_id: str,
    remove: Remove = remove_file,
) -> Plan:
    """Do what is planned, where it still holds.

    Args:
        project: Where the tables are.
        spec: The pipeline, with the retention of the plan.
        plan: What to do.
        now: The time.
        run_id: Who does it, for whoever is refused meanwhile.
        remove: Removes a file from the lake.

    Returns:
        What was done, and what was left alone.

    Raises:
        ManifestInvalid: The log of a table is damaged.
        StorageRefused: The store does not let us remove.
        StorageUnavailable: The store does not answer.
        OSError: A file cannot be removed.
    """
    work = _Work(project=project, spec=spec, now=now, run_id=run_id, remove=remove)
    for key, removals in _by_window(plan.removals).items():
        if key is None:
            work.remove_all(removals)
        else:
            work.in_window(spec.window.window(key), removals)
    for task in plan.tasks:
        work.on_table(task)
    return Plan(
        removals=tuple(work.removed),
        tasks=tuple(work.tasks),
        left_alone=(*plan.left_alone, *work.left_alone),
    )


@dataclass(kw_only=True)
class _Work:
    """What is to be done how, and what was done so far."""

    project: Project
    spec: PipelineSpec
    now: datetime
    run_id: str
    remove: Remove
    removed: list[Removal] = field(default_factory=list[Removal])
    tasks: list[TableTask] = field(default_factory=list[TableTask])
    left_alone: list[LeftAlone] = field(default_factory=list[LeftAlone])

    def in_window(self, window: Window, planned: Sequence[Removal]) -> None:
        """Remove what is planned and, asked again under the lease, still not needed."""
        wanted = {(each.what, each.place) for each in planned}
        try:
            with holding_window(self.project, self.spec, window, run_id=self.run_id) as held:
                survey = Survey.take(self.project, self.spec, self.now)
                files = files_of_window(survey.folder, window.folder_name)
                found = survey.of_window(window, files)
                still = [each for each in found if (each.what, each.place) in wanted]
                self.remove_all(still, held.require_held)
        except (LostRace, LeaseInvalid, ManifestInvalid) as error:
            self.left_alone.append(_left(window.key, error))

    def remove_all(
        self, removals: Iterable[Removal], require_held: Callable[[], None] = lambda: None
    ) -> None:
        for each in removals:
            require_held()
            self.remove(each.place, self.project.lake)
            self.removed.append(each)

    def on_table(self, task: TableTask) -> None:
        try:
            run_task(self.spec, task)
        except LostRace as error:
            self.left_alone.append(_left(task.table.name, error))
        else:
            self.tasks.append(task)


def _planned(
    survey: Survey, name: str, files: Sequence[Place]
) -> tuple[list[Removal], LeftAlone | None]:
    try:
        window = window_of(survey.spec, name)
        removals = survey.of_window(window, files)
        lease = live_lease(survey.project, survey.spec, window, survey.now) if removals else None
    except UnknownWindow:
        why = "defs.yaml no longer declares this window."
        return [], LeftAlone(what=name, why=why, damaged=False)
    except (ManifestInvalid, LeaseInvalid) as error:
        return [], _left(name, error)
    if lease:
        why = f"Run {lease.holder} works on it ({lease.stage})."
        return [], LeftAlone(what=window.key, why=why, damaged=False)
    return removals, None


def _by_window(removals: Iterable[Removal]) -> Mapping[str | None, list[Removal]]:
    found: dict[str | None, list[Removal]] = {}
    for each in removals:
        found.setdefault(each.window, []).append(each)
    return found


def _left(what: str, error: BatchinfError) -> LeftAlone:
    return LeftAlone(what=what, why=str(error), damaged=not isinstance(error, LostRace))
