"""What windows that are worked on side by side ask of each other.

Some of what is found of a window depends on what was found of those before it: how many rows they
had, how their columns lay, how well they were scored. In a run that goes through its windows one
by one they are done by then. One that works on several at a time makes a window wait at the place
where it reads that, until the windows before it have written it.
"""

from __future__ import annotations

from typing import Protocol


class Order(Protocol):
    """The place of a window among those that its run works on."""

    def await_earlier(self) -> None:
        """Return once every earlier window of the run has let later ones go on, or has ended."""
        ...

    def release_later(self) -> None:
        """Let later windows read what was written of this one.

        Without it its end does, or that of what the run itself has to do about it.
        """
        ...


class OneByOne:
    """The order of a window that is worked on while no other one is."""

    def await_earlier(self) -> None:
        """The earlier ones are done."""

    def release_later(self) -> None:
        """The later ones have not begun."""
