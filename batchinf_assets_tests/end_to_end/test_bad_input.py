"""Bad input at the command line: one clear line, the right exit code, nothing published."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from batchinf_assets.cli import main
from batchinf_assets.spec.load import Pipeline

if TYPE_CHECKING:
    from batchinf_assets_tests.end_to_end.conftest import Operator

WINDOW = "2013-07-01"  # published already
NEXT = "2013-07-02"  # landed, not run
SOURCE = f"flights/{WINDOW}.parquet"
MANY = 300


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A way to break what landed, and what the complaint must name."""

    name: str
    file: str
    spoil: Callable[[Path], object]
    names: tuple[str, ...]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rewrite(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(change(pq.read_table(path)), path)


def with_first(column: str, value: object) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        index, values = rows.column_names.index(column), rows.column(column)
        spoiled = pa.array([value, *values.to_pylist()[1:]], values.type)
        field = rows.schema.field(index)
        kept = field if value is not None else field.with_nullable(nullable=True)
        return rows.set_column(index, kept, spoiled)

    return change


def as_text(column: str) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        index = rows.column_names.index(column)
        return rows.set_column(index, column, rows.column(column).cast(pa.string()))

    return change


def doubled(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows.slice(0, 1)])


def take_the_next_day(path: Path) -> None:
    shutil.copy2(path.with_name(f"{NEXT}.parquet"), path)


def without(column: str) -> Callable[[Path], None]:
    return rewrite(lambda rows: rows.drop_columns([column]))


YESTERDAY = "outcomes/2013-06-30.parquet"
BAD = [
    Bad(name="no file", file=SOURCE, spoil=Path.unlink, names=("has not landed", "Drop the file")),
    Bad(name="0 bytes", file=SOURCE, spoil=lambda p: p.write_bytes(b""), names=("(0 bytes)",)),
    Bad(name="truncated", file=SOURCE, spoil=cut, names=("no whole Parquet", "drop it again")),
    Bad(
        name="no Parquet",
        file=SOURCE,
        spoil=lambda p: p.write_text("carrier\nUS\n"),
        names=("no whole Parquet",),
    ),
    Bad(name="a folder", file=SOURCE, spoil=become_folder, names=("is no file",)),
    Bad(
        name="no rows",
        file=SOURCE,
        spoil=rewrite(lambda rows: rows.slice(0, 0)),
        names=("at least one", "found none"),
    ),
    Bad(
        name="no column",
        file=SOURCE,
        spoil=without("carrier"),
        names=("column carrier: expected string, found no such column",),
    ),
    Bad(
        name="wrong type",
        file=SOURCE,
        spoil=rewrite(as_text("distance")),
        names=("column distance: expected int32, found string",),
    ),
    Bad(
        name="duplicate key",
        file=SOURCE,
        spoil=rewrite(doubled),
        names=("unique in their key", "2 rows", "carrier="),
    ),
    Bad(
        name="null key",
        file=SOURCE,
        spoil=rewrite(with_first("carrier", None)),
        names=("column carrier: expected required as in window", "found optional"),
    ),
    Bad(
        name="outside its bounds",
        file=SOURCE,
        spoil=rewrite(with_first("distance", -1)),
        names=("column distance: expected int32 in [1, 12000], found 1 row outside (e.g. ",),
    ),
    Bad(
        name="outside the window",
        file=SOURCE,
        spoil=take_the_next_day,
        names=("column scheduled_departure: expected inside the window 2013-07-01",),
    ),
    Bad(name="no weather", file="weather.parquet", spoil=Path.unlink, names=("has not landed",)),
    Bad(name="half the weather", file="weather.parquet", spoil=cut, names=("no whole Parquet",)),
    Bad(name="no planes", file="planes.parquet", spoil=Path.unlink, names=("has not landed",)),
    Bad(name="half the planes", file="planes.parquet", spoil=cut, names=("no whole Parquet",)),
    Bad(name="half the outcomes", file=YESTERDAY, spoil=cut, names=("no whole Parquet",)),
    Bad(
        name="outcomes without a column",
        file=YESTERDAY,
        spoil=without("arrival_delay"),
        names=(
            "flight_delays 2013-07-01 features: outcomes/2013-06-30.parquet: "
            "column arrival_delay: expected float64, found no such column",
        ),
    ),
]


def complaint(result: Result) -> str:
    """Return the one line of a refusal, after making sure that it is nothing but that."""
    assert isinstance(result.exception, SystemExit), result.exc_info
    (line,) = result.stderr.splitlines()
    assert line.startswith("batchinf: ")
    assert "Traceback" not in result.output
    return line


def assert_untouched(operator: Operator, visible: dict[str, bytes], revision: str | None) -> None:
    assert operator.revision() == revision
    assert operator.visible() == visible
    assert operator.batchinf("verify", "flight_delays", "--all").exit_code == 0


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_bad_data_is_refused_in_one_line_and_what_is_published_stays(
    operator: Operator, bad: Bad
) -> None:
    visible, revision = operator.visible(), operator.revision()
    bad.spoil(operator.landed(bad.file))
    result = operator.batchinf("run", "flight_delays", WINDOW)
    line = complaint(result)
    assert result.exit_code == 1
    for name in (bad.file, *bad.names):
        assert name in line
    assert_untouched(operator, visible, revision)


def test_bad_data_of_a_new_window_publishes_nothing(operator: Operator) -> None:
    cut(operator.landed(f"flights/{NEXT}.parquet"))
    assert operator.batchinf("run", "flight_delays", NEXT).exit_code == 1
    assert operator.revision(NEXT) is None
    windows = json.loads(operator.batchinf("status", "flight_delays", "--json").stdout)
    assert [(w["window"], w["state"]) for w in windows] == [
        (WINDOW, "published"),
        (NEXT, "refused"),
    ]
    assert f"{NEXT}.parquet is no whole Parquet file" in windows[1]["held_back"]


def test_without_a_champion_nothing_is_scored(operator: Operator) -> None:
    visible, revision = operator.visible(), operator.revision()
    shutil.rmtree(operator.project.lake / "_registry")
    result = operator.batchinf("run", "flight_delays", WINDOW)
    line = complaint(result)
    assert result.exit_code == 1
    assert "no model 'flight_delays' with alias 'champion'" in line
    assert "batchinf model register" in line
    assert_untouched(operator, visible, revision)


@pytest.mark.parametrize("file", ["gone.parquet", "pyproject.toml"])
def test_without_a_readable_golden_set_nothing_is_published(
    operator: Operator, own_pipeline: Path, file: str
) -> None:
    declaration = own_pipeline / "defs.yaml"
    text = declaration.read_text()
    golden = "data/golden/flight_delays.parquet"
    declaration.write_text(text.replace(golden, file))
    result = operator.batchinf("run", "flight_delays", NEXT)
    line = complaint(result)
    assert result.exit_code == 1
    assert file in line
    assert "version control" in line
    assert operator.revision(NEXT) is None


def test_a_broken_outcome_file_of_the_window_itself_hides_no_prediction(
    operator: Operator,
) -> None:
    cut(operator.landed(f"outcomes/{NEXT}.parquet"))
    result = operator.batchinf("run", "flight_delays", NEXT)
    assert result.exit_code == 1
    assert f"outcomes/{NEXT}.parquet is no whole Parquet file" in complaint(result)
    assert "0 of 1 windows came through" in result.stdout
    assert operator.revision(NEXT) is not None
    assert operator.batchinf("verify", "flight_delays", NEXT).exit_code == 0


def test_a_folder_in_the_place_of_a_file_stops_no_other_window(operator: Operator) -> None:
    become_folder(operator.landed(f"flights/{NEXT}.parquet"))
    first_to_last = ("--from", NEXT, "--to", "2013-07-03")
    result = operator.batchinf("backfill", "run", "flight_delays", *first_to_last)
    assert result.exit_code == 1
    assert f"{NEXT}.parquet is no file" in complaint(result)
    assert "1 of 2 windows came through" in result.stdout
    assert operator.revision(NEXT) is None
    assert operator.revision("2013-07-03") is not None


WRONG_WINDOWS = {
    "2013-7-1": "'2013-7-1' is not a window",
    "../../x": "'../../x' is not a window",
    "2014-01-01": "Window 2014-01-01 is not one of this pipeline's",
    "x" * MANY: f"'{'x' * 40}' is not a window",
    "2013-07-01\0": r"'2013-07-01\x00' is not a window",
    "2013-07-01\n\x1b[2J": r"'2013-07-01 \x1b[2J' is not a window",
    "": "'' is not a window",
}


@pytest.mark.parametrize("window", WRONG_WINDOWS, ids=ascii)
@pytest.mark.parametrize(
    "command",
    [
        ("run", "flight_delays"),
        ("verify", "flight_delays"),
        ("manifest", "flight_delays"),
        ("backfill", "run", "flight_delays", "--from", WINDOW, "--to"),
    ],
    ids=lambda command: command[0],
)
@pytest.mark.usefixtures("environ")
def test_a_wrong_window_is_wrong_use(command: tuple[str, ...], window: str) -> None:
    result = CliRunner().invoke(main, [*command, window])
    assert result.exit_code == 2
    line = complaint(result)
    assert WRONG_WINDOWS[window] in line
    assert "Windows" in line.split(" is not ", 1)[1]


@pytest.mark.parametrize("name", ["nope", "../flight_delays", "x" * MANY, "a\n\x1b[2J", ""])
def test_an_unknown_pipeline_is_wrong_use(operator: Operator, name: str) -> None:
    for command in (("run", name, WINDOW), ("status", name), ("verify", name, "--all")):
        result = operator.batchinf(*command)
        line = complaint(result)
        assert result.exit_code == 2
        assert "There is no pipeline" in line
        assert "flight_delays" in line.split("Known: ", 1)[1]
        assert len(line) < MANY


def test_a_real_process_refuses_bad_data_with_exit_code_1(
    operator: Operator, pipeline: Pipeline
) -> None:
    operator.landed(f"flights/{NEXT}.parquet").unlink()
    done = batchinf("run", pipeline.name, NEXT)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"batchinf: {operator.landed(f'flights/{NEXT}.parquet')} of window {NEXT} has not landed. "
        "Drop the file there and run the window again."
    ]


@pytest.mark.usefixtures("operator")
def test_a_real_process_refuses_wrong_use_with_exit_code_2(pipeline: Pipeline) -> None:
    done = batchinf("run", pipeline.name, "../../x")
    assert done.returncode == 2
    assert done.stderr == "batchinf: '../../x' is not a window. Windows look like 2013-01-01.\n"
    assert done.stdout == ""


def batchinf(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("batchinf")
    return subprocess.run(
        [command, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
