"""The clauses of the promotion gate: what passes, what fails, and what each says."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, get_args

import numpy as np
import pytest

from batchinf_assets.evaluation.metrics.binary import FIGURES, BinaryMetrics
from batchinf_assets.evaluation.metrics.binary_task import BinaryTask
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.promotion.bootstrap import Difference, paired_differences
from batchinf_assets.promotion.canary import CanaryReport, Flips, Segment
from batchinf_assets.promotion.clauses import (
    first_promotion,
    judge_bounds,
    judge_canary,
    judge_margin,
    judge_parity,
    judge_schema,
)
from batchinf_assets.registry.card import (
    FileDigest,
    GoldenRecord,
    InputColumn,
    ModelCard,
    OutputColumn,
    ParityRecord,
    Training,
)
from batchinf_assets.registry.promotion_record import Clause
from batchinf_assets.spec.evaluation import GoldenSpec, Loss, Metric, Quality
from batchinf_assets.spec.model import CanarySpec
from batchinf_assets.spec.prediction import BINARY

GOOD = BinaryMetrics(
    rows=400,
    positives=100,
    precision=0.6,
    recall=0.5,
    f1=0.55,
    accuracy=0.8,
    auroc=0.72,
    average_precision=0.58,
    log_loss=0.5,
    brier=0.18,
    calibration_error=0.04,
)

EQUAL = Difference(
    champion=0.6, candidate=0.6, difference=0.0, low=-0.005, high=0.005, resamples=1000
)

REPORT = CanaryReport(
    rows=312,
    decision=0.4,
    champion_mean=0.2143,
    champion_deviation=0.1,
    candidate_mean=0.2313,
    mean_shift=0.017,
    largest_difference=0.3,
    difference_quantiles={"p50": 0.01, "p95": 0.1, "p99": 0.2},
    psi=0.03,
    flips=Flips(count=12, share=12 / 312, up=8, down=4),
    segments=(),
)

NO_ROWS = replace(
    REPORT,
    rows=0,
    champion_mean=None,
    champion_deviation=None,
    candidate_mean=None,
    mean_shift=None,
    flips=Flips(count=0, share=None, up=0, down=0),
)


def golden(**bounds: dict[str, float]) -> GoldenSpec:
    """Declare golden bounds."""
    return GoldenSpec.model_validate({"file": "golden.parquet", **bounds})


def judged(
    differences: Mapping[Metric, Difference], margins: Mapping[Metric, float]
) -> tuple[Clause, ...]:
    """Hold differences against margins."""
    return judge_margin(differences, margins, confidence=0.95)


def margin_clause(metric: Metric, difference: Difference | None, margin: float) -> Clause:
    """Judge one metric."""
    differences = {} if difference is None else {metric: difference}
    (clause,) = judged(differences, {metric: margin})
    return clause


def card(
    columns: tuple[tuple[str, str, bool], ...] = (
        ("distance", "float64", False),
        ("carrier", "string", True),
    ),
    score: str = "delay_probability",
) -> ModelCard:
    """A card of a model that reads these columns."""
    digest = FileDigest(sha256="0" * 64, bytes=1)
    return ModelCard(
        name="flight_delays",
        model_format="skops",
        origin="file",
        input_schema=tuple(
            InputColumn.model_validate({"name": name, "type": kind, "nullable": nullable})
            for name, kind, nullable in columns
        ),
        output_schema=(OutputColumn(name=score),),
        training=Training(start=date(2013, 1, 1), end=date(2013, 2, 1), rows=2, positives=1),
        metrics={},
        golden=GoldenRecord(sha256="0" * 64, rows=2, positives=1, decision=0.5, metrics={}),
        feature_definition="0" * 64,
        libraries={},
        scorer="scikit-learn",
        parity=(),
        files={"model.skops": digest, "profile.json": digest},
    )


def parity(
    scorer: str, verdict: str = "passed", reason: str | None = None, **figures: Any
) -> ParityRecord:
    """A scorer's parity record."""
    document = {
        "scorer": scorer,
        "rows": 100,
        "largest_difference": 0.0,
        "label_flips": 0,
        "bit_equal": True,
        "verdict": verdict,
        "reason": reason,
        **figures,
    }
    return ParityRecord.model_validate(document)


def test_the_first_promotion_is_a_state_of_its_own() -> None:
    clause = first_promotion("flight_delays", "champion")
    assert clause.passed
    assert clause.name == "first_promotion"
    assert clause.sentence == (
        "No version of flight_delays is champion yet: there is nothing to compare with"
    )


def test_each_golden_bound_is_a_clause_of_its_own() -> None:
    clauses = judge_bounds(GOOD, golden(at_least={"auroc": 0.7}, at_most={"brier": 0.2}))
    assert [(clause.name, clause.passed) for clause in clauses] == [
        ("golden_auroc", True),
        ("golden_brier", True),
    ]
    assert clauses[0].sentence == "The golden AUROC is 0.720, at least 0.7 is declared"
    assert clauses[1].sentence == "The golden Brier score is 0.180, at most 0.2 is declared"
    assert clauses[1].measured == {"found": 0.18, "bound": 0.2, "rows": 400}


@pytest.mark.parametrize("broken", FIGURES)
@pytest.mark.parametrize("how", ["beyond", "undefined"])
def test_a_golden_bound_fails_alone(broken: Metric, how: str) -> None:
    spec = golden(
        at_least={name: getattr(GOOD, name) for name in get_args(Quality)},
        at_most={name: getattr(GOOD, name) for name in get_args(Loss)},
    )
    worse = -0.01 if broken in spec.at_least else 0.01
    found = None if how == "undefined" else getattr(GOOD, broken) + worse
    clauses = judge_bounds(replace(GOOD, **{broken: found}), spec)
    assert len(clauses) == 9
    assert [c.name for c in clauses if not c.passed] == [f"golden_{broken}"]
    (failed,) = [c for c in clauses if not c.passed]
    assert failed.measured["found"] == found
    assert (how == "undefined") == ("is undefined on 400 rows" in failed.sentence)


def test_a_value_next_to_its_bound_is_written_on_its_side_of_it() -> None:
    (clause,) = judge_bounds(replace(GOOD, auroc=0.69996), golden(at_least={"auroc": 0.7}))
    assert not clause.passed
    assert clause.sentence == "The golden AUROC is 0.69996, at least 0.7 is declared"


def test_without_bounds_only_a_golden_set_without_rows_fails() -> None:
    (clause,) = judge_bounds(GOOD, golden())
    assert clause.passed
    assert clause.sentence == "The golden set has 400 rows; no bounds are declared"
    (empty,) = judge_bounds(replace(GOOD, rows=0), golden())
    assert not empty.passed
    assert empty.sentence == "The golden set has no rows; no bounds are declared"


def test_a_margin_names_both_values_the_interval_and_the_bound() -> None:
    worse = Difference(
        champion=0.695, candidate=0.684, difference=-0.011, low=-0.017, high=-0.004, resamples=990
    )
    clause = margin_clause("auroc", worse, 0.01)
    assert not clause.passed
    assert clause.name == "margin_auroc"
    assert clause.sentence == (
        "The golden AUROC is 0.684 against the champion's 0.695: difference -0.011, "
        "95 % interval [-0.017, -0.004], may fall by 0.010 at most"
    )
    assert clause.measured == {
        "champion": 0.695,
        "candidate": 0.684,
        "difference": -0.011,
        "low": -0.017,
        "high": -0.004,
        "resamples": 990,
        "confidence": 0.95,
        "margin": 0.01,
    }


@pytest.mark.parametrize(
    ("metric", "low", "high", "passed"),
    [
        ("auroc", -0.01, 0.5, True),  # at the margin
        ("auroc", math.nextafter(-0.01, -1), 0.5, False),
        ("precision", 0.01, 0.02, True),
        ("recall", -0.02, 0.5, False),
        ("f1", -0.02, 0.5, False),
        ("accuracy", -0.005, 0.5, True),
        ("average_precision", -0.02, 0.5, False),
        ("brier", -0.5, 0.01, True),
        ("brier", -0.5, math.nextafter(0.01, 1), False),
        ("brier", -0.5, -0.4, True),
        ("log_loss", -0.5, 0.02, False),
        ("log_loss", -0.5, 0.0, True),
        ("calibration_error", -0.5, 0.02, False),
        ("calibration_error", -0.5, 0.0, True),
    ],
)
def test_the_worse_end_of_the_interval_decides(
    metric: Metric, low: float, high: float, passed: bool
) -> None:
    clause = margin_clause(metric, replace(EQUAL, low=low, high=high), 0.01)
    assert clause.passed is passed
    assert ("may fall by" if metric in get_args(Quality) else "may rise by") in (clause.sentence)


def test_a_margin_of_zero_lets_an_equal_model_pass_and_no_worse_one() -> None:
    assert margin_clause("auroc", replace(EQUAL, low=0.0, high=0.0), 0.0).passed
    assert not margin_clause("auroc", replace(EQUAL, low=-1e-9), 0.0).passed
    assert margin_clause("brier", replace(EQUAL, low=0.0, high=0.0), 0.0).passed


def test_an_interval_next_to_its_margin_is_written_on_its_side_of_it() -> None:
    clause = margin_clause("auroc", replace(EQUAL, low=-0.01004), 0.01)
    assert not clause.passed
    assert "[-0.01004, +0.00500], may fall by 0.01000 at most" in clause.sentence


@pytest.mark.parametrize("broken", FIGURES)
def test_a_margin_fails_alone(broken: Metric) -> None:
    differences = dict.fromkeys(FIGURES, EQUAL)
    differences[broken] = replace(EQUAL, low=-0.02, high=0.02)
    clauses = judged(differences, dict.fromkeys(FIGURES, 0.01))
    assert [c.name for c in clauses if not c.passed] == [f"margin_{broken}"]
    assert len(clauses) == 9


def test_an_undefined_metric_fails_its_margin_and_says_why() -> None:
    undefined = Difference(
        champion=0.7,
        candidate=None,
        difference=None,
        low=None,
        high=None,
        resamples=0,
        reason="all labels are true",
    )
    clause = margin_clause("auroc", undefined, 1.0)
    assert not clause.passed
    assert clause.sentence == "The golden AUROC is undefined: all labels are true"
    assert (clause.measured["champion"], clause.measured["candidate"]) == (0.7, None)


def test_a_metric_without_interval_fails_its_margin_and_says_why() -> None:
    reason = "undefined in 40 of 1000 resamples"
    found = replace(EQUAL, low=None, high=None, resamples=960, reason=reason)
    clause = margin_clause("brier", found, 1.0)
    assert not clause.passed
    assert clause.sentence == (
        "The golden Brier score is 0.600 against the champion's 0.600: difference +0.000, "
        f"no interval ({reason}), may rise by 1.000 at most"
    )


def test_a_metric_that_was_not_measured_fails_its_margin() -> None:
    clause = margin_clause("recall", None, 1.0)
    assert not clause.passed
    assert clause.sentence == "The golden recall was not measured"
    assert clause.measured["resamples"] == 0


def test_measured_differences_are_judged_as_they_come() -> None:
    random = np.random.default_rng(0)
    truth = random.random(800)
    labels = random.random(800) < truth
    margins: dict[Metric, float] = {"auroc": 0.02, "brier": 0.02}
    passed: dict[str, list[bool]] = {}
    for name, noise in (("near", 0.01), ("far", 0.4)):
        differences = paired_differences(
            labels,
            truth,
            np.clip(truth + random.normal(0, noise, 800), 0, 1),
            metrics=tuple(margins),
            task=BinaryTask(decision=0.5),
            resamples=200,
            confidence=0.95,
            seed=1,
        )
        passed[name] = [clause.passed for clause in judged(differences, margins)]
    assert passed == {"near": [True, True], "far": [False, False]}


def test_a_canary_within_its_bounds_passes() -> None:
    shift, flips = judge_canary(REPORT, CanarySpec(max_shift=0.05, max_flips=0.15))
    assert (shift.name, shift.passed) == ("canary_shift", True)
    assert (flips.name, flips.passed) == ("canary_flips", True)
    assert shift.sentence == (
        "The mean score of 312 canary rows is 0.231 against the champion's 0.214: shift +0.017, "
        "may be 0.050 at most"
    )
    assert flips.sentence == (
        "12 of 312 canary rows change their label (3.8 %, 8 to true and 4 to false), "
        "15.0 % may at most"
    )


@pytest.mark.parametrize(
    ("report", "failed"),
    [
        (replace(REPORT, mean_shift=0.05), []),
        (replace(REPORT, mean_shift=math.nextafter(0.05, 1)), ["canary_shift"]),
        (replace(REPORT, mean_shift=-0.06), ["canary_shift"]),
        (replace(REPORT, flips=Flips(count=3, share=0.15, up=0, down=3)), []),
        (replace(REPORT, flips=Flips(count=3, share=0.1501, up=0, down=3)), ["canary_flips"]),
        (NO_ROWS, ["canary_shift", "canary_flips"]),
    ],
)
def test_a_canary_beyond_a_bound_fails_that_clause(report: CanaryReport, failed: list[str]) -> None:
    clauses = judge_canary(report, CanarySpec(max_shift=0.05, max_flips=0.15))
    assert [clause.name for clause in clauses if not clause.passed] == failed


def test_a_canary_without_rows_fails_and_says_so() -> None:
    clauses = judge_canary(NO_ROWS, CanarySpec(max_shift=1e9, max_flips=1))
    assert [clause.passed for clause in clauses] == [False, False]
    assert all("The canary has no rows" in clause.sentence for clause in clauses)
    assert all(clause.measured["rows"] == 0 for clause in clauses)


def test_the_segment_that_moved_most_is_named_and_never_judged() -> None:
    calm = Segment(
        column="origin", value="JFK", rows=200, state="measured", mean_shift=0.01, flips_share=0.0
    )
    moved = replace(calm, value="EWR", rows=41, mean_shift=-0.9)
    few = replace(calm, value="LGA", rows=3, state="too few rows", mean_shift=None)
    shift, flips = judge_canary(replace(REPORT, segments=(calm, moved, few)), CanarySpec())
    assert shift.passed
    assert flips.passed
    assert shift.sentence.endswith(" (farthest: origin 'EWR' by -0.900, 41 rows)")


def test_equal_schemas_pass() -> None:
    clause = judge_schema(card(), card())
    assert clause.passed
    assert clause.sentence == "Columns of the candidate against the champion's: the same 2"


@pytest.mark.parametrize(
    ("candidate", "problem"),
    [
        (card((("distance", "float64", False),)), "'carrier' is missing"),
        (
            card(
                (
                    ("distance", "float64", False),
                    ("carrier", "string", True),
                    ("hour", "int32", False),
                )
            ),
            "'hour' is extra",
        ),
        (
            card((("carrier", "string", True), ("distance", "float64", False))),
            "'distance', 'carrier' are reordered",
        ),
        (
            card((("distance", "float32", False), ("carrier", "string", True))),
            "'distance' is float32, the model learned float64",
        ),
        (
            card((("distance", "float64", False), ("carrier", "string", False))),
            "'carrier' is string, the model learned nullable string",
        ),
        (
            card(score="risk"),
            "it writes 'risk' (float64, probability of the label), "
            "the champion 'delay_probability' (float64, probability of the label)",
        ),
    ],
)
def test_another_schema_fails_and_names_the_column(candidate: ModelCard, problem: str) -> None:
    clause = judge_schema(candidate, card())
    assert not clause.passed
    assert clause.sentence == f"Columns of the candidate against the champion's: {problem}"
    assert clause.measured == {"differences": 1}


def test_the_chosen_scorer_must_have_passed() -> None:
    records = [
        parity("scikit-learn"),
        parity("onnxruntime", "refused", "a label differs", label_flips=1),
    ]
    assert judge_parity(records, "scikit-learn").passed
    clause = judge_parity(records, "onnxruntime")
    assert not clause.passed
    assert clause.sentence == (
        "Scorer scikit-learn passed the parity gate; Scorer onnxruntime, chosen for the candidate, "
        "was refused by the parity gate (a label differs)"
    )
    assert clause.measured == {"scorer": "onnxruntime", "tried": 2, "passed": 1}


@pytest.mark.parametrize("records", [[], [parity("scikit-learn")]])
def test_a_scorer_without_parity_record_fails(records: list[ParityRecord]) -> None:
    clause = judge_parity(records, "trees")
    assert not clause.passed
    assert "Scorer trees, chosen for the candidate, has no parity record" in clause.sentence


def test_a_scorer_that_passed_once_and_was_refused_once_fails() -> None:
    assert not judge_parity(
        [parity("trees"), parity("trees", "refused", "It differs")], "trees"
    ).passed


def test_every_clause_reads_back_from_its_record() -> None:
    clauses = [
        first_promotion("flight_delays", "champion"),
        *judge_bounds(replace(GOOD, auroc=None), golden(at_least={"auroc": 0.7})),
        *judged({"auroc": EQUAL}, BINARY.margins),
        *judge_canary(NO_ROWS, CanarySpec()),
        *judge_canary(REPORT, CanarySpec()),
        judge_schema(card(), card()),
        judge_parity([parity("trees")], "trees"),
    ]
    for clause in clauses:
        document = canonical_json(clause.model_dump(mode="json"))
        assert Clause.model_validate_json(document) == clause


def numbers(shift: float | None, deviation: float | None) -> CanaryReport:
    """A canary of two regressors."""
    return replace(
        REPORT,
        decision=None,
        champion_mean=None if shift is None else 5.0,
        candidate_mean=None if shift is None else 5.0 + shift,
        champion_deviation=deviation,
        mean_shift=shift,
        flips=None,
    )


@pytest.mark.parametrize(
    ("shift", "deviation", "passed", "said"),
    [
        (-0.9, 20.0, True, "0.045 standard deviations of the champion's"),
        (1.2, 20.0, False, "0.060 standard deviations of the champion's"),
        (0.0, 0.0, True, "the same score"),
        (0.1, 0.0, False, "the same score"),
        (None, None, False, "no rows"),
    ],
)
def test_numbers_may_shift_by_a_share_of_their_standard_deviation_and_flip_nothing(
    shift: float | None, deviation: float | None, passed: bool, said: str
) -> None:
    (clause,) = judge_canary(numbers(shift, deviation), CanarySpec(max_shift=0.05))
    assert (clause.name, clause.passed) == ("canary_shift", passed)
    assert said in clause.sentence
