"""Whether a scorer gives a model's answers: held against the reference, row by row.

The rows come from `scoring.adversarial`. A record of what was found is kept with the model, for
scorers that passed and for those that were refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.errors import BatchinfError
from batchinf_assets.registry.card import ParityRecord
from batchinf_assets.scoring.scorer import Outputs, Scorer

TOLERANCE = 1e-9

SMALLEST_BLOCK = 16
"""A table that both scorers refuse is cut in halves down to this many rows."""

ROUNDS = 3
"""Timed calls, of which the median counts."""

SHOWN_VALUE = 40
SHOWN_ROW = 600
"""Characters of one value, and of a row, in a reason."""

_CRASHES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class _Rules:
    decision: float
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class _Unanswered:
    problem: str
    crashed: bool = False


@dataclass(frozen=True, kw_only=True)
class _Finding:
    rows: int = 0
    difference: float | None = None
    flips: int | None = None
    bit_equal: bool = True
    reason: str | None = None


def compare_scorers(
    reference: Scorer,
    candidate: Scorer,
    tables: Sequence[pa.Table],
    hostile: Sequence[pa.Table],
    *,
    decision: float,
    tolerance: float = TOLERANCE,
) -> ParityRecord:
    """Hold a scorer against the reference.

    It is refused if any label differs, any output is further apart than the tolerance, only one of
    the two is NaN or infinite, only one of the two refuses a row, the shape differs, it crashes, or
    no row could be compared. The reason names the first such row.

    Args:
        reference: What is right by definition.
        candidate: The scorer in question.
        tables: Rows to compare. What both refuse is cut down to blocks of 16 rows, so that the
            other rows are compared.
        hostile: Tables of few rows that a model may refuse; cut down to single rows.
        decision: The label of two classes is true where its probability is at least this; among
            more classes it is the most probable one.
        tolerance: Largest allowed difference of probabilities; of a regressor's values relative to
            max(1, |value|).
    """
    rules = _Rules(decision=decision, tolerance=tolerance)
    findings = [
        finding
        for group, smallest in ((tables, SMALLEST_BLOCK), (hostile, 1))
        for table in group
        for finding in _compared(reference, candidate, table, rules, smallest)
    ]
    return _record(candidate.name, reference.name, findings)


def reference_record(reference: Scorer, rows: int) -> ParityRecord:
    """Return the reference's own record: it equals itself."""
    return ParityRecord(
        scorer=reference.name,
        rows=rows,
        largest_difference=0.0,
        label_flips=None,
        bit_equal=True,
        verdict="passed",
        reason=None,
    )


def measure_speed(
    scorer: Scorer, table: pa.Table, *, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return rows per second: the median of three calls after one that warms up.

    Args:
        scorer: What to measure.
        table: Rows that it answers, as many as a shard has.
        clock: Seconds.

    Raises:
        ModelRefused: The scorer refuses the rows.
    """
    scorer.outputs(table)
    seconds: list[float] = []
    for _ in range(ROUNDS):
        start = clock()
        scorer.outputs(table)
        seconds.append(clock() - start)
    return table.num_rows / max(median(seconds), 1e-9)


def choose_scorer(
    reference: ParityRecord, candidates: Sequence[ParityRecord], speeds: Mapping[str, float]
) -> str:
    """Return the name of the fastest scorer that passed; of equals, the reference or the first.

    Args:
        reference: The reference's record, of the same run as the others.
        candidates: One that was not measured is not chosen.
        speeds: Rows per second by scorer. They are no part of the records: what a clock says would
            give the same model another digest each time.
    """
    passed = [record for record in candidates if record.verdict == "passed"]
    return max((reference, *passed), key=lambda record: speeds.get(record.scorer, 0.0)).scorer


def _compared(
    reference: Scorer, candidate: Scorer, table: pa.Table, rules: _Rules, smallest: int
) -> Iterator[_Finding]:
    if table.num_rows == 0:
        return
    expected, given = _asked(reference, table), _tried(candidate, table)
    if isinstance(expected, _Unanswered) and isinstance(given, _Unanswered) and not given.crashed:
        if table.num_rows > smallest:
            for half in _halves(table):
                yield from _compared(reference, candidate, half, rules, smallest)
    elif isinstance(expected, _Unanswered) or isinstance(given, _Unanswered):
        rows = _narrowed(reference, candidate, table, _outcome(expected, given))
        yield _one_sided(reference, candidate, rows)
    else:
        yield _measured(reference.name, expected, given, table, rules)


def _asked(scorer: Scorer, table: pa.Table) -> Outputs | _Unanswered:
    try:
        with np.errstate(all="ignore"):  # rows are meant to overflow scalers
            return scorer.outputs(table)
    except BatchinfError as error:
        return _Unanswered(problem=error.message)


def _tried(scorer: Scorer, table: pa.Table) -> Outputs | _Unanswered:
    try:
        return _asked(scorer, table)
    except _CRASHES as error:
        first = str(error).partition("\n")[0]
        return _Unanswered(problem=f"{type(error).__name__}: {first}", crashed=True)


def _outcome(
    expected: Outputs | _Unanswered, given: Outputs | _Unanswered
) -> tuple[bool, bool, bool]:
    crashed = isinstance(given, _Unanswered) and given.crashed
    return isinstance(expected, _Unanswered), isinstance(given, _Unanswered), crashed


def _narrowed(
    reference: Scorer, candidate: Scorer, table: pa.Table, outcome: tuple[bool, bool, bool]
) -> pa.Table:
    """Return the first row on which the two part in the same way, or as few rows as can be."""
    while table.num_rows > 1:
        found = (
            half
            for half in _halves(table)
            if _outcome(_asked(reference, half), _tried(candidate, half)) == outcome
        )
        smaller = next(found, None)
        if smaller is None:
            break
        table = smaller
    return table


def _halves(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    middle = table.num_rows // 2
    return table.slice(0, middle), table.slice(middle)


def _one_sided(reference: Scorer, candidate: Scorer, rows: pa.Table) -> _Finding:
    expected, given = _asked(reference, rows), _tried(candidate, rows)
    if isinstance(given, _Unanswered):
        verb = "crashes" if given.crashed else "refuses"
        what = f"{verb} ({_printable(given.problem)})"
    else:
        what = f"answers {_outputs(given[0])}"
    if isinstance(expected, _Unanswered):
        other = f"refuses ({_printable(expected.problem)})"
    else:
        other = f"answers {_outputs(expected[0])}"
    return _Finding(
        bit_equal=False,
        reason=f"it {what} where {reference.name} {other}: {_row(rows, 0)}",
    )


def _measured(
    reference: str, expected: Outputs, given: Outputs, table: pa.Table, rules: _Rules
) -> _Finding:
    if given.shape != expected.shape or given.dtype != np.float64:
        return _Finding(
            bit_equal=False,
            reason=f"it gives {given.dtype} of shape {given.shape} where {reference} gives "
            f"float64 of shape {expected.shape}",
        )
    difference = _differences(expected, given)
    flips = _labels(expected, rules.decision) != _labels(given, rules.decision)
    wrong = np.flatnonzero(flips | (difference > rules.tolerance).any(axis=1))
    finite = difference[np.isfinite(difference)]
    return _Finding(
        rows=table.num_rows,
        difference=float(finite.max(initial=0.0)),
        flips=None if expected.shape[1] == 1 else int(flips.sum()),
        bit_equal=_bit_equal(expected, given),
        reason=_difference_at(int(wrong[0]), reference, expected, given, flips, table, rules)
        if len(wrong)
        else None,
    )


def _differences(expected: Outputs, given: Outputs) -> Outputs:
    """Return the distances, infinite where only one of the two is NaN or infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(expected - given)
        if expected.shape[1] == 1:
            apart /= np.maximum(1.0, np.abs(expected))
    same = (expected == given) | (np.isnan(expected) & np.isnan(given))
    comparable = np.isfinite(expected) & np.isfinite(given)
    return np.where(same, 0.0, np.where(comparable, apart, np.inf))


def _labels(outputs: Outputs, decision: float) -> npt.NDArray[np.int64]:
    if outputs.shape[1] == 2:
        return (outputs[:, 1] >= decision).astype(np.int64)
    return outputs.argmax(axis=1)


def _bit_equal(expected: Outputs, given: Outputs) -> bool:
    left, right = np.ascontiguousarray(expected), np.ascontiguousarray(given)
    both_nan = np.isnan(left) & np.isnan(right)
    return bool(((left.view(np.int64) == right.view(np.int64)) | both_nan).all())


def _difference_at(
    row: int,
    reference: str,
    expected: Outputs,
    given: Outputs,
    flips: npt.NDArray[np.bool_],
    table: pa.Table,
    rules: _Rules,
) -> str:
    what = "another label" if flips[row] else f"more than {rules.tolerance:g} apart"
    answers = f"{_outputs(given[row])} where {reference} gives"
    return f"it gives {answers} {_outputs(expected[row])} ({what}): {_row(table, row)}"


def _row(table: pa.Table, row: int) -> str:
    values = table.slice(row, 1).to_pylist()[0]
    return _bounded(", ".join(f"{name}={_shown(value)}" for name, value in values.items()))


def _outputs(outputs: Outputs) -> str:
    """Write one row's outputs, exactly, the first eight at most."""
    more = ", …" if len(outputs) > 8 else ""
    return f"[{', '.join(repr(value) for value in outputs[:8].tolist())}{more}]"


def _printable(text: str) -> str:
    return _bounded("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def _shown(value: object) -> str:
    """Write a value so that no character of it can end the line or steer a terminal."""
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= SHOWN_VALUE else f"{text[:SHOWN_VALUE]}…"
    return repr(cut) if isinstance(value, str) else cut


def _bounded(text: str) -> str:
    return text if len(text) <= SHOWN_ROW else f"{text[:SHOWN_ROW]}…"


def _record(scorer: str, reference: str, findings: Sequence[_Finding]) -> ParityRecord:
    differences = [f.difference for f in findings if f.difference is not None]
    flips = [f.flips for f in findings if f.flips is not None]
    rows = sum(finding.rows for finding in findings)
    reason = next((finding.reason for finding in findings if finding.reason), None)
    if reason is None and not rows:
        reason = f"there is no row that both it and {reference} answer"
    return ParityRecord(
        scorer=scorer,
        rows=rows,
        largest_difference=max(differences, default=None),
        label_flips=sum(flips) if flips else None,
        bit_equal=rows > 0 and all(finding.bit_equal for finding in findings),
        verdict="refused" if reason else "passed",
        reason=reason,
    )
