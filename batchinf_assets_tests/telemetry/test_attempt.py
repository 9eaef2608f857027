"""One record of an attempt: what several of them come to, and how a failure is named."""

from __future__ import annotations

import errno
import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import (
    BatchinfError,
    LandedFileUnreadable,
    LandingFault,
    LostRace,
    ManifestInvalid,
    ModelRefused,
    Refusal,
    WindowRefused,
)
from batchinf_assets.telemetry.attempt import (
    REASON_CHARACTERS,
    ROLLBACK,
    AttemptRecord,
    merged,
    reason_code,
    reason_text,
)

if TYPE_CHECKING:
    from batchinf_assets_tests.telemetry.conftest import MakeRecord


def test_a_time_without_a_zone_is_refused(attempted: MakeRecord) -> None:
    with pytest.raises(ValueError, match="time zone"):
        attempted(started_at=datetime(2026, 11, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rows", 2**63),
        ("rows", -1),
        ("attempt", 10**30),
        ("peak_memory_bytes", 2**64),
        ("cpu_seconds", float("nan")),
        ("io_seconds", float("inf")),
        ("cpu_seconds", -0.5),
        ("stage_seconds", {"predictions": float("nan")}),
        ("started_at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))),
        ("ended_at", datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5)))),
        ("ended_at", datetime(2200, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_no_table_holds_is_refused(attempted: MakeRecord, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        attempted(**{field: value})


def test_the_largest_figures_are_kept(attempted: MakeRecord) -> None:
    assert attempted(rows=2**63 - 1, retries=0, cpu_seconds=1e9).rows == 2**63 - 1


def test_the_month_is_that_of_the_end_in_utc(attempted: MakeRecord) -> None:
    midnight = datetime(2026, 12, 1, tzinfo=timezone(timedelta(hours=2)))
    assert attempted(ended_at=midnight).month == "2026-11"
    assert attempted(ended_at=midnight.replace(tzinfo=UTC)).month == "2026-12"


def test_the_same_record_twice_counts_once(attempted: MakeRecord) -> None:
    record = attempted(bytes_written=10, cpu_seconds=2.0, stage_seconds={"published": 1.0})
    assert merged([record, record]) == record


def test_the_parts_of_an_attempt_add_up(attempted: MakeRecord) -> None:
    scored = attempted(
        minute=0,
        state="scored",
        stage="predictions",
        revision="abc",
        rows=900,
        bytes_written=5_000,
        shards_total=3,
        shards_computed=2,
        shards_reused=1,
        cpu_seconds=4.0,
        peak_memory_bytes=300,
        stage_seconds={"predictions": 50.0},
    )
    published = attempted(
        minute=2,
        manifest_sha256="def",
        bytes_written=100,
        cpu_seconds=0.5,
        peak_memory_bytes=200,
        stage_seconds={"published": 0.5},
    )
    assert merged([published, scored]) == attempted(
        minute=2,
        started_at=scored.started_at,
        revision="abc",
        manifest_sha256="def",
        rows=900,
        bytes_written=5_100,
        shards_total=3,
        shards_computed=2,
        shards_reused=1,
        cpu_seconds=4.5,
        peak_memory_bytes=300,
        stage_seconds={"predictions": 50.0, "published": 0.5},
    )


def test_a_measurement_with_an_unknown_part_is_unknown(attempted: MakeRecord) -> None:
    scored = attempted(state="scored", cpu_seconds=4.0, io_read_bytes=7)
    dead = attempted(minute=5, state="killed", stage="published", reason_code="lease_expired")
    total = merged([scored, dead])
    assert (total.state, total.cpu_seconds, total.io_read_bytes) == ("killed", None, None)


def test_a_retry_in_the_same_run_says_how_the_attempt_ended(attempted: MakeRecord) -> None:
    failed = attempted(state="failed", shards_computed=1, shards_reused=0, shards_total=3)
    retried = attempted(minute=5, shards_computed=2, shards_reused=1, shards_total=3)
    total = merged([failed, retried])
    assert (total.state, total.reason_code) == ("published", None)
    assert (total.shards_computed, total.shards_reused, total.shards_total) == (3, 0, 3)


def orders(*records: AttemptRecord) -> list[tuple[AttemptRecord, ...]]:
    return list(itertools.permutations(records))


def test_two_finders_of_one_dead_attempt_are_one_killed_record(attempted: MakeRecord) -> None:
    first = attempted(minute=1, state="killed", reason="found by a")
    second = attempted(minute=2, state="killed", reason="found by b")
    assert [merged(each) for each in orders(first, second)] == [first, first]


def test_what_a_zombie_says_of_itself_later_replaces_killed(attempted: MakeRecord) -> None:
    dead = attempted(minute=1, state="killed")
    awake = attempted(minute=9, state="lost_race", cpu_seconds=3.0)
    assert [merged(each) for each in orders(dead, awake)] == [awake, awake]


def test_who_published_and_then_took_back_has_taken_back(attempted: MakeRecord) -> None:
    visible = attempted(state="published", minute=2)
    taken = attempted(state="rolled_back", reason_code="rolled_back", reason="Bad", minute=1)
    found = {(m.state, m.reason) for m in map(merged, orders(visible, taken))}
    assert found == {("rolled_back", "Bad")}


@pytest.mark.parametrize("state", ["failed", "refused", "lost_race", "killed"])
def test_a_rollback_that_came_to_nothing_says_not_how_the_run_ended(
    attempted: MakeRecord, state: str
) -> None:
    scored = attempted(state="scored", stage="evaluation")
    rollback = attempted(state=state, stage=ROLLBACK, reason="No.", minute=1)
    found = {(m.state, m.stage, m.reason) for m in map(merged, orders(scored, rollback))}
    assert found == {("scored", "evaluation", None)}


@pytest.mark.parametrize("state", ["rolled_back", "published", "unchanged"])
def test_who_died_after_publishing_has_published(attempted: MakeRecord, state: str) -> None:
    visible, dead = attempted(state=state), attempted(minute=1, state="killed")
    assert [merged(each) for each in orders(visible, dead)] == [visible, visible]


def test_who_died_after_scoring_was_killed(attempted: MakeRecord) -> None:
    scored = attempted(state="scored", stage="predictions")
    dead = [attempted(minute=minute, state="killed") for minute in (1, 2)]
    assert {merged(each).state for each in orders(scored, *dead)} == {"killed"}
    assert {merged(each).ended_at for each in orders(scored, *dead)} == {dead[0].ended_at}


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


REFUSED = WindowRefused("Window refused.", next_step="Look.", checks=())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (REFUSED, "window_refused"),
        (
            WindowRefused(
                "Refused.",
                next_step="Look.",
                checks=[
                    CheckResult(name="drift", asset="evaluation", passed=False, blocking=False),
                    CheckResult(name="contract", asset="snapshot", passed=False),
                ],
            ),
            "window_refused/contract",
        ),
        (
            LandedFileUnreadable("Empty.", reason=LandingFault.EMPTY, next_step="Drop it again."),
            "landed_file_unreadable/empty",
        ),
        (LostRace("Lost.", next_step="Again."), "lost_race"),
        (ModelRefused("No.", reason=Refusal.UNSIGNED, next_step="Sign."), "model_refused/unsigned"),
        (OSError(errno.ENOSPC, "No space"), "out_of_space"),
        (OSError(errno.EDQUOT, "Quota"), "out_of_space"),
        (caused(ManifestInvalid("Bad.", next_step="X."), OSError(28, "Full")), "out_of_space"),
        (MemoryError(), "out_of_memory"),
        (pa.ArrowMemoryError("malloc"), "out_of_memory"),
        (duckdb.OutOfMemoryException("limit"), "out_of_memory"),
        (caused(BatchinfError("SQL.", next_step="X."), MemoryError()), "out_of_memory"),
        (PermissionError(errno.EACCES, "Denied"), "storage_refused"),
        (OSError(errno.EROFS, "Read-only"), "storage_refused"),
        (OSError(errno.EIO, "Input/output error"), "io_error"),
        (
            caused(REFUSED.__class__("R.", next_step="L.", checks=()), OSError(5, "E")),
            "window_refused",
        ),
        (FileNotFoundError(errno.ENOENT, "Gone"), "unexpected/file_not_found_error"),
        (KeyError("x"), "unexpected/key_error"),
        (KeyboardInterrupt(), "unexpected/keyboard_interrupt"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_failure_has_a_stable_code(error: BaseException, code: str) -> None:
    assert reason_code(error) == code


def test_the_message_of_a_foreign_error_is_never_kept() -> None:
    assert reason_text(OSError("https://user:hunter2@host/ failed")) == "OSError"


def test_the_reason_is_the_first_line_without_control_characters() -> None:
    error = BatchinfError("Bad \x1b[31mred\u202e \x00name: é.\nSecond line.", next_step="Look.")
    assert reason_text(error) == r"Bad \x1b[31mred\u202e \x00name: é."


def test_a_long_reason_is_cut() -> None:
    error = BatchinfError("é\x00" * 1_000, next_step="Look.")
    assert len(reason_text(error)) == REASON_CHARACTERS


def test_an_empty_reason_stays_empty() -> None:
    assert reason_text(BatchinfError("\n", next_step="Look.")) == ""
