"""What the lease file of a window may say; who may hold a window is `lake.lease`'s business."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from batchinf_assets.errors import BatchinfError, DocumentTooLarge
from batchinf_assets.lake.conditional import ConditionalPlace, read_versioned
from batchinf_assets.lake.worker import Line, Worker

LARGEST_TOKEN = 2**31
LONGEST_TTL_SECONDS = 3_600

Instant = Annotated[
    AwareDatetime,
    Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC)),
]
"""A time with which can be reckoned; a clock that shows another one is wrong."""


class LeaseInvalid(BatchinfError):
    """A lease file is damaged, or is not about the window it is named after."""


class Lease(BaseModel):
    """What the lease file of a window says. Anybody can write it, so all of it is bounded.

    Attributes:
        window: The window's key.
        state: `free` after a release; the file stays, so that tokens only rise.
        token: Counts the attempts at the window.
        holder: The run that holds it, or held it last.
        worker: The process of that run.
        stage: What it does.
        hold: Different for every time that the lease was acquired.
        since: When it was acquired.
        beat_at: When the holder last showed that it lives.
        ttl_seconds: How long after that it counts as dead.
        unreported: Dead attempts whose end nobody has recorded yet, in their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    window: Line = Field(max_length=100)
    state: Literal["held", "free"] = "held"
    token: int = Field(ge=1, le=LARGEST_TOKEN)
    holder: Line = Field(max_length=200)
    worker: Worker
    stage: Line = Field(max_length=100)
    hold: Line = Field(max_length=100)
    since: Instant
    beat_at: Instant
    ttl_seconds: float = Field(gt=0, le=LONGEST_TTL_SECONDS)
    unreported: tuple[Lease, ...] = ()

    @property
    def expires_at(self) -> datetime:
        """When the holder counts as dead unless it beats before."""
        return self.beat_at + timedelta(seconds=self.ttl_seconds)

    def is_live(self, now: datetime, here: Worker) -> bool:
        """Say whether somebody has to be taken to work under this lease."""
        return self.state == "held" and now <= self.expires_at and not self.worker.has_died(here)

    def to_json(self) -> bytes:
        """Write the document."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def read_document(place: ConditionalPlace, window: str) -> tuple[Lease, str] | None:
    """Read the lease of a window and its version, or None where it was never held.

    Raises:
        LeaseInvalid: The file is damaged, or is about another window.
        OSError: It cannot be read.
    """
    try:
        found = read_versioned(place)
    except DocumentTooLarge as error:
        raise lease_invalid(f"{place} is no lease: it is too large") from error
    if found is None:
        return None
    try:
        lease = Lease.model_validate_json(found.content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise lease_invalid(f"{place} is no lease: {problem['msg']}") from error
    if lease.window != window:
        raise lease_invalid(f"{place} is about window {lease.window[:40]!r} and not {window}")
    return lease, found.version


def lease_invalid(problem: str) -> LeaseInvalid:
    """Return the refusal of a lease file; the problem is a sentence without its full stop."""
    return LeaseInvalid(
        f"{problem}.",
        next_step="Make sure that no run works on the window and remove the file; the next run "
        "makes a new one, with a token above those in the table's log.",
    )
