"""The zip archive of a skops file, read so strictly that two readers cannot see two files.

What its schema may say is in `registry.skops_schema`.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tokenize
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.untrusted_text import one_line

SCHEMA = "schema.json"
MiB = 2**20
FREE_BYTES = MiB  # what a small archive may inflate to, whatever the ratio
CHUNK = 64 * 1024
HEADER_BYTES = 12 * 1024  # numpy refuses headers beyond 10,000 characters

STORE_AGAIN = "Store the model again with skops or ONNX: `batchinf model register <pipeline>`."

_MEMBER = re.compile(r"schema\.json|[0-9]{1,20}\.npy")
_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL_ENTRY = 46
_ZIP64_LOCATOR = 20
# numpy reads a header with Python's parser, and a strange one with its tokenizer.
_HEADER_ERRORS = (
    ArithmeticError,
    KeyError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What an archive may hold.

    Attributes:
        archive_bytes: The file itself.
        member_bytes: One member, inflated.
        total_bytes: All members, inflated.
        schema_bytes: `schema.json`, inflated.
        ratio: Inflated bytes per byte of the file. scikit-learn models stay below 20.
        members: Files in the archive.
        depth: How deep `schema.json` nests. Pipelines stay below 40.
    """

    archive_bytes: int = 1024 * MiB
    member_bytes: int = 1024 * MiB
    total_bytes: int = 2048 * MiB
    schema_bytes: int = 64 * MiB
    ratio: int = 100
    members: int = 60_000
    depth: int = 128


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What was found; every array has been inflated once and its header read.

    Attributes:
        schema: The bytes of `schema.json`.
        sizes: Inflated bytes of each array, by member name.
        digests: SHA-256 of each array, by member name.
    """

    schema: bytes
    sizes: Mapping[str, int]
    digests: Mapping[str, bytes]


def read_archive(data: bytes, limits: ArchiveLimits) -> Archive:
    """Check every member of a skops archive against its declaration and the limits.

    The layout is the one that skops 0.16 writes: local headers back to back, the central
    directory, the end record; deflated or stored; no encryption, comment, extra field or zip64
    (PKWARE APPNOTE 6.3, 4.3). At no time more than one member's declared size and one chunk are
    held.

    Raises:
        ModelRefused: OVERSIZED_MEMBER, PICKLE (an array of objects) or UNREADABLE.
    """
    entries = _entries(data, limits)
    _require_bounded(entries, len(data), limits)
    schema, digests = b"", dict[str, bytes]()
    for entry, start in _placed(data, entries):
        content = data[start : start + entry.compress_size]
        if entry.filename == SCHEMA:
            schema = b"".join(_inflated(content, entry))
        else:
            digests[entry.filename] = _checked_array(content, entry)
    if not schema:
        raise unreadable(f"has no {SCHEMA}")
    sizes = {entry.filename: entry.file_size for entry in entries if entry.filename in digests}
    return Archive(schema=schema, sizes=sizes, digests=digests)


def array_holds_objects(head: bytes, member: str) -> bool:
    """Tell whether an .npy file is a pickle in disguise, from its first HEADER_BYTES.

    Raises:
        ModelRefused: It is no .npy file.
    """
    return bool(_array_header(head, member)[1].hasobject)


def unreadable(what: str) -> ModelRefused:
    """Return the refusal of a file that is not what skops writes."""
    return ModelRefused(f"The model file {what}.", reason=Refusal.UNREADABLE, next_step=STORE_AGAIN)


def oversized(what: str) -> ModelRefused:
    """Return the refusal of a file that holds more than it may."""
    return ModelRefused(
        f"The model file {what}.",
        reason=Refusal.OVERSIZED_MEMBER,
        next_step="Train a smaller model, or store it again: `batchinf model register <pipeline>`.",
    )


def _entries(data: bytes, limits: ArchiveLimits) -> list[ZipInfo]:
    if len(data) > limits.archive_bytes:
        raise oversized(f"has {len(data)} bytes, more than {limits.archive_bytes}")
    count = _member_count(data)
    if count > limits.members:
        raise oversized(f"has {count} members, more than {limits.members}")
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise unreadable(f"has no readable directory: {one_line(str(error))}") from error
    if len(entries) != count:
        raise unreadable(f"lists {len(entries)} members but announces {count}")
    return sorted(entries, key=lambda entry: entry.header_offset)


def _member_count(data: bytes) -> int:
    """Read the end record, and bound the directory before a parser allocates for it."""
    if len(data) < _END.size or data[:4] != b"PK\x03\x04":
        raise unreadable("is no zip archive")
    mark, disk, first, here, count, size, offset, comment = _END.unpack(data[-_END.size :])
    locator = data[-_END.size - _ZIP64_LOCATOR :][:4]
    if (
        mark != b"PK\x05\x06"
        or comment
        or disk
        or first
        or here != count
        or locator == b"PK\x06\x07"
    ):
        raise unreadable("does not end as a plain zip archive")
    if offset + size + _END.size != len(data) or size > count * (_CENTRAL_ENTRY + 64):
        raise unreadable("has bytes between its directory and its end")
    return count


def _require_bounded(entries: list[ZipInfo], length: int, limits: ArchiveLimits) -> None:
    names = [entry.filename for entry in entries]
    if len({*names}) != len(names):
        raise unreadable("holds two members of the same name")
    for entry in entries:
        name = one_line(entry.filename)
        if not _MEMBER.fullmatch(entry.filename):
            raise unreadable(f"holds a member '{name}', which is neither its schema nor an array")
        bound = limits.schema_bytes if entry.filename == SCHEMA else limits.member_bytes
        if entry.file_size > bound:
            raise oversized(f"declares {entry.file_size} bytes for '{name}', more than {bound}")
    total = sum(entry.file_size for entry in entries)
    bound = min(limits.total_bytes, limits.ratio * length + FREE_BYTES)
    if total > bound:
        raise oversized(f"of {length} bytes declares {total} bytes inflated, more than {bound}")


def _placed(data: bytes, entries: list[ZipInfo]) -> Iterator[tuple[ZipInfo, int]]:
    """Yield where each member's bytes start; all lie back to back, so none overlap."""
    offset = 0
    for entry in entries:
        name = one_line(entry.filename)
        start = offset + _LOCAL.size + len(entry.filename)
        local = data[offset : offset + _LOCAL.size]
        if entry.header_offset != offset or len(local) < _LOCAL.size:
            raise unreadable(f"has bytes that belong to no member before '{name}'")
        if _LOCAL.unpack(local) != _expected_local(entry) or not _is_plain(entry):
            raise unreadable(f"says two different things about its member '{name}'")
        if data[offset + _LOCAL.size : start] != entry.filename.encode("ascii"):
            raise unreadable(f"names its member '{name}' in two ways")
        yield entry, start
        offset = start + entry.compress_size
    if data[offset : offset + 4] not in (b"PK\x01\x02", b"PK\x05\x06"):
        raise unreadable("has bytes that belong to no member before its directory")


def _is_plain(entry: ZipInfo) -> bool:
    stored = entry.compress_type == ZIP_STORED and entry.compress_size == entry.file_size
    plain = stored or entry.compress_type == ZIP_DEFLATED
    return plain and not (entry.flag_bits or entry.extra or entry.comment)


def _expected_local(entry: ZipInfo) -> tuple[Any, ...]:
    year, month, day, hour, minute, second = entry.date_time
    return (
        b"PK\x03\x04",
        entry.extract_version + (entry.reserved << 8),
        entry.flag_bits,
        entry.compress_type,
        hour << 11 | minute << 5 | second // 2,
        (year - 1980) << 9 | month << 5 | day,
        entry.CRC,
        entry.compress_size,
        entry.file_size,
        len(entry.filename),
        0,
    )


def _inflated(content: bytes, entry: ZipInfo) -> Iterator[bytes]:
    """Yield a member in chunks; refuse it as soon as it holds more than it declares."""
    found, checksum = 0, 0
    for chunk in _chunks(content, entry):
        found += len(chunk)
        if found > entry.file_size:
            raise oversized(
                f"holds more in '{entry.filename}' than the {entry.file_size} bytes "
                "that it declares"
            )
        checksum = zlib.crc32(chunk, checksum)
        yield chunk
    if found != entry.file_size or checksum != entry.CRC:
        raise unreadable(f"is damaged at '{entry.filename}'")


def _chunks(content: bytes, entry: ZipInfo) -> Iterator[bytes]:
    if entry.compress_type == ZIP_STORED:
        yield content
        return
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while not stream.eof:
            chunk = stream.decompress(content, CHUNK)
            if not chunk and not stream.eof:
                break  # the content ended before the stream did
            yield chunk
            content = stream.unconsumed_tail
    except zlib.error as error:
        raise unreadable(f"is damaged at '{entry.filename}'") from error
    if not stream.eof or stream.unused_data:
        raise unreadable(f"is damaged at '{entry.filename}'")


def _checked_array(content: bytes, entry: ZipInfo) -> bytes:
    head, digest = b"", hashlib.sha256()
    for chunk in _inflated(content, entry):
        head += chunk[: HEADER_BYTES - len(head)]
        digest.update(chunk)
    shape, dtype, start = _array_header(head, entry.filename)
    if dtype.hasobject:
        raise ModelRefused(
            f"The model file's array '{entry.filename}' holds Python objects, which are a pickle.",
            reason=Refusal.PICKLE,
            next_step=STORE_AGAIN,
        )
    # numpy allocates what the header announces before it reads.
    if any(size < 0 for size in shape) or start + prod(shape) * dtype.itemsize != entry.file_size:
        raise unreadable(f"announces a shape for '{entry.filename}' that its bytes do not fill")
    return digest.digest()


def _array_header(head: bytes, member: str) -> tuple[tuple[int, ...], Any, int]:
    from numpy.lib import format as npy

    stream = io.BytesIO(head)
    try:
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, _, dtype = read[npy.read_magic(stream)](stream)
    except _HEADER_ERRORS as error:
        raise unreadable(
            f"holds '{one_line(member)}', which is no array: {one_line(str(error))}"
        ) from error
    return shape, dtype, stream.tell()
