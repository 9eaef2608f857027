"""Small documents that say what somebody decided: each written once, never replaced or removed.

What is decided, and where its documents lie, is the business of those who keep them.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.conditional import create
from batchinf_assets.lake.digest import canonical_json
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.lake.place import Place

LARGEST_DECISION = 1 << 20


class Decision(BaseModel):
    """A decision as it is kept.

    Attributes:
        format_version: Of its document.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1

    def to_json(self) -> bytes:
        """Return the bytes that are kept."""
        return canonical_json(self.model_dump(mode="json", by_alias=True)) + b"\n"


Kept = TypeVar("Kept", bound=Decision)


def keep_decision(place: Place, decision: Decision) -> bool:
    """Keep a decision; say whether it is the one that is kept: somebody may have been first.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    try:
        create(place, decision.to_json())
    except FileExistsError:  # perhaps our own, whose answer was lost
        return read_bounded(place) == decision.to_json()
    return True


def read_decision(
    place: Place,
    kind: type[Kept],
    what: str,
    *,
    next_step: str = "Restore it from a backup.",
    **about: object,
) -> Kept | None:
    """Read a decision; None where there is none.

    Args:
        place: Where it is kept.
        kind: What it is.
        what: What to call it where it is damaged, such as `approval of what its name says`.
        next_step: What to do then.
        about: What some of its fields must say.

    Raises:
        ManifestInvalid: The document is damaged, or about something else.
    """
    try:
        found = kind.model_validate_json(read_bounded(place, LARGEST_DECISION))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise _invalid(place, what, next_step) from error
    if any(getattr(found, name) != value for name, value in about.items()):
        raise _invalid(place, what, next_step)
    return found


def _invalid(place: Place, what: str, next_step: str) -> ManifestInvalid:
    return ManifestInvalid(f"{place} is no {what}.", next_step=next_step)
