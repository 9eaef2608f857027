"""Content digests: what must not matter to them, and what must."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.lake.digest import (
    RowsDigest,
    canonical_json,
    content_digest,
    file_sha256,
    json_sha256,
    sort_by,
)

KEY = ("carrier", "flight")
DAY = datetime(2013, 7, 1, 4, tzinfo=UTC)

ROWS = pa.table(
    {
        "carrier": pa.array(["UA", "AA", "UA", "DL"], pa.string()),
        "flight": pa.array([2, 1, 1, 7], pa.int32()),
        "delay": pa.array([1.5, None, float("nan"), -3.0], pa.float64()),
        "tail": pa.array(["N1", "", None, "Ñ9"], pa.string()),
        "late": pa.array([True, False, None, False], pa.bool_()),
        "day": pa.array([date(2013, 7, 1), None, date(1969, 1, 1), date(2013, 7, 2)], pa.date32()),
        "at": pa.array([DAY, None, DAY, DAY], pa.timestamp("us", tz="UTC")),
    }
)


def digest(table: pa.Table) -> str:
    return content_digest(table, KEY)


def with_column(name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return ROWS.set_column(ROWS.column_names.index(name), name, values)


def one(value: pa.Array) -> str:
    return content_digest(pa.table({"id": [1], "value": value}), ["id"])


SAME_ROWS: dict[str, Callable[[], pa.Table]] = {
    "reversed rows": lambda: ROWS.take([3, 2, 1, 0]),
    "rows in another order": lambda: ROWS.take([2, 0, 3, 1]),
    "reversed columns": lambda: ROWS.select(ROWS.column_names[::-1]),
    "a chunk per row": lambda: pa.concat_tables([ROWS.slice(i, 1) for i in range(4)]),
    "empty chunks": lambda: pa.concat_tables([ROWS.slice(0, 0), ROWS, ROWS.slice(4)]),
    "a slice of more": lambda: pa.concat_tables([ROWS, ROWS]).combine_chunks().slice(4, 4),
    "dictionary-encoded values": lambda: with_column("tail", ROWS["tail"].dictionary_encode()),
    "dictionary-encoded keys": lambda: with_column("carrier", ROWS["carrier"].dictionary_encode()),
    "a dictionary per chunk": lambda: with_column(
        "tail", pa.chunked_array([c.dictionary_encode() for c in chunks("tail")])
    ),
    "wide offsets": lambda: with_column("tail", ROWS["tail"].cast(pa.large_string())),
    "wide offsets in the key": lambda: with_column("carrier", ROWS["carrier"].cast("large_string")),
    "string views": lambda: with_column("tail", ROWS["tail"].cast(pa.string_view())),
    "fields declared not null": lambda: ROWS.cast(
        pa.schema([f.with_nullable(f.name not in KEY) for f in ROWS.schema])
    ),
    "metadata": lambda: ROWS.replace_schema_metadata({"origin": "elsewhere"}),
}


def chunks(name: str) -> list[pa.Array]:
    return [ROWS[name].slice(i, 2).combine_chunks() for i in (0, 2)]


@pytest.mark.parametrize("layout", SAME_ROWS)
def test_layout_does_not_matter(layout: str) -> None:
    assert digest(SAME_ROWS[layout]()) == digest(ROWS)


def test_file_layout_does_not_matter(tmp_path: Path) -> None:
    pq.write_table(ROWS, tmp_path / "one.parquet", row_group_size=1, use_dictionary=True)
    pq.write_table(ROWS.slice(0, 3), tmp_path / "a.parquet", compression="none")
    pq.write_table(ROWS.slice(3), tmp_path / "b.parquet", use_dictionary=False)
    parts = [pq.read_table(tmp_path / name) for name in ("b.parquet", "a.parquet")]
    assert digest(pq.read_table(tmp_path / "one.parquet")) == digest(ROWS)
    assert digest(pa.concat_tables(parts)) == digest(ROWS)


@pytest.mark.parametrize("name", ROWS.column_names)
@pytest.mark.parametrize("row", range(4))
def test_every_single_value_matters(name: str, row: int) -> None:
    values = ROWS[name].to_pylist()
    other = {
        "carrier": "XX",
        "flight": 99,
        "delay": 77.0,
        "tail": "N2",
        "late": values[row] is not True,
        "day": date(2014, 1, 1),
        "at": datetime(2014, 1, 1, tzinfo=UTC),
    }
    values[row] = other[name]
    assert digest(with_column(name, pa.array(values, ROWS[name].type))) != digest(ROWS)


@pytest.mark.parametrize("name", [name for name in ROWS.column_names if name not in KEY])
@pytest.mark.parametrize("row", range(4))
def test_a_value_that_becomes_null_matters(name: str, row: int) -> None:
    values = ROWS[name].to_pylist()
    if values[row] is None:
        values[row] = next(value for value in values if value is not None)
    else:
        values[row] = None
    assert digest(with_column(name, pa.array(values, ROWS[name].type))) != digest(ROWS)


@pytest.mark.parametrize(
    ("kind", "filler"),
    [
        (pa.string(), ""),
        (pa.int32(), 0),
        (pa.int64(), 0),
        (pa.float32(), 0.0),
        (pa.float64(), 0.0),
        (pa.bool_(), False),
        (pa.date32(), date(1970, 1, 1)),
        (pa.timestamp("us", tz="UTC"), datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_null_is_not_the_value_that_stands_for_it_in_memory(
    kind: pa.DataType, filler: object
) -> None:
    assert one(pa.array([None], kind)) != one(pa.array([filler], kind))


def test_values_under_a_null_do_not_matter() -> None:
    hidden = pa.Array.from_buffers(
        pa.int64(), 1, [pa.py_buffer(b"\x00"), pa.py_buffer(np.array([7]).tobytes())]
    )
    assert hidden.to_pylist() == [None]
    assert one(hidden) == one(pa.array([None], pa.int64()))


def test_the_number_of_rows_matters() -> None:
    digests = {digest(ROWS.slice(0, count)) for count in range(5)}
    assert len(digests) == 5


def test_text_is_cut_at_its_own_ends() -> None:
    cut = [["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"]]
    tables = [pa.table({"id": [1, 2], "text": texts}) for texts in cut]
    assert len({content_digest(table, ["id"]) for table in tables}) == 4


def test_names_matter() -> None:
    renamed = ROWS.rename_columns({"tail": "delay", "delay": "tail"})
    assert digest(renamed) != digest(ROWS)
    assert digest(ROWS.rename_columns({"tail": "tail_number"})) != digest(ROWS)


def test_a_column_without_values_matters() -> None:
    extra = ROWS.append_column("extra", pa.nulls(4, pa.float64()))
    assert digest(extra) != digest(ROWS)


def test_types_matter_even_where_the_values_print_alike() -> None:
    kinds = [pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()]
    digests = {one(pa.array([1], pa.int64()).cast(kind)) for kind in kinds}
    times = [pa.timestamp(unit, tz=zone) for unit in ("ms", "us") for zone in ("UTC", None)]
    digests |= {one(pa.array([1], pa.int64()).cast(kind)) for kind in times}
    assert len(digests) == len(kinds) + len(times)


@pytest.mark.parametrize("bits", [0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001])
def test_every_nan_is_the_same_value(bits: int) -> None:
    payload = pa.array(np.array([bits], dtype=np.uint64).view(np.float64))
    assert np.isnan(payload[0].as_py())
    assert one(payload) == one(pa.array([float("nan")]))


def test_nan_is_not_null() -> None:
    assert one(pa.array([float("nan")])) != one(pa.array([None], pa.float64()))


def test_negative_zero_is_another_value_than_zero() -> None:
    # They compare equal but are other bits, and 1 / x tells them apart: the digest does too.
    assert one(pa.array([-0.0])) != one(pa.array([0.0]))


def test_neighbouring_floats_and_integers_beyond_the_mantissa_differ() -> None:
    assert one(pa.array([0.1])) != one(pa.array([np.nextafter(0.1, 1)]))
    big = 2**53
    assert one(pa.array([big])) != one(pa.array([big + 1]))
    with_null = [pa.table({"id": [1, 2], "v": pa.array([n, None])}) for n in (big, big + 1)]
    assert len({content_digest(table, ["id"]) for table in with_null}) == 2


def test_the_digest_is_what_its_description_says() -> None:
    # By hand: per column the positions of nulls, the lengths of texts, the values; then JSON.
    table = pa.table(
        {
            "n": pa.array([5, 4], pa.int32()),
            "b": pa.array(["x", None], pa.string()),
            "c": pa.array([True, None], pa.bool_()),
        }
    )
    parts = {
        "b": ("large_string", [struct.pack("<q", 0), struct.pack("<qq", 0, 1), b"x"]),
        "c": ("bool", [struct.pack("<q", 0), b"", bytes([0, 1])]),
        "n": ("int32", [b"", b"", struct.pack("<ii", 4, 5)]),
    }
    columns = [
        [name, kind, sha256(b"".join(sha256(part).digest() for part in of)).hexdigest()]
        for name, (kind, of) in parts.items()
    ]
    document = json.dumps(["batchinf-rows-2", 2, columns], separators=(",", ":"))
    assert content_digest(table, ["n"]) == sha256(document.encode()).hexdigest()


def streamed(tables: Iterable[pa.Table], key: Sequence[str] = KEY, threads: int = 1) -> str:
    rows = RowsDigest(ROWS.schema, key, threads=threads)
    for table in tables:
        rows.update(table)
    return rows.hexdigest()


def many_rows(chance: random.Random, count: int) -> pa.Table:
    """Rows in key order, with nulls, NaN, empty and long texts in any place."""
    odd = [None, float("nan"), float("inf"), -0.0, 0.5]
    texts = [None, "", "Ñ9", "x" * 300, "N1"]
    times = [None, 0, -1, 10**15]
    carriers = sorted(chance.choices(["AA", "B6", "É"], k=count))
    return pa.table(
        {
            "carrier": pa.array(carriers, pa.string()),
            "flight": pa.array(range(count), pa.int32()),
            "delay": pa.array(chance.choices(odd, k=count), pa.float64()),
            "tail": pa.array(chance.choices(texts, k=count), pa.string()),
            "late": pa.array(chance.choices([True, False, None], k=count), pa.bool_()),
            "day": pa.array(chance.choices([None, 0, 9], k=count), pa.int32()).cast(pa.date32()),
            "at": pa.array(chance.choices(times, k=count)).cast(pa.timestamp("us", tz="UTC")),
        }
    )


def laid_out(chance: random.Random, table: pa.Table) -> pa.Table:
    """The same rows with other offsets, dictionaries and column order."""
    layouts = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
    for name in ("carrier", "tail"):
        column = table[name].cast(chance.choice(layouts))
        table = table.set_column(table.column_names.index(name), name, column)
    return table.select(chance.sample(table.column_names, table.num_columns))


@pytest.mark.parametrize("seed", range(40))
def test_cuts_and_layouts_of_a_stream_do_not_matter(seed: int) -> None:
    chance = random.Random(seed)
    table = many_rows(chance, chance.randint(0, 40))
    ends = sorted(chance.choices(range(table.num_rows + 1), k=chance.randint(0, 9)))
    cuts = zip([0, *ends], [*ends, table.num_rows], strict=True)
    parts = [laid_out(chance, table.slice(start, end - start)) for start, end in cuts]
    shuffled = table.take(pa.array(chance.sample(range(table.num_rows), table.num_rows), "int64"))
    assert streamed(parts) == digest(table) == digest(shuffled)


@pytest.mark.parametrize("seed", range(40))
def test_a_single_changed_row_of_a_stream_matters(seed: int) -> None:
    chance = random.Random(seed)
    table = many_rows(chance, 30)
    row, name = chance.randrange(30), chance.choice(["delay", "tail", "late", "day", "at"])
    values = table[name].to_pylist()
    others = [v for v in values if repr(v) != repr(values[row])]
    values[row] = chance.choice(others)
    other = table.set_column(
        table.column_names.index(name), name, pa.array(values, table[name].type)
    )
    assert streamed([other.slice(0, 17), other.slice(17)]) != digest(table)


def test_threads_do_not_matter() -> None:
    table = many_rows(random.Random(0), 40_000)
    parts = [table.slice(0, 39_999), table.slice(39_999)]
    assert streamed(parts, threads=3) == streamed(parts) == digest(table)


def test_an_error_in_a_thread_is_not_lost() -> None:
    beyond = pa.DictionaryArray.from_arrays(
        pa.array([7] * 20_000, pa.int32()), pa.array(["a"]), safe=False
    )
    table = pa.table({"id": range(20_000), "text": beyond})
    rows = RowsDigest(table.schema, ["id"], threads=2)
    with pytest.raises(IndexError):
        rows.update(table)


def test_no_tables_are_a_table_without_rows() -> None:
    assert streamed([]) == streamed([ROWS.slice(0, 0)]) == digest(ROWS.slice(0, 0))


def test_a_stream_out_of_key_order_is_refused() -> None:
    rows = sort_by(ROWS, KEY)
    with pytest.raises(ValueError, match="row 2 sorts before the one before it"):
        streamed([rows.slice(2), rows.slice(0, 2)])


def test_nulls_and_nan_come_last_in_key_order() -> None:
    keys = pa.table({"k": [0.5, float("nan"), None]})
    parts = [keys.slice(row, 1) for row in range(3)]
    rows = RowsDigest(keys.schema, ["k"])
    for part in parts:
        rows.update(part)
    assert rows.hexdigest() == content_digest(keys.take([2, 0, 1]), ["k"])
    with pytest.raises(ValueError, match="row 3 sorts before"):
        rows.update(parts[0])


@pytest.mark.parametrize(
    "other",
    [
        ROWS.drop_columns(["tail"]),
        ROWS.append_column("extra", ROWS["tail"]),
        ROWS.set_column(1, "flight", ROWS["flight"].cast(pa.int64())),
    ],
    ids=["column lost", "column added", "type changed"],
)
def test_a_table_of_another_schema_is_refused_within_a_stream(other: pa.Table) -> None:
    with pytest.raises(TypeError, match="not those of the schema"):
        streamed([other])


def test_texts_under_a_null_and_around_a_slice_do_not_matter() -> None:
    # Three texts "ab", "cd" (null), "e" in one buffer, as a reader may leave them.
    buffers = [b"\x05", np.array([0, 2, 4, 5], np.int32).tobytes(), b"abcde"]
    texts = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(part) for part in buffers])
    assert texts.to_pylist() == ["ab", None, "e"]
    clean = pa.array(["ab", None, "e"])
    for start, end in ((0, 3), (1, 3), (0, 2), (1, 2)):
        rebuilt = pa.array(clean[start:end].to_pylist(), pa.string())
        assert one_by_one(texts[start:end]) == one_by_one(rebuilt)


def one_by_one(values: pa.Array) -> str:
    return content_digest(pa.table({"id": range(len(values)), "value": values}), ["id"])


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1]], pa.list_(pa.int32())),
        pa.array([b"x"], pa.binary()),
        pa.array([1], pa.int64()).cast(pa.decimal128(20, 0)),
        pa.nulls(1),
    ],
)
def test_a_type_without_plain_values_is_refused_rather_than_digested_wrongly(
    values: pa.Array,
) -> None:
    with pytest.raises(TypeError, match="no digest of"):
        one(values)


def test_rows_sort_by_the_whole_key_in_its_order() -> None:
    assert sort_by(ROWS, KEY)["flight"].to_pylist() == [1, 7, 1, 2]
    assert sort_by(ROWS, ["flight", "carrier"])["carrier"].to_pylist() == ["AA", "UA", "UA", "DL"]


def test_rows_in_order_are_not_moved() -> None:
    rows = sort_by(ROWS.drop_columns(["delay"]), KEY)
    assert sort_by(rows, KEY).equals(rows)
    again = sort_by(rows, KEY)["flight"].chunk(0).buffers()[1]
    assert again.address == rows["flight"].chunk(0).buffers()[1].address


def test_sorted_rows_give_the_same_file_however_they_were_cut() -> None:
    table = many_rows(random.Random(1), 5_000)
    parts = [table.slice(start, 777) for start in range(0, 5_000, 777)]
    files = set[bytes]()
    for rows in (table, pa.concat_tables(parts), pa.concat_tables(parts[::-1])):
        sink = pa.BufferOutputStream()
        pq.write_table(sort_by(rows, KEY), sink, data_page_size=1_000)
        files.add(sink.getvalue().to_pybytes())
    assert len(files) == 1


def test_equal_json_values_have_equal_digests() -> None:
    one_way, other_way = {"a": [1, None], "ü": "x"}, {"ü": "x", "a": [1, None]}
    assert json_sha256(one_way) == json_sha256(other_way)
    assert canonical_json(one_way) == '{"a":[1,null],"ü":"x"}'.encode()
    assert json_sha256(one_way) == sha256(canonical_json(one_way)).hexdigest()


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 2], [2, 1]), ({"a": None}, {}), ("1", 1), (1, 1.0), ([], {}), ("", None)],
)
def test_different_json_values_have_different_digests(first: object, second: object) -> None:
    assert json_sha256(first) != json_sha256(second)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": number})


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
