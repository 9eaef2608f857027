"""What is wrong with a declaration is said in its own words, with what may have been meant."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.problems import problems

METRICS = (
    "precision, recall, f1, accuracy, auroc, average_precision, r_squared, bias, macro_f1, "
    "weighted_f1"
)
FOUND: dict[str, tuple[str, Any, list[str]]] = {
    "a setting": ("sorce", 1, ["sorce: there is no such setting; did you mean 'source'?"]),
    "of a column": (
        "source.columns.origin.nullble",
        True,
        ["source.columns.origin.nullble: there is no such setting; did you mean 'nullable'?"],
    ),
    "like no other": (
        "references.weather.since",
        1,
        ["references.weather.since: there is no such setting; there are as_of, columns, file"],
    ),
    "missing": ("window.start", None, ["window.start is missing"]),
    "a word": (
        "window.every",
        "daily",
        ["window.every: 'daily' is none of hour, day, week, month; did you mean 'day'?"],
    ),
    "a metric": (
        "golden.at_least.aucroc",
        0.6,
        [f"golden.at_least: 'aucroc' is none of {METRICS}; did you mean 'auroc'?"],
    ),
    "one of several kinds": (
        "rollback",
        {"automatic": ["drift", "performance"]},
        ["rollback.automatic.0: 'drift' is none of performance, evaluation, verification"],
    ),
    "none of several kinds": (
        "rollback",
        {"automatic": "verifcation"},
        [
            "rollback.automatic: 'verifcation' is none of true, false, [performance], "
            "[evaluation], [verification]; did you mean '[verification]'?"
        ],
    ),
    "that opens markup": (
        "window.every",
        "<b>",
        ["window.every: '\\x3cb\\x3e' is none of hour, day, week, month"],
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_a_wrong_declaration_is_told_with_what_may_have_been_meant(case: str) -> None:
    where, value, expected = FOUND[case]
    declared = load_pipeline("flight_delays").spec.model_dump(mode="json", exclude_unset=True)
    place = declared
    *above, last = where.split(".")
    for part in above:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(ValidationError) as found:
        PipelineSpec.model_validate(declared)
    assert problems(found.value, PipelineSpec) == expected
