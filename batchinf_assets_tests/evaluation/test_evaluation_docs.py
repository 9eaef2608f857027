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
LIBRARY_ONLY = ("multiclass", "regression")
DOCUMENTS: dict[str, tuple[type[BaseModel], ...]] = {
    "A ticket": (Ticket, Finding, Closing),
    "An override": (Override,),
    "An approval": (Approval,),
}


def imported_modules() -> set[str]:
    """Every module that a module of the package imports from."""
    trees = (ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("module", LIBRARY_ONLY)
def test_what_no_pipeline_reaches_is_documented_as_a_library(module: str) -> None:
    page = " ".join((CHECKOUT / "docs" / "evaluation.md").read_text().split())
    (sentence,) = re.findall(r"The package measures .*?;.*?\.", page)
    assert "as library functions" in sentence
    assert f"{module}.py" in sentence
    assert "a pipeline's model is a binary classifier so far" in sentence
    assert (PACKAGE / "evaluation" / f"{module}.py").is_file()
    assert f"batchinf_assets.evaluation.{module}" not in imported_modules()
    assert "batchinf_assets.evaluation.binary" in imported_modules()


@pytest.mark.parametrize("heading", DOCUMENTS)
def test_every_field_of_what_people_decide_is_documented(heading: str) -> None:
    page = (CHECKOUT / "docs" / "formats" / "tickets.md").read_text()
    _, _, after = page.partition(f"\n## {heading}\n")
    tables = [line for line in after.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    told = {name for row in tables for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    declared = {name for document in DOCUMENTS[heading] for name in document.model_fields}
    assert declared <= told
