"""What is known of the windows before one, as far as its own source is held against them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchinf_assets.contracts.nullability import RequiredBefore


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What earlier windows held.

    Attributes:
        rows: Row counts, the oldest first; None where nobody asks for them.
        required: The newest statement of which columns are required; None where there is none.
    """

    rows: Sequence[int] | None
    required: RequiredBefore | None


EarlierWhenNeeded = Callable[[], Earlier]
"""Asked once the window's own rows are read: the windows before it may still be worked on."""
