"""How models and promotions are shown, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from batchinf_assets.cli.workplace import complain, here, open_instance
from batchinf_assets.console import print_json
from batchinf_assets.errors import KeyringInvalid, ModelRefused
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.prediction import KINDS

if TYPE_CHECKING:
    from batchinf_assets.promotion.gate import Verdict
    from batchinf_assets.promotion.promote import Promoted, PromotionRefused
    from batchinf_assets.registry.promotion_record import Clause
    from batchinf_assets.registry.registry import ModelVersion, Registry


def model_row(
    registry: Registry, version: ModelVersion, scoring: Sequence[str], now: datetime
) -> dict[str, object]:
    """Describe a version, verified now; what has expired is shown with that as its state.

    Args:
        registry: The registry.
        version: What it says of the version.
        scoring: Aliases that pipelines score under; those take a signed promotion.
        now: The time that validity is held against.
    """
    from batchinf_assets.registry.trust import open_version, promoted_model

    known = {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "digest": version.digest,
        "created_at": version.created_at.isoformat(),
    }
    state: dict[str, object] = {"state": "verified"}
    try:
        open_version(registry, version, now)
        for alias in version.aliases:
            if alias in scoring:
                promoted_model(registry, version.name, alias, now)
    except (ModelRefused, KeyringInvalid) as error:
        reason = error.reason.value if isinstance(error, ModelRefused) else "no_keyring"
        state = {"state": reason, "problem": str(error)}
    return {**known, **state, **_described(registry, version)}


def _described(registry: Registry, version: ModelVersion) -> dict[str, object]:
    from batchinf_assets.registry.trust import open_version

    try:
        artifact = open_version(registry, version, None)
    except (ModelRefused, KeyringInvalid):
        return {}  # nothing that it says of itself can be believed; its state says why
    statement, card = artifact.statement, artifact.card
    return {
        "key_id": statement.key_id,
        "signed_until": statement.expires_at.isoformat(),
        "scorer": card.scorer,
        "golden": card.golden.metrics,
        "training": card.training.model_dump(mode="json"),
    }


def model_cells(row: dict[str, object]) -> Sequence[object]:
    """Return the cells of `model list` for what `model_row` returned."""
    golden, aliases = row.get("golden"), row["aliases"]
    return [
        row["name"],
        row["version"],
        ", ".join(aliases) if isinstance(aliases, list) else None,
        str(row["digest"])[:16],
        str(row["signed_until"])[:10] if "signed_until" in row else None,
        row.get("key_id"),
        row.get("scorer"),
        headline({**golden}) if isinstance(golden, dict) else None,
        row["state"],
    ]


def tell_promotion(promoted: Promoted, pipelines: Sequence[Pipeline], *, json_: bool) -> None:
    """Say which version an alias names now, and let Dagster know."""
    from batchinf_assets.orchestration.jobs.promotion import report_model

    record = promoted.record
    concerned = [p.name for p in pipelines if p.spec.model.alias == record.alias]
    with open_instance(here()) as instance:
        report_model(instance, concerned, promoted.version)
    if json_:
        canaries = [_canary(verdict) for verdict in promoted.verdicts]
        print_json({**record.model_dump(mode="json"), "canaries": canaries})
        return
    if not promoted.moved:
        click.echo(f"{record.name}@{record.alias} is v{record.version}: it was on record already.")
        return
    _tell_clauses(record.clauses)
    forced = " by force" if record.forced else ""
    click.echo(
        f"{record.name}@{record.alias} is v{record.version} now{forced} (record "
        f"{record.sequence}, by {record.by}). Windows that a model with other files scored are "
        "stale; run them again to publish its revision."
    )


def tell_refusal(error: PromotionRefused, *, json_: bool) -> None:
    """Say what each clause found, and why the version was not promoted."""
    if json_:
        verdicts = [
            {**_canary(verdict), "clauses": [c.model_dump(mode="json") for c in verdict.clauses]}
            for verdict in error.verdicts
        ]
        print_json({"promoted": False, "reason": error.reason, "verdicts": verdicts})
        return
    for verdict in error.verdicts:
        _tell_clauses(verdict.clauses)
    complain(str(error))


def headline(golden: Mapping[str, float | None]) -> str | None:
    """Write the one metric that stands for the others: `auroc 0.7213`; None where it is unknown."""
    first = (kind.headline[0] for kind in KINDS.values() if kind.headline[0] in golden)
    name = next(first, None)
    return None if name is None else f"{name} {figure(golden[name]) or 'undefined'}"


def figure(value: float | None) -> str | None:
    """Write a metric; None where it is undefined."""
    return None if value is None else f"{value:.4f}"


def _tell_clauses(clauses: Sequence[Clause]) -> None:
    for clause in clauses:
        click.echo(f"{'passed' if clause.passed else 'FAILED'}  {clause.name}: {clause.sentence}.")


def _canary(verdict: Verdict) -> dict[str, object]:
    report = verdict.canary.as_record() if verdict.canary else None
    return {"pipeline": verdict.pipeline, "window": verdict.canary_window, "canary": report}
