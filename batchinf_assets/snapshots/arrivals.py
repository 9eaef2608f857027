"""Which windows must run because files landed or changed: a pure plan over what is known of them.

The listing is in `listing`, whether a file is whole in `completeness`, what was there before
anybody watched in `stock`. What the plan remembers only saves looking twice: without its cursor, or
with an old one, it comes to the same requests, and those are named by what they are about.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.snapshots.parts import Identity

LARGEST_CURSOR_GROUPS = 2_000
"""So many groups of windows, of at most forty bytes each, stay below 100 KB."""

_PREFIXES = (10, 7, 4)
"""Keys begin with a date: they are grouped by day, by month, by year."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """A file that was there when watching began.

    Attributes:
        identity: As it was then.
        sha256: Its content; None where nobody has read it yet.
    """

    identity: Identity
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A file revision that calls for a run.

    Attributes:
        window: The window's key.
        sha256: The revision.
        landing: Tells this landing from others of the same bytes.
    """

    window: str
    sha256: str
    landing: str

    @property
    def request_name(self) -> str:
        """What a request for a run is called: the same however often this landing is found.

        Bytes that land once more after others are another request: what was asked for before may
        have met the others.
        """
        return f"{self.window}:{self.sha256}:{self.landing}"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The last request for a window that was followed.

    Attributes:
        name: See `Arrival.request_name`.
        ended: Whether its run has ended, however it did.
    """

    name: str
    ended: bool


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is asked about a window, by its key; each answer costs more than the one before.

    Attributes:
        left: What was there before watching began, if something was; a window that never ran is
            left to backfills for as long as it is that.
        used: The SHA-256 of the file that the window was last run with, if it ever was.
        whole: Whether its file is complete.
        sha256: Reads the digest of its file; None where that must wait for another time.
        landing: What tells its landing from others of the same bytes, if not the change time.
        asked: The last request that was followed, if there was one.
    """

    used: Callable[[str], str | None]
    sha256: Callable[[str], str | None]
    left: Callable[[str], Left | None] = lambda _window: None
    whole: Callable[[str], bool] = lambda _window: True
    landing: Callable[[str], str | None] = lambda _window: None
    asked: Callable[[str], Asked | None] = lambda _window: None


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What one call may cost.

    Attributes:
        arrivals: At most this many.
        windows: No further group of windows is looked into after this many windows.
    """

    arrivals: int
    windows: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one call found.

    Attributes:
        arrivals: Windows to run, the earliest first.
        unfinished: Windows whose file is not complete yet.
        later: Windows that are looked at another time.
        cursor: For the next call.
    """

    arrivals: tuple[Arrival, ...]
    unfinished: tuple[str, ...]
    later: tuple[str, ...]
    cursor: str


def plan_arrivals(
    cursor: str | None, landed: Mapping[str, Identity], evidence: Evidence, effort: Effort
) -> Plan:
    """Decide which windows to run.

    A landed file calls for a run unless its window used just these bytes, a run was requested for
    this very landing, or it was there before watching began and the window never ran. Where a run
    for an earlier landing of these bytes is under way, its end is waited for: it may have met
    others. What exceeds `effort` is left for the next call, which begins there. Besides where that
    is, the cursor holds a digest for each group of windows of which nothing remained to be done, so
    its size does not grow with the files.

    Args:
        cursor: What the last call returned; None at first, or where it was lost. One that cannot be
            read counts as lost.
        landed: Files there now, by window key.
        evidence: What is known of a window.
        effort: The limits of this call.
    """
    groups = _grouped(landed)
    now = {name: _digest({key: landed[key] for key in keys}) for name, keys in groups.items()}
    before = _parse(cursor)
    settled = {name: digest for name, digest in now.items() if before.settled.get(name) == digest}
    look = _Look(landed=landed, evidence=evidence, effort=effort)
    begin = None
    for name in _from(sorted(groups), before.begin):
        if name in settled:
            continue
        skipped = look.is_spent
        if look.settle(groups[name]):
            settled[name] = now[name]
        elif begin is None and (skipped or look.is_full):
            begin = name
    return Plan(
        arrivals=tuple(sorted(look.arrivals, key=lambda arrival: arrival.window)),
        unfinished=tuple(sorted(look.found[_State.UNFINISHED])),
        later=tuple(sorted(look.found[_State.LATER])),
        cursor=_Cursor(begin=begin, settled=settled).model_dump_json(exclude_none=True),
    )


class _Cursor(BaseModel):
    """What one call leaves to the next: the group to begin with, and the digests of settled ones.

    A call that always began with the first group could be kept from the last by groups that wait.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    begin: str | None = None
    settled: dict[str, str] = Field(default_factory=dict)


class _State(Enum):
    SETTLED = "nothing remains to be done"
    UNFINISHED = "the file is not complete"
    LATER = "not now"


@dataclass(kw_only=True)
class _Look:
    """One pass over the groups that are not settled."""

    landed: Mapping[str, Identity]
    evidence: Evidence
    effort: Effort
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    found: dict[_State, list[str]] = field(default_factory=lambda: {state: [] for state in _State})
    looked_at: int = 0

    def settle(self, keys: Sequence[str]) -> bool:
        """Look at the windows of a group; say whether nothing remains to be done for any."""
        # A group is looked at whole, or one that exceeds the limit would never be settled.
        spent = self.is_spent
        states = [_State.LATER if spent else self._state(key) for key in keys]
        for key, state in zip(keys, states, strict=True):
            self.found[state].append(key)
        return set(states) == {_State.SETTLED}

    @property
    def is_spent(self) -> bool:
        """Whether this call may do no more."""
        return self.is_full or self.looked_at >= self.effort.windows

    @property
    def is_full(self) -> bool:
        """Whether no arrival more may be found."""
        return len(self.arrivals) >= self.effort.arrivals

    def _state(self, key: str) -> _State:
        left, used = self.evidence.left(key), self.evidence.used(key)
        if used is None and left is not None and left.identity == self.landed[key]:
            return _State.SETTLED
        self.looked_at += 1
        if self.is_full:
            return _State.LATER
        if not self.evidence.whole(key):
            return _State.UNFINISHED
        return self._compared(key, left.sha256 if left and used is None else used)

    def _compared(self, key: str, known: str | None) -> _State:
        sha256 = self.evidence.sha256(key)
        if sha256 is None:
            return _State.LATER
        if sha256 == known:
            return _State.SETTLED
        landing = self.evidence.landing(key) or str(self.landed[key][0])
        arrival = Arrival(window=key, sha256=sha256, landing=landing)
        asked = self.evidence.asked(key)
        if asked is not None and asked.name == arrival.request_name:
            return _State.SETTLED
        if asked is not None and not asked.ended and asked.name.startswith(f"{key}:{sha256}:"):
            return _State.LATER
        self.arrivals.append(arrival)
        return _State.SETTLED


def _from(names: Sequence[str], begin: str | None) -> list[str]:
    """Return names from one of them on, and then those before it."""
    at = bisect_left(names, begin or "")
    return [*names[at:], *names[:at]]


def _grouped(keys: Mapping[str, object]) -> dict[str, list[str]]:
    """Group keys by the longest beginning that makes few enough groups, in order."""
    ordered = sorted(keys)
    groups: dict[str, list[str]] = {}
    for length in _PREFIXES:
        groups = {}
        for key in ordered:
            groups.setdefault(key[: min(length, len(key) - 3)], []).append(key)
        if len(groups) <= LARGEST_CURSOR_GROUPS:
            return groups
    return groups


def _digest(identities: Mapping[str, Identity]) -> str:
    return json_sha256({key: list(identity) for key, identity in identities.items()})[:16]


def _parse(cursor: str | None) -> _Cursor:
    """Read a cursor; one of an earlier version counts as lost, which costs a look at everything."""
    if not cursor:
        return _Cursor()
    try:
        return _Cursor.model_validate_json(cursor)
    except ValidationError:
        return _Cursor()
