"""Move an alias: a second signature over the version that may score from now on.

What is measured first is in `promotion.gate`; the records are `registry.promotions`'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from batchinf_assets.errors import ModelRefused, Refusal, UnknownPipeline, UsageError
from batchinf_assets.project import Project
from batchinf_assets.promotion.gate import Verdict, judge_candidate
from batchinf_assets.registry.keyring import read_keyring, require_trusted
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.promotion_record import Promotion
from batchinf_assets.registry.promotions import PromotionLog
from batchinf_assets.registry.registry import ModelVersion, Registry
from batchinf_assets.registry.trust import open_version, promotion_log
from batchinf_assets.scoring.model import candidate_model
from batchinf_assets.spec.load import Pipeline, load_pipeline, pipeline_names


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Who moves an alias, and why.

    Attributes:
        alias: The alias.
        reason: Why.
        by: Who.
        at: When.
        force: Whether clauses that fail are overridden; a signature never is.
    """

    alias: str
    reason: str
    by: str
    at: datetime
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """An alias that was moved.

    Attributes:
        version: What it names now.
        record: The signed record.
        verdicts: What the gate found, by pipeline; empty for a demotion and where the version was
            promoted already.
        moved: False where the newest record said the same before.
    """

    version: ModelVersion
    record: Promotion
    verdicts: tuple[Verdict, ...] = ()
    moved: bool = True


class PromotionRefused(ModelRefused):
    """Clauses of the gate failed and nobody forced them.

    Attributes:
        verdicts: Everything that was judged, by pipeline.
    """

    def __init__(self, version: ModelVersion, alias: str, verdicts: Sequence[Verdict]) -> None:
        failed = [clause.sentence for verdict in verdicts for clause in verdict.failed]
        super().__init__(
            f"{version.name} v{version.version} was not promoted to {alias}: {'. '.join(failed)}.",
            reason=Refusal.GATE,
            next_step="Mend what failed, or override the gate (--force), with a reason that stays "
            "on record.",
        )
        self.verdicts = tuple(verdicts)


def promote(
    project: Project,
    registry: Registry,
    pipelines: Sequence[Pipeline],
    key: SigningKey,
    version: ModelVersion,
    decision: Decision,
) -> Promoted:
    """Let an alias name a version, if it passes the gate of every pipeline that uses it.

    A version that is promoted already gets no second record; the registry's alias is set right.

    Args:
        project: Where golden sets and features are.
        registry: The registry.
        pipelines: Those whose model it is, at least one.
        key: Signs the record.
        version: The candidate.
        decision: Who, why, and whether to override the gate.

    Raises:
        UsageError: The reason is empty.
        ModelRefused: The version does not verify.
        PromotionRefused: Clauses fail and nobody forces them.
        LostRace: Somebody else moved the alias meanwhile.
    """
    _require_reason(decision)
    require_trusted(registry.keys, key, decision.at)
    log = promotion_log(registry, version.name, decision.alias)
    if (known := _known(log, registry, version)) is not None:
        registry.point(version.name, decision.alias, version.version)
        return Promoted(version=version, record=known, moved=False)
    judged_after = log.length
    verdicts = tuple(
        judge_candidate(
            project,
            registry,
            pipeline,
            candidate_model(registry, version, pipeline, decision.at),
            alias=decision.alias,
        )
        for pipeline in pipelines
    )
    forced = any(verdict.failed for verdict in verdicts)
    if forced and not decision.force:
        raise PromotionRefused(version, decision.alias, verdicts)
    clauses = tuple(clause for verdict in verdicts for clause in verdict.clauses)
    made = {"action": "promote", "forced": forced, "clauses": clauses}
    record = _move(registry, log, key, version, decision, after=judged_after, **made)
    return Promoted(version=version, record=record, verdicts=verdicts)


def demote(registry: Registry, key: SigningKey, name: str, decision: Decision) -> Promoted:
    """Let an alias name again what it named before its last promotion; no gate stands in the way.

    A demotion that was recorded, and then failed to reach the registry, is completed.

    Raises:
        UsageError: The reason is empty, or there is no champion to go back to.
        ModelRefused: A record, or the version to go back to, does not verify.
        LostRace: Somebody else moved the alias meanwhile.
    """
    _require_reason(decision)
    require_trusted(registry.keys, key, decision.at)
    log = promotion_log(registry, name, decision.alias)
    history = log.history(read_keyring(registry.keys))
    if history and history[-1].action == "demote":
        meant = _recorded(registry, history[-1], decision.at)
        if registry.resolve(name, decision.alias).version != meant.version:
            registry.point(name, decision.alias, meant.version)
            return Promoted(version=meant, record=history[-1], moved=False)
    standing = _standing(history)
    if len(standing) < 2:
        raise UsageError(
            f"{name}@{decision.alias} has no earlier champion to go back to.",
            next_step=f"See `batchinf model history {name}`.",
        )
    version = _recorded(registry, standing[-2], decision.at)
    made = {"action": "demote", "forced": False, "clauses": ()}
    record = _move(registry, log, key, version, decision, after=len(history), **made)
    return Promoted(version=version, record=record)


def pipelines_of(model: str, alias: str | None = None) -> list[Pipeline]:
    """Return the pipelines that declare a model, or that score with it under an alias.

    Raises:
        UnknownPipeline: No pipeline does.
        InvalidSpec: A declaration does not fit the spec.
    """
    declared = [load_pipeline(name) for name in pipeline_names()]
    found = [pipeline for pipeline in declared if pipeline.spec.model.name == model]
    if not found:
        names = sorted({pipeline.spec.model.name for pipeline in declared})
        raise UnknownPipeline(
            f"No pipeline declares a model '{model[:64]}'.",
            next_step=f"Declared models: {', '.join(names) or 'none'}.",
        )
    scoring = [pipeline for pipeline in found if alias in (None, pipeline.spec.model.alias)]
    if not scoring:
        declared_aliases = ", ".join(sorted({pipeline.spec.model.alias for pipeline in found}))
        raise UnknownPipeline(
            f"No pipeline scores with {model}@{str(alias)[:64]}.",
            next_step=f"Declared aliases of {model}: {declared_aliases}.",
        )
    return scoring


def _known(log: PromotionLog, registry: Registry, version: ModelVersion) -> Promotion | None:
    """Return the newest record if it says already what a promotion would say."""
    try:
        newest = log.current(read_keyring(registry.keys), None)
    except ModelRefused:  # the gate says what is wrong with it
        return None
    said = (newest.version, newest.digest) if newest else None
    return newest if said == (version.version, version.digest) else None


def _move(
    registry: Registry,
    log: PromotionLog,
    key: SigningKey,
    version: ModelVersion,
    decision: Decision,
    *,
    after: int,
    **made: object,
) -> Promotion:
    record = log.append(
        key,
        after=after,
        version=version.version,
        digest=version.digest,
        reason=decision.reason,
        by=decision.by,
        at=decision.at,
        **made,
    )
    registry.point(version.name, decision.alias, version.version)
    return record


def _recorded(registry: Registry, record: Promotion, at: datetime) -> ModelVersion:
    """Return the version that a record names, if the registry still means the same by it."""
    version = registry.version(record.name, record.version)
    if version.digest != record.digest:
        raise ModelRefused(
            f"The registry says that {record.name} v{record.version} is {version.digest[:16]}, "
            f"promoted was {record.digest[:16]}.",
            reason=Refusal.OTHER_MODEL,
            next_step="Find out who changed the registry, and restore it from a backup.",
        )
    open_version(registry, version, at)
    return version


def _standing(history: Sequence[Promotion]) -> list[Promotion]:
    """Return the champions that a demotion can go back through, the present one last."""
    standing: list[Promotion] = []
    for record in history:
        if record.action == "promote":
            standing.append(record)
        else:
            standing.pop()
    return standing


def _require_reason(decision: Decision) -> None:
    if not decision.reason.strip():
        raise UsageError("Moving an alias needs a reason.", next_step="Say why: `--reason ...`.")
