"""What the pages say of the evaluation is what the code has."""

from __future__ import annotations

import ast
import re

import pytest
from pydantic import BaseModel

from batchinf_assets.project import CHECKOUT
from batchinf_assets.publishing.overrides import Override
from batchinf_assets.publishing.ticket_documents import Closing, Finding, Ticket
from batchinf_assets.snapshots.approvals import Approval

PACKAGE = CHECKOUT / "batchinf_assets"
DOCUMENTS: dict[str, tuple[type[BaseModel], ...]] = {
    "A ticket": (Ticket, Finding, Closing),
    "An override": (Override,),
    "An approval": (Approval,),
}


def importers_of(module: str) -> set[str]:
    """Every module of the package that imports from this one."""
    return {
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == module
    }


def test_what_no_declaration_reaches_is_documented_as_a_library() -> None:
    page = " ".join((CHECKOUT / "docs" / "evaluation.md").read_text().split())
    (sentence,) = re.findall(r"Several classes are measured by .*?reaches\.", page)
    assert "library functions (`evaluation/multiclass.py`) that no declaration reaches" in sentence
    reached_by = {"batchinf_assets.evaluation.segments"}  # by which it shares the shape of segments
    assert importers_of("batchinf_assets.evaluation.multiclass") == reached_by
    assert importers_of("batchinf_assets.evaluation.regression") > reached_by


@pytest.mark.parametrize("heading", DOCUMENTS)
def test_every_field_of_what_people_decide_is_documented(heading: str) -> None:
    page = (CHECKOUT / "docs" / "formats" / "tickets.md").read_text()
    _, _, after = page.partition(f"\n## {heading}\n")
    tables = [line for line in after.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    told = {name for row in tables for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    declared = {name for document in DOCUMENTS[heading] for name in document.model_fields}
    assert declared <= told
