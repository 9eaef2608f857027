"""What `benchmarks.batch_scoring` scores: a declared pipeline, a promoted model, one large window.

The rows are seeded random numbers: 20 float32 features, as incompressible as features get. The
model, boosted trees, learns from a small sample of such rows; it is registered, signed and promoted
as any other. Snapshot and features are written by the lake's own functions, so the features file
has the layout that every features file has, and every side reads that same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier

from batchinf_assets.checks import Violation
from batchinf_assets.contracts.columns import check_columns, conform
from batchinf_assets.contracts.in_window import check_in_window, inside, rows_outside
from batchinf_assets.contracts.validate import check_same_keys, check_unique_key, check_values
from batchinf_assets.features.build import (
    FeaturesFooter,
    feature_definition,
    features_contract,
    features_table,
    made_rows,
)
from batchinf_assets.features.labels import LABEL
from batchinf_assets.lake.digest import content_digest
from batchinf_assets.lake.layout import row_group_rows
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord
from batchinf_assets.project import Project
from batchinf_assets.promotion.promote import Decision, promote
from batchinf_assets.registry.keyring import init_keys
from batchinf_assets.registry.registry import Registry
from batchinf_assets.snapshots.freeze import SnapshotFooter, frozen_rows, snapshot_table
from batchinf_assets.snapshots.source import source_contract
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.training.dataset import LabelledRows
from batchinf_assets.training.register import register_model
from batchinf_assets.windows import Window

FEATURES = tuple(f"f{number:02d}" for number in range(20))
KEY, TIME, SCORE, NAME = "id", "happened_at", "score", "scoring_benchmark"
LARGE, GOLDEN, TRAINING_ROWS, GOLDEN_ROWS, TREES = (
    "2026-03-02",
    "golden.parquet",
    100_000,
    5_000,
    100,
)
FIRST_KEY = 1_000_000_000
FEATURES_SQL = f"SELECT {KEY}, {', '.join(FEATURES)} FROM snapshot"


@dataclass(frozen=True, kw_only=True)
class ScoringWorld:
    """A project whose pipeline has a champion and one window that waits to be scored.

    Attributes:
        root: Everything lies below this folder.
        rows: Rows of the window.
    """

    root: Path
    rows: int

    @property
    def project(self) -> Project:
        """The project's folders."""
        parts = {name: self.root / name for name in ("lake", "landing", "dagster_home", "keys")}
        return Project(root=self.root, **parts)

    @property
    def registry(self) -> Registry:
        """The registry with the champion."""
        return Registry.at(self.project, {})

    @property
    def pipeline(self) -> Pipeline:
        """The declaration."""
        return Pipeline(spec=declaration(), folder=self.root)

    @property
    def window(self) -> Window:
        """The window to score."""
        return self.pipeline.spec.window.window(LARGE)

    @property
    def features_file(self) -> Path:
        """The one Parquet file that all sides read."""
        table = features_table(self.project, self.pipeline.spec)
        return Path(str(table.files_of(self.window)[0]))

    @property
    def model_file(self) -> Path:
        """The model as scikit-learn's sides read it."""
        return self.root / "model.skops"


def declaration() -> PipelineSpec:
    """Declare the pipeline: no post-processing, everything else as a pipeline has it."""
    return PipelineSpec.model_validate(
        {
            "name": NAME,
            "description": "Random rows, boosted trees.",
            "owner": "benchmarks@example.com",
            "team": "benchmarks",
            "window": {"every": "day", "start": "2026-03-01"},
            "source": {
                "files": "rows/{window}.parquet",
                "key": [KEY],
                "time": TIME,
                "columns": {KEY: {"type": "int64", "min": 0}, TIME: {"type": "timestamp"}},
            },
            "features": {"columns": {name: {"type": "float32"} for name in FEATURES}},
            "model": {"name": NAME, "training": {"start": "2026-03-01", "end": "2026-03-02"}},
            "prediction": {"column": SCORE},
            "golden": {"file": GOLDEN, "at_least": {"auroc": 0.6}},
        }
    )


def build(root: Path, rows: int) -> ScoringWorld:
    """Make keys, champion and window below a new folder."""
    world = ScoringWorld(root=root, rows=rows)
    root.mkdir(parents=True)
    (root / "features.sql").write_text(FEATURES_SQL, encoding="utf-8")
    (root / "dagster_home").mkdir()
    _promote_champion(world)
    _freeze_window(world)
    return world


def random_features(rows: int, seed: int) -> dict[str, np.ndarray]:
    """Draw standard normal columns, float32."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(rows, dtype=np.float32) for name in FEATURES}


def _labelled(rows: int, seed: int) -> pa.Table:
    drawn = random_features(rows, seed)
    noise = np.random.default_rng(seed + 1).normal(size=rows) / 2
    labels = drawn["f00"] * drawn["f01"] + drawn["f02"] + noise > 0
    return pa.table({KEY: np.arange(rows, dtype=np.int64), **drawn, LABEL: labels})


def _promote_champion(world: ScoringWorld) -> None:
    now, pipeline = datetime.now(UTC), world.pipeline
    key = init_keys(world.project.keys, not_before=now, not_after=now + timedelta(days=30))
    sample = _labelled(TRAINING_ROWS, seed=1)
    pq.write_table(_labelled(GOLDEN_ROWS, seed=11), world.root / GOLDEN)
    trees = HistGradientBoostingClassifier(
        max_iter=TREES, max_leaf_nodes=31, early_stopping=False, random_state=0
    )
    trees.fit(sample.select(FEATURES).to_pandas(), sample.column(LABEL).to_numpy())
    data = skops.io.dumps(trees)
    world.model_file.write_bytes(data)
    labelled = LabelledRows(rows=sample, window_rows=(sample.num_rows,), unlabelled=0)
    learned = [pipeline.spec.window.window("2026-03-01")]
    registered = register_model(
        world.project, world.registry, pipeline, key, data, learned, labelled, now=now
    )
    decision = Decision(alias="champion", reason="The first model", by="benchmark", at=now)
    promote(world.project, world.registry, [pipeline], key, registered.version, decision)


def _freeze_window(world: ScoringWorld) -> None:
    """Do what `freeze_snapshot` and `build_features` do with rows that never landed as a file."""
    spec, window = world.pipeline.spec, world.window
    keys = pa.array(np.arange(FIRST_KEY, FIRST_KEY + world.rows))
    micros = np.arange(world.rows) * 86_400_000_000 // max(world.rows, 1)
    start = int(window.start.timestamp()) * 1_000_000
    times = pa.array(micros + start).cast(pa.timestamp("us", tz="UTC"))
    source = conform(pa.table({KEY: keys, TIME: times}), spec.source.columns)
    digest = content_digest(source, spec.source.key)
    landed = FileRecord(path="rows/drawn.parquet", sha256="0" * 64, bytes=0)
    record = SnapshotRecord(
        digest=digest, rows=world.rows, source=landed, contract=source_contract(spec)
    )
    footer = SnapshotFooter(
        record=record,
        checks=(
            check_columns(source, spec.source.columns, asset="snapshot"),
            check_values(source, spec.source.columns, key=spec.source.key, asset="snapshot"),
            check_unique_key(source, key=spec.source.key, asset="snapshot"),
            check_in_window(world.rows, _outside(source, window), "snapshot"),
        ),
    )
    name = frozen_rows(world.project, spec, window, record).place.stem
    table = snapshot_table(world.project, spec)
    table.keep(window, name, source, footer.model_dump(mode="json"))
    drawn = pa.table({KEY: keys, **random_features(world.rows, seed=21)})
    _keep_features(world, source, conform(drawn, spec.feature_table), digest)


def _outside(source: pa.Table, window: Window) -> tuple[Violation, ...]:
    count = len(rows_outside(source.column(TIME), window))
    return (Violation(column=TIME, rule=inside(window), count=count),) if count else ()


def _keep_features(world: ScoringWorld, source: pa.Table, rows: pa.Table, snapshot: str) -> None:
    spec, key = world.pipeline.spec, world.pipeline.spec.source.key
    record = FeaturesRecord(
        digest=content_digest(rows, key),
        rows=world.rows,
        definition=feature_definition(world.pipeline),
        row_group_rows=row_group_rows(spec.shard_rows),
        references=(),
        absent=(),
        contract=features_contract(spec),
    )
    checks = (
        check_columns(rows, spec.feature_table, asset="features"),
        check_values(rows, spec.feature_table, key=key, asset="features"),
        check_unique_key(rows, key=key, asset="features"),
        check_same_keys(source, rows, key=key, asset="features"),
    )
    footer = FeaturesFooter(record=record, snapshot=snapshot, checks=checks)
    features_table(world.project, spec).keep(
        world.window,
        made_rows(world.project, spec, world.window, record, snapshot).place.stem,
        rows,
        footer.model_dump(mode="json"),
        row_group_rows=row_group_rows(spec.shard_rows),
        scan=True,
    )
