"""Keys and values of rows as texts for people: cut, escaped, times with their offset."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import LONGEST_TEXT, SAMPLE_KEYS, quoted


def sample_keys(rows: pa.Table, key: Sequence[str]) -> tuple[str, ...]:
    """Write the keys of the first conformed rows; see `key_texts`."""
    return tuple(key_texts(rows.slice(0, SAMPLE_KEYS), key))


def key_texts(rows: pa.Table, key: Sequence[str]) -> list[str]:
    """Write the key of each conformed row as `column=value, column=value`.

    Timestamps are ISO 8601 with offset, texts cut and their control characters escaped.
    """
    columns = [_texts(rows.column(name)) for name in key]
    return [
        ", ".join(
            f"{name}={'null' if text is None else text}"
            for name, text in zip(key, texts, strict=True)
        )
        for texts in zip(*columns, strict=True)
    ]


def value_texts(values: pa.ChunkedArray) -> list[str | None]:
    """Write each value of a conformed column like those of keys, in 80 characters at most."""
    return [text if text is None else _cut(text) for text in _texts(values)]


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    if pa.types.is_timestamp(column.type):
        # Arrow writes values that Python's datetime cannot hold; naive, it needs no zone database.
        plain = column.cast(pa.timestamp("us")).cast(pa.string())
        return [text if text is None else _iso(text) for text in plain.to_pylist()]
    texts = column.cast(pa.string())
    if texts.type != column.type and not pa.types.is_dictionary(column.type):
        return texts.to_pylist()
    # Of a text that is megabytes long no more than its beginning becomes a Python string.
    begin = pc.utf8_slice_codeunits(texts, 0, LONGEST_TEXT + 1).to_pylist()
    return [text if text is None else quoted(text) for text in begin]


def _iso(text: str) -> str:
    """Turn Arrow's `2013-01-01 05:00:00.000000` into `2013-01-01T05:00:00+00:00`."""
    if text.startswith("<"):  # Arrow's way to say: beyond its calendar
        return text
    return text.replace(" ", "T").removesuffix(".000000") + "+00:00"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
