"""Examine a model that nobody has vouched for yet, in a sandbox: the first time it is loaded.

This side writes the job and reads the findings; `training.examination` is what runs inside.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.card import Measure, ParityRecord, ScorerFile
from batchinf_assets.registry.inspection import ModelFormat
from batchinf_assets.registry.sandbox import Limits, SandboxReport, read_left_behind, run_sandboxed
from batchinf_assets.scoring.trees.compiled import kernel_folder
from batchinf_assets.scoring.trees.predict import compile_kernels
from batchinf_assets.spec.contract import FeatureSpec
from batchinf_assets.spec.prediction import KINDS, Kind, KindName

MODULE = "batchinf_assets.training.examination"

JOB, MODEL, ROWS, GOLDEN = "job.json", "model", "rows.parquet", "golden.parquet"
STORED = "stored"
FINDINGS, SCORES, GOLDEN_SCORES = "findings.json", "scores.f64", "golden-scores.f64"

SCORER_FILES: tuple[ScorerFile, ...] = get_args(ScorerFile)
Shape = tuple[int, ...]

NO_FILES: Mapping[ScorerFile, bytes] = MappingProxyType({})


class Job(BaseModel):
    """What to examine a model for.

    Attributes:
        columns: The declared features.
        decision: The score that counts as positive, where rows fall into classes.
        kind: What the model must be.
        classes: What a label is one of, where there are several.
        scorer: The stored scorer to hold against the reference; None to make one of the model.
        seed: Decides the adversarial rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, FeatureSpec]
    decision: float
    kind: KindName = "binary"
    classes: tuple[str, ...] = ()
    scorer: str | None = None
    seed: int = 0

    @property
    def required(self) -> Kind:
        """What the model must be."""
        return KINDS[self.kind].of_classes(self.classes)

    def shape(self, rows: int) -> Shape:
        """Return the shape of the scores of so many rows."""
        return (rows, len(self.classes)) if self.classes else (rows,)


class Findings(BaseModel):
    """What the sandbox reports; the scores lie beside it as raw float64.

    Attributes:
        model_format: How the model is stored.
        scorer: The scorer that shall score with it; of a stored one, the scorer that does.
        parity: Every scorer that was tried.
        files: What the chosen scorer needs beside the model.
        thresholds: How many split thresholds the adversarial rows met.
        rows_per_second: How fast each scorer that passed was in this run, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_format: ModelFormat
    scorer: str
    parity: tuple[ParityRecord, ...]
    files: tuple[ScorerFile, ...]
    thresholds: str | None
    rows_per_second: dict[str, Measure]


@dataclass(frozen=True, kw_only=True)
class Examination:
    """A model that loaded, scored and told how fast.

    Attributes:
        findings: What was found.
        scores: Scores of the training rows, as `scoring.said` has them.
        golden_scores: Scores of the golden rows likewise.
        files: What the chosen scorer needs beside the model, by name.
        confinement: What the kernel granted the sandbox beyond its limits.
    """

    findings: Findings
    scores: npt.NDArray[np.float64]
    golden_scores: npt.NDArray[np.float64]
    files: Mapping[ScorerFile, bytes] = field(repr=False)
    confinement: SandboxReport


def examine_model(
    data: bytes,
    *,
    job: Job,
    rows: pa.Table,
    golden: pa.Table,
    limits: Limits,
    stored: Mapping[ScorerFile, bytes] = NO_FILES,
    must_be_closed: bool = False,
) -> Examination:
    """Load a model for the first time, hold every scorer against it, and score with the fastest.

    Where the job names a stored scorer, that one is held against the model and no other is made.

    Args:
        data: The model file; its format is recognized from its content.
        job: What to examine it for.
        rows: Training rows with the declared features.
        golden: Golden rows with the declared features.
        limits: What it may use.
        stored: The files of the stored scorer that the job names.
        must_be_closed: Whether the model may only be loaded where files can be closed off.

    Raises:
        ModelRefused: It executes code, does not load, refuses the rows, or exceeds the limits; a
            stored scorer's files are not what they must be; or the sandbox is open.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / JOB).write_text(job.model_dump_json(), encoding="utf-8")
        (folder / MODEL).write_bytes(data)
        (folder / STORED).mkdir()
        for name, content in stored.items():
            (folder / STORED / name).write_bytes(content)
        pq.write_table(rows.select(list(job.columns)), folder / ROWS)
        pq.write_table(golden.select(list(job.columns)), folder / GOLDEN)
        compile_kernels()  # once per machine; the sandbox gets a copy and gives nothing back
        kernels = {"NUMBA_CACHE_DIR": str(kernel_folder())}
        confinement = run_sandboxed(
            MODULE, folder, limits, environ=kernels, must_be_closed=must_be_closed
        )
        shapes = {SCORES: job.shape(rows.num_rows), GOLDEN_SCORES: job.shape(golden.num_rows)}
        return _examination(folder, shapes, limits, confinement)


def _examination(
    folder: Path, shapes: Mapping[str, Shape], limits: Limits, confinement: SandboxReport
) -> Examination:
    def left(name: str) -> bytes:
        return read_left_behind(folder, name, max_bytes=limits.file_bytes)

    try:
        findings = Findings.model_validate_json(left(FINDINGS))
        return Examination(
            findings=findings,
            scores=_scores(left(SCORES), shapes[SCORES]),
            golden_scores=_scores(left(GOLDEN_SCORES), shapes[GOLDEN_SCORES]),
            files={name: left(name) for name in findings.files},
            confinement=confinement,
        )
    except ValueError as error:  # of pydantic, or of scores that are not whole
        raise ModelRefused(
            "The model was examined, but the findings are not whole.",
            reason=Refusal.CRASHED,
            next_step="Register it again; if that repeats, do not trust the model.",
        ) from error


def _scores(content: bytes, shape: Shape) -> npt.NDArray[np.float64]:
    scores = np.frombuffer(content, dtype=np.float64)
    if len(scores) != prod(shape) or not np.isfinite(scores).all():
        raise ValueError(f"there are not {prod(shape)} finite scores")
    return scores.reshape(shape)
