"""A verified model together with the scorer that computes its answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.means import ModelRecord, ParityOutcome
from batchinf_assets.registry.artifact import Artifact, require_outputs
from batchinf_assets.registry.promotion_record import Promotion
from batchinf_assets.registry.registry import ModelVersion, Registry
from batchinf_assets.registry.trust import open_version, promoted_model
from batchinf_assets.scoring.load import load_scorer
from batchinf_assets.scoring.scorer import Scorer
from batchinf_assets.spec.contract import FeatureSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec


@dataclass(frozen=True, kw_only=True)
class ScoringModel:
    """A verified model, ready to score.

    Attributes:
        version: What the registry says of it.
        artifact: The verified artifact, without the bytes of its files.
        scorer: What computes scores from features.
        promotion: The signed record that lets it score under its alias; None for a model that is
            only compared.
    """

    version: ModelVersion
    artifact: Artifact
    scorer: Scorer
    promotion: Promotion | None = None

    def record(self, alias: str) -> ModelRecord:
        """Describe the model for a manifest."""
        return ModelRecord(
            name=self.version.name,
            version=self.version.version,
            alias=alias,
            digest=self.version.digest,
            scorer=self.scorer.name,
            key_id=self.artifact.statement.key_id,
            promotion=self.promotion.sequence if self.promotion else None,
            parity=self._parity,
        )

    @property
    def _parity(self) -> ParityOutcome | None:
        """What comparing the scorer with the reference found when the model was registered."""
        for found in self.artifact.card.parity:
            if found.scorer == self.scorer.name:
                return ParityOutcome(
                    rows=found.rows,
                    largest_difference=found.largest_difference,
                    label_flips=found.label_flips,
                )
        return None


def scoring_model(registry: Registry, pipeline: Pipeline, now: datetime) -> ScoringModel:
    """Return the model that the declared alias names, verified and promoted.

    Signatures are verified each time; the scorer of the same verified bytes is made once per
    process.

    Raises:
        ModelUnavailable: The registry has no such model or alias.
        KeyringInvalid: There is no keyring.
        ModelRefused: It is not signed, not promoted, or does not fit the declaration.
    """
    declared = pipeline.spec.model
    found = promoted_model(registry, declared.name, declared.alias, now)
    model = _ready(found.version, found.artifact, pipeline.spec)
    return replace(model, promotion=found.promotion)


def candidate_model(
    registry: Registry, version: ModelVersion, pipeline: Pipeline, now: datetime | None
) -> ScoringModel:
    """Return a registered version, verified but not promoted: to be compared, not to publish.

    Without a time it need only be authentic, whatever has expired since.

    Raises:
        KeyringInvalid: There is no keyring.
        ModelRefused: It is not signed, or does not fit the declaration.
    """
    artifact = open_version(registry, version, now)
    return _ready(version, artifact, pipeline.spec)


def version_of(manifest: Manifest) -> ModelVersion:
    """Return the version that scored a revision, as its manifest names it."""
    named = manifest.model
    return ModelVersion(
        name=named.name,
        version=named.version,
        aliases=(),
        digest=named.digest,
        created_at=manifest.scored_at,
    )


def model_of(registry: Registry, spec: PipelineSpec, manifest: Manifest) -> ScoringModel:
    """Return the model that scored a revision: authentic, whatever has expired since.

    Raises:
        KeyringInvalid: There is no keyring.
        ModelRefused: It is not what was signed, or does not fit the declaration of now.
    """
    version = version_of(manifest)
    return _ready(version, open_version(registry, version, None), spec)


def _ready(version: ModelVersion, artifact: Artifact, spec: PipelineSpec) -> ScoringModel:
    require_outputs(artifact, spec.prediction)
    scorer = _scorer(_Verified(artifact, tuple(spec.features.columns.items())))
    return ScoringModel(version=version, artifact=replace(artifact, contents={}), scorer=scorer)


class _Verified:
    """An artifact as a key of the cache: by digest, never by the bytes."""

    def __init__(self, artifact: Artifact, columns: tuple[tuple[str, FeatureSpec], ...]) -> None:
        self.artifact, self.columns = artifact, columns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Verified) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, tuple[tuple[str, FeatureSpec], ...]]:
        return self.artifact.digest, self.columns


@lru_cache(maxsize=4)
def _scorer(verified: _Verified) -> Scorer:
    scorer = load_scorer(verified.artifact, dict(verified.columns))
    verified.artifact = replace(verified.artifact, contents={})  # the cache keeps no files
    return scorer
