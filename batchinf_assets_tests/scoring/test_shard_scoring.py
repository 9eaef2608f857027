"""One shard: whole or absent, and the same bytes however little memory there was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.row_groups import RowGroups, write_row_groups
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.registry.profile import Profile, build_profile
from batchinf_assets.scoring.fast import fast_scorer
from batchinf_assets.scoring.score_histogram import count_scores
from batchinf_assets.scoring.scorer import Scorer, SklearnScorer, score_rows
from batchinf_assets.scoring.shard_scoring import SMALLEST_PART, ShardScoring
from batchinf_assets.scoring.shards import Shard
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.scoring.watched_scorer import Watch, WatchedScorer

if TYPE_CHECKING:
    from batchinf_assets_tests.scoring.conftest import Flights

GROUP_ROWS, GROUPS = 10_006, 3
STAGES = {"read", "score", "postprocess", "check", "write"}
DEPARTURE = datetime(2013, 7, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def features(flights: Flights, pipeline: Pipeline) -> pa.Table:
    """Key and features of three row groups, in key order."""
    rows = pa.concat_tables([flights.unseen] * 6)
    departures = [DEPARTURE + timedelta(seconds=row) for row in range(rows.num_rows)]
    key = {
        "scheduled_departure": pa.array(departures, pa.timestamp("us", tz="UTC")),
        "carrier": pa.array(["UA"] * rows.num_rows),
        "flight": pa.array(np.arange(rows.num_rows) % 9_999 + 1, pa.int32()),
    }
    columns = {name: rows.column(name) for name in rows.column_names}
    schema = arrow_schema(pipeline.spec.feature_table)
    return pa.table({**key, **columns}).select(schema.names).cast(schema).combine_chunks()


@pytest.fixture(scope="module")
def groups(
    features: pa.Table, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> RowGroups:
    path = tmp_path_factory.mktemp("features") / "features.parquet"
    parts = [features.slice(first * GROUP_ROWS, GROUP_ROWS) for first in range(GROUPS)]
    write_row_groups(path, arrow_schema(pipeline.spec.feature_table), parts)
    return RowGroups(path)


@pytest.fixture(scope="module")
def profile(flights: Flights) -> Profile:
    rows = flights.training
    return build_profile(
        rows,
        np.linspace(0, 1, rows.num_rows),
        columns=flights.columns,
        score_column="delay_probability",
    )


@pytest.fixture(scope="module")
def fast(trained: Any, flights: Flights) -> Scorer:
    return fast_scorer(trained, flights.columns)


@pytest.fixture(scope="module")
def reference(trained: Any, flights: Flights) -> Scorer:
    return SklearnScorer(trained, flights.columns)


@pytest.fixture
def scoring(
    pipeline: Pipeline, groups: RowGroups, fast: Scorer, profile: Profile
) -> Callable[..., ShardScoring]:
    def make(watch: Watch = lambda _: None, inner: Scorer = fast) -> ShardScoring:
        return ShardScoring(
            pipeline=pipeline,
            window=pipeline.spec.window.window("2013-07-04"),
            features=groups,
            scorer=WatchedScorer(inner=inner, watch=watch),
            profile=profile,
        )

    return make


@pytest.fixture(scope="module")
def shard(groups: RowGroups) -> Shard:
    """Two row groups, and not the first ones."""
    return Shard(index=4, groups=range(1, 3), start=groups.rows[0], rows=sum(groups.rows[1:]))


def test_the_file_holds_the_shards_own_rows_with_the_scores_of_the_scorer(
    scoring: Callable[..., ShardScoring],
    shard: Shard,
    features: pa.Table,
    fast: Scorer,
    pipeline: Pipeline,
    tmp_path: Path,
) -> None:
    scored = scoring().score(shard, tmp_path)
    rows = pq.ParquetFile(tmp_path / "part-00004.parquet").read()
    expected = features.slice(GROUP_ROWS, 2 * GROUP_ROWS)
    key = list(pipeline.spec.source.key)
    assert rows.select(key).equals(expected.select(key))
    scores = score_rows(fast, expected.select(list(pipeline.spec.features.columns)))
    np.testing.assert_array_equal(rows["delay_probability"].to_numpy(), scores)
    assert scores.std() > 0.05
    assert (scored.file.rows, scored.file.sha256) == (
        2 * GROUP_ROWS,
        file_sha256(tmp_path / "part-00004.parquet"),
    )
    assert [span.rows for span in scored.keys] == [GROUP_ROWS, GROUP_ROWS]
    assert set(scored.seconds) == STAGES


def test_rows_are_counted_against_the_reference_as_if_they_were_counted_at_once(
    scoring: Callable[..., ShardScoring],
    shard: Shard,
    features: pa.Table,
    fast: Scorer,
    profile: Profile,
    flights: Flights,
    tmp_path: Path,
) -> None:
    scored = scoring().score(shard, tmp_path)
    rows = features.slice(GROUP_ROWS, 2 * GROUP_ROWS).select(list(flights.columns))
    columns = {name: rows.column(name) for name in flights.columns}
    columns["delay_probability"] = pa.chunked_array([score_rows(fast, rows)])
    assert {name: list(counts) for name, counts in scored.observed.items()} == profile.observe(
        columns
    )


def test_every_score_is_counted_as_it_was_written(
    scoring: Callable[..., ShardScoring], shard: Shard, tmp_path: Path
) -> None:
    scored = scoring().score(shard, tmp_path)
    written = pq.ParquetFile(tmp_path / shard.file_name).read()["delay_probability"]
    assert scored.scores == tuple(count_scores(written.to_numpy()).tolist())
    assert sum(scored.scores) == 2 * GROUP_ROWS


def test_checks_speak_of_the_whole_shard(
    scoring: Callable[..., ShardScoring], shard: Shard, tmp_path: Path
) -> None:
    found = {check.name: check for check in scoring().score(shard, tmp_path).checks}
    assert all(check.passed for check in found.values())
    assert found["row_conservation"].measured == {
        "rows_in": 2 * GROUP_ROWS,
        "rows_out": 2 * GROUP_ROWS,
    }


@pytest.mark.parametrize("name", ["fast", "reference"])
@pytest.mark.parametrize("limit", [GROUP_ROWS - 1, GROUP_ROWS // 2])
def test_with_less_memory_the_bytes_are_the_same(
    scoring: Callable[..., ShardScoring],
    shard: Shard,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    name: str,
    limit: int,
) -> None:
    inner: Scorer = request.getfixturevalue(name)
    fitted: list[int] = []

    def watch(rows: pa.Table) -> None:
        if rows.num_rows > limit:
            raise MemoryError
        fitted.append(rows.num_rows)

    undisturbed = scoring(inner=inner).score(shard, tmp_path / "plenty")
    short = scoring(watch, inner).score(shard, tmp_path / "short")
    assert fitted == [GROUP_ROWS // 2] * 4
    assert short.file.sha256 == undisturbed.file.sha256
    assert (short.keys, short.checks, short.observed, short.scores) == (
        undisturbed.keys,
        undisturbed.checks,
        undisturbed.observed,
        undisturbed.scores,
    )


def test_where_not_even_a_few_thousand_rows_fit_nothing_is_left(
    scoring: Callable[..., ShardScoring], shard: Shard, tmp_path: Path
) -> None:
    tried: list[int] = []

    def watch(rows: pa.Table) -> None:
        tried.append(rows.num_rows)
        raise MemoryError

    with pytest.raises(MemoryError):
        scoring(watch).score(shard, tmp_path)
    assert tried == [GROUP_ROWS, GROUP_ROWS // 2]
    assert SMALLEST_PART <= min(tried) < 2 * SMALLEST_PART
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_fails_at_its_last_row_group_leaves_no_file(
    scoring: Callable[..., ShardScoring], shard: Shard, tmp_path: Path
) -> None:
    calls: list[int] = []

    def watch(rows: pa.Table) -> None:
        calls.append(rows.num_rows)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        scoring(watch).score(shard, tmp_path)
    assert list(tmp_path.iterdir()) == []
    whole = scoring().score(shard, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [shard.file_name]
    assert whole.file.rows == 2 * GROUP_ROWS
