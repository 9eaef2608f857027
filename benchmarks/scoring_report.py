"""What `benchmarks.batch_scoring` found, as Markdown: both sides of each ratio, met or missed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import described, libraries
from benchmarks.rivals.job import usable_cores
from benchmarks.scoring_runs import KilledRun, Side, Turn

NAMES: dict[Side, str] = {
    "ours": "ours, every guarantee on",
    "bare": "ours, every guarantee off",
    "script": "(a) pandas and scikit-learn",
    "ray": "(b) Ray Data `map_batches`",
    "spark": "(c) Spark `mapInPandas`",
    "limit": "(d) reading + predicting + writing alone",
}
LEAST: dict[Side, float] = {"script": 8.0, "ray": 10.0, "spark": 10.0}
LIBRARIES = ("numpy", "pandas", "pyarrow", "scikit-learn", "numba", "deltalake", "duckdb")
TOLERANCE, MOST_MEMORY, MEMORY_GROWTH = 1e-9, 1.5e9, 1.2


@dataclass(kw_only=True)
class Findings:
    """Everything that was measured.

    Attributes:
        rows: Rows of the window.
        turns: Every turn.
        kill: The run that was killed, if one was.
        scaled_rows: Rows of the larger window, 0 where there was none.
        scaled: Every turn on it.
        scaled_kill: The run on it that was killed.
    """

    rows: int
    turns: list[Turn] = field(default_factory=list[Turn])
    kill: KilledRun | None = None
    scaled_rows: int = 0
    scaled: list[Turn] = field(default_factory=list[Turn])
    scaled_kill: KilledRun | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target and what was found.

    Attributes:
        target: What was asked for.
        found: What was measured.
        met: Whether that is enough.
    """

    target: str
    found: str
    met: bool

    @property
    def line(self) -> str:
        """One line for the terminal."""
        return f"{'met   ' if self.met else 'MISSED'}  {self.target}: {self.found}"


def seconds_of(turns: Sequence[Turn], side: Side) -> list[float]:
    """Return a side's seconds, round by round; empty where it did not run."""
    return [turn.seconds for turn in turns if turn.side == side]


def verdicts(findings: Findings) -> list[Verdict]:
    """Judge every target of which something was measured."""
    return [*_speed(findings), *_equality(findings), *_scale(findings), *_kills(findings)]


def write_report(findings: Findings, path: Path) -> None:
    """Write the figures, what they were measured on, and what they mean."""
    path.write_text("\n".join(_lines(findings)) + "\n", encoding="utf-8")


def _speed(findings: Findings) -> Iterator[Verdict]:
    turns = findings.turns
    for side, least in LEAST.items():
        if ratios := _ratios(turns, side, "ours"):
            median = statistics.median(ratios)
            target = f"at least {least:g} x {NAMES[side]}"
            yield Verdict(target=target, found=f"{_spread(ratios)} x", met=median >= least)
    if ratios := _ratios(turns, "limit", "ours"):
        target, median = f"at least 0.75 of {NAMES['limit']}", statistics.median(ratios)
        yield Verdict(target=target, found=_spread(ratios), met=median >= 0.75)
    if ratios := _ratios(turns, "ours", "bare"):
        cost = statistics.median(ratios) - 1
        found = f"{cost:+.1%} ({min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%})"
        yield Verdict(target="guarantees cost at most 15 %", found=found, met=cost <= 0.15)


def _equality(findings: Findings) -> Iterator[Verdict]:
    for rows, turns in ((findings.rows, findings.turns), (findings.scaled_rows, findings.scaled)):
        compared = [turn for turn in turns if turn.side == "ours" and turn.difference is not None]
        if compared:
            largest = max(turn.difference or 0.0 for turn in compared)
            flips = max(turn.flips or 0 for turn in compared)
            yield Verdict(
                target=f"all {rows:,} scores within {TOLERANCE:g} of scikit-learn's",
                found=f"largest difference {largest:.1e}, {flips} labels flipped",
                met=largest <= TOLERANCE and flips == 0,
            )


def _scale(findings: Findings) -> Iterator[Verdict]:
    small, large = seconds_of(findings.turns, "ours"), seconds_of(findings.scaled, "ours")
    if not (small and large):
        return
    speeds = [
        findings.rows / statistics.median(small) / 1e6,
        findings.scaled_rows / statistics.median(large) / 1e6,
    ]
    change = speeds[1] / speeds[0] - 1
    yield Verdict(
        target=f"rows/s at {findings.scaled_rows:,} within 10 % of those at {findings.rows:,}",
        found=f"{speeds[1]:.2f} M against {speeds[0]:.2f} M, {change:+.1%}",
        met=change >= -0.10,
    )
    peaks = [_peak(findings.turns), _peak(findings.scaled)]
    yield Verdict(
        target="peak memory within 1.2 x of the smaller window's, under 1.5 GB",
        found=f"{peaks[1] / 1e6:.0f} MB against {peaks[0] / 1e6:.0f} MB",
        met=peaks[1] <= MEMORY_GROWTH * peaks[0] and peaks[1] < MOST_MEMORY,
    )


def _kills(findings: Findings) -> Iterator[Verdict]:
    for kill in (findings.kill, findings.scaled_kill):
        if kill:
            yield Verdict(
                target=f"{kill.rows:,} rows: killed at 90 %, the rerun costs at most 15 %",
                found=str(kill),
                met=kill.rerun <= 0.15 * kill.full,
            )


def _lines(findings: Findings) -> Iterator[str]:
    yield "# Batch scoring, everybody's way"
    yield ""
    yield "Written by `python -m benchmarks.batch_scoring`; what is measured is in its docstring."
    yield ""
    yield f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {described(usable_cores())}"
    yield ""
    yield libraries(LIBRARIES)
    yield ""
    yield from _disturbance([*findings.turns, *findings.scaled])
    yield from _table(findings.rows, findings.turns)
    if findings.scaled:
        yield from _table(findings.scaled_rows, findings.scaled)
    yield "## Targets"
    yield ""
    yield "| target | found | |"
    yield "|---|---|---|"
    for verdict in verdicts(findings):
        yield f"| {verdict.target} | {verdict.found} | {'met' if verdict.met else '**missed**'} |"
    for side, least in LEAST.items():
        if not seconds_of(findings.turns, side):
            yield f"| at least {least:g} x {NAMES[side]} | not measured | **unknown** |"


def _disturbance(turns: Sequence[Turn]) -> Iterator[str]:
    """Say so if others were busy: rivals with many threads suffer from that more than we do."""
    disturbed = [turn.others or 0.0 for turn in turns if turn.disturbed]
    if disturbed:
        yield (
            f"**Not a quiet machine:** in {len(disturbed)} of {len(turns)} turns others kept up to "
            f"{max(disturbed):.1f} cores busy. Run it again before quoting any of this."
        )
        yield ""


def _table(rows: int, turns: Sequence[Turn]) -> Iterator[str]:
    yield f"## {rows:,} rows x 20 float32 features, 100 boosted trees of 31 leaves"
    yield ""
    yield "Medians of the rounds; in brackets the smallest and the largest."
    yield ""
    yield "| side | seconds | M rows/s | its time ÷ ours | core s | start-up, s | peak, MB |"
    yield "|---|---|---|---|---|---|---|"
    for side in dict.fromkeys(turn.side for turn in turns):
        mine = [turn for turn in turns if turn.side == side]
        spent = seconds_of(turns, side)
        speed = rows / statistics.median(spent) / 1e6
        ratios = _ratios(turns, side, "ours")
        start_up = statistics.median(turn.start_up for turn in mine)
        peaks = [turn.peak for turn in mine if turn.peak]
        peak = f"{max(peaks) / 1e6:.0f}" if peaks else "unknown"
        cpu = [turn.cpu for turn in mine if turn.cpu is not None]
        cores = f"{statistics.median(cpu):.2f}" if cpu else "unknown"
        yield (
            f"| {NAMES[side]} | {_spread(spent)} | {speed:.2f} | {_spread(ratios)} "
            f"| {cores} | {start_up:.1f} | {peak} |"
        )
    yield ""
    for side in dict.fromkeys(turn.side for turn in turns):
        mine = [turn.stages for turn in turns if turn.side == side]
        if len(mine[0]) > 1:
            parts = ", ".join(
                f"{stage} {statistics.median(stages[stage] for stages in mine):.3f} s"
                for stage in mine[0]
            )
            yield f"- {NAMES[side]}: {parts}"
    yield ""


def _ratios(turns: Sequence[Turn], one: Side, other: Side) -> list[float]:
    """Divide round by round, since both ran next to each other."""
    pairs = zip(seconds_of(turns, one), seconds_of(turns, other), strict=False)
    return [a / b for a, b in pairs]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _peak(turns: Sequence[Turn]) -> int:
    return max(turn.peak or 0 for turn in turns if turn.side == "ours")
