"""The command that drafts a pipeline from what landed."""

from __future__ import annotations

from pathlib import Path

import click

from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import print_json
from batchinf_assets.errors import UsageError
from batchinf_assets.spec.load import DEFS_FOLDER

GOLDEN_ROWS = 500


@click.command("scaffold")
@click.argument("name")
@click.argument("file", type=Path)
@click.option("--outcomes", required=True, type=Path, help="A file of outcomes of such windows.")
@click.option(
    "--label", required=True, help="SQL over the outcomes' columns: the condition to predict."
)
@click.option("--owner", required=True, help="An email address.")
@click.option("--team", default="data", show_default=True, help="Whose runs they are.")
@click.option(
    "--timezone", default="UTC", show_default=True, help="Whose clock the files' names follow."
)
@click.option("--key", help="Columns that identify a row, as in a,b; else they are looked for.")
@click.option("--time", help="The column of the row's event; else it is looked for.")
@click.option("--known-at", help="When an outcome became known; else it is looked for.")
@as_json
def scaffold(
    *,
    name: str,
    file: Path,
    outcomes: Path,
    label: str,
    owner: str,
    team: str,
    timezone: str,
    key: str | None,
    time: str | None,
    known_at: str | None,
    json_: bool,
) -> None:
    """Draft pipeline NAME from FILE, one of those that land: a beginning that runs.

    Writes defs.yaml, features.sql and train.py into a new folder among the pipelines. What they say
    of bounds, lists and keys rests on up to sixteen of the files: correct it by what you know.
    """
    from batchinf_assets.scaffold.draft import draft
    from batchinf_assets.scaffold.drop import Drop
    from batchinf_assets.scaffold.texts import Said, pipeline_texts
    from batchinf_assets.scaffold.write import require_new, write_pipeline

    require_new(name, DEFS_FOLDER)
    landing = here().landing
    if not isinstance(landing, Path):
        raise UsageError(
            "A pipeline is drafted from files on a disk, and BATCHINF_LANDING is on S3.",
            next_step="Copy a few windows into a folder and set BATCHINF_LANDING to it.",
        )
    said = Said(name=name, label=label, owner=owner, team=team, timezone=timezone)
    source, results = Drop.around(file, landing), Drop.around(outcomes, landing)
    columns = [each.strip() for each in key.split(",")] if key else ()
    found = draft(source, results, key=columns, time=time, known_at=known_at)
    texts = pipeline_texts(said, source, results, found)
    pipeline = write_pipeline(name, texts, DEFS_FOLDER)
    steps = _next_steps(name, found.golden, max(source.files))
    written = sorted(str(pipeline.folder / file) for file in texts)
    if json_:
        print_json({"pipeline": name, "files": written, "next": steps})
        return
    for path in written:
        click.echo(f"Wrote {path}.")
    click.echo("Correct them by what you know, then:")
    for step in steps:
        click.echo(f"  {step}")


def _next_steps(name: str, golden: tuple[str, str] | None, newest: str) -> list[str]:
    window, golden_set = newest, f"data/golden/{name}"
    if golden is None:
        return ["Land more windows than training.start to training.end names: the golden set"]
    first, last = golden
    return [
        "make check",
        f"batchinf golden draw {name} --from {first} --to {last} --rows {GOLDEN_ROWS}",
        *(f"mv {golden_set}.proposed.{kind} {golden_set}.{kind}" for kind in ("parquet", "json")),
        f"batchinf model register {name}",
        f'batchinf model promote {name} 1 --reason "The first"',
        f"batchinf run {name} {window}",
    ]
