"""A plan that was looked at and kept: it is run as it was, or not at all.

The digest covers what was planned and what that rests on: should a file land, a model be promoted
or the code change in between, another plan would come out, and the kept one is refused.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from batchinf_assets.errors import UsageError
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.publishing.backfill.plan import Plan, WindowPlan
from batchinf_assets.publishing.backfill.stale_reasons import Present
from batchinf_assets.snapshots.parts import identity_of
from batchinf_assets.spec.pipeline import PipelineSpec

SHOWN = 3


class SavedWindow(BaseModel):
    """A window of a kept plan."""

    model_config = ConfigDict(frozen=True)

    window: str
    digest: str


class SavedPlan(BaseModel):
    """What counts of the JSON of `batchinf backfill plan`; the rest of it is for people.

    Attributes:
        pipeline: The pipeline's name.
        first: No window before this one was looked at; None where the range was open.
        last: No window after this one was looked at.
        chunk: Windows per run.
        windows: Every window that was looked at.
        digest: What `plan_digest` returned.
    """

    model_config = ConfigDict(frozen=True)

    pipeline: str
    first: str | None
    last: str | None
    chunk: int
    windows: tuple[SavedWindow, ...]
    digest: str


def present_digest(project: Project, spec: PipelineSpec, present: Present) -> str:
    """Return the SHA-256 of what any window would be scored with, reference files included."""
    paths = {each.file: project.landing / each.file for each in spec.references.values()}
    landed = {file: landed_as(path) for file, path in paths.items()}
    documents = {
        "settings": present.settings.model_dump(mode="json"),
        "code": present.code.model_dump(mode="json"),
    }
    return json_sha256([asdict(present) | documents, landed])


def landed_as(path: Place | None) -> str | None:
    """Return what changes whenever a landed file does; None where none is there."""
    try:
        return json_sha256(identity_of(path))[:16] if path else None
    except OSError:  # gone since the folder was listed
        return None


def plan_digest(pipeline: str, plan: Plan, chunk: int) -> str:
    """Return the SHA-256 of a plan and of what it rests on, as 64 hex digits."""
    windows = [[window.window, window_digest(window)] for window in plan.windows]
    return json_sha256([pipeline, plan.present, chunk, windows])


def window_digest(window: WindowPlan) -> str:
    """Return the SHA-256 of what is planned for a window and of the file that landed for it."""
    why = [[stale.reason, stale.detail] for stale in window.why]
    return json_sha256([why, window.rows, window.runs, window.landed_as])


def read_plan(path: Path, pipeline: str) -> SavedPlan:
    """Read a plan that `backfill plan --json` printed.

    Raises:
        UsageError: The file is missing, no plan, or that of another pipeline.
    """
    again = f"Make one: `batchinf backfill plan {pipeline} --json > FILE`."
    try:
        plan = SavedPlan.model_validate_json(read_bounded(path))
    except OSError as error:
        raise UsageError(
            f"The plan {path} cannot be read ({error.strerror}).", next_step=again
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "document"
        raise UsageError(
            f"{path} is no plan: {where}: {problem['msg']}.", next_step=again
        ) from error
    if plan.pipeline != pipeline:
        raise UsageError(f"{path} is a plan of {plan.pipeline[:60]}.", next_step=again)
    return plan


def require_same(saved: SavedPlan, now: Plan) -> None:
    """Make sure that the world is still the one that a plan was made in.

    Raises:
        UsageError: It is not; names what differs.
    """
    if plan_digest(saved.pipeline, now, saved.chunk) == saved.digest:
        return
    then = {window.window: window.digest for window in saved.windows}
    today = {window.window: window_digest(window) for window in now.windows}
    other = [key for key in sorted({*then, *today}) if then.get(key) != today.get(key)]
    more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
    what = f"{', '.join(other[:SHOWN])}{more}" if other else "model, references or code"
    raise UsageError(
        f"The plan does not hold any more: another one would be made now, because {what} changed.",
        next_step="Make the plan again and look at it.",
    )
