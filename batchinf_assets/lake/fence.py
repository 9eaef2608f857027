"""What whoever writes asks of whoever works on a window: that nobody took the window over."""

from __future__ import annotations

from typing import Protocol


class Fence(Protocol):
    """A held lease of a window, or the attempt that holds it."""

    @property
    def token(self) -> int:
        """The attempt's number: a later attempt at the window has a higher one."""
        ...

    def require_held(self) -> None:
        """Do nothing while the lease is held.

        Raises:
            LostRace: Another attempt took the window over.
        """
        ...


class Alone:
    """The fence of who works on a window that nobody else can reach: the first attempt at it."""

    token = 1

    def require_held(self) -> None:
        """Nobody takes it over."""
