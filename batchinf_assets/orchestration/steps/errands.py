"""What a run asks of the processes that work on its windows, and what they say to it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from batchinf_assets.errors import BatchinfError
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

Step = Callable[[Workplace, Pipeline, Try, Window], WindowResult]
"""Works on one window. Processes find it by its name: it is a function of a module."""

Wish = Literal["earlier", "later", "left"]
"""What a step asks of its run meanwhile: `Order`'s two, and `Try.require_left`."""


class Line(Protocol):
    """One end of a pipe between a run and a process: what is sent is pickled."""

    def send(self, obj: Any, /) -> None:
        """Send a thing."""
        ...

    def recv(self) -> Any:
        """Wait for a thing.

        Raises:
            EOFError: The other end is closed.
        """
        ...

    def poll(self) -> bool:
        """Say whether there is a thing, or the other end is closed."""
        ...

    def close(self) -> None:
        """Close this end."""
        ...


@dataclass(frozen=True, kw_only=True)
class Errand:
    """One try at a step of one window.

    Attributes:
        step: The step.
        run_id: The run.
        again: How often the run tried it before.
        window: The window.
    """

    step: Step
    run_id: str
    again: int
    window: Window


@dataclass(frozen=True, kw_only=True)
class Broke:
    """How an errand failed.

    Attributes:
        error: What was raised.
        frames: Where, for the run's log.
    """

    error: Exception
    frames: str


class CrashedThere(Exception):
    """Stands for an error that neither this package nor the operating system raised.

    Attributes:
        kind: The name of its class.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Elsewhere(Exception):
    """Where in another process an error was raised."""

    def __init__(self, frames: str) -> None:
        super().__init__(frames)
        self.frames = frames


def broke(error: Exception) -> Broke:
    """Describe a failure so that another process can raise it again."""
    return Broke(error=_sendable(error), frames=frames_of(error))


def _sendable(error: Exception) -> Exception:
    """Keep what decides whether to try again; foreign errors may hold what cannot be pickled."""
    if isinstance(error, BatchinfError):
        return error
    if not isinstance(error, OSError):
        return CrashedThere(type(error).__name__)
    kind = next(each for each in type(error).__mro__ if each.__module__ == "builtins")
    number = error.errno if isinstance(error.errno, int) else None
    said = None if error.strerror is None else str(error.strerror)
    return kind(number, said, None if error.filename is None else str(error.filename))


def frames_of(error: BaseException) -> str:
    """Write a traceback, of the causes too, without messages: those may quote a password."""
    found, chain = "", [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    for each in reversed(chain):
        if isinstance(each, Elsewhere):
            found += each.frames
        else:
            found += "".join(traceback.format_tb(each.__traceback__)) + f"{kind_of(each)}\n"
    return found


def kind_of(error: BaseException) -> str:
    """Name the class of an error, wherever it was raised."""
    return error.kind if isinstance(error, CrashedThere) else type(error).__name__
