"""Check results: their sentences, and one result out of those of several shards."""

from batchinf_assets.checks import (
    CheckResult,
    Violation,
    blocking_failures,
    merge_checks,
    summarize,
)


def contract(*violations: Violation, **changed: object) -> CheckResult:
    described = {"name": "contract", "asset": "predictions", "passed": not violations, **changed}
    return CheckResult(violations=violations, **described)


def too_large(count: int, *samples: str) -> Violation:
    return Violation(column="distance", rule="at most 9", count=count, samples=samples)


def test_a_violation_reads_as_a_sentence() -> None:
    assert str(too_large(2, "flight=7", "flight=8")) == (
        "column 'distance' must be at most 9: 2 rows (first: flight=7)"
    )


def test_one_row_is_no_plural() -> None:
    assert str(too_large(1)) == "column 'distance' must be at most 9: 1 row"


def test_a_rule_over_the_table_counts_no_rows() -> None:
    assert str(Violation(column=None, rule="at least one")) == "rows must be at least one"


def test_only_failed_checks_that_block_hold_a_window_back() -> None:
    passed, warned = contract(), contract(too_large(1), blocking=False)
    failed = contract(too_large(1))
    assert blocking_failures([passed, warned, failed]) == [failed]
    assert blocking_failures([]) == []


def test_a_summary_spells_out_three_violations_of_all_failures() -> None:
    failures = [contract(too_large(n), too_large(n + 1)) for n in (1, 3)]
    text = summarize(failures)
    assert [f": {n} row" in text for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert text.endswith("; and 1 more")
    assert "more" not in summarize([contract(too_large(1), too_large(2), too_large(3))])


def test_shards_of_one_check_add_up() -> None:
    merged = merge_checks(
        [
            contract(too_large(2, "a", "b"), measured={"rows": 10, "share": 0.5, "kind": "x"}),
            contract(measured={"rows": 7, "share": 0.25, "kind": "x"}),
            contract(too_large(5, "c", "d", "e", "f", "g"), measured={"rows": 1, "share": 0.0}),
        ]
    )
    assert merged == [
        contract(
            too_large(7, "a", "b", "c", "d", "e"),
            measured={"rows": 18, "share": 0.75, "kind": "x"},
        )
    ]


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
