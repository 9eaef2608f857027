"""Causes in words, in the order in which a revision's digest names its inputs."""

from __future__ import annotations

from typing import Any

import pytest

from batchinf_assets.evaluation.comparison.causes import Cause, StaleInput, find_causes, listed
from batchinf_assets.evaluation.comparison.changed_columns import ChangedColumns, ColumnChange
from batchinf_assets.evaluation.comparison.observation_age import ObservationAge
from batchinf_assets.evaluation.comparison.stale_inputs import InputDifference
from batchinf_assets.snapshots.changes import RowChanges
from batchinf_assets_tests.evaluation.comparison.written import REVISION, manifest

OTHER = "fedcba9876543210"
OUTCOMES = "outcomes/2013-07-03.parquet"


def unchanged(**values: Any) -> ChangedColumns:
    empty: dict[str, Any] = {"rows": 4, "changed": 0, "columns": (), "only_a": (), "only_b": ()}
    return ChangedColumns(**{**empty, "by_group": {}, **values})


def change(column: str) -> ColumnChange:
    return ColumnChange(column=column, rows=2, share=0.5, missing_a=0, missing_b=0)


def causes(
    *, rows: RowChanges | None = None, stale: tuple[StaleInput, ...] = (), **changes: Any
) -> tuple[Cause, ...]:
    columns = tuple(change(name) for each in stale for name in each.features)
    return find_causes(
        manifest(),
        manifest(revision=OTHER, **changes),
        source_rows=rows,
        features=unchanged(columns=columns),
        stale=stale,
    )


def stale(**values: Any) -> StaleInput:
    files = InputDifference(view="outcomes", behind="a", absent=(OUTCOMES,), older=())
    given: dict[str, Any] = {"files": files, "features": ("rate",), "rows_changed": 2, "rows": 4}
    return StaleInput(**{**given, **values})


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"features": {"definition": "9" * 64}}, "definition", "definition differs: cccccccc and"),
        (
            {"model": {"digest": "9" * 64, "version": "2"}},
            "model",
            f"revision {REVISION} was scored by m v1, revision {OTHER} was scored by m v2",
        ),
        ({"settings": {"shard_rows": 9}}, "settings", "Settings differ: shard_rows"),
        ({"code": {"source": "9" * 64}}, "code", "The code differs: eeeeeeee and 99999999"),
        (
            {"code": {"libraries": {"numpy": "2.5", "duckdb": "2"}}},
            "code",
            "Libraries differ: numpy 2.4 and 2.5",
        ),
        (
            {"snapshot": {"contract": "9" * 64}},
            "contract",
            f"contract of the source differs: 11111111 and 99999999; 0 rows were set aside in "
            f"revision {REVISION}, 0 in revision {OTHER}",
        ),
        (
            {"features": {"quarantined": 1, "rejected": "9" * 64}},
            "contract",
            f"Other rows of the features: 0 rows were set aside in revision {REVISION}, 1 in",
        ),
    ],
)
def test_each_input_of_the_digest_is_a_cause(changes: Any, kind: str, said: str) -> None:
    (found,) = causes(**changes)
    assert found.kind == kind
    assert said in found.sentence


def test_equal_revisions_have_no_cause() -> None:
    assert causes() == ()


def test_causes_come_in_the_order_of_the_digest() -> None:
    found = causes(
        stale=(stale(),),
        snapshot={"digest": "9" * 64, "contract": "9" * 64},
        features={"definition": "9" * 64, "contract": "9" * 64},
        model={"digest": "9" * 64},
        settings={"shard_rows": 9},
        code={"source": "9" * 64},
    )
    kinds = [cause.kind for cause in found]
    names = ("snapshot", "features", "definition", "model", "settings", "code", "contract")
    assert kinds == [*names, "contract"]


def test_corrected_source_rows_are_counted() -> None:
    rows = RowChanges(added=3, removed=2, changed=12, unchanged=1)
    (found,) = causes(rows=rows, snapshot={"digest": "9" * 64})
    assert found.sentence == (
        f"The source rows differ: 12 changed, 2 only in revision {REVISION}, 3 only in revision "
        f"{OTHER}"
    )


def test_source_rows_that_are_gone_are_not_counted_as_none() -> None:
    (found,) = causes(snapshot={"digest": "9" * 64})
    assert "the frozen rows of one of them are gone" in found.sentence


def test_one_stale_feature_was_and_two_were() -> None:
    (one,) = causes(stale=(stale(),))
    (two,) = causes(stale=(stale(features=("rate", "mean")),))
    assert one.sentence == (
        f"rate was stale: {OUTCOMES} had not landed when revision {REVISION} was scored; 2 of 4 "
        "rows changed"
    )
    assert two.sentence.startswith("rate and mean were stale: ")


def test_the_side_that_was_behind_is_named_and_so_are_older_files() -> None:
    files = InputDifference(
        view="outcomes", behind="b", absent=(OUTCOMES,), older=("a.parquet", "b.parquet")
    )
    (found,) = causes(stale=(stale(files=files),))
    assert (
        f"{OUTCOMES} had not landed and a.parquet and b.parquet held other rows when revision "
        f"{OTHER} was scored"
    ) in found.sentence


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (
            ObservationAge(rows=9, fresh_seconds=3900, stale_seconds=18_060, without=2),
            f" (observations were at least 5 h 1 min old at the median, in revision {OTHER} 1 h 5 "
            "min; 2 of 9 rows had none);",
        ),
        (
            ObservationAge(rows=9, fresh_seconds=600, stale_seconds=None, without=None),
            f" (observations were of an age that is not known, in revision {OTHER} 10 min);",
        ),
        (ObservationAge(rows=9, fresh_seconds=None, stale_seconds=None, without=None), "scored;"),
    ],
)
def test_the_age_of_observations_is_told_as_far_as_it_is_known(
    age: ObservationAge, said: str
) -> None:
    (found,) = causes(stale=(stale(age=age),))
    assert said in found.sentence


def test_features_that_changed_without_any_difference_on_record_are_said_so() -> None:
    features = unchanged(columns=(change("rate"),), changed=2)
    (found,) = find_causes(
        manifest(), manifest(revision=OTHER), source_rows=None, features=features, stale=()
    )
    assert (found.kind, found.stale) == ("features", None)
    assert found.sentence.startswith("rate changed, and no file")


def test_long_lists_are_cut() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
