"""Parquet files that are whole or absent, on a local disk or on S3; read with checksums.

Locally a file is written aside, fsynced and renamed; on S3 it is written aside locally and uploaded
as one object. Documents that several processes replace are `lake.conditional`'s.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from batchinf_assets.errors import DocumentTooLarge, ManifestInvalid
from batchinf_assets.lake.digest import canonical_json, file_sha256
from batchinf_assets.lake.entries import is_dir, is_file
from batchinf_assets.lake.layout import ROW_GROUP_ROWS, parquet_options
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.versioned import LARGEST_DOCUMENT

Document = TypeVar("Document", bound=BaseModel)

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

    path: Place
    rows: int
    bytes: int
    sha256: str


def write_parquet(
    path: Place,
    table: pa.Table,
    footer: Mapping[str, Any],
    *,
    row_group_rows: int = ROW_GROUP_ROWS,
    scan: bool = False,
) -> DataFile:
    """Write a table so that the path holds all of it or nothing, even if the machine dies.

    The same table and footer give the same bytes; pages carry checksums.

    Args:
        path: Final place; its folder is made.
        table: Rows, already in the order to keep.
        footer: JSON value kept in the file's metadata; read back by `read_footer`.
        row_group_rows: Rows per row group.
        scan: Whether reading speed comes before size.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    described = table.replace_schema_metadata({FOOTER_KEY: canonical_json(footer)})
    with aside(path) as temporary:
        pq.write_table(
            described,
            temporary,
            row_group_size=row_group_rows,
            **parquet_options(table.schema, scan=scan),
        )
        size, sha256 = temporary.stat().st_size, file_sha256(temporary)
    return DataFile(path=path, rows=table.num_rows, bytes=size, sha256=sha256)


def read_parquet(path: Place) -> pa.Table:
    """Read one of our files, every page against its checksum.

    Raises:
        ManifestInvalid: The file is gone or its bytes changed since it was written.
    """
    try:
        rows = pq.ParquetFile(open_input(path), page_checksum_verification=True).read()
        return rows.replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise ManifestInvalid(
            f"{path} cannot be read back: {str(error).splitlines()[0]}.",
            next_step="Restore the file from a backup, or run the window again.",
        ) from error


def is_readable(path: Place) -> bool:
    """Say whether `read_parquet` can read a file."""
    try:
        read_parquet(path)
    except ManifestInvalid:
        return False
    return True


def holds(path: Place, size: int, sha256: str) -> bool:
    """Say whether a file is there and holds the bytes of this number and digest.

    Raises:
        OSError: It is there and cannot be read.
    """
    if not is_file(path) or path.stat().st_size != size:
        return False
    return file_sha256(path) == sha256


def read_footer(path: Place) -> dict[str, Any]:
    """Read the JSON value that `write_parquet` kept with the rows.

    Raises:
        ManifestInvalid: The file is gone, damaged, or not one of ours.
    """
    try:
        metadata = pq.read_metadata(open_input(path)).metadata or {}
        return json.loads(metadata[FOOTER_KEY])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise ManifestInvalid(
            f"{path} has no readable footer.",
            next_step="Restore the file from a backup, or run the window again.",
        ) from error


def read_described(path: Place, document: type[Document]) -> Document:
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


def open_input(place: Place) -> pa.NativeFile:
    """Open a file for Arrow to read at any position; each read of an object is a request.

    Raises:
        OSError: It is not there or cannot be opened.
    """
    if isinstance(place, Path):
        return pa.OSFile(str(place), "rb")
    return pa.PythonFile(place.open("rb", buffering=0), mode="r")


def read_bounded(path: Place, limit: int = LARGEST_DOCUMENT) -> bytes:
    """Read a small file that nobody vouches for; of a larger one no more than shows that it is.

    Raises:
        DocumentTooLarge: It has more bytes than `limit`.
        FileNotFoundError: It is not there.
        OSError: It cannot be read.
    """
    if not isinstance(path, Path):
        return path.read_bounded(limit)
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise DocumentTooLarge(path, limit)
    return content


def write_bytes(path: Place, content: bytes) -> None:
    """Write a small file so that the path holds all of it or what was there before."""
    if not isinstance(path, Path):
        path.write_bytes(content)
        return
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
            if is_dir(folder):
                raise FileExistsError(f"{folder} exists already") from error
            raise
    fsync(home)
    fsync(home.parent)


@contextmanager
def aside(path: Place) -> Generator[Path]:
    """Give a local temporary file; on success its bytes become those of `path`, whole.

    Beside a local path it is fsynced and renamed; for S3 it lies in the temporary folder and is
    uploaded.

    Raises:
        OSError: The disk is full or the folder cannot be written; it names the path.
    """
    with naming(path):
        if isinstance(path, Path):
            yield from _renamed(path)
        else:
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder) / path.name
                yield temporary
                path.upload(temporary)


def _renamed(path: Path) -> Generator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        fsync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def temporary_beside(path: Path) -> Path:
    """Name a file that nobody else writes to, which maintenance takes for one that may go."""
    # Containers that share a file system count processes and threads apart: only chance parts them.
    mine = f"{os.getpid()}-{threading.get_native_id()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{mine}.tmp")


@contextmanager
def naming(path: Place) -> Generator[None]:
    """Let an error of the operating system name a place where it names none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def fsync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
