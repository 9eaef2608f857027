"""What a contract may declare, and how a wrong one is refused before any data is read."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from batchinf_assets.spec.contract import ColumnSpec, LateSpec, LimitsSpec, RuleSpec, VolumeSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.spec.test_pipeline import TOY


def toy(part: str, **changes: object) -> PipelineSpec:
    document: dict[str, Any] = copy.deepcopy(TOY)
    document[part].update(changes)
    return PipelineSpec.model_validate(document)


def source(**changes: object) -> PipelineSpec:
    return toy("source", **changes)


def place(**rules: object) -> dict[str, object]:
    columns: dict[str, Any] = copy.deepcopy(TOY["source"])  # pyright: ignore[reportAssignmentType]
    return {**columns["columns"], "place": {"type": "string", "nullable": True, **rules}}


def test_a_source_without_a_contract_has_limits_and_nothing_else() -> None:
    spec = source().source
    assert spec.limits == LimitsSpec()
    assert (spec.quarantine, spec.volume, spec.freshness, spec.late) == (None, None, None, None)
    assert (spec.accept, spec.rules) == ((), ())


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"pattern": "["}, "no regular expression"),
        ({"pattern": "x" * 1001}, "at most 1000"),
        ({"max_length": 0}, "greater than or equal to 1"),
        ({"on_break": "quarantine"}, "no quarantine is declared"),
        ({"on_break": "ignore"}, "'block', 'quarantine' or 'warn'"),
        ({"known_in": "planes"}, "String should match pattern"),
        ({"known_in": "planes.tail"}, "known_in names 'planes.tail', no column"),
        ({"known_in": "weather.wind"}, "known_in names 'weather.wind', no column"),
        ({"known_in": "weather.observed"}, "differ in type"),
    ],
)
def test_a_rule_of_a_column_that_makes_no_sense_is_refused(
    rules: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        source(columns=place(**rules))


def test_a_column_may_be_looked_up_in_a_reference() -> None:
    assert source(columns=place(known_in="weather.place")).source.columns["place"].known_in


@pytest.mark.parametrize("rule", [{"pattern": "x"}, {"max_length": 3}, {"allowed": ["a"]}])
@pytest.mark.parametrize("kind", ["int64", "float64", "bool", "timestamp", "date"])
def test_rules_of_texts_need_texts(kind: str, rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="needs type string"):
        ColumnSpec.model_validate({"type": kind, **rule})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"quarantine": {"max_share": 1.5}}, "less than or equal to 1"),
        ({"quarantine": {"max_share": -0.1}}, "greater than or equal to 0"),
        ({"volume": {"at_least": 3, "at_most": 2}}, "at_least 3 is above at_most 2"),
        ({"freshness": {"column": "place", "within": "PT1H"}}, "'place' is no timestamp"),
        ({"freshness": {"column": "gone", "within": "PT1H"}}, "'gone' is no timestamp"),
        ({"freshness": {"column": "at", "within": "PT0S"}}, "greater than 0"),
        ({"late": {"accept_for": "-PT1H"}}, "greater than or equal to 0"),
        ({"accept": ["renamed"]}, "'widened', 'reordered'"),
        ({"limits": {"expansion": 1}}, "greater than 1"),
        ({"limits": {"rows": 0}}, "greater than or equal to 1"),
        ({"rules": [{"name": "a", "sql": "x"}, {"name": "a", "sql": "y"}]}, "the same name"),
        ({"rules": [{"name": "A b", "sql": "x"}]}, "String should match pattern"),
        ({"rules": [{"name": "a", "sql": ""}]}, "at least 1 character"),
        ({"files": "in/{window}.xlsx"}, "must end in one of .parquet"),
        ({"files": "in/{window}"}, "must end in one of .parquet"),
    ],
)
def test_a_contract_of_a_table_that_makes_no_sense_is_refused(
    changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        source(**changes)


def test_a_rule_about_the_table_has_no_rows_to_set_aside() -> None:
    rule = {"name": "a", "sql": "count(*) > 1", "per": "table", "on_break": "quarantine"}
    with pytest.raises(ValidationError, match="on_break is block or warn"):
        RuleSpec.model_validate(rule)


@pytest.mark.parametrize(
    "rule", [{"on_break": "warn"}, {"known_in": "weather.place"}, {"unique": True}]
)
@pytest.mark.parametrize(("part", "column"), [("outcomes", "y"), ("postprocess", "band")])
def test_a_rule_that_nobody_would_follow_is_refused(
    part: str, column: str, rule: dict[str, object]
) -> None:
    columns: dict[str, Any] = copy.deepcopy(TOY[part])["columns"]  # pyright: ignore
    columns[column] |= rule
    with pytest.raises(ValidationError, match=f"{part} column '{column}' cannot declare"):
        toy(part, columns=columns)


def test_a_key_cannot_break_a_rule_and_pass() -> None:
    columns = {**place(), "id": {"type": "int64", "on_break": "warn"}}
    with pytest.raises(ValidationError, match="'id' cannot break a rule and pass"):
        source(columns=columns)


def test_features_follow_the_same_rules() -> None:
    asking = {"size": {"type": "float64", "on_break": "quarantine"}}
    with pytest.raises(ValidationError, match="no quarantine is declared"):
        toy("features", columns=asking)
    assert toy("features", columns=asking, quarantine={}).features.quarantine


def test_durations_are_iso_8601() -> None:
    assert LateSpec.model_validate({"accept_for": "P3D"}).accept_for.days == 3
    with pytest.raises(ValidationError):
        LateSpec.model_validate({"accept_for": "three days"})


def test_volume_says_what_it_judges_by_default() -> None:
    assert (VolumeSpec().windows, VolumeSpec().min_windows, VolumeSpec().on_break) == (
        28,
        5,
        "block",
    )
