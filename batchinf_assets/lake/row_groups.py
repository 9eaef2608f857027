"""Parquet files read and written row group by row group, so that nobody holds a whole window.

Whole small tables are read and written by `lake.files`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import DataFile, aside, open_input
from batchinf_assets.lake.layout import parquet_options
from batchinf_assets.lake.place import Place


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
            ManifestInvalid: The file is gone or is no Parquet file.
        """
        metadata = self._metadata
        return tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))

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
            open_input(self.place), metadata=self._metadata, page_checksum_verification=True
        )

    @contextmanager
    def _refusing_damage(self) -> Generator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise ManifestInvalid(
                f"{self.place} cannot be read back: {str(error).splitlines()[0]}.",
                next_step="Restore the file from a backup, or run the window again.",
            ) from error


def write_row_groups(place: Place, schema: pa.Schema, groups: Iterable[pa.Table]) -> DataFile:
    """Write tables as one row group each; the place holds all of them or nothing.

    The same tables give the same bytes.

    Args:
        place: Final place.
        schema: The columns of every table.
        groups: The row groups, asked for one after the other.

    Raises:
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
    return DataFile(path=place, rows=rows, bytes=size, sha256=sha256)
