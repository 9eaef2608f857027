"""A column that its file no longer declares required: expected and found, and what is recorded."""

import pyarrow as pa
import pytest

from batchinf_assets.contracts.columns import check_columns
from batchinf_assets.contracts.nullability import (
    FORMAT_SAYS_NOTHING,
    NO_WINDOW_SAYS,
    Nullability,
    RequiredBefore,
    required_columns,
)
from batchinf_assets.spec.contract import AcceptedChange, ColumnSpec

DECLARED = {
    "origin": ColumnSpec(type="string"),
    "dep_hour": ColumnSpec(type="int32"),
    "gate": ColumnSpec(type="string", nullable=True),
}
ALL = frozenset(DECLARED)


def landed(*required: str) -> pa.Table:
    types = {"origin": pa.string(), "dep_hour": pa.int32(), "gate": pa.string()}
    fields = [pa.field(n, kind, nullable=n not in required) for n, kind in types.items()]
    return pa.table([["EWR"], [5], ["B7"]], schema=pa.schema(fields))


def checked(
    now: frozenset[str] | None,
    before: frozenset[str] | None,
    *accept: AcceptedChange,
    table: pa.Table | None = None,
) -> tuple[list[str], dict[str, object]]:
    told = None if before is None else RequiredBefore(window="2013-07-03", columns=before)
    result = check_columns(
        landed() if table is None else table,
        DECLARED,
        asset="snapshot",
        accept=accept,
        nullability=Nullability(required=now, before=told),
    )
    assert (result.name, result.blocking) == ("schema", True)
    assert result.passed == (not result.violations)
    return [str(violation) for violation in result.violations], dict(result.measured)


def test_the_required_columns_are_the_declared_ones_that_may_hold_no_null() -> None:
    rows = landed("origin", "gate").append_column(
        pa.field("extra", pa.int8(), nullable=False), pa.array([1], pa.int8())
    )
    assert required_columns(rows.schema, DECLARED) == {"origin", "gate"}


def test_a_column_that_became_optional_is_refused_with_expected_and_found_side_by_side() -> None:
    broken, measured = checked(frozenset({"dep_hour"}), ALL)
    assert broken == [
        "column origin: expected required as in window 2013-07-03, found optional "
        "(passes where `accept` has became_optional)"
    ]
    assert measured["nullability"] == "compared with 2013-07-03"
    assert "accepted" not in measured


def test_it_passes_where_it_is_accepted_and_is_recorded() -> None:
    broken, measured = checked(frozenset(), ALL, "became_optional")
    assert broken == []
    assert (measured["accepted"], measured["became_optional"]) == (
        "became_optional",
        "dep_hour, origin",
    )


def test_no_other_acceptance_lets_it_pass() -> None:
    assert len(checked(frozenset(), ALL, "widened", "reordered", "missing_nullable")[0]) == 2


def test_a_declared_nullable_column_may_become_optional() -> None:
    assert checked(ALL - {"gate"}, ALL)[0] == []


def test_a_column_that_became_required_is_recorded_and_blocks_nothing() -> None:
    broken, measured = checked(ALL, frozenset({"origin"}))
    assert broken == []
    assert measured["became_required"] == "dep_hour, gate"


def test_optional_columns_pass_where_no_earlier_file_said_required() -> None:
    broken, measured = checked(frozenset(), frozenset())
    assert (broken, measured["nullability"]) == ([], "compared with 2013-07-03")


@pytest.mark.parametrize(
    ("now", "before", "state"),
    [(frozenset[str](), None, NO_WINDOW_SAYS), (None, ALL, FORMAT_SAYS_NOTHING)],
)
def test_what_was_not_compared_is_a_named_state(
    now: frozenset[str] | None, before: frozenset[str] | None, state: str
) -> None:
    broken, measured = checked(now, before)
    assert (broken, measured["nullability"]) == ([], state)


def test_a_column_that_is_gone_is_told_once() -> None:
    broken, _ = checked(ALL - {"origin"}, ALL, table=landed().drop_columns(["origin"]))
    assert broken == ["column origin: expected string, found no such column"]


def test_a_column_that_was_retyped_too_has_both_sentences() -> None:
    retyped = landed().set_column(1, "dep_hour", pa.array(["5"]))
    broken, _ = checked(ALL - {"dep_hour"}, ALL, table=retyped)
    assert [sentence.partition(", found ")[2][:8] for sentence in broken] == ["string", "optional"]


def test_two_accepted_changes_are_both_named() -> None:
    widened = landed().set_column(1, "dep_hour", pa.array([5], pa.int64()))
    _, measured = checked(frozenset(), ALL, "became_optional", "widened", table=widened)
    assert measured["accepted"] == "became_optional, widened"
