"""Who did something by hand, and why: what every such record must say before it is kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from batchinf_assets.errors import UsageError


class Reasoned(Protocol):
    """A record of something that somebody did."""

    @property
    def by(self) -> str:
        """Who."""
        ...

    @property
    def reason(self) -> str:
        """Why."""
        ...


Record = TypeVar("Record", bound=Reasoned)


def reasoned(
    record: Callable[..., Record], what: str, *, by: str, reason: str, at: datetime, **more: Any
) -> Record:
    """Return a record of something that somebody did, which documents can hold.

    Args:
        record: Its pydantic model; has `by`, `reason` and `at`.
        what: What it is called, such as `override`.
        by: Who.
        reason: Why.
        at: When.
        more: Its other fields.

    Raises:
        UsageError: `by` or `reason` is empty, not one printable line, a URL or an absolute path.
    """
    try:
        made = record(by=by.strip(), reason=reason.strip(), at=at, **more)
    except ValidationError as error:
        problem = error.errors()[0]
        field, sentence = problem["loc"][0], problem["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"The {field} of this {what} {sentence}.", next_step="It is kept: write it in words."
        ) from error
    if not made.by or not made.reason:
        raise UsageError(
            f"This {what} needs to say who asks for it, and why.",
            next_step="Give both, in words.",
        )
    return made
