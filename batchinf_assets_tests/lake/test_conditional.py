"""Documents that are replaced only by who knows what they replace."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchinf_assets.errors import DocumentTooLarge, LostRace
from batchinf_assets.lake import conditional
from batchinf_assets.lake.conditional import LockStuck, create, locked, read_versioned, replace
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.versioned import LARGEST_DOCUMENT, Outdated, Versioned

COUNT_UP = """
import sys
from pathlib import Path
from batchinf_assets.lake.versioned import Outdated
from batchinf_assets.lake.conditional import read_versioned, replace
place, left = Path(sys.argv[1]), int(sys.argv[2])
while left:
    found = read_versioned(place)
    try:
        replace(place, b"%d" % (int(found.content) + 1), found.version)
        left -= 1
    except Outdated:
        pass
"""

HOLD_THE_LOCK = """
import signal, sys
from pathlib import Path
from batchinf_assets.lake.conditional import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    signal.pause()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "_leases" / "2013-07-01.json"


def test_there_is_no_version_of_what_is_not_there(place: Path) -> None:
    assert read_versioned(place) is None


def test_a_created_document_is_read_with_the_version_that_creating_it_gave(place: Path) -> None:
    version = create(place, b"one")
    assert read_versioned(place) == Versioned(content=b"one", version=version)
    assert version == hashlib.sha256(b"one").hexdigest()


def test_a_document_is_created_once(place: Path) -> None:
    create(place, b"one")
    with pytest.raises(FileExistsError, match="2013-07-01"):
        create(place, b"two")
    assert place.read_bytes() == b"one"


def test_replacing_gives_the_next_version(place: Path) -> None:
    first = create(place, b"one")
    second = replace(place, b"two", first)
    assert read_versioned(place) == Versioned(content=b"two", version=second)
    third = replace(place, b"three", second)
    assert third not in (first, second)


def test_another_version_is_not_replaced(place: Path) -> None:
    first = create(place, b"one")
    replace(place, b"two", first)
    with pytest.raises(Outdated) as refusal:
        replace(place, b"three", first)
    assert place.read_bytes() == b"two"
    assert isinstance(refusal.value, LostRace)
    assert str(place) in refusal.value.message
    assert "again" in refusal.value.next_step


def test_a_document_that_is_gone_is_not_replaced(place: Path) -> None:
    version = create(place, b"one")
    place.unlink()
    with pytest.raises(Outdated):
        replace(place, b"two", version)
    assert not place.exists()


def test_nothing_but_the_document_and_its_lock_is_left(place: Path) -> None:
    replace(place, b"two", create(place, b"one"))
    with pytest.raises(FileExistsError):
        create(place, b"three")
    assert sorted(path.name for path in place.parent.iterdir()) == [
        ".2013-07-01.json.lock",
        "2013-07-01.json",
    ]


def test_a_failed_write_leaves_what_was_there_and_lets_the_next_one_in(place: Path) -> None:
    version = create(place, b"one")
    before = set(place.parent.iterdir())
    with pytest.raises(TypeError):
        replace(place, None, version)  # type: ignore[arg-type]
    assert set(place.parent.iterdir()) == before
    assert place.read_bytes() == b"one"
    replace(place, b"two", version)
    assert place.read_bytes() == b"two"


def test_of_threads_that_create_one_wins(place: Path) -> None:
    def attempt(number: int) -> int | None:
        try:
            create(place, b"%d" % number)
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        won = [number for number in pool.map(attempt, range(8)) if number is not None]
    assert [b"%d" % number for number in won] == [place.read_bytes()]


def test_of_threads_that_replace_one_wins(place: Path) -> None:
    version = create(place, b"none")

    def attempt(number: int) -> int | None:
        try:
            replace(place, b"%d" % number, version)
        except Outdated:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        won = [number for number in pool.map(attempt, range(8)) if number is not None]
    assert [b"%d" % number for number in won] == [place.read_bytes()]


def test_no_step_of_processes_that_count_together_is_lost(place: Path) -> None:
    create(place, b"0")
    counting = [
        subprocess.Popen([sys.executable, "-c", COUNT_UP, str(place), "40"]) for _ in range(3)
    ]
    assert [process.wait(60) for process in counting] == [0, 0, 0]
    assert place.read_bytes() == b"120"


def test_a_lock_that_is_never_given_back_is_named_and_ends_with_its_process(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = create(place, b"one")
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with monkeypatch.context() as patch:
            patch.setattr(conditional, "LOCK_PATIENCE_SECONDS", 0.05)
            with pytest.raises(LockStuck, match=r"\.2013-07-01\.json\.lock"):
                replace(place, b"two", version)
        assert place.read_bytes() == b"one"
        holder.send_signal(signal.SIGKILL)
    replace(place, b"two", version)
    assert place.read_bytes() == b"two"


def test_a_reader_does_not_wait_for_a_lock(place: Path) -> None:
    create(place, b"one")
    with locked(place):
        found = read_versioned(place)
    assert found is not None
    assert found.content == b"one"


class Shelf:
    """A place that compares versions by itself."""

    def __init__(self) -> None:
        self.content: list[bytes] = []

    def read_versioned(self) -> Versioned | None:
        if not self.content:
            return None
        return Versioned(content=self.content[-1], version=str(len(self.content)))

    def create(self, content: bytes) -> str:
        self.content = [content]
        return "1"

    def replace(self, content: bytes, version: str) -> str:
        assert version == str(len(self.content))
        self.content.append(content)
        return str(len(self.content))


def test_a_store_compares_by_itself() -> None:
    shelf = Shelf()
    assert read_versioned(shelf) is None
    assert replace(shelf, b"two", create(shelf, b"one")) == "2"
    assert read_versioned(shelf) == Versioned(content=b"two", version="2")


def test_a_document_larger_than_any_is_refused(place: Path, s3_lake: S3Place) -> None:
    for where in (place, s3_lake / "document"):
        create(where, bytes(LARGEST_DOCUMENT + 1))
        with pytest.raises(DocumentTooLarge, match=f"more than {LARGEST_DOCUMENT} bytes"):
            read_versioned(where)
