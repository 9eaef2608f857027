"""Draw a golden set: labelled rows of windows that no model in use has learned from.

A proposal lies beside the declared file until somebody puts it in its place; which rows of a group
are drawn is in `training.strata`, how a set is read in `golden.golden_set`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from batchinf_assets.code_version import running_code
from batchinf_assets.errors import ModelRefused, UsageError
from batchinf_assets.evaluation.golden.golden_provenance import (
    LearnedFrom,
    Provenance,
    Stratum,
    provenance_path,
)
from batchinf_assets.evaluation.golden.golden_set import positives_among
from batchinf_assets.features.labels import LABEL
from batchinf_assets.lake.digest import sort_by
from batchinf_assets.lake.entries import exists
from batchinf_assets.lake.files import write_bytes, write_parquet
from batchinf_assets.manifest.inputs import WindowRecord
from batchinf_assets.project import Project
from batchinf_assets.registry.card import FROM_FILE
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.training.dataset import LabelledRows, labelled_rows
from batchinf_assets.training.register import training_days
from batchinf_assets.training.strata import DrawnStratum, draw_stratified
from batchinf_assets.windows import Window

_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class GoldenDraw:
    """What to draw.

    Attributes:
        windows: Where from, in order; at least one.
        rows: How many.
        segments: Features whose values are strata, together with the label.
        stratified: False draws uniformly from all labelled rows.
        seed: Of the draw.
        version: Of the set that comes out.
        at: The time to put into its provenance.
        apart_from: Training that the windows share no day with, see `require_unlearned`.
    """

    windows: Sequence[Window]
    rows: int
    segments: Sequence[str] = ()
    stratified: bool = True
    seed: int = 0
    version: str
    at: datetime
    apart_from: tuple[LearnedFrom, ...]


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """A drawn golden set, not written yet.

    Attributes:
        rows: Key, features and the label under its declared name, sorted by key.
        labelled: What it was drawn from.
        strata: What each group gave.
        draw: What was asked for.
    """

    rows: pa.Table
    labelled: LabelledRows
    strata: tuple[DrawnStratum, ...]
    draw: GoldenDraw


def learned_from(registry: Registry, spec: PipelineSpec) -> tuple[LearnedFrom, ...]:
    """Return the training that a golden set must be kept apart from.

    That is the declared range, and what the model learned from that the pipeline's alias names now,
    as its signed card says; none is named where nothing is registered yet.

    Raises:
        ModelUnavailable: The registry does not answer.
        ModelRefused: That model's card is not authentic.
        KeyringInvalid: There is no keyring.
    """
    declared = spec.model.training
    found = [LearnedFrom(what="declared training", start=declared.start, end=declared.end)]
    for version in registry.versions(spec.model.name):
        if spec.model.alias not in version.aliases:
            continue
        card = open_version(registry, version, None).card
        known = "the reference profile of " if card.origin == FROM_FILE else ""
        found.append(
            LearnedFrom(
                what=f"{known}{version.name} v{version.version} ({spec.model.alias})",
                start=card.training.start,
                end=card.training.end,
            )
        )
    return tuple(found)


def others_that_learned(
    registry: Registry, spec: PipelineSpec, windows: Sequence[Window]
) -> tuple[str, ...]:
    """Name the other versions that learned from some of these windows: a set of them flatters them.

    Raises:
        ModelUnavailable: The registry does not answer.
        KeyringInvalid: There is no keyring.
    """
    found: list[str] = []
    for version in registry.versions(spec.model.name):
        if spec.model.alias in version.aliases:
            continue
        try:
            training = open_version(registry, version, None).card.training
        except ModelRefused:  # such a one can be neither compared nor promoted
            continue
        if any(_shares_a_day(window, training.start, training.end) for window in windows):
            found.append(f"{version.name} v{version.version}")
    return tuple(found)


def require_unlearned(windows: Sequence[Window], learned: Sequence[LearnedFrom]) -> None:
    """Refuse windows that share a day with any of this training.

    Raises:
        UsageError: Some do; it names them, and what learned from them.
    """
    for training in learned:
        shared = [w for w in windows if _shares_a_day(w, training.start, training.end)]
        if shared:
            named = ", ".join(window.key for window in shared[:_NAMED])
            rest = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
            raise UsageError(
                f"No golden set can be drawn from {named}{rest}: {training.what} covers "
                f"{training.start} up to {training.end}, and a model that is measured on what it "
                "learned looks better than it is.",
                next_step=f"Draw from windows from {max(t.end for t in learned)} on.",
            )


def draw_golden_set(
    project: Project,
    pipeline: Pipeline,
    draw: GoldenDraw,
    on_progress: Callable[[int, int], None],
) -> DrawnSet:
    """Draw labelled rows of some windows, as the pipeline's SQL makes them from what landed.

    The same landed files, declaration and draw give the same rows.

    Raises:
        UsageError: The windows were learned from, or there are not enough rows, or too many groups.
        InvalidSpec: The pipeline declares no outcomes.
        LandedFileMissing: A source, reference or outcome file has not landed.
        WindowRefused: One of them breaks its contract.
    """
    spec = pipeline.spec
    require_unlearned(draw.windows, draw.apart_from)
    _require_features(draw.segments, spec)
    labelled = labelled_rows(project, pipeline, draw.windows, on_progress)
    by = [LABEL, *draw.segments] if draw.stratified else []
    strata = draw_stratified(labelled.rows, by, draw.rows, seed=draw.seed)
    places = np.sort(np.concatenate([stratum.drawn for stratum in strata]))
    rows = sort_by(labelled.rows.take(pa.array(places)), spec.source.key)
    names = [spec.golden.label if name == LABEL else name for name in rows.column_names]
    return DrawnSet(
        rows=rows.rename_columns(names), labelled=labelled, strata=tuple(strata), draw=draw
    )


def proposed_place(
    project: Project, spec: PipelineSpec, chosen: Path | None, *, replace: bool = False
) -> Path:
    """Return where a proposal goes: as chosen, or else beside the declared file.

    Args:
        project: Whose declared file it is.
        spec: The pipeline.
        chosen: Where to, if somebody chose.
        replace: Whether an earlier proposal there may go.

    Raises:
        UsageError: The chosen file is the declared one, or cannot have a provenance beside it, or
            there is a proposal already.
    """
    declared = project.root / spec.golden.file
    path = chosen if chosen is not None else declared.with_suffix(".proposed.parquet")
    if path.suffix != ".parquet":
        raise UsageError(
            f"{path} does not end in .parquet.",
            next_step="Choose a name that does: its provenance ends in .json.",
        )
    if path.resolve() == declared.resolve():
        raise UsageError(
            f"{project.shown(declared)} is the golden set that counts; no draw replaces it.",
            next_step="Draw into another file, look at it, then put it in this one's place.",
        )
    if exists(path) and not replace:
        raise UsageError(
            f"{project.shown(path)} holds an earlier proposal.",
            next_step="Look at it first; then draw into another file (-o FILE), or over it "
            "(--force).",
        )
    return path


def write_golden_set(path: Path, drawn: DrawnSet, spec: PipelineSpec) -> Provenance:
    """Write a drawn set and its provenance beside it; the same set gives the same Parquet bytes.

    The provenance is written last: one that names another file is refused where the set is read.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    file = write_parquet(path, drawn.rows, {"pipeline": spec.name})
    provenance = _provenance(drawn, file.sha256, spec)
    write_bytes(provenance_path(path), provenance.to_json())
    return provenance


def _provenance(drawn: DrawnSet, sha256: str, spec: PipelineSpec) -> Provenance:
    draw, code = drawn.draw, running_code()
    return Provenance(
        version=draw.version,
        sha256=sha256,
        rows=drawn.rows.num_rows,
        positives=positives_among(drawn.rows.column(spec.golden.label)),
        drawn_at=draw.at,
        first=_recorded(draw.windows[0]),
        last=_recorded(draw.windows[-1]),
        available=drawn.labelled.rows.num_rows,
        unlabelled=drawn.labelled.unlabelled,
        seed=draw.seed,
        method=_method(draw, spec),
        strata=tuple(_stratum(each, spec) for each in drawn.strata) if draw.stratified else (),
        code_version=code.version,
        commit=code.commit,
        excluded=draw.apart_from,
    )


def _method(draw: GoldenDraw, spec: PipelineSpec) -> str:
    if not draw.stratified:
        return "uniformly without replacement"
    by = ", ".join([spec.golden.label, *draw.segments])
    return (
        f"without replacement from strata by {by} (numbers by quartile); largest remainders, at "
        "least one row each"
    )


def _stratum(stratum: DrawnStratum, spec: PipelineSpec) -> Stratum:
    values = {
        spec.golden.label if name == LABEL else name: text for name, text in stratum.values.items()
    }
    return Stratum(values=values, available=stratum.available, drawn=len(stratum.drawn))


def _recorded(window: Window) -> WindowRecord:
    return WindowRecord(key=window.key, start=window.start, end=window.end)


def _shares_a_day(window: Window, start: date, end: date) -> bool:
    first, after = training_days([window])
    return first < end and after > start


def _require_features(segments: Sequence[str], spec: PipelineSpec) -> None:
    unknown = [name for name in segments if name not in spec.features.columns]
    if unknown:
        raise UsageError(
            f"{spec.name} has no feature {', '.join(unknown)} to make segments of.",
            next_step=f"Features: {', '.join(spec.features.columns)}.",
        )
