"""A pipeline as it was declared when a revision was scored, as far as that is still known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from batchinf_assets.errors import BatchinfError, DocumentTooLarge
from batchinf_assets.features.build import definition_place, feature_definition
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.registry.card import InputColumn, first_problem
from batchinf_assets.scoring.revision import scoring_settings
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

_NOT_JUDGED = {"rules": [], "freshness": None, "quarantine": {}}
"""What stands beside the columns of then; which rows were set aside is on record."""


class NotReplayable(BatchinfError):
    """This checkout cannot do again what was published."""


class _Definition(BaseModel):
    """A feature definition as `features.build` keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sql: str
    columns: dict[str, str]
    source: dict[str, Any]
    outcomes: dict[str, Any] | None
    references: dict[str, Any]


def declared_then(
    project: Project,
    current: Pipeline,
    manifest: Manifest,
    learned: Sequence[InputColumn],
    folder: Path,
) -> Pipeline:
    """Return the pipeline as it was declared, as far as it decides rows and is still known.

    Where the feature definition of then was not kept, the pipeline has that of now under the
    columns of then: its digest says so, and it can score features but not make them.

    Args:
        project: Where feature definitions are kept.
        current: The pipeline as it is declared now.
        manifest: Of the revision.
        learned: The columns that the model of then reads, in order.
        folder: Where SQL of then is written to, if there is any.

    Raises:
        NotReplayable: Post-processing was another one, or the declarations do not fit together.
    """
    spec = current.spec.model_copy(update={"shard_rows": manifest.settings.shard_rows})
    now = Pipeline(spec, current.folder)
    if scoring_settings(now) != manifest.settings:
        found = f", commit {manifest.code.commit}" if manifest.code.commit else ""
        raise NotReplayable(
            f"Post-processing of {spec.name} was another one when revision {manifest.revision} of "
            f"window {manifest.window.key} was scored.",
            next_step=f"Replay it with the code and the declaration of then{found}.",
        )
    if feature_definition(now) == manifest.features.definition:
        return now
    return _with_definition(project, now, manifest.features.definition, learned, folder)


def _with_definition(
    project: Project, now: Pipeline, digest: str, learned: Sequence[InputColumn], folder: Path
) -> Pipeline:
    """Return a pipeline with the kept feature definition, or the columns alone if none was kept."""
    declared = now.spec.model_dump(mode="json")
    declared["features"]["columns"] = {
        column.name: {"type": column.type, "nullable": column.nullable} for column in learned
    }
    declared["model"]["promotion"]["canary"]["segments"] = []  # they name features of now
    sql = {now.spec.features.sql: now.features_sql}
    if now.spec.postprocess and now.postprocess_sql is not None:
        sql[now.spec.postprocess.sql] = now.postprocess_sql
    if kept := _kept_definition(definition_place(project, now.spec, digest)):
        declared |= {"outcomes": kept.outcomes, "references": kept.references}
        declared["source"] |= kept.source | _NOT_JUDGED
        sql[now.spec.features.sql] = kept.sql
    for name, text in sql.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return Pipeline(_spec(declared, digest), folder)


def _spec(declared: dict[str, Any], digest: str) -> PipelineSpec:
    try:
        return PipelineSpec.model_validate(declared)
    except ValidationError as error:
        raise NotReplayable(
            f"The feature definition {digest[:16]} and the declaration of {declared['name']} as it "
            f"is now do not fit together: {first_problem(error)}.",
            next_step="Replay it with the declaration of then.",
        ) from error


def _kept_definition(place: Place) -> _Definition | None:
    """Read a definition; whether it is the one that was asked for, its digest tells."""
    try:
        return _Definition.model_validate_json(read_bounded(place))
    except (FileNotFoundError, DocumentTooLarge, ValidationError):
        return None
