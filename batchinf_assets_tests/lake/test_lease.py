"""Who may hold a window, with which token, and how a lease is lost."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from moto.server import ThreadedMotoServer

from batchinf_assets.errors import LostRace
from batchinf_assets.lake import conditional
from batchinf_assets.lake.conditional import ConditionalPlace, create
from batchinf_assets.lake.lease import (
    HeldLease,
    Lease,
    LeaseInvalid,
    hold,
    read_lease,
)
from batchinf_assets.lake.lease_file import LARGEST_TOKEN
from batchinf_assets.lake.place import Place, parse_place
from batchinf_assets.lake.versioned import Outdated, Versioned
from batchinf_assets.lake.worker import Worker

WINDOW = "2013-07-01"
NOON = datetime(2013, 7, 2, 12, tzinfo=UTC)
SHORT = timedelta(seconds=0.4)
ELSEWHERE = Worker(host="elsewhere", pid=17)
PATIENCE_SECONDS = 30.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "_leases" / f"{WINDOW}.json"


def holding(
    place: ConditionalPlace,
    holder: str = "run-1",
    *,
    at_least: int = 1,
    worker: Worker | None = None,
    ttl: timedelta = timedelta(seconds=60),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    dead: list[Lease] | None = None,
) -> AbstractContextManager[HeldLease]:
    buried = [] if dead is None else dead
    return hold(
        place,
        window=WINDOW,
        holder=holder,
        stage="predictions",
        on_takeover=lambda lease, _token: buried.append(lease),
        at_least=at_least,
        worker=worker,
        ttl=ttl,
        now=now,
    )


def token_of(place: Path, holder: str, **how: int) -> int:
    with holding(place, holder, **how) as held:
        return held.lease.token


def held_by(worker: Worker = ELSEWHERE, beat_at: datetime = NOON, token: int = 3) -> Lease:
    return Lease(
        window=WINDOW,
        token=token,
        holder="run-0",
        worker=worker,
        stage="features",
        hold="0" * 16,
        since=NOON,
        beat_at=beat_at,
        ttl_seconds=0.4,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def is_lost(held: HeldLease) -> bool:
    try:
        held.require_held()
    except LostRace:
        return True
    return False


def test_the_first_holder_has_the_first_token_and_says_who_it_is(place: Path) -> None:
    with holding(place) as held:
        held.require_held()
        written = read_lease(place, WINDOW)
        assert written is not None
        assert (written.state, written.token, written.holder) == ("held", 1, "run-1")
        assert str(written.worker).endswith(f":{os.getpid()}")
        assert written.hold == held.lease.hold
    assert read_lease(place, WINDOW) == held.lease
    assert held.lease.state == "free"


def test_a_window_that_nobody_held_has_no_lease(place: Path) -> None:
    assert read_lease(place, WINDOW) is None


def test_the_same_holder_going_on_keeps_its_token(place: Path) -> None:
    assert [token_of(place, "run-1") for _ in range(3)] == [1, 1, 1]


def test_every_other_holder_has_a_higher_token(place: Path) -> None:
    holders = ["run-1", "run-2", "run-2", "run-1", "run-1", "run-3"]
    assert [token_of(place, holder) for holder in holders] == [1, 2, 2, 3, 3, 4]


def test_a_token_is_not_below_the_lowest_allowed(place: Path) -> None:
    assert token_of(place, "run-1", at_least=5) == 5
    assert token_of(place, "run-1", at_least=4) == 5
    assert token_of(place, "run-1", at_least=7) == 7
    assert token_of(place, "run-2", at_least=7) == 8


def test_after_a_lease_file_was_removed_tokens_go_on_from_the_lowest_allowed(place: Path) -> None:
    assert token_of(place, "run-1", at_least=5) == 5
    place.unlink()
    assert token_of(place, "run-2", at_least=6) == 6


def test_a_body_that_raises_releases_and_its_error_comes_through(place: Path) -> None:
    with pytest.raises(ZeroDivisionError), holding(place):
        raise ZeroDivisionError
    lease = read_lease(place, WINDOW)
    assert lease is not None
    assert (lease.state, lease.token) == ("free", 1)
    assert token_of(place, "run-2") == 2


@pytest.mark.parametrize("holder", ["run-1", "run-2"])
def test_while_one_holds_every_other_is_told_who(place: Path, holder: str) -> None:
    with holding(place, "run-1") as held:
        with pytest.raises(LostRace) as refusal, holding(place, holder):
            pass
        held.require_held()
    message = refusal.value.message
    named = [WINDOW, "predictions", "run-1", str(held.lease.worker), "since", "expires at"]
    assert [word for word in named if word not in message] == []
    assert "end" in refusal.value.next_step


def test_a_lease_lives_until_its_holder_was_silent_for_the_whole_ttl(place: Path) -> None:
    create(place, held_by().to_json())
    last_moment = NOON + SHORT
    with pytest.raises(LostRace, match="run-0"), holding(place, now=lambda: last_moment):
        pass
    dead: list[Lease] = []
    after = last_moment + timedelta(microseconds=1)
    with holding(place, now=lambda: after, dead=dead) as held:
        assert held.lease.token == 4
    assert dead == [held_by()]


def test_a_dead_holder_is_followed_by_a_higher_token_whoever_follows(place: Path) -> None:
    create(place, held_by().to_json())
    assert token_of(place, "run-0") == 4


def test_a_process_that_ended_here_is_dead_at_once(place: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        worker = Worker.here().model_copy(
            update={"pid": process.pid, "started": start_of(process.pid)}
        )
        lease = held_by(worker, datetime.now(UTC)).model_copy(update={"ttl_seconds": 3600})
        create(place, lease.to_json())
        with pytest.raises(LostRace), holding(place):
            pass
        process.kill()
    assert token_of(place, "run-2") == 4


def test_a_holder_whose_clock_is_ahead_is_watched_for_one_ttl(place: Path) -> None:
    create(place, held_by(beat_at=NOON + timedelta(days=1)).to_json())
    dead: list[Lease] = []
    with holding(place, now=lambda: NOON, dead=dead) as held:
        assert held.lease.token == 4
    assert [lease.holder for lease in dead] == ["run-0"]


def test_a_live_holder_whose_clock_is_ahead_is_not_robbed(place: Path) -> None:
    def tomorrow() -> datetime:
        return datetime.now(UTC) + timedelta(days=1)

    with holding(place, "run-1", worker=ELSEWHERE, ttl=timedelta(seconds=2), now=tomorrow) as held:
        with pytest.raises(LostRace, match="run-1"), holding(place, "run-2"):
            pass
        held.require_held()


def test_the_dead_are_reported_before_the_body_and_only_once(place: Path) -> None:
    create(place, held_by().to_json())
    dead: list[Lease] = []
    with holding(place, dead=dead) as held:
        assert [lease.token for lease in dead] == [3]
        held.renew()
        assert written(place).unreported == ()
    with holding(place, "run-2", dead=dead):
        pass
    assert len(dead) == 1


def test_a_dead_attempt_that_nobody_could_report_is_left_to_the_next(place: Path) -> None:
    create(place, held_by().to_json())

    def fail(_lease: Lease, _token: int) -> None:
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        hold(place, window=WINDOW, holder="run-1", stage="features", on_takeover=fail),
    ):
        pass
    dead: list[Lease] = []
    with holding(place, "run-2", dead=dead):
        assert [lease.token for lease in dead] == [3]


def test_who_died_before_reporting_is_reported_after_the_one_it_found(place: Path) -> None:
    second = held_by(token=4).model_copy(update={"unreported": (held_by(token=3),)})
    create(place, second.to_json())
    dead: list[Lease] = []
    with holding(place, dead=dead) as held:
        assert held.lease.token == 5
    assert dead == [held_by(token=3), held_by(token=4)]


def test_the_heart_beats_while_the_body_runs(place: Path) -> None:
    with holding(place, ttl=SHORT) as held:
        beats = set()

        def three_beats() -> bool:
            beats.add(written(place).beat_at)
            return len(beats) > 3

        wait_for(three_beats)
        held.require_held()
        assert held.lease.since == min(beats | {held.lease.since})


def test_who_was_taken_over_learns_it_and_writes_nothing_more(place: Path) -> None:
    with holding(place, ttl=SHORT) as held:
        other = held_by(token=2)
        with conditional.locked(place):
            place.write_bytes(other.to_json())
        with pytest.raises(LostRace, match=r"token 1.*run-0 on elsewhere:17 .*token 2"):
            held.require_held()
    assert read_lease(place, WINDOW) == other


def test_who_learned_it_from_a_beat_stays_lost(place: Path) -> None:
    with holding(place, ttl=SHORT) as held:
        ours = place.read_bytes()
        with conditional.locked(place):
            place.write_bytes(held_by(token=2).to_json())
        beat_until_lost(held)
        place.write_bytes(ours)
        with pytest.raises(LostRace, match="token 2"):
            held.require_held()


def test_removing_the_lease_file_takes_the_window_from_its_holder(place: Path) -> None:
    with holding(place, ttl=SHORT) as held:
        with conditional.locked(place):
            place.unlink()
        with pytest.raises(LostRace, match="removed"):
            held.require_held()
        beat_until_lost(held)
    assert not place.exists()


def test_who_released_holds_nothing_even_where_the_same_run_goes_on(place: Path) -> None:
    with holding(place) as first:
        pass
    with pytest.raises(LostRace, match="released"):
        first.require_held()
    with holding(place) as second:
        assert second.lease.token == first.lease.token
        second.require_held()
        with pytest.raises(LostRace):
            first.require_held()


@contextmanager
def unwritable(place: Path) -> Iterator[None]:
    """Root may write into any folder, so the lock file becomes something that nobody can open."""
    lock = place.with_name(f".{place.name}.lock")
    with conditional.locked(place):
        lock.unlink()
        lock.mkdir()
    try:
        yield
    finally:
        lock.rmdir()


def test_a_lease_that_could_not_be_renewed_for_its_ttl_is_lost_and_says_why(place: Path) -> None:
    with holding(place, ttl=SHORT) as held:
        with unwritable(place):
            wait_for(lambda: is_lost(held))
        with pytest.raises(LostRace, match=r"could not renew .* 0\.4 s: .*\.lock"):
            held.require_held()
    assert written(place).state == "free"


def test_a_beat_that_fails_is_tried_again(place: Path) -> None:
    with holding(place, ttl=timedelta(seconds=20)) as held:
        wait_for(lambda: held.lease.beat_at > held.lease.since)  # the first beat is immediate
        with unwritable(place), pytest.raises(IsADirectoryError):
            held.renew()
        before = written(place).beat_at
        held.renew()
        assert written(place).beat_at > before
        held.require_held()


def test_a_lease_that_cannot_be_released_expires_and_a_warning_says_when(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = unwritable(place)
    with caplog.at_level(logging.WARNING), holding(place, ttl=timedelta(seconds=20)) as held:
        wait_for(lambda: held.lease.beat_at > held.lease.since)
        blocked.__enter__()
    blocked.__exit__(None, None, None)
    expires_at = written(place).expires_at
    assert written(place).state == "held"
    said = " ".join(record.getMessage() for record in caplog.records)
    assert f"window {WINDOW} could not be released and expires at " in said
    assert expires_at.isoformat(timespec="seconds") in said


def unreleased(place: Path, holder: str = "run-1") -> HeldLease:
    """Hold a lease that cannot be given back at the end, as on a full disk."""
    blocked = unwritable(place)
    with holding(place, holder, ttl=timedelta(seconds=8)) as held:
        wait_for(lambda: held.lease.beat_at > held.lease.since)
        blocked.__enter__()
    blocked.__exit__(None, None, None)
    assert written(place).state == "held"
    return held


def test_a_run_that_could_not_release_its_lease_is_not_refused_by_itself(place: Path) -> None:
    first, dead = unreleased(place), list[Lease]()
    with holding(place, dead=dead) as second:
        assert second.lease.token == first.lease.token
        second.require_held()
    assert dead == []
    assert written(place).state == "free"


def test_another_run_of_the_process_that_could_not_release_comes_after_it(place: Path) -> None:
    first, dead = unreleased(place), list[Lease]()
    with holding(place, "run-2", dead=dead) as second:
        assert second.lease.token == first.lease.token + 1
    assert dead == []


@pytest.mark.parametrize("state", ["held", "free"])
def test_after_the_highest_token_there_is_none(place: Path, state: str) -> None:
    last = held_by(token=LARGEST_TOKEN).model_copy(update={"state": state})
    create(place, last.to_json())
    with pytest.raises(LeaseInvalid, match=f"token {LARGEST_TOKEN}, and there is no higher one"):
        token_of(place, "run-1")
    assert read_lease(place, WINDOW) == last


@pytest.mark.parametrize("at_least", [LARGEST_TOKEN + 1, 2**63])
def test_a_log_that_asks_for_a_higher_token_than_there_is_is_named(
    place: Path, at_least: int
) -> None:
    with pytest.raises(LeaseInvalid, match="token") as refusal:
        token_of(place, "run-1", at_least=at_least)
    assert "restore the table's log" in refusal.value.next_step
    assert not place.exists()


def test_a_clock_that_is_far_off_gives_no_lease(place: Path) -> None:
    with (
        pytest.raises(LeaseInvalid, match="since") as refusal,
        holding(place, now=lambda: datetime(1970, 1, 1, tzinfo=UTC)),
    ):
        pass
    assert "clock" in refusal.value.next_step
    assert not place.exists()


def test_a_holder_with_a_long_ttl_is_not_waited_for_longer_than_our_own(place: Path) -> None:
    silent = held_by(beat_at=NOON + timedelta(days=1)).model_copy(update={"ttl_seconds": 3_600})
    create(place, silent.to_json())
    with holding(place, ttl=SHORT, now=lambda: NOON) as held:
        assert held.lease.token == 4


def test_a_lease_file_is_plain_json(place: Path) -> None:
    with holding(place):
        document = json.loads(place.read_bytes())
    assert document["format_version"] == 1
    assert document["worker"]["pid"] == os.getpid()
    assert document["ttl_seconds"] == 60.0


class Deaf:
    """A store whose answers to some writes are lost; the client's own retry then finds a change."""

    def __init__(self, place: Path, lost: set[int]) -> None:
        self._place, self._lost, self._writes = place, lost, 0

    def read_versioned(self) -> Versioned | None:
        return conditional.read_versioned(self._place)

    def create(self, content: bytes) -> str:
        version = conditional.create(self._place, content)
        return self._answer(version, FileExistsError("exists already"))

    def replace(self, content: bytes, version: str) -> str:
        return self._answer(
            conditional.replace(self._place, content, version), conditional.outdated(self._place)
        )

    def _answer(self, version: str, error: FileExistsError | Outdated) -> str:
        self._writes += 1
        if self._writes in self._lost:
            raise error
        return version


@pytest.mark.parametrize("lost", [{1}, {2}, {3}, {1, 2, 3, 4}])
def test_a_write_whose_answer_was_lost_is_recognised_as_our_own(
    place: Path, lost: set[int]
) -> None:
    for token, holder in enumerate(("run-1", "run-2"), start=1):
        with holding(Deaf(place, lost), holder) as held:
            held.renew()
            held.require_held()
            assert held.lease.token == token
        assert written(place).state == "free"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def in_bucket(store: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    request = urllib.request.Request(f"{store}/lake", method="PUT")
    urllib.request.urlopen(request).close()
    environ = {"AWS_ENDPOINT_URL": store, "AWS_REGION": "us-east-1"}
    lake = parse_place("s3://lake/toy", Path(), environ, variable="BATCHINF_LAKE")
    return lake / "_leases" / f"{WINDOW}.json"


def test_in_a_bucket_one_of_eight_holds_and_the_next_one_goes_on_counting(
    in_bucket: Place,
) -> None:
    def attempt(number: int) -> int | None:
        try:
            with holding(in_bucket, f"run-{number}") as held:
                decided.wait()  # keep it until the seven others were refused
                held.require_held()
                return held.lease.token
        except LostRace:
            decided.wait()
            return None

    decided = Barrier(8, timeout=PATIENCE_SECONDS)
    with ThreadPoolExecutor(8) as pool:
        tokens = [token for token in pool.map(attempt, range(8)) if token is not None]
    assert tokens == [1]
    with holding(in_bucket, "run-next") as held:
        assert held.lease.token == 2


def written(place: Path) -> Lease:
    lease = read_lease(place, WINDOW)
    assert lease is not None
    return lease


def beat_until_lost(held: HeldLease) -> None:
    wait_for(lambda: held._lost is not None)


def start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
