"""The command that shows what evaluation holds against a window, and lets it pass."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.checks import summarize
from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import one_line, print_json
from batchinf_assets.errors import UsageError
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets.manifest.judgement import OverrideRecord
    from batchinf_assets.publishing.overrides import HeldVerdicts


@click.command()
@click.argument("pipeline")
@click.argument("window")
@click.option("--check", metavar="CHECK", help="The failed verdict, such as golden_quality.")
@click.option("--reason", help="Let it pass, and why, in words; it becomes part of the manifest.")
@as_json
def override(
    *, pipeline: str, window: str, check: str | None, reason: str | None, json_: bool
) -> None:
    """Show the failed verdicts that hold WINDOW of PIPELINE back; let one of them pass.

    Without --reason nothing is written. An override counts for the candidate revision as it is now
    and for no other; who gave it and why becomes part of the signed manifest. The window is run
    afterwards, by `batchinf run`.

    Only what evaluation says about quality can be overridden: golden_quality, golden_set and drift.
    Contracts, keys, signatures and models cannot.
    """
    from batchinf_assets.publishing.overrides import held_verdicts, require_overridable

    if reason is not None and check is None:
        raise UsageError(
            "An override is of one check.", next_step="Name it: --check golden_quality."
        )
    if check is not None:
        require_overridable(check)
    spec, project = load_pipeline(pipeline).spec, here()
    held = held_verdicts(project, spec, spec.window.window(window))
    given = None
    if check is not None and reason is not None:
        given = _override(spec, held, check, reason)
    if json_:
        print_json(_document(spec, held, given))
    else:
        _tell(spec, held, given)


def _override(spec: PipelineSpec, held: HeldVerdicts, check: str, reason: str) -> OverrideRecord:
    from batchinf_assets.publishing.overrides import new_override, write_override

    by = os.environ.get("BATCHINF_ACTOR") or getpass.getuser()
    record = new_override(held, check, by=by, reason=reason, at=datetime.now(UTC))
    write_override(here(), spec, held, record)
    return record


def _document(
    spec: PipelineSpec, held: HeldVerdicts, given: OverrideRecord | None
) -> dict[str, object]:
    return {
        "pipeline": spec.name,
        "window": held.window.key,
        "revision": held.revision,
        "failed": [
            {"check": failure.name, "violations": [str(found) for found in failure.violations]}
            for failure in held.failures
        ],
        "overrides": [record.model_dump() for record in held.overrides],
        "override": given.model_dump() if given else None,
    }


def _tell(spec: PipelineSpec, held: HeldVerdicts, given: OverrideRecord | None) -> None:
    named = f"{spec.name} {held.window}"
    passed = {record.check: record for record in held.overrides}
    if not held.failures:
        click.echo(f"No verdict holds revision {held.revision} of {named} back.")
    for failure in held.failures:
        click.echo(f"{failure.name}: {one_line(summarize([failure]))}")
        if failure.name in passed:
            record = passed[failure.name]
            click.echo(f"  {record.by} let it pass on {record.at:%Y-%m-%d}: {record.reason}")
    waiting = [failure.name for failure in held.failures if failure.name not in passed]
    if given is not None:
        click.echo(f"{given.check} overridden by {given.by}. Run it: `batchinf run {named}`.")
    elif waiting:
        click.echo(
            f"Nothing was overridden. Let revision {held.revision} pass: "
            f"`batchinf override {named} --check {waiting[0]} --reason TEXT`."
        )
