"""Windows that break at each step of the graph, by real damage, among good ones of one run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.features.build import features_table
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.keys import WINDOWED
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.runs.execute import RunReport, run_job
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.gate import blocking_checks
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

MONTH = ("2013-06-07", "2013-07-07")


class MovedWorkplace(Workplace):
    """The workplace of a checkout whose golden set a test may damage."""

    root: str

    def project(self) -> Project:
        return Project.here(os.environ, Path(self.root))


@dataclass(frozen=True)
class Place:
    """Where the tests work, and what they damage."""

    project: Project
    pipeline: Pipeline
    instance: dg.DagsterInstance
    root: Path

    @property
    def golden(self) -> Path:
        return self.root / self.pipeline.spec.golden.file

    def with_workers(self, workers: int) -> Place:
        backfill = self.pipeline.spec.backfill.model_copy(update={"workers": workers})
        spec = self.pipeline.spec.model_copy(update={"backfill": backfill})
        return replace(self, pipeline=Pipeline(spec=spec, folder=self.pipeline.folder))

    def windows(self, first: str, last: str) -> list[Window]:
        return self.pipeline.spec.window.between(first, last)

    def window(self, key: str) -> Window:
        return self.pipeline.spec.window.window(key)

    def run(
        self, windows: Sequence[Window], damages: Mapping[str, Damage] | None = None
    ) -> RunReport:
        """Run a range while damage is done, to the window that it is named for."""
        with disable_dagster_warnings():  # as Dagster itself does where it loads a defs.yaml
            moved = dg.Definitions(
                resources={"workplace": MovedWorkplace(root=str(self.root))},
                executor=dg.in_process_executor,
            )
            merged = dg.Definitions.merge(pipeline_definitions(self.pipeline), moved)
        own = merged.resolve_job_def("flight_delays")
        keys = [window.key for window in windows]
        due: dict[tuple[str, str], list[Callable[[], None]]] = {}
        for bad, damage in (damages or {}).items():
            for (key, asset), act in damage.acts(self, keys, bad).items():
                due.setdefault((key, asset), []).append(act)
        for act in due.pop(("", ""), []):
            act()

        def hear(key: str, asset: str) -> None:
            for act in due.pop((key, asset), []):
                act()

        report = run_job(own, self.instance, windows, hear)
        assert not due, f"never done: {list(due)}"
        return report


Acts = dict[tuple[str, str], Callable[[], None]]
NOW = ("", "")


@dataclass(frozen=True)
class Damage:
    """A way to break a window.

    Attributes:
        asset: The first one that the window is red at.
        sentence: Part of what is said of it.
        acts: What to do after which window's asset is finished; `NOW` is before the run.
        mend: Put right what a rerun would not make anew.
    """

    asset: str
    sentence: str
    acts: Callable[[Place, Sequence[str], str], Acts]
    mend: Callable[[Place, str], None] = lambda _place, _bad: None


def kept(path: Path) -> Path:
    return path.with_name(f"{path.name}.kept")


def restore(path: Path) -> None:
    shutil.move(kept(path), path)


def keep(path: Path) -> None:
    shutil.copy2(path, kept(path))


def overwrite(path: Path, content: bytes) -> None:
    keep(path)
    path.write_bytes(content)


def landed(place: Place, bad: str, drop: str = "flights") -> Path:
    return place.project.landing / drop / f"{bad}.parquet"


def drop_carrier(place: Place, bad: str) -> None:
    path = landed(place, bad)
    keep(path)
    pq.write_table(pq.read_table(path).drop_columns(["carrier"]), path)


def crush_air(place: Place, bad: str) -> None:
    """Land a pressure that no feature may have, in the middle of the window's day."""
    path = place.project.landing / "weather.parquet"
    if not kept(path).exists():
        keep(path)
    rows = pq.read_table(path)
    noon = place.window(bad).start + timedelta(hours=12)
    at = rows["observed_at"]
    wrong = pc.and_(
        pc.greater(at, pa.scalar(noon, at.type)),
        pc.less(at, pa.scalar(noon + timedelta(hours=4), at.type)),
    )
    pressure = pc.if_else(wrong, 2000.0, rows["pressure"])
    index = rows.column_names.index("pressure")
    pq.write_table(rows.set_column(index, "pressure", pressure), path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flip_features(place: Place, bad: str) -> None:
    (path,) = features_table(place.project, place.pipeline.spec).files_of(place.window(bad))
    flip(Path(str(path)))


def flip_shard(place: Place, bad: str) -> None:
    draft = manifests(place.project, place.pipeline.spec).draft(place.window(bad))
    assert draft is not None
    folder = Path(str(place.project.lake)) / "flight_delays" / "predictions"
    flip(folder / draft.outputs[0].path)


def turn_labels(place: Place) -> None:
    """Make the golden set say the opposite, without a provenance that would tell."""
    overwrite(place.golden.with_suffix(".json"), b"")
    place.golden.with_suffix(".json").unlink()
    keep(place.golden)
    rows = pq.read_table(place.golden)
    index = rows.column_names.index("late")
    pq.write_table(rows.set_column(index, "late", pc.invert(rows["late"])), place.golden)


def turn_labels_back(place: Place) -> None:
    restore(place.golden)
    restore(place.golden.with_suffix(".json"))


def around_evaluation(
    keys: Sequence[str],
    bad: str,
    before: Callable[[], None],
    after: Callable[[], None],
) -> Acts:
    index = keys.index(bad)
    begin = (keys[index - 1], "evaluation") if index else (keys[-1], "predictions")
    return {begin: before, (bad, "evaluation"): after}


DAMAGES = {
    "landed file": Damage(
        asset="snapshot",
        sentence="column carrier: expected string, found no such column",
        acts=lambda place, _keys, bad: {NOW: lambda: drop_carrier(place, bad)},
        mend=lambda place, bad: restore(landed(place, bad)),
    ),
    "feature contract": Damage(
        asset="features",
        sentence="column pressure: expected float64 in [850.0, 1100.0]",
        acts=lambda place, _keys, bad: {NOW: lambda: crush_air(place, bad)},
        mend=lambda place, _bad: restore(place.project.landing / "weather.parquet"),
    ),
    "shard": Damage(
        asset="predictions",
        sentence="features",
        acts=lambda place, _keys, bad: {(bad, "features"): lambda: flip_features(place, bad)},
    ),
    "golden set": Damage(
        asset="evaluation",
        sentence="olden set",
        acts=lambda place, keys, bad: around_evaluation(
            keys,
            bad,
            lambda: overwrite(place.golden, b"PAR1 nothing PAR1"),
            lambda: restore(place.golden),
        ),
    ),
    "golden gate": Damage(
        asset="published",
        sentence="golden_quality",
        acts=lambda place, keys, bad: around_evaluation(
            keys, bad, lambda: turn_labels(place), lambda: turn_labels_back(place)
        ),
    ),
    "shard before publishing": Damage(
        asset="published",
        sentence="part-00000.parquet",
        acts=lambda place, _keys, bad: {(bad, "evaluation"): lambda: flip_shard(place, bad)},
    ),
    "outcomes": Damage(
        asset="performance",
        sentence="outcomes",
        acts=lambda place, keys, bad: {
            (keys[-1], "published"): lambda: overwrite(landed(place, bad, "outcomes"), b"PAR1")
        },
        mend=lambda place, bad: restore(landed(place, bad, "outcomes")),
    ),
}


OF_ALL_WINDOWS = (DAMAGES["golden set"], DAMAGES["golden gate"])
"""They break one window only by when it is evaluated."""


@pytest.fixture
def place(
    project: Project, pipeline: Pipeline, instance: dg.DagsterInstance, tmp_path: Path
) -> Place:
    root = tmp_path / "checkout"
    shutil.copytree(CHECKOUT / "data" / "golden", root / "data" / "golden")
    place = Place(project=project, pipeline=pipeline, instance=instance, root=root)
    return place.with_workers(1)


def key_of(asset: str) -> dg.AssetKey:
    return dg.AssetKey(["flight_delays", asset])


def green(place: Place, asset: str) -> set[str]:
    return place.instance.get_materialized_partitions(key_of(asset)) - red(place, asset)


def red(place: Place, asset: str) -> set[str]:
    partitions = partitions_of(place.pipeline.spec.window)
    status = get_and_update_asset_status_cache_value(
        place.instance, key_of(asset), partitions, None
    )
    assert status is not None
    return set(status.deserialize_failed_partition_subsets(partitions).get_partition_keys())


def passed(place: Place, asset: str, name: str) -> set[str]:
    """Return the windows whose latest evaluation of a check passed."""
    key = dg.AssetCheckKey(key_of(asset), name)
    history = place.instance.event_log_storage.get_asset_check_execution_history(key, limit=500)
    latest = {str(each.partition): each.status.value for each in reversed(history)}
    return {window for window, status in latest.items() if status == "SUCCEEDED"}


def failed_and_missing(place: Place, windows: Sequence[Window]) -> set[str]:
    """Return what Dagster's dialog would launch with "failed and missing only"."""
    keys = {window.key for window in windows}
    return {key for asset in WINDOWED for key in keys if key not in green(place, asset)}


def last_events(place: Place, windows: set[str]) -> dict[tuple[str, str], int]:
    return {
        (asset, key): found
        for asset in WINDOWED
        for key, found in place.instance.get_latest_storage_id_by_partition(
            key_of(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, windows
        ).items()
    }


def assert_each_window_has_its_own_status(
    place: Place, windows: Sequence[Window], report: RunReport, damages: Mapping[str, Damage]
) -> None:
    keys = {window.key for window in windows}
    stopped = {bad: WINDOWED.index(damage.asset) for bad, damage in damages.items()}
    assert not report.succeeded
    assert set(report.refused) == set(damages)
    for bad, damage in damages.items():
        assert damage.sentence in report.refused[bad], bad
        assert bad in str(report.failure) or len(damages) > 3
    for index, asset in enumerate(WINDOWED):
        bad = {key for key, first in stopped.items() if first <= index}
        assert green(place, asset) == keys - bad, asset
        assert red(place, asset) == bad, asset
        names = blocking_checks(place.pipeline.spec).get(asset, ())
        gated = {key for key in damages if damages[key].sentence in names}
        held = [passed(place, asset, name) for name in names]
        assert not held or set.intersection(*held) == keys - bad - gated, asset
        later = {key for key, first in stopped.items() if first < index}
        assert set.union(set(), *held).isdisjoint(later), asset
    unpublished = {key for key, first in stopped.items() if first <= WINDOWED.index("published")}
    for window in windows:
        found = published_revision(place.project, place.pipeline.spec, window)
        assert (found is None) == (window.key in unpublished), window


@pytest.mark.parametrize("how", DAMAGES)
def test_a_window_that_breaks_at_any_step_is_red_from_there_and_alone_is_run_again(
    place: Place, how: str
) -> None:
    bad, damage = "2013-07-05", DAMAGES[how]
    windows = place.windows("2013-07-04", "2013-07-06")
    report = place.run(windows, {bad: damage})
    assert_each_window_has_its_own_status(place, windows, report, {bad: damage})

    assert failed_and_missing(place, windows) == {bad}
    good = {window.key for window in windows} - {bad}
    before = last_events(place, good)
    damage.mend(place, bad)
    assert place.run([place.window(bad)]).succeeded
    assert failed_and_missing(place, windows) == set()
    assert last_events(place, good) == before
    assert published_revision(place.project, place.pipeline.spec, place.window(bad))


@pytest.mark.parametrize("workers", [1, 3], ids=["one by one", "side by side"])
def test_of_a_month_whose_windows_break_at_every_step_all_others_are_published_and_green(
    place: Place, workers: int
) -> None:
    place = place.with_workers(workers)
    first = datetime.fromisoformat(MONTH[0]).date()
    days = (0, 5, 9, 14, 15, 23, 30)  # the first and the last window, and two neighbours
    damages = {
        str(first + timedelta(days=day)): damage
        for day, damage in zip(days, DAMAGES.values(), strict=True)
        if workers == 1 or damage not in OF_ALL_WINDOWS
    }
    windows = place.windows(*MONTH)
    assert len(windows) == 31
    report = place.run(windows, damages)
    assert_each_window_has_its_own_status(place, windows, report, damages)
    assert failed_and_missing(place, windows) == set(damages)
