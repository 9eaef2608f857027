"""Judging what landed: whose rows go on, whose are set aside, and what a table must keep."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import HeldForApproval, LandedFileMissing, WindowRefused
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import freeze_snapshot, rows_before, snapshot_table
from batchinf_assets.snapshots.held import held_correction
from batchinf_assets.snapshots.source import SourceRows, read_source, source_contract
from batchinf_assets.spec.contract import VolumeSpec
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FLIGHTS = load_pipeline("flight_delays").spec


def declared(**source: Any) -> PipelineSpec:
    """Few columns under a contract of its own; whatever the demo declares."""
    document = FLIGHTS.model_dump(mode="json")
    columns = {
        "departure": {"type": "timestamp"},
        "carrier": {"type": "string"},
        "tail": {"type": "string", "nullable": True},
        "miles": {"type": "int32", "min": 1},
    }
    bare = {"files": document["source"]["files"], "key": ["departure", "carrier"]}
    document["source"] = {**bare, "time": "departure", "columns": columns, **source}
    document["outcomes"] = None
    document["references"] = {
        "planes": {"file": "planes.parquet", "columns": {"tail_number": {"type": "string"}}}
    }
    return PipelineSpec.model_validate(document)


PLAIN = declared()
TOLERANT = declared(quarantine={"max_share": 0.5})
DAYS = PLAIN.window.between("2013-07-01", "2013-07-09")
DAY = DAYS[-1]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "landing" / "flights").mkdir(parents=True)
    return Project(
        root=tmp_path,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


def drop(project: Project, rows: list[tuple[int, str, str | None, int]], day: Window = DAY) -> None:
    """Land rows as (hour, carrier, tail, miles)."""
    start = day.start.astimezone(UTC)
    table = pa.Table.from_pylist(
        [
            {"departure": start + timedelta(hours=hour), "carrier": c, "tail": t, "miles": m}
            for hour, c, t, m in rows
        ],
        schema=arrow_schema(PLAIN.source.columns),
    )
    pq.write_table(table, project.landing / "flights" / f"{day}.parquet")


GOOD = [(hour, "UA", f"N{hour}", 100 + hour) for hour in range(10)]


def judged(project: Project, spec: PipelineSpec) -> SourceRows:
    return read_source(project, spec, DAY)


def refused(project: Project, spec: PipelineSpec) -> dict[str, str]:
    with pytest.raises(WindowRefused) as refusal:
        read_source(project, spec, DAY)
    failed = [check for check in refusal.value.checks if check.blocking and not check.passed]
    return {check.name: str(check.violations[0]) for check in failed}


def test_every_landed_row_goes_on_or_is_set_aside(project: Project) -> None:
    drop(project, [*GOOD, (11, "UA", None, 0), (12, "AA", None, -1)])
    found = judged(project, TOLERANT)
    assert (found.landed, found.rows.num_rows, found.set_aside.count) == (12, 10, 2)
    assert found.set_aside.rows.to_pylist() == [10, 11]
    assert found.set_aside.reasons.column("value").to_pylist() == ["0", "-1"]


def test_bad_rows_block_where_no_quarantine_is_declared(project: Project) -> None:
    drop(project, [*GOOD, (11, "UA", None, 0)])
    assert list(refused(project, PLAIN)) == ["contract"]


def test_the_order_in_the_file_does_not_change_what_is_said_of_bad_rows(project: Project) -> None:
    """Bad rows may share a key, so the key alone does not order them."""
    rows = [*GOOD, (11, "UA", None, 0), (11, "UA", "N7", -3), (11, "UA", "N6", -3)]
    drop(project, rows)
    first = judged(project, TOLERANT)
    drop(project, rows[::-1])
    second = judged(project, TOLERANT)
    assert first.set_aside.digest == second.set_aside.digest
    assert first.set_aside.reasons.equals(second.set_aside.reasons)
    assert first.rows.equals(second.rows)


def test_another_reason_is_another_digest_and_no_bad_row_is_none(project: Project) -> None:
    digests: list[str | None] = []
    for miles in (0, -1, 1):
        drop(project, [*GOOD, (11, "UA", None, miles)])
        digests.append(judged(project, TOLERANT).set_aside.digest)
    assert len(set(digests)) == 3
    assert digests[2] is None


def test_warnings_of_rows_and_table_are_one_check(project: Project) -> None:
    rules = [
        {"name": "near", "sql": "miles < 109", "on_break": "warn"},
        {"name": "carriers", "sql": "count(DISTINCT carrier) > 1", "per": "table"}
        | {"on_break": "warn"},
    ]
    drop(project, GOOD)
    found = judged(project, declared(rules=rules))
    (warnings,) = [check for check in found.checks if check.name == "warnings"]
    assert (warnings.passed, warnings.blocking) == (False, False)
    assert [violation.rule.split(":")[0] for violation in warnings.violations] == [
        "near",
        "carriers",
    ]
    assert len({check.name for check in found.checks}) == len(found.checks)


def test_a_table_rule_blocks(project: Project) -> None:
    drop(project, GOOD)
    rule = {"name": "carriers", "sql": "count(DISTINCT carrier) > 1", "per": "table"}
    assert list(refused(project, declared(rules=[rule]))) == ["rules"]


def test_upstream_that_stopped_half_way_blocks(project: Project) -> None:
    drop(project, GOOD)
    stale = declared(freshness={"column": "departure", "within": "PT6H"})
    assert list(refused(project, stale)) == ["freshness"]
    fresh = declared(freshness={"column": "departure", "within": "PT15H"})
    assert judged(project, fresh).rows.num_rows == 10


def test_a_value_must_be_known_to_its_reference(project: Project) -> None:
    columns = {
        **PLAIN.model_dump(mode="json")["source"]["columns"],
        "tail": {"type": "string", "nullable": True, "known_in": "planes.tail_number"},
    }
    spec = declared(quarantine={"max_share": 0.5}, columns=columns)
    drop(project, [*GOOD, (11, "UA", "NOPE", 9), (12, "UA", None, 9)])
    with pytest.raises(LandedFileMissing, match=r"planes\.parquet"):
        judged(project, spec)
    planes = pa.table({"tail_number": [f"N{n}" for n in range(10)], "made": [1] * 10})
    pq.write_table(planes, project.landing / "planes.parquet")
    found = judged(project, spec)
    assert found.set_aside.reasons.column("value").to_pylist() == ["NOPE"]


VOLUME = declared(volume=VolumeSpec(min_windows=3).model_dump())


def freeze_days(project: Project, counts: list[int]) -> None:
    for day, count in zip(DAYS, counts, strict=False):
        drop(project, GOOD[:count], day)
        freeze_snapshot(project, VOLUME, day)


def test_the_rows_of_earlier_windows_are_counted_by_the_log(project: Project) -> None:
    freeze_days(project, [5, 7, 9])
    for path in snapshot_table(project, VOLUME).files_of(DAYS[1]):
        path.unlink()
    assert rows_before(project, VOLUME, DAY) == [5, 7, 9]
    assert rows_before(project, VOLUME, DAYS[1]) == [5]
    assert rows_before(project, VOLUME, DAYS[0]) == []
    assert rows_before(project, PLAIN, DAY) is None


@pytest.mark.parametrize("count", [1, 10])
def test_a_window_of_far_fewer_or_more_rows_than_before_blocks(
    project: Project, count: int
) -> None:
    freeze_days(project, [4, 4, 4])
    drop(project, GOOD[:count])
    with pytest.raises(WindowRefused) as refusal:
        freeze_snapshot(project, VOLUME, DAY)
    failed = [check.name for check in refusal.value.checks if not check.passed]
    assert failed == ["volume"]
    assert snapshot_table(project, VOLUME).files_of(DAY) == ()


def test_with_too_few_windows_before_nothing_is_judged_and_said_so(project: Project) -> None:
    freeze_days(project, [4, 4])
    drop(project, GOOD)
    (volume,) = [c for c in freeze_snapshot(project, VOLUME, DAY).checks if c.name == "volume"]
    assert (volume.passed, volume.measured["known_windows"]) == (True, 2)
    assert volume.measured["state"] == "too few windows"


@pytest.mark.parametrize(
    "change",
    [
        {"quarantine": {"max_share": 0.1}},
        {"rules": [{"name": "near", "sql": "miles < 109"}]},
        {"volume": {}},
        {"freshness": {"column": "departure", "within": "PT6H"}},
        {"key": ["departure"]},
    ],
)
def test_everything_that_decides_rows_is_in_the_contracts_digest(change: dict[str, Any]) -> None:
    assert source_contract(declared(**change)) != source_contract(PLAIN)


def test_what_changes_no_row_is_not_in_the_contracts_digest() -> None:
    columns = PLAIN.model_dump(mode="json")["source"]["columns"]
    columns["miles"]["description"] = "As the crow flies"
    assert source_contract(declared(columns=columns)) == source_contract(PLAIN)
    for change in (
        {"late": {"accept_for": "P3D"}},
        {"accept": ["widened"]},
        {"limits": {"rows": 7}},
    ):
        assert source_contract(declared(**change)) == source_contract(PLAIN)


def test_a_late_correction_is_held_also_where_what_it_replaces_is_damaged(project: Project) -> None:
    late = declared(late={"accept_for": "P3D"})
    drop(project, GOOD)
    frozen = freeze_snapshot(project, late, DAY)
    frozen.path.write_bytes(b"not a Parquet file")
    drop(project, GOOD[:3])
    with pytest.raises(HeldForApproval, match=r"3 rows, what was frozen before is damaged"):
        freeze_snapshot(project, late, DAY)
    held = held_correction(project, late, DAY)
    assert (held.landed.rows, held.changes.added) == (3, 3)
    drop(project, GOOD)  # the same rows again: nothing is corrected
    assert freeze_snapshot(project, late, DAY).rows.num_rows == len(GOOD)
