"""A window with bad rows: the good ones are published, the others are told of, none is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from batchinf_assets.attempts import attempting
from batchinf_assets.errors import ManifestInvalid, WindowMissing, WindowRefused
from batchinf_assets.features.build import build_features, load_features
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.row_keys import check_kept_keys, read_quarantine
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.publishing.upkeep.maintain import apply, plan_maintenance
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot, load_snapshot
from batchinf_assets.snapshots.quarantine import quarantine_table, recorded_place
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

ROWS = 737
NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
KEPT = {"volume": None, "freshness": None, "late": None, "rules": [], "accept": []}


def declared(pipeline: Pipeline, **changes: Any) -> Pipeline:
    """The pipeline with a quarantine of its own, whatever else it declares."""
    document = pipeline.spec.model_dump(mode="json")
    document["source"] |= {"quarantine": {"max_share": 0.02}, **KEPT}
    document["features"] |= {"quarantine": {"max_share": 0.02}, "rules": []}
    for column in document["source"]["columns"].values():
        column |= {"on_break": None, "pattern": None, "max_length": None}
    for name, column in changes.pop("columns", {}).items():
        document["source"]["columns"][name] |= column
    for section, update in changes.items():
        document[section] |= update
    return replace(pipeline, spec=PipelineSpec.model_validate(document))


@pytest.fixture
def clinic(desk: Desk) -> Desk:
    return replace(desk, pipeline=declared(desk.pipeline))


def spoil(desk: Desk, *bad: tuple[int, str, object]) -> None:
    """Land the window with other values: row, column, value."""

    def change(rows: pa.Table) -> pa.Table:
        for row, name, value in bad:
            index = rows.schema.get_field_index(name)
            values = rows[name].to_pylist()
            values[row] = value
            array = pa.array(values, rows.schema.field(index).type)
            rows = rows.set_column(index, rows.schema.field(index), array)
        return rows

    desk.correct(change)


BAD = [(3, "distance", 0), (9, "origin", "XXX"), (9, "distance", 13_000)]
BAD_FEATURE = (20, "arrival_local", 2399)  # 23 hours and 99 minutes are 1479 minutes


def told(desk: Desk) -> list[dict[str, Any]]:
    """What any reader of Delta sees of the quarantine."""
    table = DeltaTable(quarantine_table(desk.project, desk.spec).folder).to_pyarrow_table()
    return table.sort_by([("asset", "descending"), ("row", "ascending")]).to_pylist()


def verified(desk: Desk) -> tuple[str, ...]:
    return verify_window(desk.project, desk.registry, desk.spec, desk.window).problems


def run(desk: Desk) -> Any:
    desk.prepare()
    return desk.publish()


def test_good_rows_are_published_and_bad_ones_are_told_of(clinic: Desk) -> None:
    landed = pq.read_table(clinic.source)
    spoil(clinic, *BAD, BAD_FEATURE)
    manifest = run(clinic).manifest
    assert manifest.counts.model_dump() == {"rows_in": ROWS, "scored": 734, "quarantined": 3}
    assert (manifest.snapshot.landed, manifest.snapshot.quarantined) == (ROWS, 2)
    assert (manifest.features.rows, manifest.features.quarantined) == (734, 1)
    flights = {landed["flight"][row].as_py() for row in (3, 9, 20)}
    shown = {(row["carrier"], row["flight"]) for row in clinic.rows().to_pylist()}
    gone = {(landed["carrier"][r].as_py(), landed["flight"][r].as_py()) for r in (3, 9, 20)}
    assert clinic.rows().num_rows == 734
    assert not shown & gone
    lines = told(clinic)
    assert [(line["asset"], line["column"], line["value"]) for line in lines] == [
        ("snapshot", "distance", "0"),
        ("snapshot", "distance", "13000"),
        ("snapshot", "origin", "XXX"),
        ("features", "arrival_minute", "1479"),
    ]
    assert all(f"flight={flight}" in str([line["key"] for line in lines]) for flight in flights)
    assert {line["window"] for line in lines} == {clinic.window.key}
    assert [line["revision"] for line in lines] == [
        *[manifest.snapshot.digest[:16]] * 3,
        manifest.features.digest[:16],
    ]
    assert verified(clinic) == ()


def test_what_was_published_with_a_quarantine_is_replayed_byte_by_byte(clinic: Desk) -> None:
    spoil(clinic, *BAD, BAD_FEATURE)
    run(clinic)
    for pipeline in (clinic.pipeline, declared(clinic.pipeline, features={"quarantine": None})):
        replay = replay_window(clinic.project, clinic.registry, pipeline, clinic.window)
        assert (replay.same_bytes, replay.features, replay.notes) == (True, "rebuilt", ())
        assert replay.rows == 734


def test_the_gate_counts_from_what_landed(clinic: Desk) -> None:
    spoil(clinic, *BAD, BAD_FEATURE)
    gate = run(clinic).gate
    counts = {name: gate.measured[name] for name in ("rows_in", "scored", "quarantined")}
    assert counts == {"rows_in": ROWS, "scored": 734, "quarantined": 3}
    on_record = {(c.asset, c.name): c for c in clinic.published().checks}
    assert on_record["predictions", "row_conservation"].measured == counts
    assert on_record["features", "row_conservation"].measured == {
        "rows_in": 735,
        "rows_out": 734,
        "quarantined": 1,
    }
    for asset in ("snapshot", "features"):
        check = on_record[asset, "quarantine"]
        assert (check.passed, check.blocking) == (False, False)


def test_a_window_without_bad_rows_has_no_quarantine(clinic: Desk) -> None:
    manifest = run(clinic).manifest
    assert manifest.quarantine is None
    assert (manifest.snapshot.rejected, manifest.features.rejected) == (None, None)
    assert not quarantine_table(clinic.project, clinic.spec).folder.exists()
    assert verified(clinic) == ()


def test_rows_outside_their_window_are_set_aside(clinic: Desk) -> None:
    far = clinic.window.end.astimezone(UTC) + timedelta(hours=3)
    spoil(clinic, (0, "scheduled_departure", far))
    assert run(clinic).manifest.counts.quarantined == 1
    (line,) = told(clinic)
    assert line["column"] == "scheduled_departure"
    assert line["rule"].startswith("inside the window")


def test_a_share_above_the_bound_blocks_and_nothing_is_frozen(clinic: Desk) -> None:
    strict = replace(
        clinic, pipeline=declared(clinic.pipeline, source={"quarantine": {"max_share": 0.002}})
    )
    before = load_snapshot(strict.project, strict.spec, strict.window)
    spoil(strict, *BAD)
    with pytest.raises(WindowRefused) as refusal:
        freeze_snapshot(strict.project, strict.spec, strict.window)
    failed = [check for check in refusal.value.checks if check.blocking and not check.passed]
    assert [check.name for check in failed] == ["contract"]
    assert failed[0].measured["rejected"] == 2
    assert failed[0].violations[0].samples[0].startswith("scheduled_departure=2013-07-04T")
    assert load_snapshot(strict.project, strict.spec, strict.window).record == before.record
    assert not quarantine_table(strict.project, strict.spec).folder.exists()


def test_too_many_rows_with_bad_features_block_too(clinic: Desk) -> None:
    strict = replace(
        clinic, pipeline=declared(clinic.pipeline, features={"quarantine": {"max_share": 0.0}})
    )
    spoil(strict, BAD_FEATURE)
    freeze_snapshot(strict.project, strict.spec, strict.window)
    with pytest.raises(WindowRefused, match="features"):
        build_features(strict.project, strict.pipeline, strict.window)


def test_a_key_twice_blocks_where_bad_rows_are_set_aside(clinic: Desk) -> None:
    clinic.correct(lambda rows: pa.concat_tables([rows, rows.slice(5, 1)]))
    spoil(clinic, (0, "distance", 0))
    with pytest.raises(WindowRefused) as refusal:
        freeze_snapshot(clinic.project, clinic.spec, clinic.window)
    failed = [check.name for check in refusal.value.checks if check.blocking and not check.passed]
    assert failed == ["unique_key"]


def test_more_bad_rows_are_a_new_revision_and_the_old_one_still_holds(clinic: Desk) -> None:
    spoil(clinic, *BAD, BAD_FEATURE)
    old, landed = run(clinic).manifest, clinic.source.read_bytes()
    spoil(clinic, (30, "distance", -1), (40, "arrival_local", 2398))
    new = run(clinic).manifest
    assert new.revision != old.revision
    assert new.counts.model_dump() == {"rows_in": ROWS, "scored": 732, "quarantined": 5}
    assert verified(clinic) == ()
    assert read_quarantine(clinic.project, clinic.spec, old).check.passed
    kept = check_kept_keys(clinic.project, clinic.spec, clinic.window, old)
    assert all(check.passed for check in kept)
    clinic.source.write_bytes(landed)
    again = run(clinic).manifest
    assert (again.revision, again.quarantine) == (old.revision, old.quarantine)
    assert verified(clinic) == ()


def test_what_was_set_aside_decides_the_revision_where_the_good_rows_are_the_same(
    clinic: Desk,
) -> None:
    spoil(clinic, (3, "distance", 0))
    first = run(clinic).manifest
    spoil(clinic, (3, "distance", -7))
    second = run(clinic).manifest
    assert second.snapshot.digest == first.snapshot.digest
    assert second.revision != first.revision
    assert second.features == first.features
    assert [line["value"] for line in told(clinic)] == ["-7"]
    spoil(clinic, (3, "distance", 0))
    third = run(clinic).manifest
    assert (third.revision, third.quarantine) == (first.revision, first.quarantine)
    assert verified(clinic) == ()


def score_alone(desk: Desk) -> None:
    with attempting(
        desk.project, desk.spec, desk.window, run_id="run", stage="predictions"
    ) as attempt:
        score_window(desk.project, desk.pipeline, desk.window, desk.model, attempt=attempt, now=NOW)


def test_another_contract_is_another_revision_of_the_same_rows(clinic: Desk) -> None:
    first = run(clinic).manifest
    pipeline = declared(clinic.pipeline, source={"quarantine": {"max_share": 0.5}})
    loose = replace(clinic, pipeline=pipeline)
    with pytest.raises(WindowMissing, match="older contract"):
        score_alone(loose)
    second = run(loose).manifest
    assert second.snapshot.digest == first.snapshot.digest
    assert second.revision != first.revision
    assert verified(loose) == ()
    assert verified(clinic) == ()


def test_a_second_run_of_the_snapshot_keeps_what_the_features_set_aside(clinic: Desk) -> None:
    spoil(clinic, *BAD, BAD_FEATURE)
    clinic.prepare()
    before = told(clinic)
    freeze_snapshot(clinic.project, clinic.spec, clinic.window)
    assert told(clinic) == before
    versions = DeltaTable(quarantine_table(clinic.project, clinic.spec).folder).version()
    clinic.prepare()
    assert DeltaTable(quarantine_table(clinic.project, clinic.spec).folder).version() == versions


def test_a_window_that_has_no_bad_rows_any_more_tells_of_none(clinic: Desk) -> None:
    original = clinic.source.read_bytes()
    spoil(clinic, *BAD, BAD_FEATURE)
    run(clinic)
    clinic.source.write_bytes(original)
    assert run(clinic).manifest.quarantine is None
    assert told(clinic) == []
    assert quarantine_table(clinic.project, clinic.spec).read(clinic.window) is not None
    assert verified(clinic) == ()


def test_features_need_what_their_snapshot_set_aside(clinic: Desk) -> None:
    spoil(clinic, *BAD)
    freeze_snapshot(clinic.project, clinic.spec, clinic.window)
    (path,) = quarantine_table(clinic.project, clinic.spec).files_of(clinic.window)
    path.unlink()
    with pytest.raises(WindowMissing, match="lacks what its snapshot set aside"):
        build_features(clinic.project, clinic.pipeline, clinic.window)
    freeze_snapshot(clinic.project, clinic.spec, clinic.window)
    build_features(clinic.project, clinic.pipeline, clinic.window)
    assert len(told(clinic)) == 3


def place_of_lines(desk: Desk) -> Path:
    manifest = desk.published() if desk.visible() else desk.draft()
    assert manifest.quarantine is not None
    return Path(recorded_place(desk.project, desk.spec, manifest.quarantine))


def drop_a_line(path: Path) -> None:
    pq.write_table(pq.read_table(path, partitioning=None).slice(1), path)


@pytest.mark.parametrize("damage", [Path.unlink, drop_a_line])
def test_lines_that_are_lost_are_found_before_and_after_publishing(
    clinic: Desk, damage: Callable[[Path], None]
) -> None:
    spoil(clinic, *BAD, BAD_FEATURE)
    clinic.prepare()
    whole = place_of_lines(clinic).read_bytes()
    damage(place_of_lines(clinic))
    with pytest.raises(WindowRefused, match="of the quarantine as set aside"):
        clinic.publish()
    place_of_lines(clinic).write_bytes(whole)
    clinic.publish()
    damage(place_of_lines(clinic))
    assert any("of the quarantine as set aside" in problem for problem in verified(clinic))
    with pytest.raises(ManifestInvalid, match="of the quarantine as set aside"):
        replay_window(clinic.project, clinic.registry, clinic.pipeline, clinic.window)


def test_lines_of_other_rows_refuse_although_their_bytes_are_on_record(clinic: Desk) -> None:
    spoil(clinic, *BAD, BAD_FEATURE)
    clinic.prepare()
    place, record = place_of_lines(clinic), clinic.draft().quarantine
    assert record is not None
    drop_a_line(place)
    forged = {"sha256": file_sha256(place), "bytes": place.stat().st_size}
    clinic.redraft(quarantine=record.model_copy(update=forged))
    with pytest.raises(WindowRefused, match="that the quarantine tells of for"):
        clinic.publish()


def test_a_draft_that_names_no_lines_is_refused(clinic: Desk) -> None:
    spoil(clinic, *BAD)
    clinic.prepare()
    clinic.redraft(quarantine=None)
    with pytest.raises(WindowRefused, match="a quarantine file that tells of quarantined rows"):
        clinic.publish()


FAULTS = {
    "NaN": ("'NaN'::DOUBLE", "finite", "nan"),
    "infinite": ("'-Infinity'::DOUBLE", "finite", "-inf"),
    "out of range": ("12000.5", "12000", "12000.5"),
    "missing": ("NULL", "not null", None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_feature_sets_its_row_aside(clinic: Desk, tmp_path: Path, fault: str) -> None:
    value, rule, shown = FAULTS[fault]
    flight = pq.read_table(clinic.source)["flight"][0].as_py()
    bad = f"CASE WHEN s.flight = {flight} THEN {value} ELSE s.distance END"
    sql = clinic.pipeline.features_sql.replace("s.distance", bad, 1)
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "features.sql").write_text(sql)
    faulty = replace(clinic.pipeline, folder=tmp_path / "sql")
    freeze_snapshot(clinic.project, clinic.spec, clinic.window)
    features = build_features(clinic.project, faulty, clinic.window)
    assert features.record.rows + features.record.quarantined == ROWS
    lines = told(clinic)
    assert len({line["row"] for line in lines}) == features.record.quarantined >= 1
    assert any(rule in line["rule"] for line in lines)
    for line in lines:
        assert (line["asset"], line["column"], line["value"]) == (
            "features",
            "distance_miles",
            shown,
        )
        assert f"flight={flight}" in line["key"]
    again = load_features(clinic.project, clinic.spec, clinic.window)
    assert again.record == features.record


def test_status_tells_how_many_rows_were_set_aside(clinic: Desk) -> None:
    spoil(clinic, *BAD, BAD_FEATURE)
    run(clinic)
    (window,) = pipeline_status(clinic.project, clinic.spec, {}, now=NOW)
    assert (window.rows, window.quarantined) == (734, 3)


def test_maintenance_keeps_the_lines_of_revisions_that_stay(clinic: Desk) -> None:
    spoil(clinic, *BAD, BAD_FEATURE)
    old = run(clinic).manifest
    spoil(clinic, (30, "distance", -1))
    run(clinic)
    assert old.quarantine is not None
    place = recorded_place(clinic.project, clinic.spec, old.quarantine)
    soon, late = datetime.now(UTC) + timedelta(days=5), datetime.now(UTC) + timedelta(days=400)
    for now, stays in ((soon, True), (late, False)):
        plan = plan_maintenance(clinic.project, clinic.spec, now)
        apply(clinic.project, clinic.spec, plan, now, run_id="maintenance")
        assert place.is_file() == stays
        assert verified(clinic) == ()
