"""Whether a registered model may score: its signature, and the signature over its promotion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.artifact import Artifact, open_artifact
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.promotion_record import Promotion
from batchinf_assets.registry.promotions import PromotionLog
from batchinf_assets.registry.registry import ModelVersion, Registry


@dataclass(frozen=True, kw_only=True)
class PromotedModel:
    """A model that may score under its alias.

    Attributes:
        version: What the registry says of it.
        artifact: Its verified artifact.
        promotion: The verified record that put it there.
    """

    version: ModelVersion
    artifact: Artifact
    promotion: Promotion


def open_version(registry: Registry, version: ModelVersion, at: datetime | None) -> Artifact:
    """Verify the artifact of a version, promoted or not.

    Args:
        registry: The registry.
        version: What it says of the version.
        at: The time that validity is held against; None asks for authenticity alone.

    Raises:
        KeyringInvalid: There is no keyring.
        ModelRefused: With the reason code of the first thing that is wrong.
    """
    return open_artifact(
        registry.artifact_root,
        name=version.name,
        version=version.version,
        digest=version.digest,
        keyring=read_keyring(registry.keys),
        at=at,
    )


def promoted_model(registry: Registry, name: str, alias: str, at: datetime) -> PromotedModel:
    """Return the model that an alias names, if a signed promotion says the same.

    Raises:
        KeyringInvalid: There is no keyring.
        ModelUnavailable: The registry has no such model or alias, or does not answer.
        ModelRefused: With the reason code of the first thing that is wrong.
    """
    version = registry.resolve(name, alias)
    log = promotion_log(registry, name, alias)
    promotion = log.current(read_keyring(registry.keys), at)
    if promotion is None or (promotion.version, promotion.digest) != (
        version.version,
        version.digest,
    ):
        raise _not_promoted(version, alias, promotion)
    artifact = open_version(registry, version, at)
    return PromotedModel(version=version, artifact=artifact, promotion=promotion)


def promotion_log(registry: Registry, name: str, alias: str) -> PromotionLog:
    """Return the signed moves of an alias.

    Raises:
        UsageError: What is asked for is no name of a model or an alias.
    """
    return PromotionLog.of(registry.artifact_root, registry.keys, name, alias)


def _not_promoted(version: ModelVersion, alias: str, newest: Promotion | None) -> ModelRefused:
    named = f"{version.name} v{version.version} ({version.digest[:16]})"
    if newest is None:
        found, reason = "nobody promoted it", Refusal.NOT_PROMOTED
    else:
        found = f"the newest signed promotion is of v{newest.version} ({newest.digest[:16]})"
        older = int(version.version) < int(newest.version)
        reason = Refusal.OLDER_VERSION if older else Refusal.NOT_PROMOTED
    return ModelRefused(
        f"The registry says that '{alias}' is {named}, but {found}.",
        reason=reason,
        next_step=f"Promote the version that you mean: `batchinf model promote {version.name} "
        "VERSION --reason ...`; if nobody moved the alias on purpose, find out who did.",
    )
