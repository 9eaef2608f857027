"""The training reference profile: bins, counts and its JSON."""

import json

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.errors import InvalidSpec, ModelRefused
from batchinf_assets.lake.query import query
from batchinf_assets.registry.profile import CategoryCounts, NumericBins, Profile, build_profile
from batchinf_assets.registry.window_spread import WindowSpread
from batchinf_assets.spec.contract import FeatureSpec

NUMBER = FeatureSpec(type="float64")
TEXT = FeatureSpec(type="string")
FLAG = FeatureSpec(type="bool")


def numeric(values: pa.Array) -> NumericBins:
    """Profile one number."""
    columns = {"x": FeatureSpec(type="float64", nullable=True)}
    scores = pa.array(np.full(len(values), 0.5))
    profile = build_profile(pa.table({"x": values}), scores, columns=columns, score_column="score")
    reference = profile.subjects["x"]
    assert isinstance(reference, NumericBins)
    return reference


def categorical(values: pa.Array, column: FeatureSpec = TEXT) -> CategoryCounts:
    """Profile one string or bool."""
    scores = pa.array(np.full(len(values), 0.5))
    table = pa.table({"c": values})
    profile = build_profile(table, scores, columns={"c": column}, score_column="score")
    reference = profile.subjects["c"]
    assert isinstance(reference, CategoryCounts)
    return reference


def test_ten_values_are_cut_at_their_deciles_and_in_their_tails() -> None:
    # 10, 20 … 100: the quantile q of ten values is the one at ceil(10 q). So 0.01, 0.05 and 0.1 are
    # the first, the deciles the k-th, 0.95 and 0.99 the last: nothing lies above it.
    reference = numeric(pa.array([float(x) for x in range(100, 0, -10)]))
    assert reference.edges == tuple(float(x) for x in range(10, 101, 10))
    assert reference.counts == (*(1,) * 10, 0)
    assert reference.missing == 0


def test_many_values_have_thirteen_edges() -> None:
    reference = numeric(pa.array([float(x) for x in range(1, 1001)]))
    assert reference.edges == (10, 50, *range(100, 1000, 100), 950, 990)
    assert reference.counts == (10, 40, 50, *(100,) * 8, 50, 40, 10)


def test_equal_quantiles_become_one_edge() -> None:
    # Seven 0, then 1, 2, 3: deciles 1 to 7 are 0, the 8th is 1, the 9th is 2; 0.95 and 0.99 are 3.
    # Bins: x <= 0: 7, 0 < x <= 1: 1, 1 < x <= 2: 1, 2 < x <= 3: 1, x > 3: none.
    reference = numeric(pa.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 3], pa.int32()))
    assert reference.edges == (0.0, 1.0, 2.0, 3.0)
    assert reference.counts == (7, 1, 1, 1, 0)


def spread(reference: NumericBins) -> tuple[float | None, ...]:
    """What a number's profile says of its finite values."""
    return (reference.low, reference.high, reference.mean, reference.deviation)


def test_the_spread_of_the_training_values_is_kept() -> None:
    # 1, 2, 3, 6: mean 3, squares of the differences 4 + 1 + 0 + 9 = 14, variance 14 / 4.
    reference = numeric(pa.array([2.0, None, 6.0, 1.0, float("nan"), 3.0]))
    assert spread(reference) == (1.0, 6.0, 3.0, pytest.approx(3.5**0.5, abs=1e-15))


def test_the_spread_leaves_infinities_out() -> None:
    reference = numeric(pa.array([float("-inf"), 1.0, 3.0, float("inf")]))
    assert spread(reference) == (1.0, 3.0, 2.0, 1.0)


def test_a_constant_has_no_deviation_whatever_its_sum_rounds_to() -> None:
    assert spread(numeric(pa.array([0.1] * 3))) == (0.1, 0.1, 0.1, 0.0)


def test_a_column_without_any_value_has_no_spread() -> None:
    assert spread(numeric(pa.array([None, None], pa.float64()))) == (None,) * 4


def test_a_spread_that_no_number_holds_is_left_out() -> None:
    reference = numeric(pa.array([-1e308, -1e308, 1e308, 1.5e308]))
    assert (reference.low, reference.high) == (-1e308, 1.5e308)
    assert reference.deviation is None
    again = Profile.from_json(Profile(rows=4, subjects={"x": reference}).to_json())
    assert again.subjects["x"] == reference


def test_the_spread_has_the_same_bits_in_any_row_order() -> None:
    random = np.random.default_rng(5)
    values = np.append(random.lognormal(0, 3, 5_000), [0.0, -0.0])
    found = {numeric(pa.array(random.permutation(values))).model_dump_json() for _ in range(10)}
    assert len(found) == 1


def bins(reference: NumericBins | CategoryCounts, values: pa.Array) -> list[int]:
    """Say in which bin each value is counted."""
    return [int(np.argmax(reference.observe(values.slice(i, 1)))) for i in range(len(values))]


def test_a_value_on_an_edge_belongs_to_the_bin_below_it() -> None:
    reference = NumericBins(edges=(1.0, 2.0), counts=(0, 0, 0), missing=0)
    values = pa.array([0.5, 1.0, 1.5, 2.0, 2.5, float("inf"), float("-inf")])
    assert bins(reference, values) == [0, 0, 1, 1, 2, 2, 0]


def test_the_bins_follow_the_stated_rule_in_sql_too() -> None:
    values = pa.array(np.random.default_rng(3).integers(0, 40, 500) / 4)
    reference = numeric(values)
    bounds = (-np.inf, *reference.edges, np.inf)
    edges = pa.table({"low": bounds[:-1], "high": bounds[1:]})
    counted = query(
        "SELECT count(x) AS n FROM edges LEFT JOIN t ON low < x AND x <= high "
        "GROUP BY low ORDER BY low",
        {"edges": edges, "t": pa.table({"x": values})},
    )
    assert reference.counts == tuple(counted.column("n").to_pylist())


def test_null_and_nan_are_missing() -> None:
    reference = numeric(pa.array([1.0, None, float("nan"), 2.0]))
    assert reference.missing == 2
    assert sum(reference.counts) == 2
    missing = len(reference.bin_counts) - 1
    assert bins(reference, pa.array([None, float("nan")], pa.float64())) == [missing] * 2


def test_a_column_without_any_value_has_one_empty_bin() -> None:
    assert numeric(pa.array([None, None], pa.float64())) == NumericBins(
        edges=(), counts=(0,), missing=2
    )


def test_a_constant_notices_a_fall_and_a_rise() -> None:
    reference = numeric(pa.array([5.0] * 4))
    assert reference.counts == (0, 4, 0)
    assert bins(reference, pa.array([4.999, 5.0, 5.001])) == [0, 1, 2]


def test_infinities_are_counted_but_never_edges() -> None:
    reference = numeric(pa.array([float("-inf")] * 3 + [1.0, 2.0] + [float("inf")] * 5))
    # Deciles: three times -inf, 1, 2, four times inf; what stays is 1 and 2.
    assert reference.edges == (1.0, 2.0)
    assert reference.counts == (4, 1, 5)


def test_float32_values_keep_their_bin() -> None:
    values = pa.array(np.random.default_rng(0).random(1000), pa.float32())
    reference = numeric(values)
    assert reference.observe(values).tolist() == list(reference.bin_counts)


def test_categories_are_counted_by_name() -> None:
    reference = categorical(pa.array(["b", "a", None, "b", "", "b"]))
    assert reference == CategoryCounts(counts={"": 1, "a": 1, "b": 3}, other=0, missing=1)
    # In order of name: '' 1, a 1, b 3; then other 0, missing 1.
    assert reference.bin_counts == (1, 1, 3, 0, 1)
    assert bins(reference, pa.array(["b", "unseen", None, ""])) == [2, 3, 4, 0]


def test_a_category_called_other_is_not_the_rest() -> None:
    reference = categorical(pa.array(["other", "a"]))
    assert bins(reference, pa.array(["other", "unseen"])) == [1, 2]


def test_only_the_two_hundred_most_frequent_categories_are_named() -> None:
    # c000 … c149 occur twice, c150 … c209 once: all of the first and, by name, c150 … c199 stay;
    # ten rows are left for other.
    names = [f"c{i:03}" for i in range(210)]
    reference = categorical(pa.array(names[::-1] + names[:150]))
    assert sorted(reference.counts) == names[:200]
    assert reference.other == 10


def test_bools_are_categories() -> None:
    reference = categorical(pa.array([True, False, True, None]), FLAG)
    assert reference == CategoryCounts(counts={"false": 1, "true": 2}, other=0, missing=1)
    assert bins(reference, pa.array([True, None, False])) == [1, 3, 0]


def test_dictionary_encoding_and_chunks_do_not_matter() -> None:
    plain = pa.array(["x", "y", "x"])
    chunked = pa.chunked_array([plain.slice(0, 1), plain.slice(1)]).dictionary_encode()
    reference = categorical(plain)
    assert bins(reference, chunked) == bins(reference, plain) == [0, 1, 0]


def profile_of_two_rows(rows: slice = slice(None)) -> Profile:
    """Profile a number, a text and the score."""
    table = pa.table({"text": ["ü", "v"][rows], "number": [0.1 + 0.2, 1e-300][rows]})
    columns = {"number": NUMBER, "text": TEXT}
    scores = np.array([0.25, 1 / 3])[rows]
    return build_profile(table, scores, columns=columns, score_column="score")


def test_json_reads_back_exactly() -> None:
    profile = profile_of_two_rows()
    again = Profile.from_json(profile.to_json())
    assert again == profile
    number = again.subjects["number"]
    assert isinstance(number, NumericBins)
    assert number.edges == (1e-300, 0.1 + 0.2)


def test_json_is_the_same_whatever_the_row_order() -> None:
    assert profile_of_two_rows().to_json() == profile_of_two_rows(slice(None, None, -1)).to_json()


def test_json_survives_a_second_round() -> None:
    text = profile_of_two_rows().to_json()
    assert Profile.from_json(text).to_json() == text


def test_a_profile_of_an_earlier_version_says_nothing_of_the_spread_and_keeps_its_text() -> None:
    document = json.loads(profile_of_two_rows().to_json())
    for name in ("low", "high", "mean", "deviation"):
        del document["subjects"]["number"][name]
    profile = Profile.from_json(json.dumps(document))
    number = profile.subjects["number"]
    assert isinstance(number, NumericBins)
    assert spread(number) == (None,) * 4
    assert json.loads(profile.to_json()) == document


def test_the_digest_tells_profiles_apart_and_survives_json() -> None:
    profile = profile_of_two_rows()
    assert Profile.from_json(profile.to_json()).digest == profile.digest
    number = profile.subjects["number"]
    assert isinstance(number, NumericBins)
    moved = number.model_copy(update={"edges": (0.2, 0.3)})
    other = profile.model_copy(update={"subjects": {**profile.subjects, "number": moved}})
    assert other.digest != profile.digest


def test_json_that_is_no_profile_is_refused() -> None:
    with pytest.raises(ModelRefused, match="reference profile is invalid at document"):
        Profile.from_json("{")


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"edges": [2.0, 1.0], "counts": [1, 1, 0]}, "edges must increase strictly"),
        ({"edges": [1.0], "counts": [1, 1, 0]}, "1 edges need 2 counts"),
        ({"edges": [1.0], "counts": [-1, 3]}, "subjects.score.numeric.counts.0"),
        ({"edges": [0.3], "counts": [1, 2]}, "counts of 'score' do not add up to 2 rows"),
        ({"edges": [0.5], "counts": [1, 1]}, "edges must lie between low and high"),
        ({"deviation": -1.0}, "subjects.score.numeric.deviation"),
    ],
)
def test_contradicting_counts_are_refused(changed: dict[str, list[float]], where: str) -> None:
    document = json.loads(profile_of_two_rows().to_json())
    document["subjects"]["score"] |= changed
    with pytest.raises(ModelRefused, match=where):
        Profile.from_json(json.dumps(document))


def test_no_training_rows_are_refused() -> None:
    with pytest.raises(ModelRefused, match="0 rows and 0 scores"):
        profile_of_two_rows(slice(0))


def test_rows_without_a_score_each_are_refused() -> None:
    with pytest.raises(ModelRefused, match="2 rows and 1 scores"):
        build_profile(
            pa.table({"x": [1.0, 2.0]}), pa.array([0.5]), columns={"x": NUMBER}, score_column="s"
        )


def test_a_feature_named_like_the_score_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="'x' names both"):
        build_profile(
            pa.table({"x": [1.0]}), pa.array([0.5]), columns={"x": NUMBER}, score_column="x"
        )


def test_float32_values_are_counted_as_the_same_numbers_in_float64() -> None:
    random = np.random.default_rng(7)
    narrow = random.random(2_000, dtype=np.float32)
    # Edges that no float32 has, some of them right beside one.
    beside = np.nextafter(narrow[:40].astype(np.float64), random.choice([-1.0, 2.0], 40))
    edges = tuple(np.unique(np.concatenate([beside, random.random(20)])).tolist())
    reference = NumericBins(edges=edges, counts=(0,) * (len(edges) + 1), missing=0)
    wide = reference.observe(pa.array(narrow.astype(np.float64)))
    assert reference.observe(pa.array(narrow)).tolist() == wide.tolist()
    sorted_into = np.bincount(
        np.searchsorted(edges, narrow.astype(np.float64)), minlength=len(wide)
    )
    assert wide.tolist() == sorted_into.tolist()


SPREAD = WindowSpread(
    windows=30,
    concentration=1 / 30,
    correlation=0.1,
    degrees=2.5,
    usual_p_value=1e-4,
    usual_psi=0.3,
)


def small() -> Profile:
    """Two categories."""
    return Profile(
        rows=3, subjects={"c": CategoryCounts(counts={"a": 1, "b": 2}, other=0, missing=0)}
    )


def test_what_windows_told_is_kept_exactly() -> None:
    known = small().with_windows({"c": SPREAD})
    assert Profile.from_json(known.to_json()) == known
    assert (known.version, known.window_spreads) == (2, {"c": SPREAD})
    assert known.digest != small().digest


def test_a_profile_without_windows_is_what_it_always_was() -> None:
    assert small().with_windows({}) == small()
    assert json.loads(small().to_json()).keys() == {"version", "rows", "subjects"}
    assert small().version == 1


@pytest.mark.parametrize(
    ("version", "spreads"), [(2, None), (1, {"c": SPREAD}), (2, {}), (2, {"other": SPREAD})]
)
def test_a_version_that_contradicts_what_is_known_is_refused(
    version: int, spreads: dict[str, WindowSpread] | None
) -> None:
    said = None if spreads is None else {name: each.model_dump() for name, each in spreads.items()}
    text = json.dumps({**json.loads(small().to_json()), "version": version, "window_spreads": said})
    with pytest.raises(ModelRefused, match=r"version 2, and no other|'other' has windows"):
        Profile.from_json(text)
