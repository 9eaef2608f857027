"""Values and files that somebody made to do harm, and a lake that broke in the worst way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from batchinf_assets.errors import LandedFileUnreadable
from batchinf_assets.snapshots.landing import Landing
from batchinf_assets.snapshots.listing import landed_files
from batchinf_assets.spec.contract import LimitsSpec

if TYPE_CHECKING:
    from batchinf_assets_tests.end_to_end.conftest import Operator

WINDOW = "2013-07-01"  # published already
NEXT = "2013-07-02"  # landed, not run
MEGABYTE = 2**20


def complaint(result: Result) -> str:
    assert isinstance(result.exception, SystemExit), result.exc_info
    (line,) = result.stderr.splitlines()
    assert line.startswith("batchinf: ")
    return line


def land(operator: Operator, change: Callable[[pa.Table], pa.Table]) -> None:
    path = operator.landed(f"flights/{NEXT}.parquet")
    pq.write_table(change(pq.read_table(path)), path)


def with_first(column: str, value: str) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        values = pa.array([value, *rows.column(column).to_pylist()[1:]], pa.string())
        index = rows.column_names.index(column)
        return rows.set_column(index, rows.schema.field(index), values)

    return change


HOSTILE = {
    "NUL": "A\0B",
    "64 KiB": "x" * 65_536,
    "markup": "<b>[bold]x[/nope]</b>",
    "a formula": "=cmd|' /C calc'!A1",
    "terminal codes": "a\nb\x1b[2J",
    "right to left": "\u202e",
    "SQL": "'; DROP TABLE snapshot; --",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_key_is_quoted_harmlessly_wherever_it_is_shown(
    operator: Operator, text: str
) -> None:
    spoil = with_first("carrier", text)
    land(operator, lambda rows: pa.concat_tables([spoil(rows), spoil(rows).slice(0, 1)]))
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    line = complaint(result)
    assert "unique in their key" in line
    assert line.isprintable()
    assert len(line) < 500
    status = operator.batchinf("status", "flight_delays")
    assert status.exit_code == 0
    assert "unique in their key" in " ".join(status.stdout.split()).replace(" │", "")
    assert "\x1b" not in status.stdout


@pytest.mark.parametrize("name", ["64 KiB", "NUL"])
def test_a_hostile_value_that_breaks_no_rule_is_scored_like_any_other(
    operator: Operator, name: str
) -> None:
    land(operator, with_first("carrier", HOSTILE[name]))
    assert operator.batchinf("run", "flight_delays", NEXT).exit_code == 0
    assert operator.batchinf("verify", "flight_delays", NEXT).exit_code == 0


def test_bytes_that_are_no_utf8_are_refused(operator: Operator) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())

    def change(rows: pa.Table) -> pa.Table:
        rest = pa.concat_arrays(rows.column("destination").slice(1).chunks)
        index = rows.column_names.index("destination")
        return rows.set_column(index, rows.schema.field(index), pa.chunked_array([broken, rest]))

    land(operator, change)
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert "column destination: expected valid UTF-8, found other bytes" in complaint(result)


@pytest.mark.parametrize("typed", [True, False], ids=["dictionary type", "plain type"])
def test_a_small_file_that_would_take_gigabytes_is_refused(operator: Operator, typed: bool) -> None:
    path, times = operator.landed(f"flights/{NEXT}.parquet"), 200
    indices = pa.array([0] * times, pa.int32())
    text = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * MEGABYTE]))
    pq.write_table(pa.table({"carrier": text}), path, store_schema=typed)
    assert path.stat().st_size < MEGABYTE
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert f"{NEXT}.parquet decodes to 2" in complaint(result)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(
    operator: Operator,
) -> None:
    path = operator.landed(f"flights/{NEXT}.parquet")
    path.unlink()
    os.mkfifo(path)
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert f"{NEXT}.parquet is no file" in complaint(result)


def test_a_link_to_a_file_lands_it_and_a_link_to_nothing_does_not(operator: Operator) -> None:
    path = operator.landed(f"flights/{NEXT}.parquet")
    moved = path.rename(operator.project.landing / "elsewhere.parquet")
    path.symlink_to(moved)
    assert operator.batchinf("run", "flight_delays", NEXT).exit_code == 0
    moved.unlink()
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert f"{NEXT}.parquet of window {NEXT} has not landed" in complaint(result)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Let root, who reads everything, be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    yield
    os.seteuid(user)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    landed = tmp_path / "flights.parquet"
    landed.write_bytes(b"PAR1")
    landed.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o111)
    request.getfixturevalue("nobody")
    with pytest.raises(LandedFileUnreadable, match=r"cannot be read \(Permission denied\)"):
        Landing(tmp_path, "landing").read("flights.parquet", limits=LimitsSpec(), columns={})


def test_what_is_no_file_wakes_no_sensor(operator: Operator) -> None:
    spec, folder = operator.spec, operator.project.landing
    gone, closed = (folder / "flights" / f"2013-08-0{day}.parquet" for day in (1, 2))
    gone.symlink_to(folder / "nowhere")
    closed.mkdir()
    found = landed_files(folder, spec.source.files, spec.window)
    assert found.keys().isdisjoint({gone.stem, closed.stem})
    assert NEXT in found


@pytest.mark.parametrize("table", ["snapshot", "features", "predictions", "performance"])
def test_a_damaged_table_log_is_named_by_whatever_needs_it(operator: Operator, table: str) -> None:
    log = operator.project.lake / "flight_delays" / table / "_delta_log"
    sorted(log.glob("*.json"))[-1].write_bytes(b"{nope")
    commands = [("status", "flight_delays"), ("run", "flight_delays", WINDOW)]
    if table == "predictions":
        commands.append(("verify", "flight_delays", "--all"))
    for command in commands:
        result = operator.batchinf(*command)
        assert result.exit_code == 1
        line = complaint(result)
        assert f"{table}/_delta_log" in line
        assert "Restore the folder from a backup" in line


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"[]", b"{}"], ids=ascii)
def test_a_damaged_manifest_is_named_and_the_window_is_still_listed(
    operator: Operator, content: bytes
) -> None:
    (manifest,) = (operator.project.lake / "flight_delays/_manifests" / WINDOW).glob("*.json")
    manifest.write_bytes(content)
    for command in ("verify", "manifest", "run"):
        result = operator.batchinf(command, "flight_delays", WINDOW)
        assert result.exit_code == 1
        assert str(manifest) in result.stderr
        if command != "run":  # which holds the signature against it before anything is parsed
            assert f"{manifest} is no manifest" in result.stderr
    status = operator.batchinf("status", "flight_delays", "--json")
    (window,) = json.loads(status.stdout)
    assert window["state"] == "published"
    assert f"{manifest} is no manifest" in window["held_back"]


def test_a_damaged_draft_hinders_neither_status_nor_the_next_run(operator: Operator) -> None:
    draft = operator.project.lake / "flight_delays/_manifests" / WINDOW / "draft.json"
    draft.write_bytes(b"{nope")
    status = operator.batchinf("status", "flight_delays", "--json")
    assert status.exit_code == 0
    assert "draft.json is no manifest" in json.loads(status.stdout)[0]["held_back"]
    assert operator.batchinf("run", "flight_delays", WINDOW).exit_code == 0
    assert not draft.exists()


def test_a_damaged_registry_is_named(operator: Operator) -> None:
    registry = operator.project.lake / "_registry" / "registry.db"
    registry.write_bytes(b"no database" * 100)
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    line = complaint(result)
    assert "registry.db failed" in line
    assert "Repair it" in line
    assert operator.revision(NEXT) is None


def test_verify_notices_a_lost_model(operator: Operator) -> None:
    shutil.rmtree(operator.project.lake / "_models")
    result = operator.batchinf("verify", "flight_delays", "--all")
    assert result.exit_code == 1
    assert "is no folder" in complaint(result)


@pytest.mark.parametrize(
    ("forged", "problem"),
    [
        ({"checks": []}, "Check predictions/contract is not on record"),
        ({"pipeline": "other"}, "The manifest is about pipeline other"),
        ({"counts": {"rows_in": 5, "scored": 5, "quarantined": 0}}, "all accounted for"),
    ],
    ids=["no checks", "another pipeline", "other counts"],
)
def test_verify_notices_a_manifest_that_was_edited(
    operator: Operator, forged: dict[str, object], problem: str
) -> None:
    (manifest,) = (operator.project.lake / "flight_delays/_manifests" / WINDOW).glob("*.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_bytes()), **forged}))
    result = operator.batchinf("verify", "flight_delays", WINDOW)
    assert result.exit_code == 1
    assert problem in result.stderr
