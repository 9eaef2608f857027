"""One window and real processes that race for it, are killed, stopped, or have a wrong clock.

Run as a program this file serves processes: one for each connection, forked from one that has
imported everything, each an obedient holder of leases. Every order and answer is a line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batchinf_assets.errors import Fenced, LostRace
from batchinf_assets.lake.conditional import locked
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.lease import HeldLease, Lease, hold, read_lease
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.worker import Worker
from batchinf_assets.windows import WindowSpec

WINDOW = "2013-07-01"
PATIENCE_SECONDS = 30.0
SHORT = 0.4
LONG = 60.0
SCHEMA = pa.schema([pa.field("id", pa.int64())])


class Holder:
    """What a served process does when it is told to."""

    def __init__(self) -> None:
        self._holding = ExitStack()
        self._held: HeldLease | None = None

    def hold(
        self, place: str, holder: str, ttl: float, days_ahead: float, elsewhere: bool
    ) -> dict[str, Any]:
        dead: list[Lease] = []
        held = hold(
            Path(place),
            window=WINDOW,
            holder=holder,
            stage="predictions",
            on_takeover=lambda lease, _token: dead.append(lease),
            worker=Worker(host="elsewhere", pid=os.getpid()) if elsewhere else None,
            ttl=timedelta(seconds=ttl),
            now=lambda: datetime.now(UTC) + timedelta(days=days_ahead),
        )
        self._held = self._holding.enter_context(held)
        return {
            "token": self._held.lease.token,
            "dead": [[lease.holder, lease.worker.pid, lease.token] for lease in dead],
        }

    def require_held(self) -> dict[str, Any]:
        assert self._held is not None
        self._held.require_held()
        return {}

    def release(self) -> dict[str, Any]:
        self._holding.close()
        return {}

    def fail(self) -> dict[str, Any]:
        self._holding.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        return {}


class Orders(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        holder = Holder()
        self.answer({"pid": os.getpid()})
        for line in self.rfile:
            name, arguments = json.loads(line)
            try:
                self.answer(getattr(holder, name)(**arguments))
            except LostRace as race:
                self.answer({"lost": race.message})

    def answer(self, document: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(document).encode() + b"\n")


class Yard(socketserver.ForkingMixIn, socketserver.TCPServer):
    max_children = 1000


def main() -> None:
    with Yard(("127.0.0.1", 0), Orders) as yard:
        print(yard.server_address[1], flush=True)
        yard.serve_forever()


class Process:
    """The test's end of a served process."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._lines = self._socket.makefile("rb")
        self.pid: int = self.answer()["pid"]

    def order(self, name: str, **arguments: object) -> None:
        self._socket.sendall(json.dumps([name, arguments]).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        return json.loads(self._lines.readline())

    def ask(self, name: str, **arguments: object) -> dict[str, Any]:
        self.order(name, **arguments)
        return self.answer()

    def order_hold(
        self,
        place: Path,
        holder: str,
        *,
        ttl: float = LONG,
        days_ahead: float = 0,
        elsewhere: bool = False,
    ) -> None:
        self.order(
            "hold",
            place=str(place),
            holder=holder,
            ttl=ttl,
            days_ahead=days_ahead,
            elsewhere=elsewhere,
        )

    def hold(self, place: Path, holder: str, **how: Any) -> dict[str, Any]:
        self.order_hold(place, holder, **how)
        return self.answer()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: state_of(self.pid) in ("Z", ""))
        self.close()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture(scope="module")
def yard() -> Iterator[int]:
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.kill()


@pytest.fixture
def start(yard: int) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def start() -> Process:
        started.append(Process(yard))
        return started[-1]

    yield start
    for process in started:
        process.close()  # ends it: there are no more orders


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "_leases" / f"{WINDOW}.json"


def written(place: Path) -> Lease:
    lease = read_lease(place, WINDOW)
    assert lease is not None
    return lease


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def state_of(pid: int) -> str:
    """Return the state letter of a process, or nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def race(processes: list[Process], place: Path) -> tuple[list[dict[str, Any]], list[str]]:
    for number, process in enumerate(processes):
        process.order_hold(place, f"run-{number}")
    answers = [process.answer() for process in processes]
    lost = [answer["lost"] for answer in answers if "lost" in answer]
    return [answer for answer in answers if "token" in answer], lost


def test_of_eight_processes_one_holds_the_window_and_seven_are_told_who(
    start: Callable[[], Process], place: Path
) -> None:
    won, lost = race([start() for _ in range(8)], place)
    assert won == [{"token": 1, "dead": []}]
    holder = written(place).holder
    assert [f"by run {holder} on" in message for message in lost] == [True] * 7


def test_of_eight_processes_one_takes_over_from_the_dead(
    start: Callable[[], Process], place: Path
) -> None:
    first, others = start(), [start() for _ in range(8)]
    first.hold(place, "run-first")
    first.kill()
    won, lost = race(others, place)
    assert won == [{"token": 2, "dead": [["run-first", first.pid, 1]]}]
    assert len(lost) == 7


@pytest.mark.parametrize("holder", ["run-1", "run-2"])
def test_a_killed_holder_is_followed_at_once_by_a_higher_token(
    start: Callable[[], Process], place: Path, holder: str
) -> None:
    first, second = start(), start()
    assert first.hold(place, "run-1")["token"] == 1
    assert "by run run-1 on" in second.hold(place, holder)["lost"]
    first.kill()
    assert second.hold(place, holder) == {"token": 2, "dead": [["run-1", first.pid, 1]]}
    assert second.ask("require_held") == {}


@pytest.mark.parametrize("ending", ["release", "fail"])
def test_who_ends_lets_the_next_one_in_and_is_not_taken_for_dead(
    start: Callable[[], Process], place: Path, ending: str
) -> None:
    first, second = start(), start()
    first.hold(place, "run-1")
    assert first.ask(ending) == {}
    assert "released" in first.ask("require_held")["lost"]
    assert second.hold(place, "run-2") == {"token": 2, "dead": []}
    assert "run-2" in first.ask("require_held")["lost"]


def test_a_stopped_process_that_wakes_up_learns_that_it_was_replaced(
    start: Callable[[], Process], place: Path
) -> None:
    sleeper, second = start(), start()
    sleeper.hold(place, "run-1", ttl=SHORT)
    with stopped(sleeper, place):
        wait_for(lambda: "token" in second.hold(place, "run-2"))
        assert written(place).token == 2
    assert "run-2" in sleeper.ask("require_held")["lost"]
    assert sleeper.ask("release") == {}
    assert (written(place).state, written(place).holder) == ("held", "run-2")
    assert second.ask("require_held") == {}


def test_a_holder_whose_clock_is_a_day_behind_is_replaced_and_learns_it(
    start: Callable[[], Process], place: Path
) -> None:
    behind, second = start(), start()
    behind.hold(place, "run-1", days_ahead=-1, elsewhere=True)
    assert second.hold(place, "run-2")["token"] == 2
    assert "run-2" in behind.ask("require_held")["lost"]
    assert second.ask("require_held") == {}


def test_one_whose_clock_is_a_day_ahead_replaces_a_live_holder_who_learns_it(
    start: Callable[[], Process], place: Path
) -> None:
    first, ahead = start(), start()
    first.hold(place, "run-1")
    assert ahead.hold(place, "run-2", days_ahead=1, elsewhere=True)["token"] == 2
    assert "run-2" in first.ask("require_held")["lost"]
    assert ahead.ask("require_held") == {}


def test_a_dead_holder_whose_clock_was_a_day_ahead_is_replaced_after_one_ttl(
    start: Callable[[], Process], place: Path
) -> None:
    ahead, second = start(), start()
    ahead.hold(place, "run-1", ttl=SHORT, days_ahead=1, elsewhere=True)
    ahead.kill()
    assert second.hold(place, "run-2")["token"] == 2


@pytest.mark.parametrize(("first_ahead", "second_ahead"), [(-1, 0), (0, 1), (-1, 1)])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_who_both_saw_that_they_hold_the_window_only_the_later_can_publish(
    tmp_path: Path, place: Path, first_ahead: int, second_ahead: int, order: tuple[int, int]
) -> None:
    window = WindowSpec(start=date(2013, 7, 1)).window(WINDOW)
    tables = [WindowTable(tmp_path / "predictions", SCHEMA) for _ in range(2)]
    files = [
        write_parquet(table.path(window, str(number)), pa.table({"id": [number]}, SCHEMA), {})
        for number, table in enumerate(tables)
    ]
    with ExitStack() as holding:
        leases = []
        for days in (first_ahead, second_ahead):
            held = hold_elsewhere(place, days, lambda _, token: tables[1].fence(window, token))
            leases.append(holding.enter_context(held))
            leases[-1].require_held()
        refused = []
        for number in order:
            try:
                token = leases[number].lease.token
                tables[number].commit(window, [files[number]], {}, token=token)
            except Fenced:
                refused.append(number)
    assert refused == [0]
    assert tables[0].read(window) == pa.table({"id": [1]}, SCHEMA)


def hold_elsewhere(
    place: Path, days: int, on_takeover: Callable[[Lease, int], None]
) -> AbstractContextManager[HeldLease]:
    return hold(
        place,
        window=WINDOW,
        holder=f"run whose clock is {days:+} days off",
        stage="published",
        on_takeover=on_takeover,
        worker=Worker(host="elsewhere", pid=1),
        now=lambda: datetime.now(UTC) + timedelta(days=days),
    )


@contextmanager
def stopped(process: Process, place: Path) -> Iterator[None]:
    """Stop a process, but not while it has the file's lock, which `lake.test_conditional` does."""
    with locked(place):
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: state_of(process.pid) == "T")
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the lease must say after the steps so far."""

    token: int = 0
    holder: str = ""
    held: bool = False
    alive: bool = False

    def after_hold(self, holder: str) -> Expected | None:
        if self.held and self.alive:
            return None
        goes_on = not self.held and holder == self.holder
        token = self.token if goes_on else self.token + 1
        return Expected(token=token, holder=holder, held=True, alive=True)


def test_tokens_never_fall_over_two_hundred_random_steps(
    start: Callable[[], Process], place: Path
) -> None:
    chance = random.Random(20130701)
    expected, process = Expected(), start()
    steps: dict[str, int] = {}
    for _ in range(200):
        step = chance.choice(["hold", "hold", "hold", "release", "fail", "kill"])
        if step == "hold":
            holder = chance.choice(["run-1", "run-2", "run-3"])
            following = expected.after_hold(holder)
            challenger = start()
            answer = challenger.hold(place, holder)
            step = "refused" if following is None else "held"
            assert answer.get("token") == (following.token if following else None)
            if following:
                expected, process = following, challenger
        elif expected.held and expected.alive:
            if step == "kill":
                process.kill()
                expected = replace(expected, alive=False)
            else:
                process.ask(step)
                expected = replace(expected, held=False)
        steps[step] = steps.get(step, 0) + 1
        if expected.token:
            found = written(place)
            assert (found.token, found.holder) == (expected.token, expected.holder)
            assert found.state == ("held" if expected.held else "free")
    assert min(steps.values()) > 10
    assert expected.token > 30


if __name__ == "__main__":
    main()
