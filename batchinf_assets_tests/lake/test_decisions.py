"""Decisions: written once, read as a whole and about what they should be about, or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchinf_assets.errors import DocumentTooLarge, ManifestInvalid
from batchinf_assets.lake.decisions import (
    LARGEST_DECISION,
    Decision,
    keep_decision,
    read_decision,
)


class Verdict(Decision):
    window: str
    reason: str


WRONG = Verdict(window="2013-07-01", reason="Wrong weather")
RIGHT = Verdict(window="2013-07-01", reason="Right after all")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "_verdicts" / "one.json"


def test_the_first_decision_stays_and_whoever_comes_later_learns_it(place: Path) -> None:
    assert read_decision(place, Verdict, "verdict") is None
    assert keep_decision(place, WRONG)
    assert not keep_decision(place, RIGHT)
    assert read_decision(place, Verdict, "verdict", window="2013-07-01") == WRONG


def test_the_same_decision_again_is_the_one_that_is_kept(place: Path) -> None:
    assert keep_decision(place, WRONG)
    assert keep_decision(place, Verdict(window="2013-07-01", reason="Wrong weather"))


def test_its_bytes_are_sorted_and_end_with_a_newline(place: Path) -> None:
    keep_decision(place, WRONG)
    text = b'{"format_version":1,"reason":"Wrong weather","window":"2013-07-01"}\n'
    assert place.read_bytes() == text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        WRONG.to_json()[:-5],
        WRONG.to_json().replace(b'"format_version":1', b'"format_version":2'),
        WRONG.to_json().replace(b'"window"', b'"because":"","window"'),
        WRONG.to_json().replace(b"07-01", b"07-02"),
    ],
    ids=["empty", "no fields", "cut", "another format", "one field more", "another window"],
)
def test_one_that_is_damaged_or_about_something_else_is_named_with_what_to_do(
    place: Path, content: bytes
) -> None:
    place.parent.mkdir()
    place.write_bytes(content)
    with pytest.raises(ManifestInvalid, match=r"one\.json is no verdict of its window\.") as found:
        read_decision(place, Verdict, "verdict of its window", window="2013-07-01")
    assert found.value.next_step == "Restore it from a backup."


def test_one_beyond_its_limit_is_not_read(place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(WRONG.to_json() + b" " * LARGEST_DECISION)
    with pytest.raises(DocumentTooLarge):
        read_decision(place, Verdict, "verdict")
