from typing import Any

import pytest

from batchinf_assets.contracts.sound_rules import require_sound_rules
from batchinf_assets.errors import BatchinfError
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec


def declared(section: str, **changes: Any) -> PipelineSpec:
    document = load_pipeline("flight_delays").spec.model_dump(mode="json", exclude_unset=True)
    document[section] = {**document[section], **changes}
    return PipelineSpec.model_validate(document)


def rule(sql: str, per: str = "row") -> list[dict[str, str]]:
    return [{"name": "odd", "sql": sql, "per": per}]


def test_the_rules_of_the_demo_are_understood():
    require_sound_rules(load_pipeline("flight_delays").spec)


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        ("source", {"rules": rule("distanse > 0")}, "Rule 'odd' of snapshot"),
        ("source", {"rules": rule("count(*) > 0")}, "Rule 'odd' of snapshot"),
        (
            "source",
            {"rules": rule("distance > 0; SELECT 1")},
            "Rule .odd. of snapshot: syntax error",
        ),
        ("source", {"rules": rule("distance > 0", "table")}, "Rule 'odd' of snapshot"),
        ("features", {"rules": rule("distance > 0")}, "Rule 'odd' of features"),
        ("features", {"rules": rule("distance_miles >")}, "Rule 'odd' of features"),
        (
            "postprocess",
            {"columns": {"risk": {"type": "string", "pattern": "(?=a)b"}}},
            "Column 'risk'",
        ),
    ],
)
def test_a_rule_that_cannot_be_judged_is_named_before_any_row_lands(
    section: str, changes: dict[str, Any], says: str
):
    with pytest.raises(BatchinfError, match=says) as refused:
        require_sound_rules(declared(section, **changes))
    assert refused.value.next_step
