"""The benchmark that decides: features Parquet to published predictions, against everybody else.

Every side scores the same file with the same model in a process of its own; the sides take turns,
so that a machine whose speed drifts slows all. Quoted are medians and the ratio round by round.
Start-up (imports, model, compiled kernels, a cluster) is not in the seconds and printed beside
them. The file is in the operating system's cache for everybody; outputs go to the disk.

    ours    three assets' work on the window, every guarantee on
    bare    the same engine with every guarantee off
    script  pandas and scikit-learn, all cores
    ray     Ray Data map_batches          ┐ only where .venv-rivals is installed:
    spark   Spark mapInPandas             ┘ make .venv-rivals/installed
    limit   reading alone + predicting alone + writing alone, in their best form

Every score of every side is held against scikit-learn's. What was found, targets that were missed
among it, is written to `benchmarks/results.md`.

    python -m benchmarks.batch_scoring [--rows N] [--rounds N] [--scale] [--kill] [--sides A,B,…]
        [--report FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scoring_report import Findings, verdicts, write_report
from benchmarks.scoring_runs import KilledRun, Side, Turn, available, killed_and_rerun, take_turn
from benchmarks.scoring_world import ScoringWorld, build

ROWS, SCALE, RESULTS = 4_000_000, 10, Path(__file__).parent / "results.md"
SCALED: tuple[Side, ...] = ("ours", "bare")


def main() -> None:
    """Run all sides and write what was found."""
    arguments = _arguments()
    sides = [side for side in available() if side == "ours" or side in arguments.sides]
    findings = Findings(rows=arguments.rows)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="batchinf-bench-") as folder:
        world = _world(Path(folder) / "world", arguments.rows)
        findings.turns = _rounds(world, sides, arguments.rounds)
        if arguments.kill:
            findings.kill = _killed(world)
        if arguments.scale:
            scaled = _world(Path(folder) / "scaled", arguments.rows * SCALE)
            findings.scaled_rows = scaled.rows
            findings.scaled = _rounds(scaled, SCALED, arguments.rounds)
            if arguments.kill:
                findings.scaled_kill = _killed(scaled)
    write_report(findings, arguments.report)
    for verdict in verdicts(findings):
        print(verdict.line)
    print(f"Written to {arguments.report.name}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Batch scoring, everybody's way, in one run.")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", action="store_true", help="ours also on ten times the rows")
    parser.add_argument("--kill", action="store_true", help="kill ours at 90 %% and run it again")
    parser.add_argument("--sides", type=lambda text: text.split(","), default=list(available()))
    parser.add_argument("--folder", help="where to work; a few GB for --scale")
    parser.add_argument("--report", type=Path, default=RESULTS, help="what to write")
    return parser.parse_args()


def _world(root: Path, rows: int) -> ScoringWorld:
    print(f"Making {rows:,} rows, a model, its signatures …", flush=True)
    return build(root, rows)


def _killed(world: ScoringWorld) -> KilledRun | None:
    found = killed_and_rerun(world)
    print(f"  {found or 'too few shards to kill the process at nine tenths of them'}", flush=True)
    return found


def _rounds(world: ScoringWorld, sides: Sequence[Side], rounds: int) -> list[Turn]:
    turns: list[Turn] = []
    for number in range(rounds):
        for side in sides:
            turns.append(turn := take_turn(world, side))
            print(f"  round {number + 1} of {rounds}: {turn}", flush=True)
    return turns


if __name__ == "__main__":
    main()
