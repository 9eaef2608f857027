"""The page on contracts says what is true: its example loads, and every word is in it."""

from __future__ import annotations

import re
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from batchinf_assets.contracts.declared_checks import declared_checks
from batchinf_assets.project import CHECKOUT
from batchinf_assets.spec.contract import (
    AcceptedChange,
    ColumnSpec,
    FreshnessSpec,
    LateSpec,
    LimitsSpec,
    OnBreak,
    QuarantineSpec,
    RuleSpec,
    VolumeSpec,
)
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

PAGE = (CHECKOUT / "docs" / "contracts.md").read_text(encoding="utf-8")
SECTIONS: list[type[BaseModel]] = [
    ColumnSpec,
    RuleSpec,
    QuarantineSpec,
    VolumeSpec,
    FreshnessSpec,
    LimitsSpec,
    LateSpec,
]


def example() -> PipelineSpec:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    document = load_pipeline("flight_delays").spec.model_dump(mode="json")
    return PipelineSpec.model_validate(document | yaml.safe_load(block))


def test_the_example_is_a_contract() -> None:
    spec = example()
    assert spec.source.quarantine == QuarantineSpec(max_share=0.02)
    assert set(declared_checks(spec)["snapshot"]) >= {"volume", "freshness", "warnings"}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_word_of_a_contract_is_explained(section: type[BaseModel]) -> None:
    assert [name for name in section.model_fields if not re.search(rf"`{name}[`:]", PAGE)] == []


@pytest.mark.parametrize("word", [*get_args(OnBreak), *get_args(AcceptedChange)])
def test_every_choice_is_explained(word: str) -> None:
    assert f"`{word}`" in PAGE


def test_every_check_is_listed() -> None:
    for names in declared_checks(example()).values():
        assert [
            name for name in names if name != "inputs_present" and f"`{name}`" not in PAGE
        ] == []


def test_every_link_leads_somewhere() -> None:
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGE)]
    assert links
    assert [link for link in links if not (CHECKOUT / "docs" / link).is_file()] == []
