"""Everything that an upstream system was seen to break, and what the refusal must say of it."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

Spoil = Callable[[pa.Table], bytes]
Change = Callable[[pa.Table], pa.Table]

LONG = "x" * 100_000_000
MARKUP = "<script>alert(1)</script>"
FORMULA = '=HYPERLINK("http://x")'


@dataclass(frozen=True, kw_only=True)
class Bad:
    """One broken landed file.

    Attributes:
        name: Of the case.
        spoil: Makes the file's bytes out of good rows.
        code: The refusal's reason code, as the ledger keeps it.
        says: What the sentence must contain.
        never: What it must not contain: text that a browser or a spreadsheet would act on.
        ending: Of the file's name.
    """

    name: str
    spoil: Spoil
    code: str
    says: tuple[str, ...]
    never: tuple[str, ...] = (MARKUP, FORMULA)
    ending: str = "parquet"


def parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, write_page_checksum=True)
    return sink.getvalue()


def with_rows(change: Change) -> Spoil:
    return lambda rows: parquet(change(rows))


def with_bytes(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda rows: change(parquet(rows))


def values(column: str, *first: object, kind: pa.DataType | None = None) -> Spoil:
    """Replace the first values of a column."""

    def change(rows: pa.Table) -> pa.Table:
        at, old = rows.column_names.index(column), rows.column(column)
        new = pa.array([*first, *old.to_pylist()[len(first) :]], kind or old.type)
        return rows.set_column(at, column, new)

    return with_rows(change)


def cast(column: str, kind: pa.DataType) -> Spoil:
    def change(rows: pa.Table) -> pa.Table:
        at = rows.column_names.index(column)
        return rows.set_column(at, column, rows.column(column).cast(kind))

    return with_rows(change)


def renamed(column: str, name: str) -> Spoil:
    return with_rows(
        lambda rows: rows.rename_columns([name if c == column else c for c in rows.column_names])
    )


def csv(change: Callable[[list[str]], list[str]] = lambda lines: lines) -> Spoil:
    """Write CSV and change its lines."""

    def spoil(rows: pa.Table) -> bytes:
        sink = io.BytesIO()
        texts = pa.table({name: _text(rows.column(name)) for name in rows.column_names})
        pacsv.write_csv(texts, sink, pacsv.WriteOptions(quoting_style="none"))
        return "\n".join([*change(sink.getvalue().decode().splitlines()), ""]).encode()

    return spoil


def json_lines(change: Callable[[list[str]], list[str]] = lambda lines: lines) -> Spoil:
    """Write JSON Lines and change its lines."""

    def spoil(rows: pa.Table) -> bytes:
        columns = {
            name: rows.column(name).to_pylist()
            if pa.types.is_integer(rows.schema.field(name).type)
            else _text(rows.column(name)).to_pylist()
            for name in rows.column_names
        }
        lines = [
            json.dumps(dict(zip(columns, row, strict=True)))
            for row in zip(*columns.values(), strict=True)
        ]
        return "\n".join([*change(lines), ""]).encode()

    return spoil


def line(number: int, new: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[: number - 1], new, *lines[number:]]


def cell(number: int, column: int, new: str) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        cells = lines[number - 1].split(",")
        cells[column] = new
        return line(number, ",".join(cells))(lines)

    return change


def field(number: int, name: str, value: object) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        return line(number, json.dumps({**json.loads(lines[number - 1]), name: value}))(lines)

    return change


def flipped(content: bytes) -> bytes:
    """Flip a bit in the middle of the first column's values."""
    at = 4 + len(content) // 100
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def wide(rows: pa.Table) -> bytes:
    more = {f"extra_{n}": pa.nulls(rows.num_rows, pa.int8()) for n in range(1000)}
    return parquet(pa.table({**dict(zip(rows.column_names, rows.columns, strict=True)), **more}))


def bomb(_rows: pa.Table) -> bytes:
    """Gigabytes of one number in kilobytes."""
    zeros, sink = pa.table({"flight": np.zeros(10**6, dtype=np.int64)}), io.BytesIO()
    with pq.ParquetWriter(sink, zeros.schema, compression="zstd") as writer:
        for _ in range(100):
            writer.write_table(zeros)
    return sink.getvalue()


def nested(rows: pa.Table) -> pa.Table:
    lists = pa.array([[1]] * rows.num_rows, pa.list_(pa.int32()))
    return rows.set_column(rows.column_names.index("distance"), "distance", lists)


def twice(column: str) -> Change:
    return lambda rows: rows.append_column(column, rows.column(column))


def moved(days: int) -> Change:
    def change(rows: pa.Table) -> pa.Table:
        times = rows.column("scheduled_departure")
        shift = pa.scalar(days * 86_400_000_000, pa.int64()).cast(pa.duration("us"))
        at = rows.column_names.index("scheduled_departure")
        return rows.set_column(at, "scheduled_departure", pc.add(times, shift))

    return change


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    return column.cast(pa.string())


def _file(fault: str) -> str:
    return f"landed_file_unreadable/{fault}"


def _window(check: str) -> str:
    return f"window_refused/{check}"


FILES = (
    Bad(name="empty file", spoil=lambda _: b"", code=_file("empty"), says=("is empty (0 bytes)",)),
    Bad(
        name="magic bytes alone",
        spoil=lambda _: b"PAR1",
        code=_file("truncated"),
        says=("is no whole Parquet file",),
    ),
    Bad(
        name="first half",
        spoil=with_bytes(lambda content: content[: len(content) // 2]),
        code=_file("truncated"),
        says=("is no whole Parquet file",),
    ),
    Bad(
        name="second half",
        spoil=with_bytes(lambda content: content[len(content) // 2 :]),
        code=_file("not_parquet"),
        says=("Parquet",),
    ),
    Bad(
        name="CSV called Parquet",
        spoil=csv(),
        code=_file("not_parquet"),
        says=("Parquet",),
    ),
    Bad(name="flipped bit", spoil=with_bytes(flipped), code=_file("damaged"), says=("Parquet",)),
    Bad(
        name="footer of noise",
        spoil=with_bytes(lambda content: content[:-200] + bytes(192) + content[-8:]),
        code=_file("damaged"),
        says=("Parquet",),
    ),
    Bad(
        name="a thousand columns more",
        spoil=wide,
        code=_file("too_many_columns"),
        says=("has 1009 columns", "the limit is 500"),
    ),
    Bad(name="Parquet bomb", spoil=bomb, code=_file("expands_too_far"), says=("the limit is",)),
    Bad(
        name="text of 100 MB",
        spoil=values("destination", LONG),
        code=_file("text_too_long"),
        says=("a text of 100000000 bytes in column 'destination'", "the limit is 65536"),
    ),
    Bad(
        name="bytes that are no UTF-8",
        spoil=with_rows(
            lambda rows: rows.set_column(
                rows.column_names.index("carrier"),
                "carrier",
                pa.Array.from_buffers(
                    pa.string(),
                    rows.num_rows,
                    pa.array([b"\xff\xfe"] * rows.num_rows, pa.binary()).buffers(),
                ),
            )
        ),
        code=_window("schema"),
        says=("column carrier", "expected valid UTF-8"),
    ),
    Bad(
        name="list column",
        spoil=with_rows(nested),
        code=_file("nested_column"),
        says=("distance",),
    ),
    Bad(
        name="column twice",
        spoil=with_rows(twice("carrier")),
        code=_file("duplicate_column"),
        says=("carrier",),
    ),
)

TEXTS = (
    Bad(
        name="CSV without a line",
        ending="csv",
        spoil=lambda _: b"\n\n",
        code=_file("empty"),
        says=("no line in it",),
    ),
    Bad(
        name="CSV without a header",
        ending="csv",
        spoil=csv(lambda lines: lines[1:]),
        code=_file("no_header"),
        says=("line 1 names none of the declared columns",),
    ),
    Bad(
        name="CSV header with a name twice",
        ending="csv",
        spoil=csv(cell(1, 2, "carrier")),
        code=_file("duplicate_column"),
        says=("carrier", "line 1"),
    ),
    Bad(
        name="CSV line with a cell too many",
        ending="csv",
        spoil=csv(lambda lines: line(7, lines[6] + ",more")(lines)),
        code=_file("malformed_line"),
        says=("has 10 cells in line 7, expected 9",),
    ),
    Bad(
        name="CSV cut in the middle of a line",
        ending="csv",
        spoil=csv(lambda lines: [*lines[:-1], lines[-1][:30]]),
        code=_file("malformed_line"),
        says=("cells in line",),
    ),
    Bad(
        name="CSV quote that never ends",
        ending="csv",
        spoil=csv(cell(4, 1, '"U')),
        code=_file("malformed_line"),
        says=("line",),
    ),
    Bad(
        name="CSV word for a number",
        ending="csv",
        spoil=csv(cell(5, 2, "many")),
        code=_file("bad_value"),
        says=("line 5, column flight: expected int32, found 'many'",),
    ),
    Bad(
        name="CSV fraction for a whole number",
        ending="csv",
        spoil=csv(cell(3, 6, "12.5")),
        code=_file("bad_value"),
        says=("line 3, column distance", "'12.5'"),
    ),
    Bad(
        name="CSV number beyond its type",
        ending="csv",
        spoil=csv(cell(3, 6, "99999999999")),
        code=_file("bad_value"),
        says=("line 3, column distance", "'99999999999'"),
    ),
    Bad(
        name="CSV time that is none",
        ending="csv",
        spoil=csv(cell(6, 0, "2013-13-45T00:00:00Z")),
        code=_file("bad_value"),
        says=("line 6, column scheduled_departure", "2013-13-45"),
    ),
    Bad(
        name="CSV times without a zone",
        ending="csv",
        spoil=csv(lambda lines: [lines[0], *(text.replace("Z,", ",", 1) for text in lines[1:])]),
        code=_window("schema"),
        says=("column scheduled_departure", "timestamp in UTC", "without time zone"),
    ),
    Bad(
        name="CSV markup for a number",
        ending="csv",
        spoil=csv(cell(5, 2, MARKUP)),
        code=_file("bad_value"),
        says=("line 5, column flight", r"\x3cscript\x3e"),
    ),
    Bad(
        name="CSV formula for a number",
        ending="csv",
        spoil=csv(cell(5, 2, "=1+2")),
        code=_file("bad_value"),
        says=("line 5, column flight", r"\x3d1+2"),
        never=("'=1+2",),
    ),
    Bad(
        name="CSV with a NUL",
        ending="csv",
        spoil=csv(cell(5, 1, "U\0")),
        code=_file("nul_byte"),
        says=("line 5",),
    ),
    Bad(
        name="CSV in Latin-1",
        ending="csv",
        spoil=lambda rows: csv(cell(9, 1, "Ü"))(rows).decode().encode("latin-1"),
        code=_file("bad_encoding"),
        says=("line 9",),
    ),
    Bad(
        name="CSV in UTF-16",
        ending="csv",
        spoil=lambda rows: csv()(rows).decode().encode("utf-16"),
        code=_file("bad_encoding"),
        says=("line 1",),
    ),
    Bad(
        name="CSV without a column",
        ending="csv",
        spoil=lambda rows: csv()(rows.drop_columns(["carrier"])),
        code=_window("schema"),
        says=("column carrier: expected string, found no such column",),
    ),
    Bad(
        name="half a gzip file",
        ending="csv.gz",
        spoil=lambda rows: gzip.compress(csv()(rows))[:-100],
        code=_file("truncated"),
        says=("is no whole gzip file",),
    ),
    Bad(
        name="gzip bomb",
        ending="csv.gz",
        spoil=lambda rows: gzip.compress(csv()(rows) + b"\n" * 400_000_000, 1),
        code=_file("expands_too_far"),
        says=("the limit is",),
    ),
    Bad(
        name="JSON that is no object",
        ending="jsonl",
        spoil=json_lines(line(3, "[1, 2]")),
        code=_file("malformed_line"),
        says=("has no JSON object in line 3",),
    ),
    Bad(
        name="JSON line cut short",
        ending="jsonl",
        spoil=json_lines(lambda lines: line(8, lines[7][:40])(lines)),
        code=_file("malformed_line"),
        says=("line 8",),
    ),
    Bad(
        name="JSON array around all",
        ending="jsonl",
        spoil=lambda rows: b"[\n" + json_lines()(rows),
        code=_file("malformed_line"),
        says=("line 1",),
    ),
    Bad(
        name="JSON text for a number",
        ending="jsonl",
        spoil=json_lines(field(4, "flight", "many")),
        code=_file("bad_value"),
        says=("line 4, column flight: expected int32",),
    ),
    Bad(
        name="JSON object for a number",
        ending="jsonl",
        spoil=json_lines(field(4, "flight", {"number": 1})),
        code=_file("nested_column"),
        says=("line 4, column flight: expected int32",),
    ),
    Bad(
        name="JSON list for a text",
        ending="jsonl",
        spoil=json_lines(field(2, "carrier", ["US"])),
        code=_file("nested_column"),
        says=("line 2, column carrier",),
    ),
    Bad(
        name="JSON without a field",
        ending="jsonl",
        spoil=lambda rows: json_lines()(rows.drop_columns(["distance"])),
        code=_window("schema"),
        says=("column distance: expected int32, found no such column",),
    ),
)

COLUMNS = (
    Bad(
        name="no rows",
        spoil=with_rows(lambda rows: rows.slice(0, 0)),
        code=_window("in_window"),
        says=("at least one",),
    ),
    Bad(
        name="column dropped",
        spoil=with_rows(lambda rows: rows.drop_columns(["carrier"])),
        code=_window("schema"),
        says=("column carrier: expected string, found no such column",),
    ),
    Bad(
        name="column renamed",
        spoil=renamed("distance", "distance_miles"),
        code=_window("schema"),
        says=("column distance: expected int32", "nearest new one: distance_miles int32"),
    ),
    Bad(
        name="column renamed to markup",
        spoil=renamed("distance", f"distance{MARKUP}"),
        code=_window("schema"),
        says=("column distance: expected int32", r"\x3cscript\x3e"),
    ),
    Bad(
        name="columns swapped",
        spoil=with_rows(lambda rows: rows.select(list(reversed(rows.column_names)))),
        code=_window("schema"),
        says=("expected the columns in the order",),
    ),
    Bad(
        name="number as text",
        spoil=cast("distance", pa.string()),
        code=_window("schema"),
        says=("column distance: expected int32, found string",),
    ),
    Bad(
        name="number as fraction",
        spoil=cast("distance", pa.float64()),
        code=_window("schema"),
        says=("column distance: expected int32, found float64",),
    ),
    Bad(
        name="number widened",
        spoil=cast("distance", pa.int64()),
        code=_window("schema"),
        says=("column distance: expected int32, found int64", "widened"),
    ),
    Bad(
        name="number that may be missing now",
        spoil=values("flight"),
        code=_window("schema"),
        says=("column flight", "expected required as in window 2013-07-03", "found optional"),
    ),
    Bad(
        name="number that is missing now",
        spoil=values("flight", None),
        code=_window("schema"),
        says=("column flight", "expected required", "passes where `accept` has became_optional"),
    ),
    Bad(
        name="time in another zone",
        spoil=cast("scheduled_departure", pa.timestamp("us", tz="Europe/Berlin")),
        code=_window("schema"),
        says=("expected timestamp in UTC, found timestamp in Europe/Berlin",),
    ),
    Bad(
        name="time without a zone",
        spoil=cast("scheduled_departure", pa.timestamp("us")),
        code=_window("schema"),
        says=("expected timestamp in UTC, found timestamp without time zone",),
    ),
    Bad(
        name="time as a number",
        spoil=cast("scheduled_departure", pa.int64()),
        code=_window("schema"),
        says=("column scheduled_departure: expected timestamp in UTC, found int64",),
    ),
)

VALUES = (
    Bad(
        name="null key",
        spoil=values("carrier", None),
        code=_window("contract"),
        says=("column carrier: expected not null, found 1 null",),
    ),
    Bad(
        name="null time",
        spoil=values("scheduled_departure", None, None),
        code=_window("contract"),
        says=("column scheduled_departure: expected not null, found 2 nulls",),
    ),
    Bad(
        name="below the bound",
        spoil=values("distance", -1, 0),
        code=_window("contract"),
        says=("column distance: expected int32 in [1, 12000], found 2 rows outside (e.g. ",),
    ),
    Bad(
        name="above the bound",
        spoil=values("departure_local", 2360),
        code=_window("contract"),
        says=("column departure_local: expected int32 in [0, 2359], found 1 row outside",),
    ),
    Bad(
        name="value that is not allowed",
        spoil=values("origin", "LHR"),
        code=_window("contract"),
        says=("column origin: expected one of EWR, JFK, LGA, found 1 row outside",),
    ),
    Bad(
        name="value that the reference lacks",
        spoil=values("tail_number", "N00000"),
        code=_window("contract"),
        says=("column tail_number: expected known in planes.tail_number, found 1 row",),
    ),
    Bad(
        name="text of another pattern",
        spoil=values("carrier", "u5"),
        code=_window("contract"),
        says=("column carrier: expected matching '[0-9A-Z]{2}', found 1 row",),
    ),
    Bad(
        name="text with a NUL",
        spoil=values("carrier", "U\0"),
        code=_window("contract"),
        says=("column carrier", r"U\x00"),
        never=("\0",),
    ),
    Bad(
        name="text that turns the direction of writing",
        spoil=values("carrier", "U\u202e"),
        code=_window("contract"),
        says=("column carrier", r"U\u202e"),
        never=("\u202e",),
    ),
    Bad(
        name="text longer than declared",
        spoil=values("destination", "LONDON"),
        code=_window("contract"),
        says=("column destination: expected at most 4 characters, found 1 row",),
    ),
    Bad(
        name="markup as a key",
        spoil=values("carrier", MARKUP),
        code=_window("contract"),
        says=("column carrier", r"\x3cscript\x3e"),
    ),
    Bad(
        name="formula as a key",
        spoil=values("carrier", FORMULA),
        code=_window("contract"),
        says=("column carrier",),
    ),
    Bad(
        name="a rule in SQL",
        spoil=values("arrival_local", 777),
        code=_window("contract"),
        says=("arrives_on_a_minute", "found 1 row"),
    ),
    Bad(
        name="the rows of the day before",
        spoil=with_rows(moved(-1)),
        code=_window("in_window"),
        says=("column scheduled_departure: expected inside the window",),
    ),
    Bad(
        name="a row of next year",
        spoil=values("scheduled_departure", np.datetime64("2014-07-04T12:00:00", "us").item()),
        code=_window("in_window"),
        says=("column scheduled_departure: expected inside the window", "found 1 row"),
    ),
)

TABLES = (
    Bad(
        name="every row twice",
        spoil=with_rows(lambda rows: pa.concat_tables([rows, rows])),
        code=_window("unique_key"),
        says=("unique", "rows"),
    ),
    Bad(
        name="one row twice",
        spoil=with_rows(lambda rows: pa.concat_tables([rows, rows.slice(0, 1)])),
        code=_window("unique_key"),
        says=("unique", "2 rows", "carrier="),
    ),
    Bad(
        name="a tenth of the rows",
        spoil=with_rows(lambda rows: rows.take(list(range(0, rows.num_rows, 10)))),
        code=_window("volume"),
        says=("times the median",),
    ),
    Bad(
        name="upstream stopped at noon",
        spoil=with_rows(
            lambda rows: rows.sort_by("scheduled_departure").slice(0, rows.num_rows * 7 // 10)
        ),
        code=_window("freshness"),
        says=("scheduled_departure", "as newest"),
    ),
    Bad(
        name="an airport is missing",
        spoil=with_rows(lambda rows: rows.filter(pc.not_equal(rows.column("origin"), "LGA"))),
        code=_window("rules"),
        says=("all_three_airports",),
    ),
)

BAD_INPUTS = (*FILES, *TEXTS, *COLUMNS, *VALUES, *TABLES)
