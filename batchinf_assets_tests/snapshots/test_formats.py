"""Files that upstream got wrong: each with its code and a sentence that says where."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import InvalidSpec, LandedFileUnreadable, LandingFault
from batchinf_assets.snapshots.file_limits import FileLimits
from batchinf_assets.snapshots.formats import FORMATS, decode, format_of
from batchinf_assets.spec.contract import LANDED_ENDINGS, ColumnSpec, LimitsSpec

COLUMNS = {
    "id": ColumnSpec(type="int64"),
    "code": ColumnSpec(type="string", nullable=True),
    "at": ColumnSpec(type="timestamp", nullable=True),
    "small": ColumnSpec(type="int32", nullable=True),
    "ok": ColumnSpec(type="bool", nullable=True),
    "day": ColumnSpec(type="date", nullable=True),
}
TIGHT = LimitsSpec(rows=1000, columns=20, text_bytes=1000)

HEADER = b"id,code,at,small,ok,day\n"
LINE = b"1,007,2013-07-01T00:00:00Z,3,true,2013-07-01\n"
OBJECT = b'{"id": 1, "code": "007", "at": "2013-07-01T00:00:00Z", "small": 3, "ok": true}\n'


def read(
    name: str, content: bytes, limits: LimitsSpec = TIGHT, columns: dict[str, ColumnSpec] = COLUMNS
) -> pa.Table:
    judged = FileLimits(name=name, file_bytes=len(content), declared=limits)
    return decode(content, format_of(name), columns, judged)


def parquet(table: dict[str, object] | pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    rows = table if isinstance(table, pa.Table) else pa.table(table)
    pq.write_table(rows, sink, write_page_checksum=True, **options)
    return sink.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


IDS = parquet({"id": list(range(1000))})
TWICE = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
NESTED = pa.table({"id": pa.array([{"a": 1}])})
LISTED = pa.table({"id": pa.array([[1]])})


@dataclass(frozen=True)
class Bad:
    """A file, and what is said of it after its name."""

    name: str
    file: str
    content: bytes
    reason: LandingFault
    says: str


F = LandingFault
BAD = [
    Bad("0 bytes", "a.parquet", b"", F.EMPTY, "is empty (0 bytes)"),
    Bad(
        "a CSV file called Parquet",
        "a.parquet",
        HEADER + LINE,
        F.NOT_PARQUET,
        "is no whole Parquet file (it does not begin like one)",
    ),
    Bad(
        "magic only",
        "a.parquet",
        b"PAR1PAR1",
        F.TRUNCATED,
        "is no whole Parquet file (it does not end like one)",
    ),
    Bad("half a file", "a.parquet", IDS[:600], F.TRUNCATED, "is no whole Parquet file"),
    Bad("a flipped bit", "a.parquet", flipped(IDS, 100), F.DAMAGED, "is no whole Parquet file ("),
    Bad(
        "a footer of noise",
        "a.parquet",
        b"PAR1" + b"\xff" * 40 + b"\x20\0\0\0PAR1",
        F.DAMAGED,
        "is no whole Parquet file (",
    ),
    Bad(
        "too many rows",
        "a.parquet",
        parquet({"id": list(range(1001))}),
        F.TOO_MANY_ROWS,
        "has 1001 rows or more, the limit is 1000",
    ),
    Bad(
        "too many columns",
        "a.parquet",
        parquet({f"c{index}": [1] for index in range(21)}),
        F.TOO_MANY_COLUMNS,
        "has 21 columns, the limit is 20",
    ),
    Bad(
        "many fields in one column",
        "a.parquet",
        parquet({"extra": [{f"c{index}": 1 for index in range(21)}]}),
        F.TOO_MANY_COLUMNS,
        "has 21 columns, the limit is 20",
    ),
    Bad(
        "a long text",
        "a.parquet",
        parquet({"id": [1, 2], "code": ["x", "é" * 501]}),
        F.TEXT_TOO_LONG,
        "has a text of 1002 bytes in column 'code', the limit is 1000",
    ),
    Bad(
        "a long text in a column of bytes, not repeated",
        "a.parquet",
        parquet({"raw": [b"x" * 1001]}, use_dictionary=False),
        F.TEXT_TOO_LONG,
        "has a text of 1001 bytes in column 'raw', the limit is 1000",
    ),
    Bad(
        "a struct",
        "a.parquet",
        parquet(NESTED),
        F.NESTED_COLUMN,
        "has nested values in column 'id' (struct",
    ),
    Bad(
        "a list",
        "a.parquet",
        parquet(LISTED),
        F.NESTED_COLUMN,
        "has nested values in column 'id' (list",
    ),
    Bad(
        "a name twice",
        "a.parquet",
        parquet(TWICE),
        F.DUPLICATE_COLUMN,
        "names column 'id' twice",
    ),
    Bad("an empty CSV", "a.csv", b"", F.EMPTY, "is empty (0 bytes)"),
    Bad("blank lines", "a.csv", b"\n\r\n \n"[:3], F.EMPTY, "is empty (no line in it)"),
    Bad("an empty archive", "a.csv.gz", gzip.compress(b""), F.EMPTY, "is empty (no line in it)"),
    Bad(
        "half an archive",
        "a.csv.gz",
        gzip.compress(HEADER + LINE)[:-9],
        F.TRUNCATED,
        "is no whole gzip file (it ends early)",
    ),
    Bad("no archive", "a.csv.gz", HEADER, F.DAMAGED, "is no gzip file or a damaged one"),
    Bad(
        "an archive with a flipped bit",
        "a.jsonl.gz",
        flipped(gzip.compress(OBJECT * 9), -7),
        F.DAMAGED,
        "is no gzip file or a damaged one",
    ),
    Bad(
        "no header",
        "a.csv",
        LINE * 2,
        F.NO_HEADER,
        "has no header: line 1 names none of the declared columns "
        "(found: 1, 007, 2013-07-01T00:00:00Z, 3, true)",
    ),
    Bad(
        "a column without a name",
        "a.csv",
        b"id,,code\n1,2,3\n",
        F.NO_HEADER,
        "has a column without a name in line 1 (found: id, '', code)",
    ),
    Bad(
        "a name twice in the header",
        "a.csv",
        b"\nid,code,id\n1,2,3\n",
        F.DUPLICATE_COLUMN,
        "names column 'id' twice in line 2",
    ),
    Bad(
        "another separator",
        "a.csv",
        (HEADER + LINE).replace(b",", b";"),
        F.NO_HEADER,
        "has no header: line 1 names none of the declared columns (found: id;code;at;small;ok;day)",
    ),
    Bad(
        "Latin-1",
        "a.csv",
        HEADER + LINE + LINE.replace(b"007", "Zürich".encode("latin-1")),
        F.BAD_ENCODING,
        "is not UTF-8 in line 3 (byte 0xfc)",
    ),
    Bad(
        "UTF-16",
        "a.csv",
        (HEADER + LINE).decode().encode("utf-16"),
        F.BAD_ENCODING,
        "is not UTF-8 in line 1 (byte 0xff)",
    ),
    Bad(
        "UTF-16 without a mark",
        "a.csv",
        (HEADER + LINE).decode().encode("utf-16-le"),
        F.NUL_BYTE,
        "has a NUL byte in line 1",
    ),
    Bad("a NUL byte", "a.csv", HEADER + LINE + b"2,\0,,,,\n", F.NUL_BYTE, "NUL byte in line 3"),
    Bad(
        "a cell too few, below a text of two lines and a blank line",
        "a.csv",
        HEADER + b'1,"two\nlines",,,,\n\n3,4\n',
        F.MALFORMED_LINE,
        "has 2 cells in line 5, expected 6 as in the header",
    ),
    Bad(
        "a cell too many",
        "a.csv",
        HEADER + LINE + b"1,Paris, France,,,,\n",
        F.MALFORMED_LINE,
        "has 7 cells in line 3, expected 6 as in the header",
    ),
    Bad(
        "an open quotation",
        "a.csv",
        HEADER + LINE + b'2,"open,,,,\n' + LINE * 3,
        F.MALFORMED_LINE,
        "opens a quotation in line 3 that never closes",
    ),
    Bad(
        "a word for a number",
        "a.csv",
        HEADER + b'1,"two\nlines",,,,\n' + LINE + b"n/a,,,,,\n",
        F.BAD_VALUE,
        "has a bad value in line 5, column id: expected int64, found 'n/a'",
    ),
    Bad(
        "a number that does not fit",
        "a.csv",
        HEADER + LINE.replace(b",3,", b",3000000000,"),
        F.BAD_VALUE,
        "has a bad value in line 2, column small: expected int32, found '3000000000'",
    ),
    Bad(
        "a fraction for an integer",
        "a.csv",
        HEADER + LINE.replace(b",3,", b",3.5,"),
        F.BAD_VALUE,
        "column small: expected int32, found '3.5'",
    ),
    Bad(
        "markup and control characters",
        "a.csv",
        HEADER + LINE.replace(b",3,", b",<b>\x1b[2J,"),
        F.BAD_VALUE,
        r"expected int32, found '\x3cb\x3e\x1b[2J'",
    ),
    Bad(
        "a long value",
        "a.csv",
        HEADER + LINE.replace(b",3,", b"," + b"x" * 500 + b","),
        F.BAD_VALUE,
        f"expected int32, found '{'x' * 80}…'",
    ),
    Bad(
        "a time without a zone below one with",
        "a.csv",
        HEADER + LINE + LINE.replace(b"Z", b""),
        F.BAD_VALUE,
        "line 3, column at: expected timestamp with time zone, found '2013-07-01T00:00:00'",
    ),
    Bad(
        "a time with a zone below one without",
        "a.csv",
        HEADER + LINE.replace(b"Z", b"") + LINE,
        F.BAD_VALUE,
        "line 3, column at: expected timestamp without time zone, like those above, found",
    ),
    Bad(
        "a day that there is not",
        "a.csv",
        HEADER + LINE.replace(b",2013-07-01\n", b",2013-02-30\n"),
        F.BAD_VALUE,
        "line 2, column day: expected date, found '2013-02-30'",
    ),
    Bad(
        "too many lines",
        "a.csv",
        HEADER + LINE * 1001,
        F.TOO_MANY_ROWS,
        "has 1001 rows or more, the limit is 1000",
    ),
    Bad(
        "a wide header",
        "a.csv",
        b",".join(b"c%d" % index for index in range(1000)) + b"\n",
        F.TOO_MANY_COLUMNS,
        "has 1000 columns, the limit is 20",
    ),
    Bad(
        "a long cell",
        "a.csv",
        HEADER + LINE.replace(b"007", b"x" * 1001),
        F.TEXT_TOO_LONG,
        "has a text of 1001 bytes in column 'code', the limit is 1000",
    ),
    Bad(
        "a line without end",
        "a.ndjson",
        OBJECT + b" " * 5_000_000,
        F.TEXT_TOO_LONG,
        "has 4194304 bytes or more in line 2: no such line is read",
    ),
    Bad(
        "an object cut off",
        "a.jsonl",
        OBJECT * 2 + OBJECT[:-9],
        F.MALFORMED_LINE,
        "has no JSON object in line 3 (",
    ),
    Bad(
        "an object over two lines",
        "a.jsonl",
        b'\n{"id":\n1}\n',
        F.MALFORMED_LINE,
        "has no JSON object in line 2 (Expecting value)",
    ),
    Bad(
        "two objects in one line",
        "a.jsonl",
        OBJECT + b'{"id": 1} {"id": 2}\n',
        F.MALFORMED_LINE,
        "has no JSON object in line 2 (Extra data)",
    ),
    Bad(
        "an array of objects",
        "a.jsonl",
        b"[" + OBJECT.strip() + b"]\n",
        F.MALFORMED_LINE,
        "has no JSON object in line 1 (found: [{",
    ),
    Bad(
        "null for a row",
        "a.jsonl",
        OBJECT + b"null\n",
        F.MALFORMED_LINE,
        "has no JSON object in line 2 (found: null)",
    ),
    Bad(
        "null behind a row",
        "a.jsonl",
        OBJECT + b'{"id": 1} null\n',
        F.MALFORMED_LINE,
        "has no JSON object in line 2 (Extra data)",
    ),
    Bad(
        "a number that no float holds",
        "a.jsonl",
        OBJECT * 7 + b'{"id": 1, "other": 1e999}\n' + OBJECT,
        F.MALFORMED_LINE,
        'has no JSON object in line 8 (found: {"id": 1, "other": 1e999})',
    ),
    Bad(
        "brackets without end",
        "a.jsonl",
        b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        F.MALFORMED_LINE,
        "has no JSON object in line 1 (nested too deep)",
    ),
    Bad(
        "text for a number",
        "a.jsonl",
        OBJECT + b'{"id": "7"}\n',
        F.BAD_VALUE,
        "has a bad value in line 2, column id: expected int64, found '7'",
    ),
    Bad(
        "a number for text",
        "a.jsonl",
        OBJECT + b'{"id": 1, "code": 7}\n',
        F.BAD_VALUE,
        "has a bad value in line 2, column code: expected string, found 7",
    ),
    Bad(
        "a number for a truth value",
        "a.jsonl",
        b'{"id": 1, "ok": 1}\n',
        F.BAD_VALUE,
        "line 1, column ok: expected bool, found 1",
    ),
    Bad(
        "a number for a time, of no unit",
        "a.jsonl",
        b'{"id": 1, "at": 1372636800}\n',
        F.BAD_VALUE,
        "line 1, column at: expected timestamp, found 1372636800",
    ),
    Bad(
        "an integer that does not fit",
        "a.jsonl",
        b'{"id": 9223372036854775808}\n',
        F.BAD_VALUE,
        "column id: expected int64, found 9223372036854775808",
    ),
    Bad(
        "half of a surrogate pair",
        "a.jsonl",
        b'{"id": 1, "code": "\\ud800"}\n',
        F.BAD_VALUE,
        r"line 1, column code: expected string, found '\ud800'",
    ),
    Bad(
        "an object for a number",
        "a.jsonl",
        OBJECT + b'{"id": {"a": 1}}\n',
        F.NESTED_COLUMN,
        "has a nested value in line 2, column id: expected int64",
    ),
    Bad(
        "a field twice",
        "a.jsonl",
        b'{"id": 1, "id": 2}\n',
        F.DUPLICATE_COLUMN,
        "names field 'id' twice in line 1",
    ),
    Bad(
        "too many fields",
        "a.jsonl",
        json.dumps({f"c{index}": 1 for index in range(1000)}).encode(),
        F.TOO_MANY_COLUMNS,
        "has 1000 columns, the limit is 20",
    ),
    Bad(
        "too many objects",
        "a.jsonl",
        b'{"id": 1}\n' * 1001,
        F.TOO_MANY_ROWS,
        "has 1001 rows or more, the limit is 1000",
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_a_bad_file_is_refused_with_its_code_and_a_sentence_that_says_where(bad: Bad) -> None:
    with pytest.raises(LandedFileUnreadable) as refusal:
        read(bad.file, bad.content)
    assert refusal.value.reason is bad.reason
    assert refusal.value.message.startswith(f"{bad.file} ")
    assert bad.says in refusal.value.message
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


def test_every_code_about_bytes_is_met_by_a_bad_file() -> None:
    about_the_place = {F.NO_FILE, F.UNREADABLE, F.CHANGED_WHILE_READ, F.TOO_LARGE}
    elsewhere = {F.EXPANDS_TOO_FAR}
    assert {bad.reason for bad in BAD} == set(LandingFault) - about_the_place - elsewhere


EXPECTED = pa.table(
    {
        "id": pa.array([1, 2], pa.int64()),
        "code": ["007", None],
        "at": pa.array(["2013-07-01T00:00:00Z", None]).cast(pa.timestamp("us", tz="UTC")),
        "small": pa.array([3, None], pa.int32()),
        "ok": [True, None],
        "day": pa.array(["2013-07-01", None]).cast(pa.date32()),
    }
)
AS_CSV = HEADER + LINE + b"2,,,,,\n"
AS_JSON = OBJECT.replace(b"}", b', "day": "2013-07-01"}') + b'{"id": 2}\n'
GOOD = {
    ".parquet": parquet(EXPECTED),
    ".csv": AS_CSV,
    ".csv.gz": gzip.compress(AS_CSV),
    ".jsonl": AS_JSON,
    ".jsonl.gz": gzip.compress(AS_JSON),
    ".ndjson": AS_JSON,
    ".ndjson.gz": gzip.compress(AS_JSON),
}


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_rows_come_out_of_every_format(ending: str) -> None:
    assert read(f"flights{ending}", GOOD[ending]).equals(EXPECTED)


@pytest.mark.parametrize("name", ["a", "a.xlsx", "a.gz", "a.parquet.gz", "csv", "a.csv.bak"])
def test_a_name_that_tells_no_format_is_refused_with_the_list_of_those_that_do(name: str) -> None:
    with pytest.raises(InvalidSpec, match="has no ending that tells its format") as refusal:
        format_of(name)
    assert all(ending in refusal.value.next_step for ending in FORMATS)


def test_endings_may_be_in_capital_letters() -> None:
    assert format_of("FLIGHTS.CSV.GZ") == FORMATS[".csv.gz"]


def test_a_declaration_may_name_exactly_the_formats_that_can_be_read() -> None:
    assert set(LANDED_ENDINGS) == set(FORMATS)
