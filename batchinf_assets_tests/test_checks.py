"""Check results: their sentences, and one result out of those of several shards."""

import pytest

from batchinf_assets.checks import (
    CheckResult,
    Violation,
    blocking_failures,
    merge_checks,
    quoted,
    summarize,
)


def contract(*violations: Violation, **changed: object) -> CheckResult:
    described = {"name": "contract", "asset": "predictions", "passed": not violations, **changed}
    return CheckResult(violations=violations, **described)


def too_large(count: int, *samples: str) -> Violation:
    return Violation(column="distance", rule="at most 9", count=count, samples=samples)


def test_a_violation_reads_as_a_sentence() -> None:
    assert str(too_large(2, "flight=7", "flight=8")) == (
        "column distance: expected at most 9, found 2 rows outside (e.g. flight=7; flight=8)"
    )


def test_a_sentence_names_three_keys_however_many_are_kept() -> None:
    assert str(too_large(9, *"abcdefghi")).endswith("found 9 rows outside (e.g. a; b; c)")


def test_one_row_is_no_plural() -> None:
    assert str(too_large(1)) == ("column distance: expected at most 9, found 1 row outside")


def test_a_rule_over_the_table_counts_no_rows() -> None:
    assert str(Violation(column=None, rule="at least one")) == "expected at least one"


def test_what_was_found_stands_beside_what_is_expected() -> None:
    assert str(Violation(column="at", rule="int32", count=3, found="string")) == (
        "column at: expected int32, found string"
    )


@pytest.mark.parametrize(
    ("violation", "found"),
    [
        (Violation(column="x", rule="not null", count=1), "1 null"),
        (Violation(column="x", rule="not null", count=2), "2 nulls"),
        (Violation(column="x", rule="int64 in [0, 23]", count=2), "2 rows outside"),
        (Violation(column="x", rule="one of A, B", count=1), "1 row outside"),
        (Violation(column="x", rule="finite", count=1), "1 row that breaks it"),
        (Violation(column=None, rule="unique in their key", count=2), "2 rows that break it"),
    ],
)
def test_a_count_is_told_in_words_of_the_rule(violation: Violation, found: str) -> None:
    where = "column x" if violation.column else "rows"
    assert str(violation) == f"{where}: expected {violation.rule}, found {found}"


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("UA 1545", "UA 1545"),
        ("<script>alert(1)</script>", "\\x3cscript\\x3ealert(1)\\x3c/script\\x3e"),
        ("=HYPERLINK(1)", "\\x3dHYPERLINK(1)"),
        ("@SUM(1)", "\\x40SUM(1)"),
        ("-1+cmd|'/C calc'!A1", "\\x2d1+cmd|'/C calc'!A1"),
        ("-0.5e-7", "-0.5e-7"),
        ("-", "-"),
        ("-inf", "-inf"),
        ("a\0b\u202ec\ud800\n", "a\\x00b\\u202ec\\ud800\\n"),
        ("\tx", "\\tx"),
        ("x" * 300, "x" * 80 + "…"),
    ],
)
def test_foreign_text_is_cut_and_escaped(foreign: str, shown: str) -> None:
    assert quoted(foreign) == shown
    assert shown.isprintable()


def test_only_failed_checks_that_block_hold_a_window_back() -> None:
    passed, warned = contract(), contract(too_large(1), blocking=False)
    failed = contract(too_large(1))
    assert blocking_failures([passed, warned, failed]) == [failed]
    assert blocking_failures([]) == []


def test_a_summary_spells_out_three_violations_of_all_failures() -> None:
    failures = [contract(too_large(n), too_large(n + 1)) for n in (1, 3)]
    text = summarize(failures)
    assert [f"found {n} row" in text for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert text.endswith("; and 1 more")
    assert "more" not in summarize([contract(too_large(1), too_large(2), too_large(3))])


def test_shards_of_one_check_add_up() -> None:
    merged = merge_checks(
        [
            contract(too_large(2, "a", "b"), measured={"rows": 10, "share": 0.5, "kind": "x"}),
            contract(measured={"rows": 7, "share": 0.25, "kind": "x"}),
            contract(too_large(9, *"cdefghijk"), measured={"rows": 1, "share": 0.0}),
        ]
    )
    assert merged == [
        contract(
            too_large(11, *"abcdefghij"),
            measured={"rows": 18, "share": 0.75, "kind": "x"},
        )
    ]


def test_what_shards_found_is_counted_unless_it_is_the_same() -> None:
    def found(text: str) -> CheckResult:
        return contract(Violation(column="x", rule="int32", count=1, found=text))

    same, differing = (
        merge_checks([found("string"), found(other)]) for other in ("string", "null")
    )
    assert str(same[0].violations[0]).endswith("found string")
    assert str(differing[0].violations[0]).endswith("found 2 rows that break it")


def test_one_failed_shard_fails_the_whole() -> None:
    (merged,) = merge_checks([contract(), contract(too_large(1)), contract()])
    assert not merged.passed
    assert merge_checks([contract(), contract()])[0].passed


def test_violations_of_different_columns_or_rules_stay_apart() -> None:
    others = (
        Violation(column="distance", rule="present", count=1),
        Violation(column="origin", rule="at most 9", count=1),
    )
    (merged,) = merge_checks([contract(too_large(1)), contract(*others), contract(too_large(1))])
    assert merged.violations == (too_large(2), *others)


def test_checks_of_different_names_stay_apart_in_their_order() -> None:
    checks = [contract(name=name) for name in ("schema", "contract", "schema")]
    assert [check.name for check in merge_checks(checks)] == ["schema", "contract"]


def test_no_shards_have_no_checks() -> None:
    assert merge_checks([]) == []
