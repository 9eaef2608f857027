from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.card import ParityRecord
from batchinf_assets.scoring.adversarial import adversarial_rows, hostile_rows
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.parity import (
    choose_scorer,
    compare_scorers,
    measure_speed,
    reference_record,
)
from batchinf_assets.scoring.scorer import SklearnScorer
from batchinf_assets.spec.contract import FeatureSpec


@dataclass(frozen=True)
class Formula:
    """A scorer whose outputs are a function of column x."""

    outputs_of: Callable[[np.ndarray], np.ndarray]
    name: str = "formula"

    def outputs(self, features):
        return self.outputs_of(features.column("x").to_numpy())


def binary(x):
    return np.column_stack([1 - x, x])


def values(x):
    return x[:, None]


def at(x, where, then):
    return np.where(x == where, then, x)


def refusing(x, forbidden):
    if np.isin(x, forbidden).any():
        raise ModelRefused("No such row.", reason=Refusal.ROWS, next_step="None.")
    return binary(x)


REFERENCE = Formula(binary, "reference")
X = np.arange(0, 1, 1 / 128)
ROWS = pa.table({"x": X, "carrier": ["AA"] * len(X)})


def compare(candidate, reference=REFERENCE, tables=(ROWS,), hostile=(), decision=0.4, **rules):
    if not hasattr(candidate, "outputs"):
        candidate = Formula(candidate)
    return compare_scorers(reference, candidate, tables, hostile, decision=decision, **rules)


def test_a_scorer_with_the_same_answers_passes():
    assert compare(binary, tables=[ROWS, ROWS], hostile=[ROWS.slice(0, 2)]) == ParityRecord(
        scorer="formula",
        rows=2 * 128 + 2,
        largest_difference=0.0,
        label_flips=0,
        bit_equal=True,
        verdict="passed",
        reason=None,
    )


def test_a_difference_within_the_tolerance_passes_and_is_recorded():
    record = compare(lambda x: binary(at(x, 0.75, 0.75 + 1e-10)))
    assert (record.verdict, record.bit_equal, record.label_flips) == ("passed", False, 0)
    assert record.largest_difference == pytest.approx(1e-10, rel=1e-5)


def test_a_difference_over_the_tolerance_is_refused_with_the_first_such_row():
    record = compare(lambda x: binary(np.where(x >= 0.75, x + 2**-26, x)))
    assert record.verdict == "refused"
    assert record.label_flips == 0
    assert record.largest_difference == 2**-26
    assert record.reason == (
        "it gives [0.2499999850988388, 0.7500000149011612] where reference gives [0.25, 0.75] "
        "(more than 1e-09 apart): x=0.75, carrier='AA'"
    )
    assert compare(lambda x: binary(x + 1e-8), tolerance=1e-7, decision=0.4).verdict == "passed"


@pytest.mark.parametrize("decision", [0.5, 0.5 + 1e-12])
def test_one_flipped_label_is_refused_however_close_the_probabilities(decision):
    other = 0.5 - 1e-12 if decision == 0.5 else 0.5 + 1e-12
    record = compare(lambda x: binary(at(x, 0.5, other)), decision=decision)
    assert (record.verdict, record.label_flips) == ("refused", 1)
    assert record.largest_difference < 1e-9
    assert "(another label): x=0.5" in record.reason
    assert compare(lambda x: binary(at(x, 0.5, other)), decision=0.4).verdict == "passed"


def three(x, first=0.0):
    return np.column_stack([np.full(len(x), 0.375 + first), np.full(len(x), 0.375), x / 4])


def test_among_several_classes_the_most_probable_one_is_the_label():
    reference = Formula(three, "reference")
    assert compare(three, reference).verdict == "passed"
    record = compare(lambda x: three(x, -1e-12), reference)
    assert (record.verdict, record.label_flips) == ("refused", len(X))
    assert compare(lambda x: three(x, 1e-12), reference).verdict == "passed"


def test_a_regressors_tolerance_is_relative_and_it_has_no_labels():
    reference = Formula(lambda x: values(x * 1e6), "reference")
    record = compare(lambda x: values(x * 1e6 * (1 + 1e-12)), reference)
    assert (record.verdict, record.label_flips) == ("passed", None)
    assert record.largest_difference == pytest.approx(1e-12, rel=1e-3)
    assert compare(lambda x: values(x * 1e6 * (1 + 1e-8)), reference).verdict == "refused"
    small = Formula(lambda x: values(x * 1e-6), "reference")
    assert compare(lambda x: values(x * 1e-6 + 1e-8), small).verdict == "refused"


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_must_be_so_on_both_sides(odd):
    def sometimes(x):
        return values(at(x, 0.25, odd))

    for one, other in ((values, sometimes), (sometimes, values)):
        record = compare(other, Formula(one, "reference"))
        assert record.verdict == "refused"
        assert record.reason.endswith("x=0.25, carrier='AA'")
        assert record.largest_difference == 0.0
    record = compare(sometimes, Formula(sometimes, "reference"))
    assert (record.verdict, record.bit_equal) == ("passed", True)
    record = compare(lambda x: values(at(x, 0.25, 1.0)), Formula(sometimes, "reference"))
    assert record.verdict == "refused"


def test_infinities_of_other_sign_differ():
    record = compare(
        lambda x: values(at(x, 0.25, -np.inf)), Formula(lambda x: values(at(x, 0.25, np.inf)))
    )
    assert record.verdict == "refused"


def test_negative_zero_is_equal_but_not_the_same_bits():
    record = compare(lambda x: values(at(x, 0.0, -0.0)), Formula(values, "reference"))
    assert (record.verdict, record.largest_difference, record.bit_equal) == ("passed", 0.0, False)


@pytest.mark.parametrize(
    "wrong",
    [
        values,
        lambda x: x,
        lambda x: binary(x)[:-1],
        lambda x: binary(x).astype(np.float32),
        lambda x: three(x),
    ],
    ids=["one column", "no columns", "one row less", "float32", "three columns"],
)
def test_outputs_of_another_shape_or_type_are_refused(wrong):
    record = compare(wrong)
    assert (record.verdict, record.rows, record.bit_equal) == ("refused", 0, False)
    assert record.reason.startswith("it gives float")
    assert "where reference gives float64 of shape (128, 2)" in record.reason


def test_a_scorer_that_answers_where_the_reference_refuses_is_refused():
    reference = Formula(lambda x: refusing(x, [0.75]), "reference")
    record = compare(binary, reference)
    assert record.verdict == "refused"
    assert record.reason == (
        "it answers [0.25, 0.75] where reference refuses (No such row.): x=0.75, carrier='AA'"
    )


def test_a_scorer_that_refuses_where_the_reference_answers_is_refused():
    record = compare(lambda x: refusing(x, [0.75]))
    assert record.verdict == "refused"
    assert record.reason == (
        "it refuses (No such row.) where reference answers [0.25, 0.75]: x=0.75, carrier='AA'"
    )


def failing(x):
    if np.isnan(x).any():
        raise IndexError("list index\x1b[2K\nout of range")
    return binary(x)


def test_a_crash_is_refused_wherever_it_happens_and_named_in_one_line():
    missing = pa.table({"x": [0.5, np.nan], "carrier": ["AA", "B6"]})
    record = compare(failing, hostile=[missing])
    assert record.verdict == "refused"
    assert record.reason == (
        "it crashes (IndexError: list index\\x1b[2K) where reference answers [nan, nan]: "
        "x=nan, carrier='B6'"
    )
    reference = Formula(lambda x: refusing(np.where(np.isnan(x), -1, x), [-1]), "reference")
    record = compare(failing, reference, hostile=[missing])
    assert "it crashes (IndexError" in record.reason
    assert "where reference refuses (No such row.): x=nan" in record.reason


def test_rows_beside_those_that_both_refuse_are_compared():
    forbidden = [0.125, 0.5]
    reference = Formula(lambda x: refusing(x, forbidden), "reference")
    record = compare(lambda x: refusing(x, forbidden), reference)
    assert (record.verdict, record.rows) == ("passed", 128 - 2 * 16)
    record = compare(lambda x: refusing(at(x, 0.25, 0.26), forbidden), reference)
    assert record.verdict == "refused"
    assert "x=0.25" in record.reason


def test_a_hostile_table_is_compared_row_by_row():
    table = pa.table({"x": [0.25, 0.5], "carrier": ["AA", "B6"]})
    reference = Formula(lambda x: refusing(x, [0.5]), "reference")
    assert compare(lambda x: refusing(x, [0.5]), reference, (), [table]).rows == 1
    record = compare(lambda x: refusing(x, [0.25]), reference, (), [table])
    assert (record.verdict, "x=0.25, carrier='AA'" in record.reason) == ("refused", True)


def test_a_scorer_of_which_no_row_could_be_compared_is_refused():
    reference = Formula(lambda x: refusing(x, x), "reference")
    record = compare(lambda x: refusing(x, x), reference)
    assert (record.verdict, record.rows, record.largest_difference) == ("refused", 0, None)
    assert record.reason == "there is no row that both it and reference answer"
    assert compare(binary, tables=[ROWS.slice(0, 0)]).verdict == "refused"


def test_the_first_reason_is_kept_and_later_tables_still_count():
    record = compare(
        lambda x: binary(np.where(x >= 0.75, 1 - x, x)), tables=[ROWS.slice(0, 97), ROWS]
    )
    assert record.rows == 97 + 128
    assert record.label_flips == 1 + 32
    assert "x=0.75," in record.reason


def test_the_reason_stays_short_and_printable_whatever_the_row_holds():
    rows = ROWS.slice(0, 1).set_column(1, "carrier", [["\x1b[31m\nA\u202e" + "x" * 300]])
    rows = pa.table(
        {name: rows.column(name) for name in rows.column_names}
        | {f"feature_{index}": [0.1234567890123] for index in range(100)}
    )
    record = compare(lambda x: binary(x + 1), tables=[rows])
    assert record.reason.isprintable()
    assert len(record.reason) < 800
    assert r"carrier='\x1b[31m\nA\u202exxx" in record.reason


COLUMNS = {"a": FeatureSpec(type="float64"), "b": FeatureSpec(type="float64")}


@pytest.fixture(scope="module")
def tree():
    random = np.random.default_rng(6)
    frame = pd.DataFrame({name: random.normal(size=600).round(2) for name in COLUMNS})
    labels = frame["a"] * frame["b"] + random.normal(size=600) > 0
    return DecisionTreeClassifier(max_depth=8, random_state=0).fit(frame, labels), frame


@dataclass(frozen=True)
class WalkingScorer:
    """Walks scikit-learn's own tree, on rows of the given type."""

    tree: DecisionTreeClassifier
    dtype: type
    name: str = "walking"

    def outputs(self, features):
        rows = np.column_stack([model_frame(features, COLUMNS)[name] for name in COLUMNS])
        with np.errstate(over="ignore"):
            rows = rows.astype(self.dtype)
        if np.isinf(rows).any():
            raise ModelRefused("Infinite.", reason=Refusal.ROWS, next_step="None.")
        nodes = self.tree.tree_
        place = np.zeros(len(rows), dtype=np.int64)
        while (nodes.children_left[place] >= 0).any():
            inner = nodes.children_left[place] >= 0
            value = rows[np.arange(len(rows)), np.where(inner, nodes.feature[place], 0)]
            left = np.where(
                np.isnan(value),
                nodes.missing_go_to_left[place],
                value.astype(np.float64) <= nodes.threshold[place],
            )
            child = np.where(left, nodes.children_left[place], nodes.children_right[place])
            place = np.where(inner, child, place)
        return nodes.value[place, 0]


def test_adversarial_rows_tell_float64_comparisons_from_float32_ones_where_golden_rows_do_not(tree):
    estimator, frame = tree
    golden = pa.Table.from_pandas(frame, preserve_index=False)
    nodes = estimator.tree_
    limits = {
        name: np.unique(nodes.threshold[nodes.feature == index])
        for index, name in enumerate(COLUMNS)
    }
    rows = adversarial_rows(golden, COLUMNS, limits, rows=4_000, seed=1)
    hostile = hostile_rows(golden, COLUMNS)
    reference = SklearnScorer(estimator, COLUMNS)

    same = compare(WalkingScorer(estimator, np.float32), reference, [golden, rows], hostile)
    assert (same.verdict, same.bit_equal, same.label_flips) == ("passed", True, 0)
    assert same.rows > 3_900

    wide = WalkingScorer(estimator, np.float64)
    assert compare(wide, reference, [golden]).verdict == "passed"
    assert compare(wide, reference, [golden], hostile).verdict == "refused"
    near = compare(wide, reference, [rows.slice(0, 3_600)])
    assert (near.verdict, near.label_flips > 0) == ("refused", True)


def test_a_model_that_refuses_unseen_strings_is_compared_on_all_other_rows():
    columns = {"carrier": FeatureSpec(type="string"), "a": FeatureSpec(type="float64")}
    golden = pa.table({"carrier": ["AA", "B6"] * 20, "a": np.linspace(-1, 1, 40)})
    estimator = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["carrier"]), remainder="passthrough"),
        LogisticRegression(),
    ).fit(golden.to_pandas(), np.arange(40) > 17)
    reference = SklearnScorer(estimator, columns)
    rows = adversarial_rows(golden, columns, {}, rows=2_000, seed=1)
    record = compare(reference, reference, [rows], hostile_rows(golden, columns))
    assert record.verdict == "passed"
    assert 1_600 < record.rows < 2_000


def ticking(*durations):
    """A clock that each timed call moves on by the next duration."""
    times = [0.0, *accumulate(durations)]
    ticks = iter([tick for pair in pairwise(times) for tick in pair])
    return lambda: next(ticks)


def test_speed_is_the_median_of_three_calls_after_one_that_warms_up():
    calls = []
    counted = Formula(lambda x: calls.append(len(x)))
    speed = measure_speed(counted, ROWS, clock=ticking(0.5, 8.0, 0.25))
    assert (speed, calls) == (128 / 0.5, [128] * 4)


def record(scorer, reason=None):
    return ParityRecord(
        scorer=scorer,
        rows=1,
        largest_difference=0.0,
        label_flips=0,
        bit_equal=True,
        verdict="refused" if reason else "passed",
        reason=reason,
    )


@pytest.mark.parametrize(
    ("candidates", "speeds", "chosen"),
    [
        (["fast", "faster"], {"slow": 1.0, "fast": 2.0, "faster": 3.0}, "faster"),
        (["fast", "wrong"], {"slow": 1.0, "fast": 2.0, "wrong": 3.0}, "fast"),
        (["slower"], {"slow": 1.0, "slower": 0.5}, "slow"),
        (["equal"], {"slow": 1.0, "equal": 1.0}, "slow"),
        (["unmeasured"], {"slow": 1.0}, "slow"),
        (["unmeasured"], {}, "slow"),
        ([], {"slow": 1.0}, "slow"),
    ],
)
def test_the_fastest_scorer_that_passed_is_chosen(candidates, speeds, chosen):
    records = [record(name, "it flips" if name == "wrong" else None) for name in candidates]
    assert choose_scorer(record("slow"), records, speeds) == chosen


def test_the_reference_passes_by_definition():
    own = reference_record(REFERENCE, 128)
    assert (own.scorer, own.rows, own.verdict) == ("reference", 128, "passed")
    assert own.bit_equal


def test_a_record_is_the_same_after_json_and_holds_nothing_else():
    found = compare(lambda x: refusing(x, [0.75]))
    assert ParityRecord.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(ValidationError, match="extra"):
        ParityRecord.model_validate(found.model_dump() | {"note": "fine"})


@pytest.mark.parametrize(
    "change",
    [{"reason": None}, {"verdict": "passed"}, {"rows": -1}, {"largest_difference": np.nan}],
)
def test_a_record_that_contradicts_itself_is_refused(change):
    found = compare(lambda x: refusing(x, [0.75]))
    with pytest.raises(ValidationError):
        ParityRecord.model_validate(found.model_dump() | change)
