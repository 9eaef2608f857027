"""`docs/formats/ledger.md` names every column with its type, every state, and how to read them."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batchinf_assets.project import CHECKOUT
from batchinf_assets.telemetry.attempt import FIELDS, AttemptRecord, State
from batchinf_assets.telemetry.ledger import FORMAT_VERSION, LEDGER_SCHEMA, Ledger

if TYPE_CHECKING:
    from batchinf_assets_tests.telemetry.conftest import MakeRecord

FORMAT = (CHECKOUT / "docs" / "formats" / "ledger.md").read_text(encoding="utf-8")
DOCUMENTED = {
    name: (kind.split(",")[0], null == "yes")
    for name, kind, null in re.findall(
        r"^\| `(\w+)` \| ([^|]+?) \|[^|]*\| (yes|no) \|", FORMAT, flags=re.MULTILINE
    )
}
TYPES = {"timestamp": "timestamp[us, tz=UTC]", "map of string to double": "map<string, double>"}


def test_every_column_is_documented_in_its_order() -> None:
    assert list(DOCUMENTED) == LEDGER_SCHEMA.names


@pytest.mark.parametrize("column", list(LEDGER_SCHEMA), ids=lambda column: column.name)
def test_the_documented_type_is_the_column_s(column: pa.Field) -> None:
    kind = DOCUMENTED[column.name][0]
    assert TYPES.get(kind, kind) == str(column.type)


def test_nullable_is_exactly_what_a_record_may_leave_unknown() -> None:
    unknown = {field.name for field in fields(AttemptRecord) if field.default is not MISSING}
    assert {name for name, (_, null) in DOCUMENTED.items() if null} == unknown


def test_a_record_fills_every_column() -> None:
    assert {*FIELDS, "format_version", "month", "attempt_id"} == {*LEDGER_SCHEMA.names}


def test_every_state_is_documented() -> None:
    table = FORMAT.partition("| state | the attempt |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == list(get_args(State))


def test_the_version_is_that_of_the_document() -> None:
    assert f"# The ledger, format {FORMAT_VERSION}\n" in FORMAT


def test_the_example_in_the_document_runs(
    ledger: Ledger, attempted: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = attempted(state="scored", stage="predictions", stage_seconds={"predictions": 2.5})
    ledger.append([scored, attempted(2, minute=1, state="failed", reason_code="out_of_space")])
    ledger.append([attempted(minute=1, stage_seconds={"predictions": 9.0})])
    (ledger.place.parent.parent / "data").mkdir()
    (ledger.place.parent.parent / "data" / "lake").symlink_to(ledger.place.parent)
    monkeypatch.chdir(ledger.place.parent.parent)
    example = re.findall(r"```python\n(.*?)```", FORMAT, flags=re.DOTALL)[0]
    names: dict[str, pd.DataFrame] = {}
    exec(compile(example, "ledger.md", "exec"), names)  # the document is ours
    rows = names["ended"].replace({np.nan: None}).sort_values("attempt").to_dict("records")
    assert [(row["attempt"], row["state"], row["reason_code"]) for row in rows] == [
        (1, "published", None),
        (2, "failed", "out_of_space"),
    ]
    assert rows[0]["seconds"] == 9.0
