"""What runs inside the sandbox: load the model, find its fast form, hold the two together.

Registering makes the fast form; verifying takes the one that is stored, which is what scores.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.errors import BatchinfError, ModelRefused, Refusal
from batchinf_assets.registry.card import ParityRecord, ScorerFile, SignedFile
from batchinf_assets.registry.estimator import load_estimator
from batchinf_assets.registry.inspection import ModelFormat, inspect_onnx, recognize
from batchinf_assets.registry.sandbox import report_refusal
from batchinf_assets.scoring.adversarial import (
    adversarial_rows,
    feature_thresholds,
    hostile_rows,
    threshold_coverage,
)
from batchinf_assets.scoring.fast import LINEAR, FastScorer, TreeScorer, fast_scorer
from batchinf_assets.scoring.load import repeatable, stored_scorer
from batchinf_assets.scoring.onnx_scorer import load_onnx
from batchinf_assets.scoring.parity import (
    choose_scorer,
    compare_scorers,
    measure_speed,
    reference_record,
)
from batchinf_assets.scoring.scorer import Scorer, SklearnScorer, score_rows
from batchinf_assets.scoring.untranslatable import Untranslatable
from batchinf_assets.spec.contract import FeatureSpec
from batchinf_assets.spec.prediction import Kind
from batchinf_assets.training.examine import (
    FINDINGS,
    GOLDEN,
    GOLDEN_SCORES,
    JOB,
    MODEL,
    ROWS,
    SCORER_FILES,
    SCORES,
    STORED,
    Findings,
    Job,
)

SPEED_ROWS = 32_768
"""Rows on which speed is measured, by repeating the golden ones: enough that what a call costs once
does not count, few enough that scikit-learn answers them in a second."""

FALSE_AND_TRUE = (("False", "True"), ("0", "1"), ("0.0", "1.0"), ("-1", "1"), ("-1.0", "1.0"))
"""Pairs of classes of which nobody doubts which one is predicted."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The scorers of one model.

    Attributes:
        chosen: The fastest that passed; of a model with a stored scorer, that one if it passed.
        parity: A record for each that was tried.
        files: What the chosen one needs beside the model.
        thresholds: How many split thresholds the adversarial rows met.
        speeds: Rows per second of each that passed, by name.
    """

    chosen: Scorer
    parity: tuple[ParityRecord, ...]
    files: Mapping[ScorerFile, bytes]
    speeds: Mapping[str, float]
    thresholds: str | None = None


def main(folder: Path) -> None:
    """Examine the model in a folder and leave the findings beside it."""
    job = Job.model_validate_json((folder / JOB).read_bytes())
    rows, golden = pq.read_table(folder / ROWS), pq.read_table(folder / GOLDEN)
    data = (folder / MODEL).read_bytes()
    format_, reference, estimator = _load(data, job.columns)
    _require_classes(estimator, job.required)
    stored = stored_scorer(job.scorer, _stored(folder / STORED), job.columns)
    compared = compare(reference, estimator, golden, job, stored)
    findings = Findings(
        model_format=format_,
        scorer=compared.chosen.name,
        parity=compared.parity,
        files=tuple(sorted(compared.files)),
        thresholds=compared.thresholds,
        rows_per_second=dict(compared.speeds),
    )
    _keep(folder / SCORES, score_rows(compared.chosen, rows, job.required))
    _keep(folder / GOLDEN_SCORES, score_rows(compared.chosen, golden, job.required))
    for name, content in compared.files.items():
        (folder / name).write_bytes(content)
    (folder / FINDINGS).write_text(findings.model_dump_json(), encoding="utf-8")


def compare(
    reference: Scorer,
    estimator: Any | None,
    golden: pa.Table,
    job: Job,
    stored: FastScorer | None = None,
) -> Comparison:
    """Hold the fast scorer of a model, if it has one, against the reference.

    Args:
        reference: What is right by definition.
        estimator: The fitted estimator behind it; None for an ONNX model.
        golden: Golden rows.
        job: The declared features, the decision and the seed.
        stored: The stored scorer that the job names; None if it names none, or one that this
            machine does not have: the reference scores then.
    """
    timed = _repeated(golden, SPEED_ROWS)
    own = reference_record(reference, golden.num_rows)
    speeds = {reference.name: measure_speed(reference, timed)}
    made, problem = _made(estimator, job.columns)
    fast = made if job.scorer is None else stored
    if fast is None:
        tried = (own, *_no_form(problem)) if job.scorer is None else (own,)
        return Comparison(chosen=reference, parity=tried, files={}, speeds=speeds)
    # Also those of the model itself: a stored scorer could have lost some.
    thresholds = _thresholds([fast, made], job.columns)
    hard = adversarial_rows(golden, job.columns, thresholds, seed=job.seed)
    hostile = hostile_rows(golden, job.columns)
    record = compare_scorers(reference, fast, [golden, hard], hostile, decision=job.decision)
    if record.verdict == "passed":
        speeds[fast.name] = measure_speed(fast, timed)
    # A stored scorer scores because its card names it, fastest or not.
    fastest = choose_scorer(own, [record], speeds) if job.scorer is None else fast.name
    chosen = fast if fast.name in speeds and fastest == fast.name else reference
    return Comparison(
        chosen=chosen,
        parity=(own, record),
        files=fast.files() if chosen is fast else {},
        speeds=speeds,
        thresholds=str(threshold_coverage(hard, job.columns, thresholds)),
    )


def _load(
    data: bytes, columns: Mapping[str, FeatureSpec]
) -> tuple[ModelFormat, Scorer, Any | None]:
    format_ = recognize(data)
    if format_ == "onnx":
        inspect_onnx(data)
        return format_, load_onnx(data, columns), None
    estimator = repeatable(load_estimator(data, "The model"))
    return format_, SklearnScorer(estimator, columns), estimator


def _require_classes(estimator: Any | None, kind: Kind) -> None:
    """Require the declared classes of an estimator; an ONNX model does not name its own.

    A binary classifier tells false from true, in this order: of two words nobody knows which of
    them is meant, and the alphabet would decide.
    """
    own = [str(name) for name in getattr(estimator, "classes_", ())]
    if kind.has_classes and len(own) == kind.outputs and tuple(own) not in FALSE_AND_TRUE:
        raise ModelRefused(
            f"The model tells {', '.join(own)} apart, where a binary classifier tells False from "
            "True (or 0 from 1).",
            reason=Refusal.SCHEMA,
            next_step="Train it on labels that are true where the label of defs.yaml is.",
        )
    if estimator is not None and kind.classes and own != sorted(kind.classes):
        raise ModelRefused(
            f"The model tells {', '.join(own) or 'no classes'} apart; prediction.classes are "
            f"{', '.join(kind.classes)}.",
            reason=Refusal.SCHEMA,
            next_step=f"{kind.remedy}, or correct prediction.classes in defs.yaml.",
        )


def _stored(folder: Path) -> dict[SignedFile, bytes]:
    return {name: (folder / name).read_bytes() for name in SCORER_FILES if (folder / name).exists()}


def _made(
    estimator: Any | None, columns: Mapping[str, FeatureSpec]
) -> tuple[FastScorer | None, str | None]:
    """Make the fast scorer of an estimator, or say why it has none."""
    if estimator is None:
        return None, None
    try:
        return fast_scorer(estimator, columns), None
    except Untranslatable as error:
        return None, str(error)


def _thresholds(
    scorers: Sequence[FastScorer | None], columns: Mapping[str, FeatureSpec]
) -> dict[str, npt.NDArray[np.float64]]:
    found = [
        feature_thresholds(scorer.recipe, scorer.ensemble)
        for scorer in scorers
        if isinstance(scorer, TreeScorer)
    ]
    none = np.empty(0)
    return {
        name: np.unique(np.concatenate([none, *(each.get(name, none) for each in found)]))
        for name in columns
    }


def _no_form(reason: str | None) -> Iterator[ParityRecord]:
    if reason is None:
        return
    yield ParityRecord(
        scorer=f"{LINEAR} or trees",
        rows=0,
        largest_difference=None,
        label_flips=None,
        bit_equal=False,
        verdict="refused",
        reason=f"There is no fast form: {reason}",
    )


def _repeated(table: pa.Table, rows: int) -> pa.Table:
    return table.take(pa.array(np.arange(rows) % table.num_rows))


def _keep(path: Path, scores: npt.NDArray[np.float64]) -> None:
    scores.tofile(path)


def run(arguments: Sequence[str]) -> int:
    """Examine the folder named on the command line; a refusal is a finding, not a crash."""
    folder = Path(arguments[0])
    try:
        main(folder)
    except ModelRefused as error:
        report_refusal(folder, error)
        return 1
    except BatchinfError as error:  # a score that is not finite, a column that does not fit
        rows = ModelRefused(error.message, reason=Refusal.ROWS, next_step=error.next_step)
        report_refusal(folder, rows)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
