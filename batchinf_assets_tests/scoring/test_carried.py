"""Looked-up scores: whatever was corrected, the file is the one that scoring every row gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batchinf_assets.lake.digest import sort_by
from batchinf_assets.lake.files import DataFile
from batchinf_assets.lake.order import KeySpan
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.row_groups import RowGroups, write_row_groups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.registry.profile import build_profile
from batchinf_assets.scoring.carried import EarlierScores, ScoredGroup
from batchinf_assets.scoring.fast import fast_scorer
from batchinf_assets.scoring.scorer import Scorer
from batchinf_assets.scoring.shard_scoring import ScoredShard, ShardScoring
from batchinf_assets.scoring.shards import Shard
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.scoring.watched_scorer import WatchedScorer

if TYPE_CHECKING:
    from batchinf_assets_tests.scoring.conftest import Flights

ROWS, GROUP_ROWS = 600, 100
MIDNIGHT = datetime(2013, 7, 4, tzinfo=UTC)


@dataclass(frozen=True)
class Bench:
    """A scored window of six row groups, and the means to score others."""

    pipeline: Pipeline
    scoring: ShardScoring
    rows: pa.Table
    spare: pa.Table
    scored: DataFile

    @property
    def key(self) -> tuple[str, ...]:
        return self.pipeline.spec.source.key

    @property
    def inputs(self) -> list[str]:
        return list(self.pipeline.spec.features.columns)

    @property
    def earlier(self) -> EarlierScores:
        features, predictions = self.scoring.features, RowGroups(self.scored.path)
        groups = [
            ScoredGroup(
                span=KeySpan.of(rows.select(list(self.key))),
                features=features,
                feature_group=index,
                predictions=predictions,
                prediction_group=index,
            )
            for index, rows in enumerate(features.all())
        ]
        return EarlierScores(
            groups=tuple(groups),
            key=self.key,
            inputs=tuple(self.inputs),
            given=self.pipeline.spec.prediction.given,
        )

    def score(
        self, rows: pa.Table, folder: Path, group_rows: int, earlier: EarlierScores | None
    ) -> tuple[ScoredShard, int]:
        """Score rows as one shard; return also how many the scorer was asked about."""
        asked: list[int] = []
        features = self.written(rows, folder / f"features-{group_rows}.parquet", group_rows)
        scorer = WatchedScorer(inner=self.scoring.scorer, watch=lambda t: asked.append(t.num_rows))
        scoring = replace(self.scoring, features=features, scorer=scorer, earlier=earlier)
        shard = Shard(index=0, groups=range(len(features.rows)), start=0, rows=rows.num_rows)
        return scoring.score(shard, folder / ("all" if earlier is None else "some")), sum(asked)

    def written(self, rows: pa.Table, place: Path, group_rows: int) -> RowGroups:
        groups = [rows.slice(s, group_rows) for s in range(0, rows.num_rows, group_rows)]
        write_row_groups(place, arrow_schema(self.pipeline.spec.feature_table), groups)
        return RowGroups(place)

    def corrected(self, seed: int, share: float) -> tuple[pa.Table, int]:
        """Remove, add and change about this share of the rows; return how many must be scored."""
        random = np.random.default_rng(seed)
        kept = random.random(ROWS) >= share / 3
        changed = kept & (random.random(ROWS) < share)
        column = "departure_minute"
        values = self.rows.column(column).to_numpy().copy()
        values[changed] += 1
        rows = with_column(self.rows, column, pa.array(values))
        added = self.spare.filter(pa.array(random.random(self.spare.num_rows) < share))
        whole = sort_by(pa.concat_tables([rows.filter(pa.array(kept)), added]), self.key)
        return whole, int(changed.sum()) + added.num_rows


def with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    field = rows.schema.field(name)
    return rows.set_column(rows.column_names.index(name), field, values.cast(field.type))


@pytest.fixture(scope="module")
def bench(
    pipeline: Pipeline,
    flights: Flights,
    trained: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    folder = tmp_path_factory.mktemp("scored")
    every = keyed(pipeline, flights.unseen.slice(0, 2 * ROWS))
    odd = pa.array(np.arange(2 * ROWS) % 2 == 1)
    rows, spare = every.filter(odd).combine_chunks(), every.filter(pc.invert(odd))
    profile = build_profile(
        flights.training,
        np.linspace(0, 1, flights.training.num_rows),
        columns=flights.columns,
        score_column="delay_probability",
    )
    scorer: Scorer = fast_scorer(trained, flights.columns)
    bench = Bench(
        pipeline=pipeline,
        scoring=ShardScoring(
            pipeline=pipeline,
            window=pipeline.spec.window.window("2013-07-04"),
            features=RowGroups(folder / "features.parquet"),
            scorer=scorer,
            profile=profile,
        ),
        rows=rows,
        spare=spare,
        scored=DataFile(path=folder / "part-00000.parquet", rows=0, bytes=0, sha256=""),
    )
    features = bench.written(rows, folder / "features.parquet", GROUP_ROWS)
    shard = Shard(index=0, groups=range(len(features.rows)), start=0, rows=ROWS)
    return replace(bench, scored=bench.scoring.score(shard, folder).file)


def keyed(pipeline: Pipeline, features: pa.Table) -> pa.Table:
    """Give rows a key, several flights a minute."""
    count = features.num_rows
    departures = [MIDNIGHT + timedelta(minutes=row // 7) for row in range(count)]
    carriers = [("AA", "B6", "UA")[row % 7 // 3] for row in range(count)]
    key = {
        "scheduled_departure": pa.array(departures, pa.timestamp("us", tz="UTC")),
        "carrier": pa.array(carriers),
        "flight": pa.array(np.arange(count) + 1, pa.int32()),
    }
    columns = {name: features.column(name) for name in features.column_names}
    schema = arrow_schema(pipeline.spec.feature_table)
    return pa.table({**key, **columns}).select(schema.names).cast(schema)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.3, 1.0])
@pytest.mark.parametrize("group_rows", [37, GROUP_ROWS, 250, ROWS])
def test_carrying_scores_gives_the_bytes_that_scoring_every_row_gives(
    bench: Bench, tmp_path: Path, share: float, group_rows: int
) -> None:
    rows, to_score = bench.corrected(seed=group_rows, share=share)
    carrying, asked = bench.score(rows, tmp_path, group_rows, bench.earlier)
    whole, asked_of_all = bench.score(rows, tmp_path, group_rows, None)
    assert (carrying.file.sha256, carrying.file.bytes) == (whole.file.sha256, whole.file.bytes)
    assert (carrying.keys, carrying.checks, carrying.observed) == (
        whole.keys,
        whole.checks,
        whole.observed,
    )
    assert (asked, asked_of_all) == (to_score, rows.num_rows)
    assert (carrying.carried, whole.carried) == (rows.num_rows - to_score, 0)


def test_a_change_outside_the_features_scores_nothing_again(bench: Bench) -> None:
    scores, known = bench.earlier.of(bench.rows.select([*bench.key, *bench.inputs]))
    assert known.all()
    assert scores.std() > 0.05


def test_rows_of_other_keys_are_not_known_however_equal_they_are(bench: Bench) -> None:
    shifted = with_column(
        bench.rows,
        "flight",
        pa.array(bench.rows.column("flight").to_numpy() + 5_000),
    )
    scores, known = bench.earlier.of(shifted)
    assert not known.any()
    assert not scores.any()


def test_no_rows_have_no_scores(bench: Bench) -> None:
    scores, known = bench.earlier.of(bench.rows.slice(0, 0))
    assert (len(scores), len(known)) == (0, 0)


def last_byte_of_first_column(place: Place) -> int:
    column = pq.ParquetFile(place).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    return start + column.total_compressed_size - 1


@pytest.mark.parametrize("what", ["features", "predictions"])
def test_a_row_group_that_was_damaged_since_is_scored_again(
    bench: Bench, tmp_path: Path, what: str
) -> None:
    """And nothing of it is carried: a flipped bit must not become a score."""
    place = bench.scoring.features.place if what == "features" else bench.scored.path
    damaged = bytearray(Path(str(place)).read_bytes())
    damaged[last_byte_of_first_column(place)] ^= 1
    (tmp_path / "damaged.parquet").write_bytes(bytes(damaged))
    file = RowGroups(tmp_path / "damaged.parquet")
    groups = tuple(replace(group, **{what: file}) for group in bench.earlier.groups)
    _, known = replace(bench.earlier, groups=groups).of(bench.rows)
    assert not known[:GROUP_ROWS].any()
    assert known[GROUP_ROWS:].all()


def test_predictions_of_other_rows_are_not_believed(bench: Bench) -> None:
    """Files that are whole, but not paired as they were scored."""
    groups = tuple(
        replace(group, prediction_group=(group.prediction_group + 1) % 6)
        for group in bench.earlier.groups
    )
    _, known = replace(bench.earlier, groups=groups).of(bench.rows)
    assert not known.any()
