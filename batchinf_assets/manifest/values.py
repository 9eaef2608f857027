"""What values a manifest may hold: nothing of one machine, nothing secret."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)

LONGEST_TEXT = 1000


_ROOTED = re.compile(r"[/\\~]|[A-Za-z]:[/\\]")


def _portable(text: str) -> str:
    """Refuse what belongs to one machine or may carry a credential."""
    if _ROOTED.match(text) or "://" in text:
        raise ValueError("must be neither an absolute path nor a URL")
    if not text.isprintable() or len(text) > LONGEST_TEXT:
        raise ValueError(f"must be one printable line of at most {LONGEST_TEXT} characters")
    return text


def require_relative(path: str) -> str:
    """Refuse a path that leads out of the folder that it is relative to."""
    if not path or ".." in PurePosixPath(path.replace("\\", "/")).parts:
        raise ValueError("must be a relative path without '..'")
    return _portable(path)


Text = Annotated[str, AfterValidator(_portable)]


RelativePath = Annotated[str, AfterValidator(require_relative)]


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


RevisionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


Count = Annotated[int, Field(ge=0, lt=2**63)]


Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Value(BaseModel):
    """A part of the document; what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)
