"""The lease of a window: one writer at a time, and a token by which the table's log knows the last.

The lease only keeps runs from working against each other; it compares clocks, which can be wrong.
What makes a second publication impossible is the token: whoever takes a window over has a higher
one, and `lake.table` refuses a commit under a lower one.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from batchinf_assets.errors import BatchinfError, LeaseLost, LostRace
from batchinf_assets.lake.conditional import ConditionalPlace, create, replace
from batchinf_assets.lake.lease_file import (
    LARGEST_TOKEN,
    Lease,
    LeaseInvalid,
    lease_invalid,
    read_document,
)
from batchinf_assets.lake.versioned import Outdated
from batchinf_assets.lake.worker import Worker

BEATS_PER_TTL = 4
DEFAULT_TTL = timedelta(seconds=60)

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]

_unreleased: set[str] = set()
"""The `hold` of each lease that this process was done with and could not give back."""


class HeldLease:
    """A lease of ours; made by `hold`.

    Attributes:
        lease: The document as this process wrote it last.
    """

    def __init__(self, place: ConditionalPlace, lease: Lease, version: str, now: Clock) -> None:
        self.lease = lease
        self._place, self._version, self._now = place, version, now
        self._lost: LostRace | None = None
        self._writing = threading.Lock()

    def require_held(self) -> None:
        """Make sure that nobody took the lease over.

        Raises:
            LostRace: Another run did.
            LeaseLost: This one could not show for too long that it lives.
            LeaseInvalid: The file was damaged meanwhile.
            OSError: It cannot be read.
        """
        if self._lost is not None:
            raise self._lost
        self._current_version()

    def renew(self) -> None:
        """Show that the holder lives. Raises what `require_held` raises."""
        self._write(beat_at=self._now())

    def release(self) -> None:
        """Let the next one in. Raises what `require_held` raises."""
        self._write(beat_at=self._now(), state="free")

    def lose(self, reason: LostRace) -> None:
        """Count the lease as lost from now on."""
        self._lost = reason

    def forget_the_dead(self) -> None:
        """Drop the attempts whose end was reported; the next beat writes it."""
        if self.lease.unreported:
            with self._writing:
                self.lease = self.lease.model_copy(update={"unreported": ()})

    def _write(self, **changes: object) -> None:
        with self._writing:
            changed = self.lease.model_copy(update=changes)
            written = False
            while not written:
                try:
                    self._version = replace(self._place, changed.to_json(), self._version)
                    written = True
                except Outdated:  # somebody else's, or our own write whose answer was lost
                    self._version = self._current_version()
            self.lease = changed

    def _current_version(self) -> str:
        found = read_document(self._place, self.lease.window)
        if found is None or (found[0].hold, found[0].state) != (self.lease.hold, "held"):
            raise _superseded(self.lease, found[0] if found else None)
        return found[1]


@contextmanager
def hold(
    place: ConditionalPlace,
    *,
    window: str,
    holder: str,
    stage: str,
    on_takeover: Callable[[Lease, int], None],
    at_least: int = 1,
    died: str | None = None,
    worker: Worker | None = None,
    ttl: timedelta = DEFAULT_TTL,
    now: Clock = lambda: datetime.now(UTC),
) -> Generator[HeldLease]:
    """Hold the lease of a window while the body runs; a thread keeps it alive.

    The same holder going on after itself keeps its token. Whoever comes after another holder, or
    after one that died, has a higher token than any before.

    Args:
        place: The lease file, `_leases/<window>.json`.
        window: The window's key.
        holder: The run.
        stage: What it is about to do, for whoever is refused meanwhile.
        on_takeover: Called before the body, with each dead lease whose end nobody recorded yet
            and with our token.
        at_least: The lowest token allowed: the last one in the table's log, plus one where this is
            another attempt. Matters where the lease file was removed.
        died: The `hold` of a lease whose process the caller saw die: it is taken over at once, also
            where this process cannot see that.
        worker: The process; this one where none is given.
        ttl: How long after its last beat the holder counts as dead.
        now: The wall clock.

    Raises:
        LostRace: Another process holds the lease and lives.
        LeaseInvalid: The file is damaged, tokens have run out, or what we would write is beyond
            what a lease may say.
        OSError: It cannot be read or written.
    """
    started = now()
    try:
        wanted = Lease(
            window=window,
            token=at_least,
            holder=holder,
            worker=worker or Worker.here(),
            stage=stage,
            hold=secrets.token_hex(8),
            since=started,
            beat_at=started,
            ttl_seconds=ttl.total_seconds(),
        )
    except ValidationError as error:
        raise _unwritable(window, error) from error
    asked = time.monotonic()
    held = _acquire(place, wanted, now, died)
    with _beating(held, ttl.total_seconds(), asked):
        for dead in held.lease.unreported:
            on_takeover(dead, held.lease.token)
        held.forget_the_dead()
        yield held


def read_lease(place: ConditionalPlace, window: str) -> Lease | None:
    """Read the lease of a window, or None where it was never held.

    Raises:
        LeaseInvalid: The file is damaged.
        OSError: It cannot be read.
    """
    found = read_document(place, window)
    return found[0] if found else None


def _acquire(place: ConditionalPlace, wanted: Lease, now: Clock, died: str | None) -> HeldLease:
    while True:
        found = read_document(place, wanted.window)
        if found and found[0].hold == wanted.hold:  # our own write whose answer was lost
            return HeldLease(place, *found, now)
        try:
            if found is None:
                return HeldLease(place, wanted, create(place, wanted.to_json()), now)
            found = (_as_left(found[0]), found[1])
            if found[0].hold != died and found[0].is_live(now(), wanted.worker):
                patience = min(found[0].ttl_seconds, wanted.ttl_seconds)
                if not _is_silent(place, *found, now(), patience):
                    raise _refusal(found[0])
            lease = _after(place, found[0], wanted)
            return HeldLease(place, lease, replace(place, lease.to_json(), found[1]), now)
        except (FileExistsError, Outdated):
            continue  # somebody was faster: look again who


def _as_left(lease: Lease) -> Lease:
    """Return a lease as this process would have left it, had the store let it."""
    return lease.model_copy(update={"state": "free"}) if lease.hold in _unreleased else lease


def _after(place: ConditionalPlace, last: Lease, wanted: Lease) -> Lease:
    goes_on = last.state == "free" and last.holder == wanted.holder
    token = max(wanted.token, last.token if goes_on else last.token + 1)
    if token > LARGEST_TOKEN:
        raise lease_invalid(f"{place} has token {last.token}, and there is no higher one")
    dead = () if last.state == "free" else (last.model_copy(update={"unreported": ()}),)
    return wanted.model_copy(
        update={
            "token": token,
            "unreported": (*last.unreported, *dead),
        }
    )


def _is_silent(
    place: ConditionalPlace, lease: Lease, version: str, now: datetime, patience: float
) -> bool:
    """Say whether a holder whose beats lie in the future gives none while we wait for one.

    Its clock is ahead: by that clock a dead one would keep the window for as long as it is ahead.
    """
    if lease.beat_at <= now + timedelta(seconds=lease.ttl_seconds):
        return False
    time.sleep(patience)
    found = read_document(place, lease.window)
    return found is not None and found[1] == version


@contextmanager
def _beating(held: HeldLease, ttl: float, shown: float) -> Generator[None]:
    """Renew a lease from now on; release it at the end, whatever the end is."""
    stop = threading.Event()
    # Daemon: a run that dies without unwinding must not be kept alive by its own heartbeat.
    thread = threading.Thread(
        target=_beat, args=(held, stop, ttl, shown), name="lease", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        _release(held)


def _beat(held: HeldLease, stop: threading.Event, ttl: float, shown: float) -> None:
    # Counted from before the lease was acquired, which may have taken a good part of the ttl.
    pause = max(0.0, shown + ttl / BEATS_PER_TTL - time.monotonic())
    while not stop.wait(pause):
        started = time.monotonic()
        try:
            held.renew()
        except LostRace as race:
            return held.lose(race)
        except (OSError, BatchinfError) as error:
            if started - shown > ttl:
                return held.lose(_unrenewed(held.lease, error))
            pause = ttl / BEATS_PER_TTL**2
        else:
            shown, pause = started, ttl / BEATS_PER_TTL
    return None


def _release(held: HeldLease) -> None:
    try:
        held.release()
    except LostRace:
        return  # nothing of ours is left to release
    except (OSError, BatchinfError) as error:
        _unreleased.add(held.lease.hold)
        logger.warning(
            "The lease of window %s could not be released and expires at %s: %s",
            held.lease.window,
            held.lease.expires_at.isoformat(timespec="seconds"),
            _named(error),
        )


def _refusal(lease: Lease) -> LostRace:
    return LostRace(
        f"Window {lease.window} is being worked on ({lease.stage}) by run {lease.holder} on "
        f"{lease.worker} since {_clock_time(lease.since)}; its lease expires at "
        f"{_clock_time(lease.expires_at)} unless renewed.",
        next_step="Wait for that run to end, or end it; then run this again.",
    )


def _superseded(lease: Lease, found: Lease | None) -> LostRace:
    if found is None:
        other = "its lease file was removed"
    elif found.hold == lease.hold:
        other = "this process has released its lease"
    else:
        other = f"run {found.holder} on {found.worker} took it over with token {found.token}"
    return LostRace(
        f"Run {lease.holder} no longer holds window {lease.window} (token {lease.token}): {other}.",
        next_step="Nothing was published by this run; look at what the other one does.",
    )


def _unrenewed(lease: Lease, error: OSError | BatchinfError) -> LeaseLost:
    return LeaseLost(
        f"Run {lease.holder} could not renew its lease of window {lease.window} for "
        f"{lease.ttl_seconds:g} s: {_named(error)}.",
        next_step="Make the lake writable again, then run the window again.",
    )


def _unwritable(window: str, error: ValidationError) -> LeaseInvalid:
    problem = error.errors()[0]
    field = ".".join(map(str, problem["loc"]))
    return LeaseInvalid(
        f"Window {window[:40]!r} cannot be leased: {field}: {problem['msg']}.",
        next_step="For a time, set this machine's clock; for a token, restore the table's log.",
    )


def _named(error: OSError | BatchinfError) -> str:
    return error.message.rstrip(".") if isinstance(error, BatchinfError) else str(error)


def _clock_time(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
