"""Small documents with the version that names their content, wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass

from batchinf_assets.errors import LostRace

LARGEST_DOCUMENT = 16 * 2**20
"""Bytes of a JSON document; the manifest of a window of fifty thousand shards stays below it."""


class Outdated(LostRace):
    """A document is no longer the version that was to be replaced."""


@dataclass(frozen=True, kw_only=True)
class Versioned:
    """A document as it was read.

    Attributes:
        content: Its bytes.
        version: Names this content at this place; opaque, compared for equality only.
    """

    content: bytes
    version: str


def outdated(place: object) -> Outdated:
    """Return the refusal to replace a document that somebody else replaced first."""
    return Outdated(
        f"{place} was changed by another process meanwhile.",
        next_step="Nothing was changed by this one; run it again to work on the new state.",
    )
