"""Two streams of rows side by side by key."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.evaluation.comparison.pairs import (
    SCORE,
    FeatureRows,
    NotComparable,
    ScoredRows,
    paired,
    require_same_key,
    scores_of,
)
from batchinf_assets.lake.digest import content_digest
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.row_groups import RowGroups

KEY = ("k",)
ROWS = pa.table({"k": [1, 2, 3, 4, 5], "x": [0.1, 0.2, 0.3, 0.4, 0.5]})


def written(place: Path, rows: pa.Table, group: int) -> RowGroups:
    write_parquet(place, rows, {}, row_group_rows=group)
    return RowGroups(place)


def scored(folder: Path, features: pa.Table, keys: list[int], group: int = 2) -> ScoredRows:
    predictions = pa.table({"k": keys, "p": [key / 10 for key in keys]})
    file = written(folder / "features.parquet", features, group)
    return ScoredRows(
        features=FeatureRows(file=file, digest=content_digest(features, KEY), key=KEY),
        outputs=(
            written(folder / "1.parquet", predictions.slice(0, 3), 1),
            written(folder / "2.parquet", predictions.slice(3), 9),
        ),
        score="p",
        given=("p",),
    )


def test_rows_meet_by_key_wherever_the_streams_are_cut() -> None:
    other = pa.table({"k": [0, 2, 3, 5, 6], "x": [9.0, 8.0, 7.0, 6.0, 5.0]})
    for cut in range(6):
        found = list(
            paired(
                iter([ROWS.slice(0, cut), ROWS.slice(cut)]),
                iter([other.slice(0, 5 - cut), other.slice(5 - cut)]),
                KEY,
            )
        )
        a, b, only_a, only_b = (
            [key for each in found for key in getattr(each, side)["k"].to_pylist()]
            for side in ("a", "b", "only_a", "only_b")
        )
        assert (a, b) == ([2, 3, 5], [2, 3, 5])
        assert (only_a, only_b) == ([1, 4], [0, 6])


def test_features_get_the_scores_of_their_keys(tmp_path: Path) -> None:
    rows = pa.concat_tables(scored(tmp_path, ROWS, [1, 2, 3, 4, 5]).tables())
    assert rows.column("k").to_pylist() == [1, 2, 3, 4, 5]
    assert rows.column(SCORE).to_pylist() == rows.column("x").to_pylist()


@pytest.mark.parametrize("keys", [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [0, 2, 3, 4, 5]])
def test_scores_of_other_keys_are_refused(tmp_path: Path, keys: list[int]) -> None:
    with pytest.raises(ManifestInvalid, match="does not hold the features that were scored"):
        list(scored(tmp_path, ROWS, keys).tables())


def test_features_that_are_not_those_on_record_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "features.parquet", ROWS, 2)
    with pytest.raises(ManifestInvalid, match="does not hold the features that were scored"):
        list(FeatureRows(file=file, digest="0" * 64, key=KEY).tables())


def test_keys_of_other_types_cannot_be_compared(tmp_path: Path) -> None:
    texts = ROWS.set_column(0, "k", ROWS.column("k").cast(pa.string()))
    (tmp_path / "texts").mkdir()
    one = scored(tmp_path, ROWS, [1, 2, 3, 4, 5])
    other = scored(tmp_path / "texts", texts, [1, 2, 3, 4, 5])
    require_same_key(one, one)
    with pytest.raises(NotComparable, match="Key column 'k' has type int64 in one"):
        require_same_key(one, other)


def test_a_revision_without_rows_has_only_rows_that_the_other_one_has(tmp_path: Path) -> None:
    empty = ROWS.slice(0, 0)
    file = written(tmp_path / "none.parquet", empty, 2)
    features = FeatureRows(file=file, digest=content_digest(empty, KEY), key=KEY)
    none = ScoredRows(features=features, outputs=(), score="p", given=("p",))
    some = scored(tmp_path, ROWS, [1, 2, 3, 4, 5])
    found = list(paired(none.tables(), some.tables(), KEY))
    assert sum(each.only_b.num_rows for each in found) == 5
    assert {each.a.num_rows for each in found} == {0}


def test_probabilities_of_several_classes_are_one_list_per_row(tmp_path: Path) -> None:
    features = pa.table({"k": [1, 2, 3], "x": [1.0, 2.0, 3.0]})
    said = pa.table({"k": [1, 2, 3], "p_a": [0.5, 0.2, 0.0], "p_b": [0.5, 0.8, 1.0]})
    rows = ScoredRows(
        features=FeatureRows(
            file=written(tmp_path / "features.parquet", features, 2),
            digest=content_digest(features, KEY),
            key=KEY,
        ),
        outputs=(written(tmp_path / "1.parquet", said, 1),),
        score="p",
        given=("p_b", "p_a"),
    )
    found = [scores_of(table).tolist() for table in rows.tables()]
    assert [row for rows in found for row in rows] == [[0.5, 0.5], [0.8, 0.2], [1.0, 0.0]]
    whole = pa.concat_tables(rows.tables())
    assert scores_of(whole.slice(1, 1)).tolist() == [[0.8, 0.2]]
    assert scores_of(whole.slice(0, 0)).shape == (0, 2)
