"""The content digest of any rows: it ignores order and layout, and nothing else."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from batchinf_assets.lake.digest import RowsDigest, content_digest, sort_by

KEY = ("id",)
MOST_ROWS = 12
properties = settings(max_examples=150, deadline=None, derandomize=True, database=None)

TIMES = st.integers(-(2**52), 2**52)
VALUES: Mapping[pa.DataType, st.SearchStrategy[object]] = {
    pa.int32(): st.integers(-1, 1) | st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.sampled_from([0, 2**32, 2**53, 2**53 + 1]) | st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=4),
    pa.bool_(): st.booleans(),
    pa.date32(): st.integers(-100_000, 100_000),
    pa.timestamp("us", tz="UTC"): TIMES,
}
ALIKE: Mapping[pa.DataType, list[object]] = {
    pa.float32(): [None, 0.0, -0.0, math.nan],
    pa.float64(): [None, 0.0, -0.0, math.nan],
    pa.string(): [None, "", "a", "aa", "\0"],
    pa.int64(): [None, 0, 2**32, 2**53, 2**53 + 1],
    pa.bool_(): [None, False, True],
}
"""Values that something careless takes for one another, alone or side by side."""

NAMES = st.sampled_from(["a", "b", "ä", "x y", 'q"'])
CODECS = st.sampled_from(["none", "snappy", "zstd"])


@st.composite
def columns(draw: st.DrawFn, rows: int, kind: pa.DataType | None = None) -> pa.Array:
    chosen = kind or draw(st.sampled_from(list(VALUES)))
    values = st.none() | VALUES[chosen]
    return pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), chosen)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Any rows of our types under a unique key, in any order."""
    ids = draw(st.lists(VALUES[pa.int64()], unique=True, max_size=MOST_ROWS))
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    more = {name: draw(columns(len(ids))) for name in names}
    return pa.table({"id": pa.array(ids, pa.int64()), **more})


def digest(rows: pa.Table) -> str:
    return content_digest(rows, KEY)


def content(rows: pa.Table) -> object:
    """What the rows are, bit by bit, told without Arrow's layouts."""
    order = sorted(range(rows.num_rows), key=rows["id"].to_pylist().__getitem__)
    return rows.num_rows, sorted(
        (name, str(rows[name].type), [_bits(rows[name][row]) for row in order])
        for name in rows.column_names
    )


def _bits(value: pa.Scalar) -> str:
    if not value.is_valid:
        return "null"
    if not pa.types.is_floating(value.type):
        return repr(value.as_py() if not pa.types.is_timestamp(value.type) else value.value)
    number = value.as_py()
    return "nan" if math.isnan(number) else struct.pack("<d", number).hex()


@st.composite
def laid_out(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    """The same rows in another order, of rows and columns, cut and encoded in another way."""
    shuffled = rows.take(pa.array(draw(st.permutations(range(rows.num_rows))), pa.int64()))
    ends = sorted(draw(st.lists(st.integers(0, rows.num_rows), max_size=3)))
    cuts = zip([0, *ends], [*ends, rows.num_rows], strict=True)
    parts = [shuffled.slice(start, end - start) for start, end in cuts]
    other = pa.concat_tables(parts).select(draw(st.permutations(rows.column_names)))
    for index, name in enumerate(other.column_names):
        if other[name].type == pa.string():
            kind = draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), None]))
            column = other[name].cast(kind) if kind else other[name].dictionary_encode()
            other = other.set_column(index, name, column)
    return other


@st.composite
def filed(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    """The same rows out of Parquet files of any layout."""
    middle = draw(st.integers(0, rows.num_rows))
    parts: list[pa.Table] = []
    for part in (rows.slice(middle), rows.slice(0, middle)):
        file = io.BytesIO()
        pq.write_table(
            part,
            file,
            row_group_size=draw(st.integers(1, MOST_ROWS)),
            use_dictionary=draw(st.booleans()),
            compression=draw(CODECS),
            data_page_version=draw(st.sampled_from(["1.0", "2.0"])),
            store_schema=True,
        )
        parts.append(pq.read_table(file))
    return pa.concat_tables(parts)


@properties
@given(st.data())
def test_order_and_layout_in_memory_do_not_matter(data: st.DataObject) -> None:
    rows = data.draw(tables())
    assert digest(data.draw(laid_out(rows))) == digest(rows)


@properties
@given(st.data())
def test_the_layout_of_files_does_not_matter(data: st.DataObject) -> None:
    rows = data.draw(tables())
    assert digest(data.draw(filed(rows))) == digest(rows)


@properties
@given(st.data())
def test_where_a_stream_is_cut_does_not_matter(data: st.DataObject) -> None:
    rows = sort_by(data.draw(tables()), KEY)
    ends = sorted(data.draw(st.lists(st.integers(0, rows.num_rows), max_size=5)))
    streamed = RowsDigest(rows.schema, KEY, threads=data.draw(st.integers(1, 3)))
    for start, end in zip([0, *ends], [*ends, rows.num_rows], strict=True):
        streamed.update(data.draw(laid_out_in_order(rows.slice(start, end - start))))
    assert streamed.hexdigest() == digest(rows)


@st.composite
def laid_out_in_order(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    cut = draw(st.integers(0, rows.num_rows))
    parts = pa.concat_tables([rows.slice(0, cut), rows.slice(cut)])
    return parts.select(draw(st.permutations(rows.column_names)))


def with_a_value_changed(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    assume(rows.num_columns > 1 and rows.num_rows)
    name = draw(st.sampled_from(rows.column_names[1:]))
    values, row = rows[name].combine_chunks(), draw(st.integers(0, rows.num_rows - 1))
    one = draw(columns(1, values.type))
    changed = pa.concat_arrays([values.slice(0, row), one, values.slice(row + 1)])
    return rows.set_column(rows.column_names.index(name), name, changed)


def with_values_exchanged(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    assume(rows.num_columns > 1 and rows.num_rows > 1)
    name = draw(st.sampled_from(rows.column_names))
    order = pa.array(draw(st.permutations(range(rows.num_rows))), pa.int64())
    return rows.set_column(rows.column_names.index(name), name, rows[name].take(order))


def with_other_rows(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    assume(rows.num_rows)
    dropped = draw(st.integers(0, rows.num_rows - 1))
    return pa.concat_tables([rows.slice(0, dropped), rows.slice(dropped + 1)])


def with_a_name_changed(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    assume(rows.num_columns > 1)
    names = [*rows.column_names[:-1], draw(NAMES)]
    assume(len(set(names)) == len(names))
    return rows.rename_columns(names)


def with_another_type(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    assume(rows.num_columns > 1)
    name = draw(st.sampled_from(rows.column_names[1:]))
    column = draw(columns(rows.num_rows))
    return rows.set_column(rows.column_names.index(name), name, column)


def with_one_more_column(draw: st.DrawFn, rows: pa.Table) -> pa.Table:
    return rows.append_column("one more", draw(columns(rows.num_rows)))


CHANGES = [
    with_a_value_changed,
    with_values_exchanged,
    with_other_rows,
    with_a_name_changed,
    with_another_type,
    with_one_more_column,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@settings(properties, max_examples=100, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_digests_are_equal_exactly_where_the_contents_are(
    change: Callable[[st.DrawFn, pa.Table], pa.Table], data: st.DataObject
) -> None:
    rows = data.draw(tables())

    @st.composite
    def changed(draw: st.DrawFn) -> pa.Table:
        return change(draw, rows)

    other = data.draw(laid_out(data.draw(changed())))
    plain = other.cast(pa.schema([(f.name, _plain(f.type)) for f in other.schema]))
    assert (digest(other) == digest(rows)) == (content(plain) == content(rows))


@pytest.mark.parametrize("kind", ALIKE, ids=str)
@properties
@given(data=st.data())
def test_values_that_look_alike_are_told_apart(kind: pa.DataType, data: st.DataObject) -> None:
    values = st.lists(st.sampled_from(ALIKE[kind]), min_size=2, max_size=3)
    one, other = (
        pa.table({"id": range(len(drawn)), "value": pa.array(drawn, kind)})
        for drawn in (data.draw(values), data.draw(values))
    )
    assert (digest(one) == digest(other)) == (content(one) == content(other))


def _plain(kind: pa.DataType) -> pa.DataType:
    texts = (pa.types.is_dictionary, pa.types.is_large_string, pa.types.is_string_view)
    return pa.string() if any(holds(kind) for holds in texts) else kind


@properties
@given(tables(), tables())
def test_unrelated_rows_have_a_digest_each(one: pa.Table, other: pa.Table) -> None:
    assert (digest(one) == digest(other)) == (content(one) == content(other))
