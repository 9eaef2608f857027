"""Commands on models: register, compare, promote, go back, verify."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.model_reports import (
    headline,
    model_cells,
    model_row,
    tell_promotion,
    tell_refusal,
)
from batchinf_assets.cli.workplace import (
    as_json,
    complain,
    here,
    open_registry,
    signing_key,
)
from batchinf_assets.console import Console, print_json, print_table
from batchinf_assets.errors import KeyringInvalid, ModelRefused
from batchinf_assets.spec.load import load_pipeline, pipeline_names
from batchinf_assets.spec.model import ModelSpec

if TYPE_CHECKING:
    from batchinf_assets.promotion.promote import Decision

alias_option = click.option("--alias", default="champion", show_default=True, help="Which alias.")
reason_option = click.option("--reason", required=True, help="Why; it stays on record.")


@click.group()
def model() -> None:
    """Register models, promote one, go back, verify and list them."""


@model.command("register")
@click.argument("pipeline")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="A skops or ONNX file that was trained elsewhere.",
)
@click.option(
    "--open-sandbox",
    is_flag=True,
    help="Load the file even where this system cannot close off your own files.",
)
@as_json
def model_register(*, pipeline: str, path: Path | None, open_sandbox: bool, json_: bool) -> None:
    """Train PIPELINE's model on its declared windows, and register it as challenger.

    The model is loaded for the first time in a sandbox, where every scorer is held against it.
    """
    from batchinf_assets.training.register import register_file, train_and_register

    declared, project, now = load_pipeline(pipeline), here(), datetime.now(UTC)
    registry, key = open_registry(project), signing_key(project)
    with Console(shown=not json_).progress("Training data") as advance:
        found = (
            train_and_register(project, registry, declared, key, advance, now=now)
            if path is None
            else register_file(
                project,
                registry,
                declared,
                key,
                path,
                advance,
                open_sandbox=open_sandbox,
                now=now,
            )
        )
    version, card = found.version, found.card
    if json_:
        print_json(model_row(registry, version, (), now))
        return
    click.echo(
        f"Registered {version.name} v{version.version}, digest {version.digest[:16]}, signed by "
        f"{key.id} until {found.expires_at:%Y-%m-%d}: {card.training.rows} rows, golden "
        f"{headline(card.golden.metrics)}, scored by {card.scorer}."
    )
    for record in card.parity:
        speed = found.rows_per_second.get(record.scorer)
        at = f" at {speed:,.0f} rows/s" if speed else ""
        found_out = record.reason or f"largest difference {record.largest_difference:g}{at}"
        click.echo(f"Scorer {record.scorer} {record.verdict}: {found_out}.")
    if not found.confinement.files:
        complain("This system let the model's first load read and write the files of this user.")
    click.echo(f"Next: batchinf model promote {version.name} {version.version} --reason ...")


@model.command("promote")
@click.argument("name")
@click.argument("version")
@alias_option
@reason_option
@click.option("--force", is_flag=True, help="Override clauses that fail; stays on record.")
@as_json
def model_promote(
    *, name: str, version: str, alias: str, reason: str, force: bool, json_: bool
) -> None:
    """Let ALIAS name VERSION of model NAME, if it passes the gate.

    It must have passed parity, fit the champion's schema, and be no worse on the golden set and on
    a canary of the newest window than declared.
    """
    from batchinf_assets.promotion.promote import PromotionRefused, pipelines_of, promote

    project, pipelines = here(), pipelines_of(name, alias)
    registry, key = open_registry(project), signing_key(project)
    decision = _decision(alias, reason, force=force)
    candidate = registry.version(name, version)
    try:
        promoted = promote(project, registry, pipelines, key, candidate, decision)
    except PromotionRefused as error:
        tell_refusal(error, json_=json_)
        sys.exit(error.exit_code)
    tell_promotion(promoted, pipelines, json_=json_)


@model.command("demote")
@click.argument("name")
@alias_option
@reason_option
@as_json
def model_demote(*, name: str, alias: str, reason: str, json_: bool) -> None:
    """Let ALIAS name again what it named before its last promotion."""
    from batchinf_assets.promotion.promote import demote, pipelines_of

    project, pipelines = here(), pipelines_of(name, alias)
    registry, key = open_registry(project), signing_key(project)
    demoted = demote(registry, key, name, _decision(alias, reason))
    tell_promotion(demoted, pipelines, json_=json_)


@model.command("renew")
@click.argument("name")
@click.argument("version")
@as_json
def model_renew(*, name: str, version: str, json_: bool) -> None:
    """Register the same files as the next version, with a new signature.

    For a model whose signature or key expires; that of a revoked key is not renewed.
    """
    from batchinf_assets.promotion.promote import pipelines_of
    from batchinf_assets.training.register import renew_model

    project, now = here(), datetime.now(UTC)
    days = min(pipeline.spec.model.valid_days for pipeline in pipelines_of(name))
    registry, key = open_registry(project), signing_key(project)
    old = registry.version(name, version)
    renewed = renew_model(registry, old, key, days=days, now=now)
    if json_:
        print_json(model_row(registry, renewed, (), now))
        return
    click.echo(f"Registered {name} v{renewed.version}: the files of v{version}, signed anew.")


@model.command("history")
@click.argument("name")
@alias_option
@as_json
def model_history(*, name: str, alias: str, json_: bool) -> None:
    """Show every signed move of ALIAS: who, when, why."""
    from batchinf_assets.promotion.promote import pipelines_of
    from batchinf_assets.registry.keyring import read_keyring
    from batchinf_assets.registry.trust import promotion_log

    pipelines_of(name)
    project = here()
    log = promotion_log(open_registry(project), name, alias)
    records = log.history(read_keyring(project.keys))
    if json_:
        print_json([record.model_dump(mode="json") for record in records])
        return
    rows = [
        [
            r.sequence,
            r.action,
            r.version,
            f"{r.at:%Y-%m-%d %H:%M}",
            r.by,
            "yes" if r.forced else None,
            r.reason,
        ]
        for r in records
    ]
    columns = ["no.", "action", "version", "when", "who", "forced", "why"]
    print_table(f"{name}@{alias}", columns, rows)


@model.command("verify")
@click.argument("name")
@click.argument("version")
@as_json
def model_verify(*, name: str, version: str, json_: bool) -> None:
    """Verify VERSION of model NAME: signature, files, and that it still loads and agrees."""
    from batchinf_assets.promotion.promote import pipelines_of
    from batchinf_assets.registry.trust import open_version
    from batchinf_assets.training.verify import verify_model

    pipelines, project, now = pipelines_of(name), here(), datetime.now(UTC)
    registry = open_registry(project)
    try:
        artifact = open_version(registry, registry.version(name, version), now)
        findings = [verify_model(project, pipeline, artifact) for pipeline in pipelines]
    except (ModelRefused, KeyringInvalid) as error:
        if json_:
            reason = error.reason if isinstance(error, ModelRefused) else "keyring"
            print_json({"holds": False, "reason": reason, "problem": str(error)})
        else:
            complain(str(error))
        sys.exit(1)
    if json_:
        examined = [found.model_dump(mode="json") for found in findings]
        print_json({"holds": True, "examinations": examined})
        return
    records = {record.scorer: record.verdict for found in findings for record in found.parity}
    tried = ", ".join(f"{scorer} {verdict}" for scorer, verdict in records.items())
    click.echo(f"{name} v{version} verifies: signature, {len(artifact.contents)} files, {tried}.")


@model.command("list")
@click.argument("pipeline", required=False)
@as_json
def model_list(*, pipeline: str | None, json_: bool) -> None:
    """List the registered models of PIPELINE, or of all pipelines, each verified."""
    registry, now = open_registry(here()), datetime.now(UTC)
    pipelines = [pipeline] if pipeline else pipeline_names()
    declared = [load_pipeline(name).spec.model for name in pipelines]
    rows = [
        model_row(registry, found, _scoring(declared, name), now)
        for name in dict.fromkeys(each.name for each in declared)
        for found in registry.versions(name)
    ]
    if json_:
        print_json(rows)
        return
    if not rows:
        click.echo("No model is registered yet. Register one: `batchinf model register PIPELINE`.")
        return
    print_table(
        f"{len(rows)} model version{'s' if len(rows) != 1 else ''}",
        [
            "name",
            "version",
            "aliases",
            "digest",
            "signed until",
            "key",
            "scorer",
            "golden",
            "state",
        ],
        [model_cells(row) for row in rows],
    )


def _decision(alias: str, reason: str, *, force: bool = False) -> Decision:
    from batchinf_assets.promotion.promote import Decision

    by = os.environ.get("BATCHINF_ACTOR") or getpass.getuser()
    return Decision(alias=alias, reason=reason, by=by, at=datetime.now(UTC), force=force)


def _scoring(declared: Sequence[ModelSpec], name: str) -> list[str]:
    return [each.alias for each in declared if each.name == name]
