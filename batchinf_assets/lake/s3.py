"""A place in an S3 bucket that answers to the names of `pathlib` which the lake uses.

An object is there whole or not at all, so nothing is written aside or fsynced. Folders are only
the beginnings of keys. Needs the extra `aws`, which is imported with the first request.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from batchinf_assets.errors import UsageError
from batchinf_assets.lake.s3_access import S3Access
from batchinf_assets.lake.s3_stat import S3Stat
from batchinf_assets.lake.versioned import LARGEST_DOCUMENT, Versioned, outdated

if TYPE_CHECKING:
    from batchinf_assets.lake.s3_objects import S3Objects

READ_AHEAD_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class S3Place:
    """A place in a bucket, whether something is there or not.

    Requests raise `StorageRefused` where we may not, `StorageUnavailable` where the store does not
    answer in time, and `FileNotFoundError` where they need an object that is not there.

    Attributes:
        bucket: The bucket's name.
        key: The object's key, or where its keys begin; no slash at either end.
        access: How the bucket is reached.
    """

    bucket: str
    key: str
    access: S3Access = field(default=S3Access(), repr=False)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}".rstrip("/")

    def __lt__(self, other: S3Place) -> bool:
        return self.parts < other.parts

    def __truediv__(self, below: str | PurePosixPath) -> S3Place:
        """Return the place below this one.

        Raises:
            ValueError: The path is absolute or climbs out with `..`.
        """
        path = PurePosixPath(below)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"'{below}' does not lie below {self}")
        return replace(self, key="/".join(filter(None, [self.key, *path.parts])))

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket, then the key cut at its slashes."""
        return (f"s3://{self.bucket}", *PurePosixPath(self.key).parts)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """The name's last suffix, with its dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> S3Place:
        """The place above; the bucket is its own parent."""
        return replace(self, key=self.key.rpartition("/")[0])

    @property
    def url(self) -> str:
        """The place as delta-rs takes it."""
        return str(self)

    def storage_options(self) -> dict[str, str]:
        """Return how delta-rs reaches the bucket; there is no secret in it."""
        return self.access.storage_options()

    def as_uri(self) -> str:
        """Return the place as a URL."""
        return str(self)

    def with_name(self, name: str) -> S3Place:
        """Return the place of another name beside this one."""
        return self.parent / name

    def is_relative_to(self, other: object) -> bool:
        """Say whether this place is another one or lies below it."""
        if not isinstance(other, S3Place) or self.access != other.access:
            return False
        return self.parts[: len(other.parts)] == other.parts

    def relative_to(self, other: object) -> PurePosixPath:
        """Return the path from another place to this one.

        Raises:
            ValueError: This place does not lie below it.
        """
        if not isinstance(other, S3Place) or not self.is_relative_to(other):
            raise ValueError(f"{self} does not lie below {other}")
        return PurePosixPath(*self.parts[len(other.parts) :])

    def exists(self) -> bool:
        """Say whether an object is here or below."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Say whether an object is here."""
        if not self.key:
            return False
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Say whether an object is below."""
        return next(self._below(), None) is not None

    def stat(self) -> S3Stat:
        """Return size, time and version of the object."""
        return self._objects.head(self.key)

    def read_bytes(self) -> bytes:
        """Read the whole object."""
        return self._objects.get(self.key).content

    def read_bounded(self, limit: int) -> bytes:
        """Read the whole object unless it is larger than a number of bytes.

        Raises:
            DocumentTooLarge: It is.
        """
        return self._objects.get(self.key, limit).content

    def write_bytes(self, content: bytes) -> None:
        """Write the object whole, in the place of what was there."""
        self._objects.put(self.key, content)

    def upload(self, file: Path) -> None:
        """Write the object from a local file whole, in the place of what was there.

        Raises:
            OSError: The file cannot be read.
        """
        self._objects.put(self.key, file)

    def open(
        self, mode: Literal["rb"] = "rb", buffering: int = READ_AHEAD_BYTES
    ) -> io.RawIOBase | io.BufferedReader:
        """Open the object for reading at any position; it must not be replaced meanwhile.

        Reads raise `ObjectReplaced` where it was.

        Args:
            mode: `rb`, as there is nothing else.
            buffering: Bytes to read ahead, or 0 to ask for just what is asked of it.
        """
        if mode != "rb":
            raise ValueError(f"{self} can only be opened for reading bytes, not with '{mode}'")
        reader = self._objects.open(self.key, self.stat())
        return io.BufferedReader(reader, buffering) if buffering else reader

    def read_versioned(self) -> Versioned | None:
        """Read the object with its version, or None where there is none.

        Raises:
            DocumentTooLarge: It is larger than any document.
        """
        try:
            found = self._objects.get(self.key, LARGEST_DOCUMENT)
        except FileNotFoundError:
            return None
        return Versioned(content=found.content, version=found.version)

    def create(self, content: bytes) -> str:
        """Write an object where there is none, and return its version.

        Raises:
            FileExistsError: There is one; it was not touched.
        """
        version = self._objects.put_if(self.key, content, None)
        if version is None:
            raise FileExistsError(f"{self} exists already")
        return version

    def replace(self, content: bytes, version: str) -> str:
        """Write an object in the place of exactly this version of it, and return the new one.

        Raises:
            Outdated: It is another version by now, or gone; it was not touched.
        """
        new = self._objects.put_if(self.key, content, version)
        if new is None:
            raise outdated(self)
        return new

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - as pathlib has it
        """Delete the object."""
        if not missing_ok:
            self.stat()
        self._objects.delete(self.key)

    def mkdir(self, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there as soon as something is in it."""

    def iterdir(self) -> Iterator[S3Place]:
        """Yield what lies directly below, in order."""
        for key in sorted(self._children(), key=lambda key: key.split("/")):
            yield replace(self, key=key)

    def glob(self, pattern: str) -> Iterator[S3Place]:
        """Yield what lies below and matches part by part; `**` stands for any number of folders.

        With `**` only objects are found, else folders too.
        """
        first, _, rest = pattern.partition("/")
        if first == "**":
            yield from self.rglob(rest or "*")
            return
        matches = re.compile(translate(first))
        for child in self.iterdir() if _is_magic(first) else [self / first]:
            if not matches.match(child.name):
                continue
            if rest:
                yield from child.glob(rest)
            elif _is_magic(first) or child.exists():
                yield child

    def rglob(self, pattern: str) -> Iterator[S3Place]:
        """Yield the objects at any depth whose path ends in parts that match."""
        wanted = [re.compile(translate(part)) for part in pattern.split("/")]
        for key in sorted(self._below()):
            place = replace(self, key=key)
            last = place.relative_to(self).parts[-len(wanted) :]
            if len(last) == len(wanted) and all(
                part.match(name) for part, name in zip(wanted, last, strict=True)
            ):
                yield place

    def _children(self) -> Collection[str]:
        """Return the keys of the objects and of the folders directly below."""
        objects, folders = self._objects.children(self.key)
        return {*objects, *folders}

    def _below(self) -> Iterator[str]:
        """Yield the keys of the objects below, however deep."""
        return (key for key, _ in self.objects_below())

    def objects_below(self) -> Iterator[tuple[str, S3Stat]]:
        """Yield the keys of the objects below, however deep, with what they are."""
        return self._objects.below(self.key)

    @property
    def _objects(self) -> S3Objects:
        return _objects_of(self.bucket, self.access)


def _is_magic(part: str) -> bool:
    return any(mark in part for mark in "*?[")


@lru_cache(maxsize=32)
def _objects_of(bucket: str, access: S3Access) -> S3Objects:
    try:
        from batchinf_assets.lake.s3_objects import S3Objects
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise UsageError(
            f"The bucket s3://{bucket} cannot be reached without the package obstore.",
            next_step="Install it: pip install 'batchinf-assets[aws]'.",
        ) from error
    return S3Objects(bucket, access)
