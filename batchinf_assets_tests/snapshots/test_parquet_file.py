"""Bombs and giants: refused in a process of their own, which says how far its memory grew."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import LandedFileUnreadable, LandingFault
from batchinf_assets.snapshots.file_limits import FREE_EXPANSION_BYTES, FileLimits
from batchinf_assets.snapshots.formats import decode, format_of
from batchinf_assets.spec.contract import ColumnSpec, LimitsSpec

MEBIBYTE = 2**20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads peaks of memory from /proc"
)


def zeros(path: Path) -> None:
    """Kilobytes for 1.2 GB: the same ten million numbers again and again."""
    rows = pa.table({"id": pa.repeat(pa.scalar(0, pa.int64()), 10_000_000)})
    with pq.ParquetWriter(path, rows.schema, max_rows_per_page=10**9) as writer:
        for _ in range(15):
            writer.write_table(rows, row_group_size=10**9)


def repeated_text(path: Path) -> None:
    """One text of 10 KB that stands in a million rows: 10 GB written out."""
    index = pa.array(np.zeros(1_000_000, dtype=np.int32))
    text = pa.DictionaryArray.from_arrays(index, pa.array(["x" * 10_000]))
    pq.write_table(pa.table({"text": text}), path)


def giant_text(path: Path) -> None:
    """One text of 100 MB, as large on disk."""
    text = pa.array(["x" * 100 * 10**6])
    pq.write_table(pa.table({"text": text}), path, compression="none", use_dictionary=False)


def giant_cell(path: Path) -> None:
    """The same in CSV."""
    path.write_bytes(b"text\n" + b"x" * 100 * 10**6 + b"\n")


def thousand_columns(path: Path) -> None:
    pq.write_table(pa.table({f"c{index}": [1.0] * 10_000 for index in range(1000)}), path)


def endless_line(path: Path) -> None:
    """A gigabyte without a line's end."""
    path.write_bytes(gzip.compress(b"x" * 16 * MEBIBYTE) * 64)


def endless_lines(path: Path) -> None:
    """A quarter of a gigabyte of lines."""
    member = gzip.compress(b"7\n" * 8 * MEBIBYTE)
    path.write_bytes(gzip.compress(b"text\n") + member * 16)


MADE = {
    "zeros.parquet": (zeros, LandingFault.EXPANDS_TOO_FAR, 64),
    "repeated_text.parquet": (repeated_text, LandingFault.EXPANDS_TOO_FAR, 128),
    "thousand_columns.parquet": (thousand_columns, LandingFault.TOO_MANY_COLUMNS, 128),
    "endless_line.csv.gz": (endless_line, LandingFault.TEXT_TOO_LONG, 64),
    "endless_line.jsonl.gz": (endless_line, LandingFault.TEXT_TOO_LONG, 64),
    "endless_lines.csv.gz": (endless_lines, LandingFault.EXPANDS_TOO_FAR, 256),
    "giant_cell.csv": (giant_cell, LandingFault.TEXT_TOO_LONG, 256),
    "giant_text.parquet": (giant_text, LandingFault.TEXT_TOO_LONG, 512),
}
"""By file: how it is made, why it is refused, and how many MiB more than before it may take."""

READER = """
import json, sys
from pathlib import Path
from batchinf_assets.spec.contract import ColumnSpec, LimitsSpec
from batchinf_assets.errors import LandedFileUnreadable
from batchinf_assets.snapshots.landing import Landing

def kibibytes(name):
    (line,) = [text for text in Path("/proc/self/status").read_text().splitlines() if name in text]
    return int(line.split()[1])

landing, columns = Landing(Path(sys.argv[1]), "landing"), {"text": ColumnSpec(type="string")}
for name in sys.argv[2:]:
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak, see proc(5)
    before = kibibytes("VmRSS")
    try:
        landing.read(name, limits=LimitsSpec(), columns=columns)
    except LandedFileUnreadable as refusal:
        found = {"reason": refusal.reason, "message": refusal.message}
        print(json.dumps({"name": name, "grown": kibibytes("VmHWM") - before, **found}))
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bombs")
    for name, (make, _, _) in MADE.items():
        make(folder / name)
    assert (folder / "zeros.parquet").stat().st_size < 133_000
    command = [sys.executable, "-c", READER, folder, *MADE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", MADE)
def test_a_file_made_to_exhaust_memory_is_refused_within_bounds(
    refused: dict[str, dict[str, Any]], name: str
) -> None:
    _, reason, mebibytes = MADE[name]
    found = refused[name]
    assert found["reason"] == reason
    assert found["message"].startswith(f"landing/{name} ")
    assert found["grown"] < mebibytes * 1024


def read(content: bytes, columns: dict[str, ColumnSpec] | None = None) -> pa.Table:
    limits = FileLimits(name="a.parquet", file_bytes=len(content), declared=LimitsSpec())
    return decode(content, format_of("a.parquet"), columns or {}, limits)


def written(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return sink.getvalue().to_pybytes()


def test_few_values_in_many_rows_are_no_bomb_while_they_stay_small() -> None:
    flags = written(pa.table({"flag": pa.repeat(pa.scalar(value=True), 20_000_000)}))
    flags_as_numbers = 8 * 20_000_000
    assert 200 * len(flags) < flags_as_numbers
    assert read(flags).num_rows == 20_000_000
    numbers = written(pa.table({"n": pa.repeat(pa.scalar(7, pa.int64()), 9_000_000)}))
    with pytest.raises(LandedFileUnreadable, match=f"the limit is {FREE_EXPANSION_BYTES}"):
        read(numbers)


def test_nested_columns_that_nobody_declared_are_columns_of_nulls_in_their_places() -> None:
    new = pa.array([[{"a": "x"}], []])
    rows = pa.table({"a.b": [3, 4], "new": new, "id": [1, 2], "tail": new})
    found = read(written(rows), {"id": ColumnSpec(type="int64")})
    nothing = [None, None]
    assert found.to_pydict() == {"a.b": [3, 4], "new": nothing, "id": [1, 2], "tail": nothing}
    assert found.column_names == rows.column_names


def test_a_damaged_footer_loses_no_row_and_does_not_end_the_process() -> None:
    content = written(pa.table({"id": [1, 2, 3], "text": ["a", "b", None]}))
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    reasons = set[LandingFault]()
    for place in range(start, len(content) - 8):
        spoiled = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            assert read(spoiled).num_rows == 3
        except LandedFileUnreadable as refusal:
            reasons.add(refusal.reason)
    assert LandingFault.DAMAGED in reasons


def test_categories_come_out_as_texts_and_other_dictionaries_as_their_values() -> None:
    rows = pa.table(
        {
            "text": pa.array(["a", "b", "a"]).dictionary_encode(),
            "number": pa.array([7, 8, 7]).dictionary_encode(),
            "bytes": pa.array([b"a", None, b"c"]),
        }
    )
    found = read(written(rows))
    assert found.to_pydict() == rows.to_pydict()
    assert not any(map(pa.types.is_dictionary, found.schema.types))
