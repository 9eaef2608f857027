import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batchinf_assets.errors import GoldenSetInvalid
from batchinf_assets.lake.schema import ARROW_TYPES, arrow_schema
from batchinf_assets.scoring.adversarial import (
    adversarial_rows,
    feature_thresholds,
    hostile_rows,
    threshold_coverage,
)
from batchinf_assets.scoring.encoding.recipe import (
    Arithmetic,
    Cast,
    Impute,
    MatrixColumn,
    Ordinal,
    Recipe,
)
from batchinf_assets.spec.contract import FeatureSpec

COLUMNS = {
    "wide": FeatureSpec(type="float64"),
    "narrow": FeatureSpec(type="float32", nullable=True),
    "hour": FeatureSpec(type="int32"),
    "count": FeatureSpec(type="int64", nullable=True),
    "night": FeatureSpec(type="bool", nullable=True),
    "carrier": FeatureSpec(type="string", nullable=True, allowed=("Aa", "Bb", "Cc")),
}
RANDOM = np.random.default_rng(4)
GOLDEN = pa.table(
    {
        "wide": RANDOM.uniform(-3, 3, 50),
        "narrow": RANDOM.uniform(-3, 3, 50).astype(np.float32),
        "hour": RANDOM.integers(2, 23, 50),
        "count": RANDOM.integers(5, 90, 50),
        "night": [True, False] * 25,
        "carrier": ["Aa", "Bb"] * 25,
    },
    schema=arrow_schema(COLUMNS),
)
THRESHOLDS = {
    "wide": RANDOM.uniform(-3, 3, 300),
    "narrow": RANDOM.uniform(-3, 3, 200),
    "hour": np.arange(2.5, 23),
    "count": np.array([10.0, 20.5]),
}
ROWS = adversarial_rows(GOLDEN, COLUMNS, THRESHOLDS, rows=12_000, seed=7)


def values(name, rows=ROWS):
    return rows.column(name).drop_null().to_numpy()


def test_rows_have_the_declared_schema_and_number():
    assert ROWS.schema == arrow_schema(COLUMNS)
    assert ROWS.num_rows == 12_000
    ROWS.validate(full=True)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    again = adversarial_rows(GOLDEN, COLUMNS, THRESHOLDS, rows=12_000, seed=7)
    other = adversarial_rows(GOLDEN, COLUMNS, THRESHOLDS, rows=12_000, seed=8)
    assert again.column("hour").equals(ROWS.column("hour"))
    np.testing.assert_array_equal(values("wide", again).view(np.int64), values("wide").view("i8"))
    assert not other.column("hour").equals(ROWS.column("hour"))


@pytest.mark.parametrize("end", [-np.inf, np.inf])
def test_float64_features_meet_each_threshold_and_both_neighbours(end):
    limits = THRESHOLDS["wide"]
    assert np.isin(limits, values("wide")).all()
    assert np.isin(np.nextafter(limits, end), values("wide")).all()


def test_float64_features_meet_each_threshold_rounded_to_float32_and_its_neighbours():
    rounded = THRESHOLDS["wide"].astype(np.float32)
    for numbers in (
        rounded,
        np.nextafter(rounded, np.float32(-np.inf)),
        np.nextafter(rounded, np.float32(np.inf)),
    ):
        assert np.isin(numbers.astype(np.float64), values("wide")).all()


@pytest.mark.parametrize("exact", [True, False])
def test_some_value_crosses_each_threshold_when_it_is_rounded_to_float32(exact):
    limits = THRESHOLDS["wide"]
    if exact:
        limits = limits.astype(np.float32).astype(np.float64)
    found = values("wide", adversarial_rows(GOLDEN, COLUMNS, {"wide": limits}, seed=1))
    near = found[np.abs(found) < 4]
    rounded = near.astype(np.float32).astype(np.float64)
    for limit in limits:
        assert ((near <= limit) != (rounded <= limit)).any()


def test_float32_features_meet_the_numbers_on_both_sides_of_each_threshold():
    found = values("narrow")
    assert found.dtype == np.float32
    for limit in THRESHOLDS["narrow"]:
        nearest = np.float32(limit)
        below = nearest if nearest <= limit else np.nextafter(nearest, np.float32(-np.inf))
        assert {below, np.nextafter(below, np.float32(np.inf))} <= {*found}


def test_integers_meet_the_numbers_on_both_sides_of_each_threshold_and_their_limits():
    assert {*range(2, 24)} <= {*values("hour").tolist()}
    assert {-1, 255, 256, 10**9, -(2**31), 2**31 - 1} <= {*values("hour").tolist()}
    assert {9, 10, 11, 20, 21, -(2**63), 2**63 - 1} <= {*values("count").tolist()}


def test_numbers_meet_signed_zeros_denormals_limits_and_odd_categories():
    for name in ("wide", "narrow"):
        found = values(name)
        zeros = found[found == 0]
        assert {*np.signbit(zeros).tolist()} == {True, False}
        tiny = np.finfo(found.dtype).smallest_subnormal
        golden = values(name, GOLDEN)
        odd = [-1, 0.5, 255, 256, 1e9, tiny, -tiny, golden.min(), golden.max(), golden.max() + 1]
        assert np.isin(np.array(odd, found.dtype), found).all()
        assert np.isin([np.finfo(np.float32).max, np.finfo(np.float32).min], found).all()
    assert {np.finfo(np.float64).max, 1e39} <= {*values("wide").tolist()}


def test_only_nullable_features_are_missing_and_floats_in_both_ways():
    missing = {name: ROWS.column(name).null_count > 0 for name in COLUMNS}
    assert missing == {name: spec.nullable for name, spec in COLUMNS.items()}
    assert np.isnan(values("narrow")).any()
    assert np.isfinite(values("wide")).all()


def test_strings_meet_unseen_empty_long_and_nearly_seen_ones():
    found = {*values("carrier")}
    assert {"Aa", "Bb", "Cc", "", "unseen", "aA", "Aa ", " Aa", "Aa\0", "A"} <= found
    assert max(map(len, found)) == 300
    assert {*values("night")} == {True, False}


def test_features_are_replaced_one_at_a_time_and_many_at_once():
    golden = {name: {*GOLDEN.column(name).to_pylist()} for name in COLUMNS}
    columns = {name: ROWS.column(name).to_pylist() for name in COLUMNS}
    replaced = sum(
        np.array([value not in golden[name] for value in found]) for name, found in columns.items()
    )
    counts = np.bincount(replaced, minlength=3)
    assert counts[1] > 2_000
    assert counts[2:].sum() > 1_000


def test_a_value_that_a_model_may_refuse_leaves_most_rows_without_one():
    beyond = pc.greater(pc.abs(ROWS.column("wide")), float(np.finfo(np.float32).max))
    assert 0 < pc.sum(beyond).as_py() < 1_000
    assert 0 < ROWS.column("carrier").null_count < 1_000


MANY = np.sort(RANDOM.uniform(-3, 3, 700))


def test_every_threshold_occurs_where_no_feature_has_more_than_four_fifths_of_the_rows():
    limits = {"wide": MANY, "hour": np.arange(0.5, 600)}
    rows = adversarial_rows(GOLDEN, COLUMNS, limits, rows=875, seed=1)
    assert str(threshold_coverage(rows, COLUMNS, limits)) == "1300 of 1300 split thresholds"
    assert rows.column("carrier").null_count > 0


def test_with_fewer_rows_thresholds_are_sampled_evenly_and_counted():
    rows = adversarial_rows(GOLDEN, COLUMNS, {"wide": MANY}, rows=125, seed=1)
    coverage = threshold_coverage(rows, COLUMNS, {"wide": MANY})
    places = np.flatnonzero(np.isin(MANY, values("wide", rows)))
    assert (coverage.present, coverage.total) == (len(places), 700)
    assert 100 <= coverage.present <= 110
    assert (places[0], places[-1]) == (0, 699)
    assert np.diff(places).max() < 15


def test_infinite_thresholds_are_left_out():
    limits = {"wide": np.array([-np.inf, 1.25, np.inf]), "narrow": np.array([np.inf])}
    rows = adversarial_rows(GOLDEN, COLUMNS, limits, rows=400, seed=1)
    assert np.isfinite(values("wide", rows)).all()
    assert threshold_coverage(rows, COLUMNS, limits).total == 1


def test_features_without_any_golden_value_are_replaced_all_the_same():
    nothing = pa.table({name: pa.nulls(3, ARROW_TYPES[COLUMNS[name].type]) for name in COLUMNS})
    columns = {name: spec.model_copy(update={"nullable": True}) for name, spec in COLUMNS.items()}
    rows = adversarial_rows(nothing, columns, {}, rows=2_000, seed=1)
    assert {"", "unseen"} <= {*values("carrier", rows)}
    assert {0.0, 255.0} <= {*values("wide", rows)}


def test_a_golden_set_without_rows_is_refused():
    with pytest.raises(GoldenSetInvalid, match="no row"):
        adversarial_rows(GOLDEN.slice(0, 0), COLUMNS, THRESHOLDS, seed=1)
    with pytest.raises(GoldenSetInvalid, match="no row"):
        hostile_rows(GOLDEN.slice(0, 0), COLUMNS)


def test_each_hostile_table_changes_one_value_of_one_feature():
    found = {name: [] for name in COLUMNS}
    for table in hostile_rows(GOLDEN, COLUMNS):
        assert table.schema.types == GOLDEN.schema.types
        golden, hostile = table.to_pylist()
        assert golden == GOLDEN.slice(0, 1).to_pylist()[0]
        (changed,) = [name for name in COLUMNS if golden[name] != hostile[name]]
        found[changed].append(hostile[changed])
    limit = float(np.finfo(np.float32).max)
    turn = limit + 2.0**103
    assert {math.inf, -math.inf, limit, -limit, turn, 1e39, -1e39, None} <= {*found["wide"]}
    assert sum(value != value for value in found["wide"]) == 1
    assert found["narrow"] == [math.inf, -math.inf, limit, -limit]
    assert (found["hour"], found["count"], found["night"], found["carrier"]) == ([None], [], [], [])


def test_hostile_numbers_lie_on_both_sides_of_where_float32_overflows():
    numbers = [table.column("wide")[1].as_py() or 0.0 for table in hostile_rows(GOLDEN, COLUMNS)]
    with np.errstate(over="ignore"):
        narrow = np.array(numbers).astype(np.float32)
    near = np.isclose(numbers, float(np.finfo(np.float32).max), rtol=1e-6, atol=0)
    assert {*np.isinf(narrow[near]).tolist()} == {True, False}


class Splits:
    def __init__(self, *thresholds):
        self.by_column = thresholds

    def thresholds(self, column):
        return np.array(self.by_column[column], dtype=np.float64)


def recipe(*columns):
    return Recipe(columns=columns, precision="float64")


def test_thresholds_of_unchanged_columns_are_their_features_own():
    found = feature_thresholds(
        recipe(
            MatrixColumn(feature="a"),
            MatrixColumn(feature="b", steps=(Impute(value=1.0), Cast(to="float32"))),
            MatrixColumn(feature="a"),
        ),
        Splits([2.0, math.inf], [0.5], [1.0, 2.0]),
    )
    assert {name: limits.tolist() for name, limits in found.items()} == {"a": [1, 2], "b": [0.5]}


def test_columns_of_codes_have_no_thresholds():
    codes = Ordinal(categories=("x", "y"), missing=math.nan, unknown=math.nan)
    column = MatrixColumn(feature="a", steps=(codes, Arithmetic(kind="subtract", value=1.0)))
    assert feature_thresholds(recipe(column), Splits([0.5])) == {}


def test_scaled_thresholds_are_carried_back_to_where_the_scaled_value_crosses_them():
    mean, scale = 1234.567, 0.0321
    column = MatrixColumn(
        feature="a",
        steps=(
            Arithmetic(kind="subtract", value=mean),
            Arithmetic(kind="divide", value=scale),
            Arithmetic(kind="multiply", value=3.0),
            Arithmetic(kind="add", value=-0.25),
        ),
    )
    limits = np.random.default_rng(5).normal(size=40)
    found = feature_thresholds(recipe(column), Splits(limits))["a"]
    scaled = (found - mean) / scale * 3.0 - 0.25
    for limit in limits:
        near = np.abs(scaled - limit) < 1e-6
        assert {*(scaled[near] <= limit).tolist()} == {True, False}


def test_a_column_multiplied_by_zero_has_no_threshold_to_meet():
    column = MatrixColumn(feature="a", steps=(Arithmetic(kind="multiply", value=0.0),))
    assert feature_thresholds(recipe(column), Splits([0.0, 0.5]))["a"].tolist() == []
