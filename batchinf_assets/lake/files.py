"""Parquet files that are whole or absent: written aside, fsynced, renamed; read with checksums."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.digest import canonical_json, file_sha256

Document = TypeVar("Document", bound=BaseModel)

ROW_GROUP_ROWS = 131_072
FOOTER_KEY = b"batchinf"


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A Parquet file of ours.

    Attributes:
        path: Where it lies.
        rows: Its row count.
        bytes: Its size.
        sha256: Digest of its bytes.
    """

    path: Path
    rows: int
    bytes: int
    sha256: str


def write_parquet(path: Path, table: pa.Table, footer: Mapping[str, Any]) -> DataFile:
    """Write a table so that the path holds all of it or nothing, even if the machine dies.

    The same table and footer give the same bytes. Floats are written byte-split and never
    dictionary-encoded, pages carry checksums.

    Args:
        path: Final place; its folder is made.
        table: Rows, already in the order to keep.
        footer: JSON value kept in the file's metadata; read back by `read_footer`.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [name for name in table.column_names if name not in floats]
    described = table.replace_schema_metadata({FOOTER_KEY: canonical_json(footer)})
    with aside(path) as temporary:
        pq.write_table(
            described,
            temporary,
            row_group_size=ROW_GROUP_ROWS,
            compression="zstd",
            compression_level=1,
            use_dictionary=others,
            use_byte_stream_split=floats,
            write_page_checksum=True,
        )
    return DataFile(
        path=path, rows=table.num_rows, bytes=path.stat().st_size, sha256=file_sha256(path)
    )


def read_parquet(path: Path) -> pa.Table:
    """Read one of our files, every page against its checksum.

    Raises:
        ManifestInvalid: The file is gone or its bytes changed since it was written.
    """
    try:
        rows = pq.ParquetFile(path, page_checksum_verification=True).read()
        return rows.replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise ManifestInvalid(
            f"{path} cannot be read back: {str(error).splitlines()[0]}.",
            next_step="Restore the file from a backup, or run the window again.",
        ) from error


def is_whole(path: Path) -> bool:
    """Say whether `read_parquet` can read a file."""
    try:
        read_parquet(path)
    except ManifestInvalid:
        return False
    return True


def read_footer(path: Path) -> dict[str, Any]:
    """Read the JSON value that `write_parquet` kept with the rows.

    Raises:
        ManifestInvalid: The file is gone, damaged, or not one of ours.
    """
    try:
        metadata = pq.read_metadata(path).metadata or {}
        return json.loads(metadata[FOOTER_KEY])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise ManifestInvalid(
            f"{path} has no readable footer.",
            next_step="Restore the file from a backup, or run the window again.",
        ) from error


def read_described(path: Path, document: type[Document]) -> Document:
    """Read what a file says of itself.

    Raises:
        ManifestInvalid: The file is gone or damaged, or another version wrote its footer.
    """
    try:
        return document.model_validate(read_footer(path))
    except ValidationError as error:
        raise ManifestInvalid(
            f"{path} describes itself in a way that this version does not know.",
            next_step="Use the version that wrote it, or run the window again.",
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file so that the path holds all of it or what was there before."""
    with aside(path) as temporary:
        temporary.write_bytes(content)


def place_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of small files whole or not at all; never into one that is there already.

    Raises:
        FileExistsError: The folder exists; nothing in it was touched.
        OSError: The disk is full or the parent cannot be written.
    """
    home = folder.parent
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".") as staging:
        staged = Path(staging) / folder.name
        staged.mkdir()
        for file, data in contents.items():
            (staged / file).write_bytes(data)
            fsync(staged / file)
        fsync(staged)
        try:
            staged.rename(folder)
        except OSError as error:  # a folder that is not empty is never replaced
            if folder.is_dir():
                raise FileExistsError(f"{folder} exists already") from error
            raise
    fsync(home)
    fsync(home.parent)


class aside:  # noqa: N801 - reads as a word in `with aside(path)`
    """Give a temporary neighbour of `path`; on success fsync it and rename it to `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._temporary

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            self._temporary.unlink(missing_ok=True)
            return
        fsync(self._temporary)
        self._temporary.replace(self._path)
        fsync(self._path.parent)


def fsync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
