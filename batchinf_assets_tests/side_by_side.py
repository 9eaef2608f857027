"""The place of a window in a run that works on several at a time, as tests decide it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Awaiting:
    """What was done to earlier windows by the time that this one asks for them."""

    meanwhile: Callable[[], object]
    heard: list[str] = field(default_factory=list[str])

    def await_earlier(self) -> None:
        self.heard.append("earlier")
        self.meanwhile()

    def release_later(self) -> None:
        self.heard.append("later")
