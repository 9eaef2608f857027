"""Parquet files read and written row group by row group, so that nobody holds a whole window.

Whole small tables are read and written by `lake.files`.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import DataFile, aside, open_input
from batchinf_assets.lake.layout import ROW_GROUP_ROWS, parquet_options
from batchinf_assets.lake.place import Place

LARGEST_ROW_GROUP = 2**30
"""Bytes of a row group, unpacked, as the file declares them."""


@dataclass(frozen=True)
class RowGroups:
    """The row groups of one of our files; each is read when it is asked for.

    Attributes:
        place: The file.
    """

    place: Place

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows per group, in order.

        Raises:
            ManifestInvalid: The file is gone, is no Parquet file, or has a row group larger than we
                write: a small file can unpack to more than there is memory for.
        """
        metadata = self._metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        for group in groups:
            if group.num_rows > ROW_GROUP_ROWS or group.total_byte_size > LARGEST_ROW_GROUP:
                raise ManifestInvalid(
                    f"{self.place} has a row group of {group.num_rows:,} rows and "
                    f"{group.total_byte_size:,} bytes; ours have at most {ROW_GROUP_ROWS:,} rows "
                    f"and {LARGEST_ROW_GROUP:,} bytes.",
                    next_step="Find out who wrote it; then restore it, or run the window again.",
                )
        return tuple(group.num_rows for group in groups)

    @property
    def schema(self) -> pa.Schema:
        """The columns, without what the file says of itself.

        Raises:
            ManifestInvalid: The file is gone or is no Parquet file.
        """
        return self._metadata.schema.to_arrow_schema().remove_metadata()

    def read(
        self, groups: Iterable[int], columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Read row groups one at a time on the calling thread, every page against its checksum.

        Raises:
            ManifestInvalid: The file is gone or its bytes changed since it was written.
        """
        _ = self.rows  # holds the file to the limits
        with self._refusing_damage():
            file = self._open()
        for group in groups:
            with self._refusing_damage():
                table = file.read_row_group(group, columns=columns, use_threads=False)
            yield table.replace_schema_metadata(None)

    def all(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Read every row group in order, as `read` does."""
        return self.read(range(len(self.rows)), columns)

    @cached_property
    def _metadata(self) -> pq.FileMetaData:
        with self._refusing_damage():
            return pq.ParquetFile(open_input(self.place)).metadata

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(
            open_input(self.place),
            metadata=self._metadata,
            # One request for all columns of an object; of a file one column fits into the cache.
            pre_buffer=not isinstance(self.place, Path),
            page_checksum_verification=True,
        )

    @contextmanager
    def _refusing_damage(self) -> Generator[None]:
        try:
            yield
        except MemoryError:  # Arrow's is an ArrowException too, and says nothing of the file
            raise
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
                raise  # the disk or our rights, not the file; pyarrow names damage without a number
            raise ManifestInvalid(
                f"{self.place} cannot be read back: {str(error).splitlines()[0]}.",
                next_step="Restore the file from a backup, or run the window again.",
            ) from error


def ahead(tables: Iterator[pa.Table]) -> Generator[pa.Table]:
    """Give the same tables, the next one read by another thread while this one is looked at."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, tables, None)
        while (table := coming.result()) is not None:
            coming = reader.submit(next, tables, None)
            yield table


def write_row_groups(
    place: Place, schema: pa.Schema, groups: Iterable[pa.Table], *, expected: str | None = None
) -> DataFile:
    """Write tables as one row group each; the place holds all of them or nothing.

    The same tables give the same bytes.

    Args:
        place: Final place.
        schema: The columns of every table.
        groups: The row groups, asked for one after the other.
        expected: SHA-256 that the file must come out with.

    Raises:
        ManifestInvalid: It came out with another one; what was at the place is there still.
        OSError: The disk is full or the folder cannot be written.
    """
    rows = 0
    with aside(place) as temporary:
        with pq.ParquetWriter(temporary, schema, **parquet_options(schema)) as writer:
            for group in groups:
                if group.num_rows:
                    writer.write_table(group.combine_chunks(), row_group_size=group.num_rows)
                rows += group.num_rows
        size, sha256 = temporary.stat().st_size, file_sha256(temporary)
        if expected not in (None, sha256):
            raise ManifestInvalid(
                f"{place} is published and damaged, and scoring it again gives other bytes.",
                next_step="Restore the file from a backup: readers must not see a mix.",
            )
    return DataFile(path=place, rows=rows, bytes=size, sha256=sha256)
