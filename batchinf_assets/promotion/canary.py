"""The canary: a share of a recent window, scored by candidate and champion, and how they differ.

Nothing is judged here; that is `promotion.clauses`. Scoring itself is `scoring`'s.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.evaluation.drift.distances import population_stability
from batchinf_assets.evaluation.metrics.segments import segment_codes
from batchinf_assets.lake.digest import sort_by
from batchinf_assets.registry.profile import build_profile

Floats = npt.NDArray[np.float64]

MIN_SEGMENT_ROWS = 30

DIFFERENCE_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

SCORE = "score"
POSITION = "row position"  # no column's name has a space


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Rows whose label, score >= decision, is another under the candidate.

    Attributes:
        count: up + down.
        share: Of all rows; None without rows.
        up: From false to true.
        down: From true to false.
    """

    count: int
    share: float | None
    up: int
    down: int


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The rows that share a value, or a range of values, of one feature.

    Attributes:
        column: The feature.
        value: The value or range in words.
        rows: How many rows.
        state: `too few rows` below 30 of them: then there are no figures.
        mean_shift: Mean of the candidate's scores minus mean of the champion's.
        flips_share: Share of rows whose label changes; None where rows fall into no classes.
    """

    column: str
    value: str
    rows: int
    state: Literal["measured", "too few rows"]
    mean_shift: float | None
    flips_share: float | None


@dataclass(frozen=True, kw_only=True)
class CanaryReport:
    """How the candidate's scores differ from the champion's on the same rows.

    Without rows every figure but the counts is None.

    Attributes:
        rows: Scored by both.
        decision: The score that counts as positive; None where rows fall into no classes.
        champion_mean: Mean of the champion's scores.
        champion_deviation: Their standard deviation.
        candidate_mean: Mean of the candidate's.
        mean_shift: candidate_mean - champion_mean.
        largest_difference: Largest |candidate - champion| of a row.
        difference_quantiles: Of |candidate - champion|, by `p50`, `p95` and `p99`; each occurred.
        psi: Population stability index of the score, between the champion's deciles.
        flips: Rows whose label changes; None where rows fall into no classes.
        segments: By the declared columns in their order.
    """

    rows: int
    decision: float | None
    champion_mean: float | None
    champion_deviation: float | None
    candidate_mean: float | None
    mean_shift: float | None
    largest_difference: float | None
    difference_quantiles: Mapping[str, float | None]
    psi: float | None
    flips: Flips | None
    segments: tuple[Segment, ...]

    def as_record(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {**asdict(self), "segments": [asdict(segment) for segment in self.segments]}


def canary_sample(
    features: pa.Table, *, key: Sequence[str], share: float, seed_text: str
) -> pa.Table:
    """Choose about a share of the rows, each by the SHA-256 of its own key.

    Whether a row is chosen depends on nothing but its key, the share and the text: not on the
    machine, the other rows or their order. A larger share holds every row of a smaller one.

    Args:
        features: Rows with the key's columns.
        key: Columns that identify a row.
        share: Of the rows, above 0 and up to 1.
        seed_text: Another text chooses other rows.

    Returns:
        The chosen rows, sorted by their key.

    Raises:
        KeyError: A key column is missing.
    """
    limit = int(share * 2**64)
    keys = pa.table({name: _plain(features.column(name)) for name in key})
    texts = [map(str, column.to_pylist()) for column in keys.columns]
    chosen = [_draw(seed_text, values) < limit for values in zip(*texts, strict=True)]
    rows = keys.append_column(POSITION, pa.array(range(keys.num_rows), pa.int64()))
    sample = sort_by(rows.filter(pa.array(chosen, pa.bool_())), key)
    return features.take(sample.column(POSITION))


def compare_scores(
    rows: pa.Table,
    champion: Floats,
    candidate: Floats,
    *,
    decision: float | None,
    segments: Sequence[str],
) -> CanaryReport:
    """Compare two models' scores of the same rows; the rows' order does not matter.

    Numbers are cut into segments at their quartiles. Strings and bools make one segment per value,
    all values beyond the 50 most frequent together.

    Args:
        rows: n, with the columns to report by.
        champion: Its scores, (n,).
        candidate: Its scores, (n,).
        decision: The score that counts as positive, itself included; None where rows fall into no
            classes.
        segments: Columns to report by.

    Raises:
        ModelRefused: A score is not finite; says whose.
        ValueError: There is not one score of each model per row.
        KeyError: A column to report by is missing.
    """
    _require_finite_scores(rows.num_rows, {"champion": champion, "candidate": candidate})
    apart = np.abs(candidate - champion)
    return CanaryReport(
        rows=rows.num_rows,
        decision=decision,
        champion_mean=_mean(champion),
        champion_deviation=_deviation(champion),
        candidate_mean=_mean(candidate),
        mean_shift=_shift(champion, candidate),
        largest_difference=float(apart.max()) if len(apart) else None,
        difference_quantiles={
            name: float(np.quantile(apart, at, method="inverted_cdf")) if len(apart) else None
            for name, at in DIFFERENCE_QUANTILES.items()
        },
        psi=_stability(champion, candidate),
        flips=_flips(champion, candidate, decision),
        segments=tuple(
            _segment(name, value, champion[mask], candidate[mask], decision)
            for name in segments
            for value, mask in _groups(rows.column(name))
        ),
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
    return column


def _draw(seed_text: str, values: tuple[str, ...]) -> int:
    text = "\x1f".join(("batchinf-canary-1", seed_text, *values))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _require_finite_scores(rows: int, scores: Mapping[str, Floats]) -> None:
    for name, values in scores.items():
        if values.shape != (rows,):
            raise ValueError(f"{rows} rows need scores of shape ({rows},), not {values.shape}")
        broken = np.flatnonzero(~np.isfinite(values))
        if len(broken):
            raise ModelRefused(
                f"The {name} gives {values[broken[0]]} as the score of canary row {broken[0]}; "
                f"{len(broken)} of {rows} scores are not finite.",
                reason=Refusal.ROWS,
                next_step="Look at that row's features, then train a model that can score it.",
            )


def _mean(scores: Floats) -> float | None:
    # Exact sums: a verdict must not hang on the order in which the rows were read.
    return math.fsum(scores.tolist()) / len(scores) if len(scores) else None


def _deviation(scores: Floats) -> float | None:
    mean = _mean(scores)
    if mean is None:
        return None
    return math.sqrt(math.fsum(((scores - mean) ** 2).tolist()) / len(scores))


def _shift(champion: Floats, candidate: Floats) -> float | None:
    before, after = _mean(champion), _mean(candidate)
    return None if before is None or after is None else after - before


def _flips(champion: Floats, candidate: Floats, decision: float | None) -> Flips | None:
    if decision is None:
        return None
    before, after = champion >= decision, candidate >= decision
    up, down = int(np.count_nonzero(after & ~before)), int(np.count_nonzero(before & ~after))
    share = (up + down) / len(champion) if len(champion) else None
    return Flips(count=up + down, share=share, up=up, down=down)


def _stability(champion: Floats, candidate: Floats) -> float | None:
    if not len(champion):
        return None
    scored = pa.table({SCORE: champion})
    profile = build_profile(scored, champion, columns={}, score_column=SCORE)
    reference = profile.subjects[SCORE]
    observed = {SCORE: reference.observe(pa.array(candidate)).tolist()}
    return population_stability(observed, {SCORE: reference})[SCORE]


def _segment(
    column: str, value: str, champion: Floats, candidate: Floats, decision: float | None
) -> Segment:
    enough = len(champion) >= MIN_SEGMENT_ROWS
    flips = _flips(champion, candidate, decision) if enough else None
    return Segment(
        column=column,
        value=value,
        rows=len(champion),
        state="measured" if enough else "too few rows",
        mean_shift=_shift(champion, candidate) if enough else None,
        flips_share=flips.share if flips else None,
    )


def _groups(column: pa.ChunkedArray) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    names, codes = segment_codes(column)
    for code, name in enumerate(names):
        mask = codes == code
        if mask.any():
            yield name, mask
