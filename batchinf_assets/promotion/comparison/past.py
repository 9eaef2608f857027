"""Two revisions as far as they are still known: manifests, model, origins of their features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchinf_assets.errors import ManifestInvalid, ModelRefused
from batchinf_assets.evaluation.comparison.inputs import ComparedInputs
from batchinf_assets.evaluation.comparison.stale_inputs import views_by_feature
from batchinf_assets.features.build import feature_definition
from batchinf_assets.features.lineage import Origin
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.past_declaration import NotReplayable, declared_then
from batchinf_assets.registry.artifact import Artifact
from batchinf_assets.registry.profile import Profile
from batchinf_assets.registry.registry import ModelVersion, Registry
from batchinf_assets.registry.trust import open_version
from batchinf_assets.snapshots.changes import RowChanges, compare_rows
from batchinf_assets.snapshots.freeze import frozen_rows
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class Past:
    """What is known of two revisions.

    Attributes:
        inputs: Their manifests, and the view columns behind each feature.
        profile: Of the model of a; None where it cannot be opened any more.
        source_rows: How the frozen rows differ; None where they do not, or are gone.
        notes: What is not known, one sentence each.
    """

    inputs: ComparedInputs
    profile: Profile | None
    source_rows: RowChanges | None
    notes: tuple[str, ...]


def open_past(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    window: Window,
    a: Manifest,
    b: Manifest,
    folder: Path,
) -> Past:
    """Look up what is still known; nothing that is not known any more is an error.

    Args:
        project: Where the tables are.
        registry: Whose models and keys count.
        pipeline: The pipeline as it is declared now.
        window: The window.
        a: The verified manifest of the one revision.
        b: That of the other.
        folder: Where SQL of then is written to, if there is any.

    Raises:
        KeyringInvalid: There is no keyring.
    """
    notes = list[str]()
    artifact = _model(registry, a, notes)
    then = _declaration(project, registry, pipeline, b, folder, notes)
    inputs = ComparedInputs(
        project=project,
        spec=then.spec,
        window=window,
        a=a,
        b=b,
        origins=_origins(then, b, notes),
    )
    return Past(
        inputs=inputs,
        profile=artifact.profile if artifact else None,
        source_rows=_source_rows(inputs, notes),
        notes=tuple(notes),
    )


def _model(registry: Registry, manifest: Manifest, notes: list[str]) -> Artifact | None:
    named = manifest.model
    version = ModelVersion(
        name=named.name,
        version=named.version,
        aliases=(),
        digest=named.digest,
        created_at=manifest.scored_at,
    )
    try:
        return open_version(registry, version, None)
    except ModelRefused as error:
        notes.append(f"The model of revision {manifest.revision} is not known: {error.message}")
        return None


def _declaration(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    manifest: Manifest,
    folder: Path,
    notes: list[str],
) -> Pipeline:
    """Return the pipeline with the feature definition of a revision, or as it is declared now."""
    if feature_definition(pipeline) == manifest.features.definition:
        return pipeline
    artifact = _model(registry, manifest, notes)
    if artifact is None:
        return pipeline
    try:
        return declared_then(project, pipeline, manifest, artifact.card.input_schema, folder)
    except NotReplayable:  # what is said about the declaration of now holds for the views too
        return pipeline


def _origins(
    then: Pipeline, manifest: Manifest, notes: list[str]
) -> Mapping[str, tuple[Origin, ...]]:
    found = views_by_feature(then)
    if feature_definition(then) == manifest.features.definition and found:
        return found
    notes.append(
        f"Where the features of revision {manifest.revision} come from is not known: their "
        "definition was not kept, or has no lineage."
    )
    return dict.fromkeys(then.spec.features.columns, ())


def _source_rows(inputs: ComparedInputs, notes: list[str]) -> RowChanges | None:
    if inputs.a.snapshot.digest == inputs.b.snapshot.digest:
        return None
    one, other = (
        frozen_rows(inputs.project, inputs.spec, inputs.window, each.snapshot)
        for each in (inputs.a, inputs.b)
    )
    try:
        return compare_rows(one, other, inputs.spec.source.key)
    except (ManifestInvalid, ValueError, KeyError) as error:
        notes.append(f"Which source rows differ is not known: {error}")
        return None
