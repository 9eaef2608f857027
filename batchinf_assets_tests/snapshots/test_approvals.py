from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchinf_assets.errors import LostRace, ManifestInvalid, UsageError
from batchinf_assets.manifest.inputs import ApprovalRecord
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.snapshots.approvals import new_approval, read_approval, write_approval
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

AT = datetime(2013, 7, 9, 12, tzinfo=UTC)
ONE, OTHER = "1" * 64, "2" * 64
APPROVAL = ApprovalRecord(by="ann", reason="The airline sent it again", at=AT)


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    return Project(
        root=CHECKOUT,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


@pytest.fixture
def window(pipeline: Pipeline) -> Window:
    return pipeline.spec.window.window("2013-07-01")


def place(project: Project, sha256: str) -> Path:
    folder = Path(str(project.lake)) / "flight_delays" / "_approvals" / "2013-07-01"
    return folder / f"{sha256}.json"


def test_an_approval_counts_for_its_bytes_and_its_window_alone(
    empty: Project, pipeline: Pipeline, window: Window
) -> None:
    write_approval(empty, pipeline.spec, window, ONE, APPROVAL)
    assert read_approval(empty, pipeline.spec, window, ONE) == APPROVAL
    assert read_approval(empty, pipeline.spec, window, OTHER) is None
    next_day = pipeline.spec.window.window("2013-07-02")
    assert read_approval(empty, pipeline.spec, next_day, ONE) is None


def test_an_approval_is_written_once(empty: Project, pipeline: Pipeline, window: Window) -> None:
    write_approval(empty, pipeline.spec, window, ONE, APPROVAL)
    later = APPROVAL.model_copy(update={"by": "bob"})
    with pytest.raises(LostRace) as lost:
        write_approval(empty, pipeline.spec, window, ONE, later)
    assert lost.value.message == (
        "What landed for window 2013-07-01 of flight_delays was not approved anew: ann approved it "
        "first (The airline sent it again)."
    )
    assert read_approval(empty, pipeline.spec, window, ONE) == APPROVAL


def test_an_approval_whose_answer_was_lost_can_be_written_again(
    empty: Project, pipeline: Pipeline, window: Window
) -> None:
    write_approval(empty, pipeline.spec, window, ONE, APPROVAL)
    kept = place(empty, ONE).read_bytes()
    write_approval(empty, pipeline.spec, window, ONE, APPROVAL)
    assert place(empty, ONE).read_bytes() == kept


def test_of_two_approvals_at_once_one_counts_and_the_other_is_told(
    empty: Project, pipeline: Pipeline, window: Window
) -> None:
    def approve(by: str) -> str | None:
        approval = APPROVAL.model_copy(update={"by": by})
        try:
            write_approval(empty, pipeline.spec, window, ONE, approval)
        except LostRace as lost:
            return lost.message
        return None

    names = [f"person {number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as people:
        told = dict(zip(names, people.map(approve, names), strict=True))
    (first,) = [name for name, message in told.items() if message is None]
    kept = read_approval(empty, pipeline.spec, window, ONE)
    assert kept is not None
    assert kept.by == first
    others = [message for message in told.values() if message is not None]
    assert all(f"{first} approved it first" in message for message in others)


def test_what_is_approved_over_a_damaged_approval_is_not_approved(
    empty: Project, pipeline: Pipeline, window: Window
) -> None:
    place(empty, ONE).parent.mkdir(parents=True)
    place(empty, ONE).write_bytes(b"{}")
    with pytest.raises(ManifestInvalid):
        write_approval(empty, pipeline.spec, window, ONE, APPROVAL)
    assert place(empty, ONE).read_bytes() == b"{}"


def test_an_approval_that_was_copied_to_another_name_counts_for_nothing(
    empty: Project, pipeline: Pipeline, window: Window
) -> None:
    write_approval(empty, pipeline.spec, window, ONE, APPROVAL)
    place(empty, OTHER).write_bytes(place(empty, ONE).read_bytes())
    with pytest.raises(ManifestInvalid, match="no approval of what its name says"):
        read_approval(empty, pipeline.spec, window, OTHER)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]" * 100_000])
def test_a_damaged_approval_is_an_error_and_no_approval(
    content: bytes, empty: Project, pipeline: Pipeline, window: Window
) -> None:
    place(empty, ONE).parent.mkdir(parents=True)
    place(empty, ONE).write_bytes(content)
    with pytest.raises(ManifestInvalid):
        read_approval(empty, pipeline.spec, window, ONE)


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        ("", "why"),
        ("ann", "  "),
        ("ann", "two\nlines"),
        ("ann", "see https://tracker.example.com/7"),
        ("/home/ann", "why"),
        ("ann", "x" * 1001),
    ],
)
def test_an_approval_is_in_words_that_a_manifest_can_hold(by: str, reason: str) -> None:
    with pytest.raises(UsageError, match=r"words\.$"):
        new_approval(by=by, reason=reason, at=AT)


def test_spaces_around_a_reason_are_dropped() -> None:
    assert new_approval(by="ann", reason=" The airline sent it again ", at=AT) == APPROVAL
