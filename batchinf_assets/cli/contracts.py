"""Commands on contracts: propose one from a file, and hold a file against one without a run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchinf_assets.checks import CheckResult, blocking_failures, quoted
from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import print_json, print_table
from batchinf_assets.errors import UsageError, WindowRefused
from batchinf_assets.project import Project
from batchinf_assets.spec.contract import LimitsSpec
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    from batchinf_assets.contracts.infer import Proposal

SCHEMA = "schema"


@click.group()
def contract() -> None:
    """Propose contracts, and hold files against them."""


@contract.command("infer")
@click.argument("file", type=Path)
@click.option("--key", help="Columns that identify a row, as in a,b; else they are looked for.")
@click.option(
    "--time", help="The column of the row's event; else the first timestamp without null."
)
@as_json
def contract_infer(*, file: Path, key: str | None, time: str | None, json_: bool) -> None:
    """Propose the `source` section of a defs.yaml from FILE (Parquet, CSV or JSON Lines).

    A proposal, not the truth: it says what it rests on. Of a large file it reads a sample.
    """
    from batchinf_assets.contracts.infer import propose
    from batchinf_assets.contracts.infer_yaml import proposal_yaml
    from batchinf_assets.snapshots.sample import read_sample

    sample = read_sample(_possible(file), LimitsSpec())
    proposal = propose(
        sample.rows,
        rows_in_file=sample.rows_in_file,
        untold=sample.untold,
        key=[name.strip() for name in key.split(",")] if key else (),
        time=time,
    )
    if json_:
        print_json(_proposal_document(proposal))
    else:
        click.echo(proposal_yaml(proposal, file.name), nl=False)


@contract.command("check")
@click.argument("pipeline")
@click.argument("file", type=Path)
@click.option("--window", help="The window that FILE is for; else its name says it.")
@as_json
def contract_check(*, pipeline: str, file: Path, window: str | None, json_: bool) -> None:
    """Hold FILE, wherever it lies, against the source contract of PIPELINE; writes nothing.

    Judges what the snapshot step would judge. Exit 0 if it would be accepted, also where rows would
    be set aside, and 1 if it would block its window.
    """
    spec = load_pipeline(pipeline).spec
    _possible(file)
    found = spec.window.window(window) if window is not None else _window_of(spec, file)
    judged = _judge(here(), spec, found, file)
    if json_:
        print_json({**asdict(judged), "accepted": judged.accepted})
    else:
        _tell(judged)
    sys.exit(0 if judged.accepted else 1)


def _possible(file: Path) -> Path:
    if "\0" in str(file):
        raise UsageError(f"{quoted(str(file))} is no path.", next_step="Name a file.")
    return file


@dataclass(frozen=True, kw_only=True)
class JudgedFile:
    """What the snapshot step would make of a file.

    Attributes:
        pipeline: Whose contract it is.
        window: The window's key.
        file: The file.
        rows: Its rows.
        set_aside: Rows that would go to the quarantine; None where that was not judged.
        checks: What was checked.
    """

    pipeline: str
    window: str
    file: str
    rows: int
    set_aside: int | None
    checks: tuple[CheckResult, ...]

    @property
    def accepted(self) -> bool:
        """Whether the window would go on."""
        return not blocking_failures(self.checks)


def _judge(project: Project, spec: PipelineSpec, window: Window, file: Path) -> JudgedFile:
    from batchinf_assets.snapshots.freeze import earlier_windows
    from batchinf_assets.snapshots.landing import Landing
    from batchinf_assets.snapshots.source import judge_source

    source = spec.source
    landed = Landing(file.parent, str(file.parent)).read(
        file.name, limits=source.limits, columns=source.columns
    )
    try:
        earlier = earlier_windows(project, spec, window)
        checks = judge_source(project, spec, window, [landed], earlier=earlier).checks
    except WindowRefused as refused:
        checks = refused.checks
    return JudgedFile(
        pipeline=spec.name,
        window=window.key,
        file=str(file),
        rows=landed.rows.num_rows,
        set_aside=_set_aside(checks),
        checks=checks,
    )


def _set_aside(checks: Sequence[CheckResult]) -> int | None:
    counts = [check.measured.get("rejected") for check in checks if check.name == "contract"]
    return next((int(count) for count in counts if count is not None), None)


def _window_of(spec: PipelineSpec, file: Path) -> Window:
    """Read the window out of a name like those that are declared, of whatever format."""
    from batchinf_assets.snapshots.formats import FORMATS

    ending = "|".join(re.escape(each) for each in FORMATS)
    declared = re.sub(f"({ending})$", "", spec.source.files)
    before, after = (re.escape(part) for part in declared.split("{window}"))
    # Below any folder: the file need not have landed where it is declared.
    before = before.rpartition("/")[2] if "/" not in after else before
    fits = re.fullmatch(f"(?:.*/)?{before}([^/]+){after}({ending})", file.as_posix())
    if fits is None or not spec.window.has(fits[1]):
        example = spec.source.files.replace("{window}", str(spec.window.start))
        raise UsageError(
            f"{quoted(file.name)} names no window of {spec.name}.",
            next_step=f"Say which with --window, or name the file like {example}.",
        )
    return spec.window.window(fits[1])


def _tell(judged: JudgedFile) -> None:
    broken = [
        [_effect(check), check.name, violation.count or None, str(violation)]
        for check in judged.checks
        for violation in check.violations
    ]
    if broken:
        title = f"{quoted(judged.file)} as window {judged.window} of {judged.pipeline}"
        print_table(title, ["effect", "check", "rows", "what is wrong"], broken)
    for note in _not_judged(judged):
        click.echo(note)
    click.echo(_summary(judged))


def _effect(check: CheckResult) -> str:
    if check.blocking:
        return "blocks"
    return "sets aside" if check.name == "quarantine" else "warns"


def _not_judged(judged: JudgedFile) -> Iterator[str]:
    from batchinf_assets.contracts.nullability import FORMAT_SAYS_NOTHING, NO_WINDOW_SAYS

    for check in judged.checks:
        if "state" in check.measured:
            yield f"Not judged: {check.name} ({check.measured['state']} before it in the lake)."
        if (said := check.measured.get("nullability")) in (FORMAT_SAYS_NOTHING, NO_WINDOW_SAYS):
            yield f"Not judged: nullability ({said})."
    if judged.set_aside is None:
        yield "Not judged: values. Its columns come first."


def _summary(judged: JudgedFile) -> str:
    if not judged.accepted:
        return (
            f"It would block window {judged.window}: nothing of its {judged.rows:,} rows is used."
        )
    going_on = judged.rows - (judged.set_aside or 0)
    aside = f"; {judged.set_aside:,} would be set aside" if judged.set_aside else ""
    return f"It would be accepted: {going_on:,} of {judged.rows:,} rows go on{aside}."


def _proposal_document(proposal: Proposal) -> dict[str, object]:
    from batchinf_assets.contracts.infer_yaml import declared_document

    return {
        "rows": proposal.rows,
        "rows_in_file": proposal.rows_in_file,
        "key": proposal.key,
        "time": proposal.time,
        "columns": {n: declared_document(spec) for n, spec in proposal.declarable.items()},
        "notes": {
            "source": proposal.notes,
            "columns": {column.name: column.notes for column in proposal.columns},
        },
    }
