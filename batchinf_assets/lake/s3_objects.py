"""Requests to one bucket, through obstore; only imported where a lake is on S3.

Answers are values and errors of ours; which places exist is `lake.s3`'s business.
"""

from __future__ import annotations

import errno
import io
import os
import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from batchinf_assets.errors import DocumentTooLarge, StorageRefused, StorageUnavailable
from batchinf_assets.lake.s3_access import (
    ObjectReplaced,
    S3Access,
    aws_session,
    storage_failure,
)
from batchinf_assets.lake.s3_stat import S3Stat

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore import ObjectMeta
    from obstore.store import S3Config, S3CredentialProvider

MARK = "batchinf-write"
"""Metadata of an object: which call wrote it. A lost answer is recognised by it."""

PART_BYTES = 8 * 2**20
CONFLICT_TRIES = 3
CREDENTIAL_SECONDS = 300
"""How long credentials are used without a look at whether boto3 has newer ones."""


_STARTED_IN = os.getpid()
"""The client's threads are this process's; a fork of it would wait for them for ever."""


@dataclass(frozen=True, kw_only=True)
class ObjectRead:
    """An object as it was read.

    Attributes:
        content: Its bytes.
        version: Its entity tag.
        mark: Which of our calls wrote it, if one did.
    """

    content: bytes
    version: str
    mark: str | None


class S3Objects:
    """The objects of one bucket, by key.

    Every method raises `StorageRefused` and `StorageUnavailable`, and `FileNotFoundError` where it
    needs an object that is not there.

    Args:
        bucket: Its name.
        access: How it is reached.
    """

    def __init__(self, bucket: str, access: S3Access) -> None:
        self._bucket = bucket
        self._store = _open_store(bucket, access)

    def head(self, key: str) -> S3Stat:
        """Return size, time and entity tag of an object."""
        with self._translated(key):
            return _status(obstore.head(self._store, key))

    def get(self, key: str, limit: int | None = None) -> ObjectRead:
        """Read a whole object.

        Raises:
            DocumentTooLarge: It has more bytes than `limit`; they were not fetched.
        """
        with self._translated(key):
            found = obstore.get(self._store, key)
            if limit is not None and found.meta["size"] > limit:
                raise DocumentTooLarge(self._shown(key), limit)
            content = found.bytes().to_bytes()
        attributes = {str(name).lower(): str(value) for name, value in found.attributes.items()}
        return ObjectRead(
            content=content, version=found.meta["e_tag"] or "", mark=attributes.get(MARK)
        )

    def open(self, key: str, status: S3Stat) -> io.RawIOBase:
        """Open this version of an object as a file whose every read is a request for just that."""
        version = status.e_tag
        return _Reader(lambda start, end: self.get_range(key, start, end, version), status.st_size)

    def get_range(self, key: str, start: int, end: int, version: str | None) -> bytes:
        """Read bytes `start` to `end` (exclusive) of this version of an object.

        Raises:
            ObjectReplaced: The object was replaced since.
        """
        options: obstore.GetOptions = {"range": (start, end)}
        if version:
            options["if_match"] = version
        try:
            with self._translated(key, PreconditionError):
                return obstore.get(self._store, key, options=options).bytes().to_bytes()
        except PreconditionError as error:
            raise ObjectReplaced(self._shown(key)) from error

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object, a large file in parts; readers see all of it or what was before."""
        failure = AlreadyExistsError()
        for attempt in range(CONFLICT_TRIES):
            _spread(attempt)
            try:
                with self._translated(key, AlreadyExistsError):
                    obstore.put(self._store, key, content, chunk_size=PART_BYTES, max_concurrency=4)
            except AlreadyExistsError as error:  # so obstore calls a 409
                failure = error
            else:
                return
        raise storage_failure(self._shown(key), failure) from failure

    def put_if(self, key: str, content: bytes, version: str | None) -> str | None:
        """Write an object in the place of exactly this version of it, or of none.

        An answer that got lost is recognised as our own success by the mark on what is there.

        Returns:
            The new version, or None where another version is there.
        """
        mark, failure = uuid4().hex, Exception()
        for attempt in range(CONFLICT_TRIES):
            _spread(attempt)
            try:
                return self._put_once(key, content, version, mark)
            except (AlreadyExistsError, PreconditionError, StorageUnavailable) as error:
                failure = error
            found = self._get_or_none(key)
            if found is not None and found.mark == mark:
                return found.version
            if (found.version if found else None) != version:
                return None
        # The store said again and again that somebody else is writing, and nobody was.
        raise storage_failure(self._shown(key), failure) from failure

    def delete(self, key: str) -> None:
        """Delete an object, whether it is there or not."""
        with self._translated(key):
            obstore.delete(self._store, key)

    def children(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the keys of the objects, and of the folders, directly below a key."""
        with self._translated(prefix):
            found = obstore.list_with_delimiter(self._store, prefix or None)
        objects = [each["path"] for each in found["objects"] if each["path"] != prefix]
        return objects, list(found["common_prefixes"])

    def below(self, prefix: str) -> Iterator[tuple[str, S3Stat]]:
        """Yield the keys of all objects below a key, however deep, with what they are."""
        with self._translated(prefix):
            for page in obstore.list(self._store, prefix or None):
                yield from ((e["path"], _status(e)) for e in page if e["path"] != prefix)

    def _put_once(self, key: str, content: bytes, version: str | None, mark: str) -> str:
        mode: Literal["create"] | obstore.UpdateVersion
        mode = "create" if version is None else {"e_tag": version}
        with self._translated(key, AlreadyExistsError, PreconditionError):
            done = obstore.put(self._store, key, content, mode=mode, attributes={MARK: mark})
        return done["e_tag"] or ""

    def _get_or_none(self, key: str) -> ObjectRead | None:
        try:
            return self.get(key)
        except FileNotFoundError:
            return None

    def _shown(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    @contextmanager
    def _translated(self, key: str, *known: type[BaseError]) -> Generator[None]:
        """Turn obstore's errors into ours, but for those that the caller knows what to do with."""
        if os.getpid() != _STARTED_IN:
            raise StorageUnavailable(
                f"{self._shown(key)} cannot be reached by a fork of a process that used S3.",
                next_step="Start processes with the method spawn or forkserver.",
            )
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise storage_failure(self._shown(key), error) from error
            raise FileNotFoundError(errno.ENOENT, "No such object", self._shown(key)) from error
        except BaseError as error:
            if isinstance(error, known):
                raise
            raise storage_failure(self._shown(key), error) from error


class _Reader(io.RawIOBase):
    """One version of an object as a file; each read is a request."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._read, self._size = read, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        into = memoryview(buffer).cast("B")
        end = min(self._position + len(into), self._size)
        if end <= self._position:
            return 0
        content = self._read(self._position, end)
        into[: len(content)] = content
        self._position += len(content)
        return len(content)


def _status(found: ObjectMeta) -> S3Stat:
    return S3Stat(
        st_size=found["size"],
        st_mtime=found["last_modified"].timestamp(),
        e_tag=found["e_tag"] or "",
    )


def _open_store(bucket: str, access: S3Access) -> S3Store:
    limits = access.limits
    provider = _credential_provider(bucket)
    config: S3Config = {
        "region": access.region_or_default,
        "conditional_put": "etag",
        "disable_bulk_delete": True,  # one object at a time: its refusals are those of a request
    }
    for name, value in access.encryption:
        config[name] = value
    if access.endpoint:
        config["endpoint"] = access.endpoint
    return S3Store(
        bucket,
        config=config,
        client_options={
            "allow_http": access.allow_http,
            "connect_timeout": timedelta(seconds=limits.connect_seconds),
            "read_timeout": timedelta(seconds=limits.stall_seconds),
            "timeout": timedelta(seconds=limits.request_seconds),
        },
        retry_config={
            "max_retries": limits.retries,
            "retry_timeout": timedelta(seconds=limits.total_seconds),
        },
        credential_provider=provider,
    )


def _credential_provider(bucket: str) -> S3CredentialProvider | None:
    session = None if "AWS_ACCESS_KEY_ID" in os.environ else aws_session()
    if session is None:  # then obstore looks at the environment and the machine's role itself
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(session, ttl=timedelta(seconds=CREDENTIAL_SECONDS))
    except ValueError as error:
        raise StorageRefused(
            f"There are no AWS credentials for s3://{bucket}.",
            next_step="Set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give the machine a role.",
        ) from error


def _spread(attempt: int) -> None:
    """Wait before another attempt, longer each time and never as long as a rival does."""
    time.sleep(random.uniform(0.05, 0.1) * attempt)  # noqa: S311 - no secret
