"""What the pages say of the evaluation is what the code has."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from batchinf_assets.project import CHECKOUT
from batchinf_assets.publishing.overrides import Override
from batchinf_assets.publishing.tickets.ticket_documents import Closing, Finding, Ticket
from batchinf_assets.snapshots.approvals import Approval

DOCUMENTS: dict[str, tuple[type[BaseModel], ...]] = {
    "A ticket": (Ticket, Finding, Closing),
    "An override": (Override,),
    "An approval": (Approval,),
}


@pytest.mark.parametrize("heading", DOCUMENTS)
def test_every_field_of_what_people_decide_is_documented(heading: str) -> None:
    page = (CHECKOUT / "docs" / "formats" / "tickets.md").read_text()
    _, _, after = page.partition(f"\n## {heading}\n")
    tables = [line for line in after.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    told = {name for row in tables for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    declared = {name for document in DOCUMENTS[heading] for name in document.model_fields}
    assert declared <= told
