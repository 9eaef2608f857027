"""Register a model: examined in a sandbox, measured, described, signed; promoted by nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa

from batchinf_assets.errors import LandedFileMissing
from batchinf_assets.evaluation.golden.golden_set import read_golden_set
from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.features.build import feature_definition
from batchinf_assets.features.labels import LABEL
from batchinf_assets.lake.entries import is_file
from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import PROFILE_FILE, draft_artifact, input_schema
from batchinf_assets.registry.card import (
    FROM_FILE,
    TRAINED_HERE,
    FileName,
    GoldenRecord,
    ModelCard,
    Origin,
    OutputColumn,
    Training,
    describe,
    installed_libraries,
)
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import ModelVersion, Registry
from batchinf_assets.registry.sandbox import Limits, SandboxReport
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.said import Scores, score_array
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.training.dataset import LabelledRows, training_rows
from batchinf_assets.training.examine import Examination, Job, examine_model
from batchinf_assets.training.reference import training_reference
from batchinf_assets.training.train import train_model, training_function
from batchinf_assets.windows import Window

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A signed version.

    Attributes:
        version: What the registry says of it.
        card: What it says of itself.
        expires_at: From when on its signature no longer counts.
        confinement: How far the sandbox that loaded it first was closed.
        rows_per_second: How fast each scorer that passed was here and now, by name.
    """

    version: ModelVersion
    card: ModelCard
    expires_at: datetime
    confinement: SandboxReport
    rows_per_second: Mapping[str, float]


def train_and_register(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    key: SigningKey,
    on_progress: Progress,
    *,
    now: datetime,
) -> RegisteredModel:
    """Train on the declared windows by the pipeline's own `train` and register the result.

    Args:
        project: Where the data lies; training reads what landed.
        registry: Where the model goes, under the declared name, as `challenger`.
        pipeline: What to train for.
        key: Signs the model.
        on_progress: Called with windows done and windows in all.
        now: When it is signed.

    Raises:
        InvalidSpec: `train.py` has no `train`.
        UnknownWindow: Training does not start with a declared window.
        LandedFileMissing: A file of a training window has not landed.
        WindowRefused: A training window breaks its contract.
        GoldenSetInvalid: The golden set is missing or does not fit the features.
        ModelRefused: The trained estimator cannot be stored or scored.
    """
    training_function(pipeline)  # reading the windows takes a while: a typo is told before
    windows = declared_windows(pipeline)
    labelled = training_rows(project, pipeline, windows, on_progress)
    data = train_model(pipeline, labelled)
    return register_model(
        project, registry, pipeline, key, data, windows, labelled, origin=TRAINED_HERE, now=now
    )


def register_file(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    key: SigningKey,
    path: Path,
    on_progress: Progress,
    *,
    open_sandbox: bool = False,
    now: datetime,
) -> RegisteredModel:
    """Register a model that was trained elsewhere, a skops or ONNX file.

    It is loaded only where the sandbox closes off this user's files, unless `open_sandbox` says
    that its maker is trusted enough.

    The declared training windows are made all the same: they are its reference profile. What it
    learned from, and by which libraries, is not known; its card says that it came as a file.

    Raises:
        LandedFileMissing: There is no such file, or a file of a training window has not landed.
        ModelRefused: The file executes code, does not load, or does not fit the features.
        GoldenSetInvalid: The golden set is missing or does not fit the features.
        WindowRefused: A training window breaks its contract.
    """
    if not is_file(path):
        raise LandedFileMissing(
            f"There is no model file {path}.", next_step="Give the path of a skops or ONNX file."
        )
    windows = declared_windows(pipeline)
    labelled = training_rows(project, pipeline, windows, on_progress)
    data = path.read_bytes()
    return register_model(
        project,
        registry,
        pipeline,
        key,
        data,
        windows,
        labelled,
        origin=FROM_FILE,
        must_be_closed=not open_sandbox,
        now=now,
    )


def register_model(
    project: Project,
    registry: Registry,
    pipeline: Pipeline,
    key: SigningKey,
    data: bytes,
    windows: Sequence[Window],
    labelled: LabelledRows,
    *,
    origin: Origin = FROM_FILE,
    must_be_closed: bool = False,
    now: datetime,
) -> RegisteredModel:
    """Examine a model file, measure it and register it as the next version, `challenger`.

    Args:
        project: Where the golden set lies.
        registry: Where the model goes.
        pipeline: What it is for.
        key: Signs it.
        data: The model file.
        windows: What it learned from; for a file, what its reference profile is made of.
        labelled: The labelled rows of these windows.
        origin: Whether it was trained here. A caller that does not say so vouches for nothing.
        must_be_closed: Refuse to load it where the sandbox cannot close off this user's files.
        now: When it is signed.

    Raises:
        GoldenSetInvalid: The golden set is missing or does not fit the features.
        ModelRefused: The file executes code, does not load, or refuses the rows.
        ModelUnavailable: The registry does not answer.
    """
    spec = pipeline.spec
    golden_set = read_golden_set(project, spec)
    golden = golden_set.rows
    job = Job(
        columns=dict(spec.features.columns),
        decision=spec.golden.decision,
        kind=spec.prediction.kind,
        classes=spec.prediction.classes,
    )
    examined = examine_model(
        data,
        job=job,
        rows=labelled.rows,
        golden=golden,
        limits=Limits(),
        must_be_closed=must_be_closed,
    )
    labels = golden.column(spec.golden.label)
    on_golden = _measured(labels, examined.golden_scores, pipeline)
    card = _card(pipeline, origin, windows, labelled, examined, on_golden, golden_set.record.sha256)
    draft = draft_artifact(card, _contents(pipeline, data, labelled, examined, card))
    expires_at = now + timedelta(days=spec.model.valid_days)
    version = registry.register(draft, key, now=now, expires_at=expires_at)
    signed = open_version(registry, version, now).statement  # its key may end sooner
    return RegisteredModel(
        version=version,
        card=draft.card,
        expires_at=signed.expires_at,
        confinement=examined.confinement,
        rows_per_second=examined.findings.rows_per_second,
    )


def renew_model(
    registry: Registry, version: ModelVersion, key: SigningKey, *, days: int, now: datetime
) -> ModelVersion:
    """Register the files of a version as the next one, signed anew; expired ones may be renewed.

    Raises:
        KeyringInvalid: There is no keyring.
        ModelRefused: They are not what was signed, or its key is not trusted any more.
    """
    old = open_version(registry, version, None)
    contents: dict[FileName, bytes] = {name: old.contents[name] for name in old.card.files}
    draft = draft_artifact(old.card, contents)
    return registry.register(draft, key, now=now, expires_at=now + timedelta(days=days))


def declared_windows(pipeline: Pipeline) -> Sequence[Window]:
    """Return the windows that a first model learns from.

    Raises:
        UnknownWindow: Training does not start with a declared window.
    """
    declared = pipeline.spec.model.training
    return pipeline.spec.window.starting_in(declared.start, declared.end)


def _measured(labels: pa.ChunkedArray, scores: Scores, pipeline: Pipeline) -> Metrics:
    return task_of(pipeline.spec).measure(labels, score_array(scores))


def training_days(windows: Sequence[Window]) -> tuple[date, date]:
    """Return the first day of some windows and the day after the last that they touch."""
    end = windows[-1].end
    begun = end.time() != time()
    return windows[0].start.date(), end.date() + timedelta(days=1 if begun else 0)


def _card(
    pipeline: Pipeline,
    origin: Origin,
    windows: Sequence[Window],
    labelled: LabelledRows,
    examined: Examination,
    golden: Metrics,
    golden_sha256: str,
) -> ModelCard:
    spec, findings = pipeline.spec, examined.findings
    trained = _measured(labelled.rows.column(LABEL), examined.scores, pipeline)
    start, end = training_days(windows)
    return describe(
        name=spec.model.name,
        model_format=findings.model_format,
        origin=origin,
        input_schema=input_schema(spec.features.columns),
        output_schema=tuple(
            OutputColumn(name=name, meaning=spec.prediction.of.meaning)
            for name in spec.prediction.given
        ),
        training=Training(
            start=start,
            end=end,
            rows=trained.rows,
            **trained.counts,
        ),
        metrics={name: value for name, value in trained.figures.items() if value is not None},
        golden=GoldenRecord(
            sha256=golden_sha256,
            rows=golden.rows,
            **golden.counts,
            decision=spec.decision,
            metrics=golden.figures,
        ),
        feature_definition=feature_definition(pipeline),
        libraries=installed_libraries() if origin == TRAINED_HERE else {},
        scorer=findings.scorer,
        parity=findings.parity,
    )


def _contents(
    pipeline: Pipeline,
    data: bytes,
    labelled: LabelledRows,
    examined: Examination,
    card: ModelCard,
) -> dict[FileName, bytes]:
    profile = training_reference(labelled, examined.scores, pipeline.spec)
    contents: dict[FileName, bytes] = {
        card.model_file: data,
        PROFILE_FILE: profile.to_json().encode(),
    }
    return {**contents, **examined.files}
