"""Signed folders on S3: written object by object, copied to the local disk before they are read.

Everything that verifies a model or a promotion (`registry.statement`, `registry.signing`) reads
plain local files; it is not told where they came from and trusts a copy no more than any other
folder. A copy is of one listing of the objects, whole, and never changed: other objects make
another copy. So processes that copy at the same time need no lock, and a copy that is lost or
damaged is made again.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from pydantic import TypeAdapter

from batchinf_assets.errors import Refusal, UsageError
from batchinf_assets.lake.digest import file_sha256, json_sha256
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.registry.plain_files import refused
from batchinf_assets.registry.untrusted_text import one_line

MOST_OBJECTS = 20_000
"""Ten thousand promotions of one alias; who may write the bucket could put a million objects."""
AT_ONCE = 8
CHUNK = 1 << 20
COPIED_FILE = "copied.json"

Limits = Mapping[str, int]
"""Bytes to copy at most, by the name of each object worth copying."""
Choose = Callable[[Sequence[str]], Limits]


def _as_it_is(_copy: Path) -> None:
    """Leave a copy as the objects are."""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A folder on S3 that is read through copies on the local disk.

    Attributes:
        origin: The folder.
        cache: Local folder of all copies, closed to others.
    """

    origin: S3Place
    cache: Path

    @classmethod
    def of(cls, origin: S3Place, environ: Mapping[str, str]) -> Mirror:
        """Return the mirror of a place, in `BATCHINF_CACHE` or the user's folder of caches."""
        url = hashlib.sha256(origin.as_uri().encode()).hexdigest()[:16]
        return cls(origin=origin, cache=_cache(environ) / "models" / url)

    def __truediv__(self, name: str) -> Mirror:
        if not _SAFE.fullmatch(name):  # it becomes a path
            raise UsageError(
                f"'{one_line(name, 64)}' is no name of a model, a version or an alias.",
                next_step="Write a letter, then letters, digits and _, all of them lower-case.",
            )
        return Mirror(origin=self.origin / name, cache=self.cache)

    def __str__(self) -> str:
        return str(self.origin)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.origin.name

    def as_uri(self) -> str:
        """Return the folder's URL."""
        return self.origin.as_uri()

    @property
    def mark(self) -> Path:
        """A path that names the URL, the same wherever the copies lie."""
        return Path("/") / self.as_uri().replace("://", ":/")

    def copied(
        self, what: str, choose: Choose, arrange: Callable[[Path], None] = _as_it_is
    ) -> Path:
        """Copy the folder as it is now, and return the copy; nothing of it is verified.

        The same objects are copied once. Of an object at most one byte above its limit is copied,
        so that whoever reads the copy sees that there is more.

        Args:
            what: What the folder is, for a message.
            choose: Says which of the objects, named from the folder, are copied.
            arrange: Changes a new copy before anybody sees it.

        Raises:
            ModelRefused: There are more objects than any folder of ours has, or one vanished.
            StorageUnavailable: S3 does not answer.
            StorageRefused: It answers that this is forbidden.
            UsageError: The folder of copies is not the user's own.
            OSError: The disk is full or the copy cannot be written.
        """
        objects = self._objects(what)
        limits = choose(sorted(objects))
        versions = {name: objects[name] for name in limits}
        _make_private(self.cache)
        copy = self.cache / json_sha256([self.as_uri(), versions])
        if not _is_whole(copy):
            self._copy(copy, what, limits, arrange)
        return copy / self.name

    def add(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Write objects one after the other, none over another one.

        Raises:
            FileExistsError: One is there already; those before it were written.
            StorageUnavailable: S3 does not answer.
            StorageRefused: It answers that this is forbidden.
        """
        for name, data in contents:
            (self.origin / name).create(data)

    def _objects(self, what: str) -> dict[str, str]:
        """Return what tells one state of an object from another, by name."""
        found = list(islice(self.origin.rglob("*"), MOST_OBJECTS + 1))
        if len(found) > MOST_OBJECTS:
            problem = f"{self.as_uri()} holds more than {MOST_OBJECTS} objects"
            raise refused(what, problem, Refusal.ADDED_FILE)
        names = [str(place.relative_to(self.origin)) for place in found]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(names, pool.map(partial(_state, what), found), strict=True))

    def _copy(self, copy: Path, what: str, limits: Limits, arrange: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory(dir=self.cache, prefix=".") as staging:
            made, old = Path(staging) / "made", Path(staging) / "old"
            folder = made / self.name
            folder.mkdir(parents=True)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                asked = [
                    pool.submit(_download, what, self.origin / name, folder / name, limit)
                    for name, limit in limits.items()
                ]
            for download in asked:
                download.result()
            arrange(folder)
            (made / COPIED_FILE).write_bytes(_DIGESTS.dump_json(_digests(folder)))
            with suppress(FileNotFoundError):  # one that was damaged
                copy.rename(old)
            try:
                made.rename(copy)
            except OSError:
                if not copy.is_dir():  # else another process was first
                    raise


Models = Path | Mirror
"""A folder of signed folders, or one of them: on the local disk or on S3."""


def _cache(environ: Mapping[str, str]) -> Path:
    """Return the folder of caches as the XDG Base Directory Specification 0.8 says."""
    if named := environ.get("BATCHINF_CACHE"):
        return Path(named).absolute()
    xdg = Path(environ.get("XDG_CACHE_HOME") or "")
    home = xdg if xdg.is_absolute() else Path(environ.get("HOME") or Path.home()) / ".cache"
    return home / "batchinf"


def _make_private(folder: Path) -> None:
    """Make a folder that is the user's own: in one of others, a copy could be exchanged."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UsageError(
            f"The folder of copied models {folder} is a link, or open to other users.",
            next_step="Delete it, or set BATCHINF_CACHE to a folder of your own.",
        )


def _state(what: str, place: S3Place) -> str:
    with _still_there(what, place):
        found = place.stat()
    return f"{found.st_size} {found.st_mtime!r}"


def _download(what: str, place: S3Place, target: Path, limit: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with _still_there(what, place), place.open("rb") as source, target.open("wb") as file:
        left = limit + 1
        while left and (data := source.read(min(left, CHUNK))):
            left -= file.write(data)


@contextmanager
def _still_there(what: str, place: S3Place) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        problem = f"{one_line(place.name)} was removed while it was copied"
        raise refused(what, problem, Refusal.MISSING_FILE) from error


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): file_sha256(path) for path in files}


def _is_whole(copy: Path) -> bool:
    """Say whether a copy is as it was made: disks lose bytes, and people tidy caches."""
    try:
        made = _DIGESTS.validate_json((copy / COPIED_FILE).read_bytes())
        (folder,) = (path for path in copy.iterdir() if path.name != COPIED_FILE)
        return _digests(folder) == made
    except (OSError, ValueError):  # pydantic's errors are ValueErrors
        return False


_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_DIGESTS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
