"""The canary's rows and how two models' scores of them differ."""

import json
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.promotion.canary import (
    CanaryReport,
    Flips,
    Segment,
    canary_sample,
    compare_scores,
)

Floats = npt.NDArray[np.float64]

KEY = ("departure", "carrier", "flight")


def keyed(rows: int, start: int = 0) -> pa.Table:
    """Rows under a key of a timestamp, a string and a number."""
    numbers = range(start, start + rows)
    first = datetime(2013, 4, 1, tzinfo=UTC)
    return pa.table(
        {
            "departure": pa.array(
                [first + timedelta(minutes=n) for n in numbers], pa.timestamp("us", tz="UTC")
            ),
            "carrier": pa.array([("UA", "AA", "B6")[n % 3] for n in numbers]),
            "flight": pa.array(numbers, pa.int32()),
            "distance": pa.array([float(n) for n in numbers]),
        }
    )


def sampled(table: pa.Table, share: float = 0.3, seed_text: str = "candidate 2") -> pa.Table:
    """Sample by the key."""
    return canary_sample(table, key=KEY, share=share, seed_text=seed_text)


def flights(table: pa.Table) -> list[int]:
    """The chosen rows."""
    return table.column("flight").to_pylist()


def test_the_chosen_rows_are_the_same_on_every_machine_and_python() -> None:
    # Row 2: SHA-256 of "batchinf-canary-1", "candidate 2", "1364774520000000", "B6" and "2", joined
    # by the unit separator, begins with 44: 0x44 / 256 = 0.27 is below the share of 0.3.
    assert flights(sampled(keyed(30))) == [2, 6, 17, 20, 26, 27]


def test_row_order_does_not_change_the_sample() -> None:
    table = keyed(300)
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(300)))
    assert sampled(shuffled).equals(sampled(table))


def test_other_rows_do_not_change_whether_a_row_is_chosen() -> None:
    whole = flights(sampled(keyed(300)))
    part = flights(sampled(keyed(100, start=100)))
    assert part == [flight for flight in whole if 100 <= flight < 200]


def test_chunks_encodings_and_time_units_do_not_change_the_sample() -> None:
    table = keyed(100)
    again = pa.concat_tables([table.slice(0, 41), table.slice(41)])
    for name, values in {
        "carrier": again.column("carrier").dictionary_encode(),
        "departure": again.column("departure").cast(pa.timestamp("ns", tz="UTC")),
        "flight": again.column("flight").cast(pa.int64()),
    }.items():
        again = again.set_column(again.column_names.index(name), name, values)
    assert flights(sampled(again)) == flights(sampled(table))


def test_a_larger_share_holds_the_rows_of_a_smaller_one() -> None:
    table = keyed(500)
    shares = [0.01, 0.1, 0.5, 1.0]
    samples = [set(flights(sampled(table, share))) for share in shares]
    assert all(a < b for a, b in pairwise(samples))
    assert len(samples[-1]) == 500


def test_about_the_share_of_the_rows_is_chosen() -> None:
    # Binomial (4000, 0.2): mean 800, standard deviation 25.
    assert abs(sampled(keyed(4000), 0.2).num_rows - 800) < 100


def test_another_text_chooses_other_rows() -> None:
    assert flights(sampled(keyed(300))) != flights(sampled(keyed(300), seed_text="candidate 3"))


def test_a_sample_keeps_all_columns_and_is_sorted_by_key() -> None:
    sample = sampled(keyed(300).take(pa.array(range(299, -1, -1))))
    assert sample.column_names == ["departure", "carrier", "flight", "distance"]
    assert flights(sample) == sorted(flights(sample))


def test_a_sample_of_no_rows_has_no_rows() -> None:
    assert sampled(keyed(0)).num_rows == 0


def test_a_missing_key_column_is_named() -> None:
    with pytest.raises(KeyError, match="flight"):
        sampled(keyed(3).drop_columns(["flight"]))


CHAMPION = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
CANDIDATE = [0.1, 0.2, 0.5, 0.5, 0.4, 0.6, 0.7, 0.8, 0.9, 0.6]


def report_of(
    champion: list[float] | Floats,
    candidate: list[float] | Floats,
    columns: dict[str, Any] | None = None,
) -> CanaryReport:
    """Compare scores at decision 0.5, by every column given."""
    rows = pa.table({"id": list(range(len(champion))), **(columns or {})})
    return compare_scores(
        rows,
        np.asarray(champion, dtype=np.float64),
        np.asarray(candidate, dtype=np.float64),
        decision=0.5,
        segments=tuple(columns or ()),
    )


def test_ten_rows_give_the_figures_computed_by_hand() -> None:
    report = report_of(CHAMPION, CANDIDATE)
    assert (report.rows, report.decision) == (10, 0.5)
    # Sums 5.5 and 5.3. Differences: 0 0 .2 .1 .1 0 0 0 0 .4, in order 0 x 6, .1 .1 .2 .4.
    assert report.champion_mean == pytest.approx(0.55, abs=1e-15)
    assert report.candidate_mean == pytest.approx(0.53, abs=1e-15)
    assert report.mean_shift == pytest.approx(-0.02, abs=1e-15)
    assert report.largest_difference == pytest.approx(0.4, abs=1e-15)
    assert report.difference_quantiles == {
        "p50": 0.0,  # the fifth of ten
        "p95": pytest.approx(0.4, abs=1e-15),  # the tenth
        "p99": pytest.approx(0.4, abs=1e-15),
    }
    # 0.3 and 0.4 rise to 0.5 itself, 0.5 falls to 0.4; 1.0 falls but stays true.
    assert report.flips == Flips(count=3, share=0.3, up=2, down=1)


def test_the_stability_index_is_the_one_computed_by_hand() -> None:
    report = report_of(CHAMPION, CANDIDATE)
    # The champion's deciles are its ten scores, so q = 0.1 in each bin. Of the candidate's, the
    # bins of 0.3 and 1.0 are empty (floor 1e-4), those of 0.5 and 0.6 hold two.
    empty = 2 * (1e-4 - 0.1) * math.log(1e-4 / 0.1)
    doubled = 2 * (0.2 - 0.1) * math.log(0.2 / 0.1)
    # The bin of missing scores is empty on both sides.
    assert report.psi == pytest.approx(empty + doubled, abs=1e-12)


def test_equal_scores_differ_by_nothing() -> None:
    report = report_of(CHAMPION, CHAMPION)
    assert (report.mean_shift, report.largest_difference, report.psi) == (0.0, 0.0, 0.0)
    assert report.flips == Flips(count=0, share=0.0, up=0, down=0)


def test_no_rows_leave_every_figure_undefined() -> None:
    report = report_of([], [], {"origin": pa.array([], pa.string())})
    assert report == CanaryReport(
        rows=0,
        decision=0.5,
        champion_mean=None,
        champion_deviation=None,
        candidate_mean=None,
        mean_shift=None,
        largest_difference=None,
        difference_quantiles={"p50": None, "p95": None, "p99": None},
        psi=None,
        flips=Flips(count=0, share=None, up=0, down=0),
        segments=(),
    )


def test_one_row_is_compared() -> None:
    report = report_of([0.2], [0.7])
    assert report.mean_shift == pytest.approx(0.5, abs=1e-15)
    assert report.flips == Flips(count=1, share=1.0, up=1, down=0)
    assert report.difference_quantiles["p99"] == report.largest_difference


def test_row_order_does_not_change_a_bit() -> None:
    random = np.random.default_rng(4)
    champion, candidate = random.random((2, 999))
    columns = {"origin": random.choice(["EWR", "JFK"], 999), "distance": random.random(999)}
    first = report_of(champion, candidate, columns)
    order = random.permutation(999)
    shuffled = {name: values[order] for name, values in columns.items()}
    assert report_of(champion[order], candidate[order], shuffled) == first


def named(report: CanaryReport) -> dict[str, int]:
    """Rows by segment."""
    return {segment.value: segment.rows for segment in report.segments}


def test_strings_make_one_segment_per_value_and_one_of_the_missing() -> None:
    origins = ["JFK"] * 40 + ["EWR"] * 30 + [None] * 30
    champion = np.full(100, 0.4)
    candidate = np.concatenate([np.full(40, 0.4), np.full(15, 0.6), np.full(45, 0.3)])
    report = report_of(champion, candidate, {"origin": origins})
    assert report.segments == (
        Segment(
            column="origin",
            value="EWR",
            rows=30,
            state="measured",
            mean_shift=pytest.approx(0.05, abs=1e-15),
            flips_share=0.5,
        ),
        Segment(
            column="origin",
            value="JFK",
            rows=40,
            state="measured",
            mean_shift=0.0,
            flips_share=0.0,
        ),
        Segment(
            column="origin",
            value="(missing)",
            rows=30,
            state="measured",
            mean_shift=pytest.approx(-0.1, abs=1e-15),
            flips_share=0.0,
        ),
    )


def test_segments_below_thirty_rows_have_no_figures() -> None:
    report = report_of(np.zeros(59), np.ones(59), {"origin": ["EWR"] * 29 + ["JFK"] * 30})
    few, enough = report.segments
    assert (few.value, few.rows, few.state) == ("EWR", 29, "too few rows")
    assert (few.mean_shift, few.flips_share) == (None, None)
    assert (enough.rows, enough.state, enough.mean_shift) == (30, "measured", 1.0)


def test_bools_and_encoded_strings_are_segments_by_value() -> None:
    late = [True, False, True, None]
    carrier = pa.array(["UA", "AA", "UA", "UA"]).dictionary_encode()
    report = report_of([0.1] * 4, [0.1] * 4, {"late": late, "carrier": carrier})
    assert named(report) == {"false": 1, "true": 2, "(missing)": 1, "AA": 1, "UA": 3}
    assert [s.column for s in report.segments] == ["late"] * 3 + ["carrier"] * 2


def test_values_beyond_the_fifty_most_frequent_are_one_segment() -> None:
    tails = [f"N{n:03d}" for n in range(60)] + [f"N{n:03d}" for n in range(10, 60)]
    report = report_of([0.1] * 110, [0.1] * 110, {"tail": tails})
    assert len(report.segments) == 51
    assert report.segments[0].value == "N010"
    assert (report.segments[-1].value, report.segments[-1].rows) == ("(10 other values)", 10)


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.float32(), pa.float64()])
def test_numbers_are_cut_at_their_quartiles(kind: pa.DataType) -> None:
    distance = pa.array([*range(1, 9), None, None], kind)
    report = report_of([0.1] * 10, [0.1] * 10, {"distance": distance})
    assert named(report) == {
        "up to 2": 2,
        "above 2 up to 4": 2,
        "above 4 up to 6": 2,
        "above 6": 2,
        "(missing)": 2,
    }


def test_nan_is_missing_and_a_constant_number_one_segment() -> None:
    report = report_of([0.1] * 4, [0.1] * 4, {"distance": [5.0, 5.0, math.nan, 5.0]})
    assert named(report) == {"up to 5": 3, "(missing)": 1}


def test_a_number_that_is_always_missing_is_one_segment() -> None:
    report = report_of([0.1] * 2, [0.1] * 2, {"distance": pa.array([None, None], pa.float64())})
    assert named(report) == {"(missing)": 2}


@pytest.mark.parametrize("model", ["champion", "candidate"])
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused_and_names_the_model(
    model: str, broken: float
) -> None:
    scores = {"champion": [0.1, 0.2, 0.3], "candidate": [0.1, 0.2, 0.3]}
    scores[model][1] = broken
    with pytest.raises(ModelRefused, match=rf"The {model} gives .* canary row 1; 1 of 3") as found:
        report_of(**scores)
    assert found.value.reason == Refusal.ROWS


def test_scores_must_be_one_per_row() -> None:
    with pytest.raises(ValueError, match=r"3 rows need scores of shape \(3,\)"):
        report_of([0.1, 0.2, 0.3], [0.1, 0.2])


def test_a_missing_segment_column_is_named() -> None:
    with pytest.raises(KeyError, match="origin"):
        compare_scores(
            keyed(1), np.array([0.1]), np.array([0.1]), decision=0.5, segments=("origin",)
        )


@pytest.mark.parametrize("rows", [0, 10])
def test_a_record_is_plain_json(rows: int) -> None:
    origins = pa.array(["EWR"] * rows, pa.string())
    report = report_of(CHAMPION[:rows], CANDIDATE[:rows], {"origin": origins})
    record = report.as_record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["flips"] == {
        "count": report.flips.count,
        "share": report.flips.share,
        "up": report.flips.up,
        "down": report.flips.down,
    }
    assert [segment["state"] for segment in record["segments"]] == ["too few rows"] * (rows > 0)
