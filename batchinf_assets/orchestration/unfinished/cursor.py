"""The cursor of the unfinished sensor: what its ticks need not look at again, and where they are.

Losing it costs time and doubles nothing.
"""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict


class UnfinishedCursor(BaseModel):
    """What one tick leaves to the next.

    Attributes:
        settled: Dead runs of which nothing is left to do.
        rollbacks_after: Folder of the window at which looking for rollbacks that died stopped; None
            where all were looked at.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settled: tuple[str, ...] = ()
    rollbacks_after: str | None = None

    @classmethod
    def read(cls, text: str | None) -> UnfinishedCursor:
        """Read what a tick left; before there was more to keep it was a list of runs."""
        found = json.loads(text or "[]")
        return cls(settled=tuple(found)) if isinstance(found, list) else cls.model_validate(found)

    def write(self) -> str:
        """Write it; equal cursors give equal text."""
        return self.model_dump_json(exclude_defaults=True)
