"""The command that proposes a golden set, and says how it differs from the present one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchinf_assets.checks import quoted
from batchinf_assets.cli.workplace import as_json, here, open_registry
from batchinf_assets.console import Console, print_json, print_table
from batchinf_assets.errors import GoldenSetInvalid
from batchinf_assets.project import Project
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from batchinf_assets.evaluation.golden.golden_provenance import Provenance
    from batchinf_assets.evaluation.golden.golden_set import GoldenSet

SHOWN_VALUES = 10
FIRST_VERSION = "1"


@click.group()
def golden() -> None:
    """Propose golden sets: the labelled rows that every model is measured on.

    The set that counts is the file that defs.yaml names, with its provenance beside it; it changes
    when somebody commits another one, and by no command.
    """


@golden.command("draw")
@click.argument("pipeline")
@click.option("--from", "first", required=True, help="First window to draw from.")
@click.option("--to", "last", required=True, help="Last window, itself included.")
@click.option("--rows", type=click.IntRange(min=1), required=True, help="How many rows.")
@click.option(
    "--segment",
    "segments",
    multiple=True,
    metavar="COLUMN",
    help="A feature to stratify by besides the label; may be repeated. Else golden.segments.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to; else beside the declared file, ending in .proposed.parquet.",
)
@click.option("--force", is_flag=True, help="Draw over an earlier proposal.")
@as_json
def golden_draw(
    *,
    pipeline: str,
    first: str,
    last: str,
    rows: int,
    segments: tuple[str, ...],
    seed: int,
    output: Path | None,
    force: bool,
    json_: bool,
) -> None:
    """Draw labelled rows of PIPELINE's windows into a new golden set, and compare it.

    Rows come from what landed, by the pipeline's own SQL, in strata by label and segments,
    numbers by their quartiles: each gives its share, and at least one row. Windows that the
    champion or the declared training learned from are refused. The same files, code and seed give
    the same bytes.

    The declared golden set is never touched. The proposal and its provenance lie beside it until
    you put both in its place and commit them.
    """
    from batchinf_assets.training.golden_draw import proposed_place

    declared, project = load_pipeline(pipeline), here()
    place = proposed_place(project, declared.spec, output, replace=force)
    windows = declared.spec.window.between(first, last)
    with Console(shown=not json_).progress("Labelled rows") as advance:
        told = _propose(project, declared, windows, rows, segments, seed, place, advance)
    if json_:
        print_json({**asdict(told), "provenance": told.provenance.model_dump(mode="json")})
    else:
        _tell(told, declared.spec)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A golden set in figures.

    Attributes:
        rows: Its rows.
        positives: Rows whose label is true; None where labels are numbers.
        mean: Of the labels.
        segments: Rows by column and value; a missing value is called `missing`. Numbers are parted
            at the quartiles of both sets together.
    """

    rows: int
    positives: int | None
    mean: float
    segments: dict[str, dict[str, int]]


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A proposed golden set beside the present one.

    Attributes:
        file: Where it was written.
        takes_the_place_of: The declared file.
        provenance: What was written beside it.
        present: The present set; None where there is none that can be read.
        proposed: The proposed one.
        doubts: What the check `golden_set` will say of it.
        also_learned: Registered models besides the champion that learned from the same windows.
    """

    file: str
    takes_the_place_of: str
    provenance: Provenance
    present: Summary | None
    proposed: Summary
    doubts: tuple[str, ...]
    also_learned: tuple[str, ...]


def _propose(
    project: Project,
    pipeline: Pipeline,
    windows: Sequence[Window],
    rows: int,
    segments: Sequence[str],
    seed: int,
    place: Path,
    on_progress: Callable[[int, int], None],
) -> Proposal:
    from batchinf_assets.training.golden_draw import (
        GoldenDraw,
        draw_golden_set,
        learned_from,
        others_that_learned,
        write_golden_set,
    )

    spec, registry, present = pipeline.spec, open_registry(project), _present(project, pipeline)
    draw = GoldenDraw(
        windows=windows,
        rows=rows,
        segments=segments or spec.golden.segments,
        seed=seed,
        version=_next_version(present),
        at=datetime.now(UTC),
        apart_from=learned_from(registry, spec),
    )
    drawn = draw_golden_set(project, pipeline, draw, on_progress)
    provenance = write_golden_set(place, drawn, spec)
    old, new = _summaries(present, drawn.rows, spec, draw.segments)
    return Proposal(
        file=project.shown(place),
        takes_the_place_of=spec.golden.file,
        provenance=provenance,
        present=old,
        proposed=new,
        doubts=_doubts(drawn.rows, provenance, spec, windows[-1]),
        also_learned=others_that_learned(registry, spec, windows),
    )


def _doubts(
    rows: pa.Table, provenance: Provenance, spec: PipelineSpec, window: Window
) -> tuple[str, ...]:
    from batchinf_assets.evaluation.golden.golden_set import GoldenSet, judge_golden_set
    from batchinf_assets.manifest.judgement import GoldenSetRecord

    record = GoldenSetRecord(sha256=provenance.sha256)
    drawn = GoldenSet(rows=rows, record=record, provenance=provenance)
    return tuple(map(str, judge_golden_set(drawn, spec, window).violations))


def _present(project: Project, pipeline: Pipeline) -> GoldenSet | None:
    from batchinf_assets.evaluation.golden.golden_set import read_golden_set

    try:
        return read_golden_set(project, pipeline.spec)
    except GoldenSetInvalid:  # drawing is how a missing or damaged one is made good
        return None


def _next_version(present: GoldenSet | None) -> str:
    version = present.record.version if present else None
    return str(int(version) + 1) if version and version.isdecimal() else FIRST_VERSION


def _summaries(
    present: GoldenSet | None, drawn: pa.Table, spec: PipelineSpec, segments: Sequence[str]
) -> tuple[Summary | None, Summary]:
    columns = dict.fromkeys((*spec.golden.segments, *segments))
    sets = [present.rows, drawn] if present else [drawn]
    counts = {name: _counts([rows.column(name) for rows in sets]) for name in columns}
    found = [
        _summary(rows, spec, {name: each[place] for name, each in counts.items()})
        for place, rows in enumerate(sets)
    ]
    return (found[0] if present else None), found[-1]


def _summary(rows: pa.Table, spec: PipelineSpec, segments: dict[str, dict[str, int]]) -> Summary:
    import pyarrow as pa
    import pyarrow.compute as pc

    from batchinf_assets.evaluation.golden.golden_set import positives_among

    labels = rows.column(spec.golden.label)
    return Summary(
        rows=rows.num_rows,
        positives=positives_among(labels),
        mean=float(pc.mean(labels.cast(pa.float64())).as_py()),
        segments=segments,
    )


def _counts(columns: Sequence[pa.ChunkedArray]) -> list[dict[str, int]]:
    """Count the rows of one column by value, or by quartile of all sets, in each set."""
    from batchinf_assets.evaluation.golden.golden_set import segment_counts
    from batchinf_assets.evaluation.metrics.segments import quartile_counts

    counted = quartile_counts(columns) or [segment_counts(column) for column in columns]
    return [
        {"missing" if text is None else text: rows for text, rows in counts.items()}
        for counts in counted
    ]


def _tell(told: Proposal, spec: PipelineSpec) -> None:
    known = told.provenance
    click.echo(
        f"Version {known.version} of the golden set, proposed in {told.file}: {known.rows:,} of "
        f"{known.available:,} labelled rows of {known.first.key} to {known.last.key}."
    )
    print_table("Golden set", ["figure", "present", "proposed"], [*_rows(told, spec)])
    if told.present is None:
        click.echo(f"There is no readable golden set in {told.takes_the_place_of} to compare with.")
    for doubt in told.doubts:
        click.echo(f"Will be doubted: {doubt}.")
    if told.also_learned:
        click.echo(
            f"Learned from some of these windows, and looks better on them than it is: "
            f"{', '.join(told.also_learned)}. Register anew what is to be compared."
        )
    click.echo(
        f"Next: look at it, put it and its .json in the place of {told.takes_the_place_of} and the "
        ".json there, and commit both. Figures before and after are not comparable."
    )


def _rows(told: Proposal, spec: PipelineSpec) -> Iterator[list[object]]:
    old, new = told.present, told.proposed
    yield ["rows", old and f"{old.rows:,}", f"{new.rows:,}"]
    if new.positives is None:
        yield [f"mean of {spec.golden.label}", old and f"{old.mean:.4g}", f"{new.mean:.4g}"]
    else:
        before = old.positives if old else None
        yield [
            f"share of {spec.golden.label}",
            None if old is None or before is None else _share(before, old),
            _share(new.positives, new),
        ]
    for column, counts in new.segments.items():
        before = old.segments[column] if old else {}
        moved = sorted(
            {**counts, **before},
            key=lambda text: (-_moved(text, told, column), text),
        )
        for text in moved[:SHOWN_VALUES]:
            yield [
                f"{column} {quoted(text)}",
                old and _share(before.get(text, 0), old),
                _share(counts.get(text, 0), new),
            ]
        if len(moved) > SHOWN_VALUES:
            yield [f"{column}: {len(moved) - SHOWN_VALUES} more values", None, None]


def _moved(text: str, told: Proposal, column: str) -> float:
    sets = [each for each in (told.present, told.proposed) if each]
    shares = [each.segments[column].get(text, 0) / each.rows for each in sets]
    return max(shares) - min(shares) if len(shares) > 1 else shares[0]


def _share(count: int, of: Summary) -> str:
    return f"{count / of.rows:.1%} ({count:,})"
