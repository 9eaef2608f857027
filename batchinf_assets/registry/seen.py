"""Which promotion of each alias was seen here last: kept beside the keyring, outside the lake.

Whoever may write the lake can cut records off the end of `registry.promotions`; against this mark
that shows.
"""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.lake.files import write_bytes
from batchinf_assets.registry.card import Digest, first_problem

SEEN_FILE = "promotions-seen.json"

READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Seen(BaseModel):
    """A record that was verified here.

    Attributes:
        sequence: Its number.
        sha256: Its bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sequence: int = Field(ge=1)
    sha256: Digest


@dataclass(frozen=True, kw_only=True)
class SeenPromotions:
    """The marks of all aliases of the models in one place, in one file.

    Attributes:
        path: The file; where there is none, nothing was seen yet.
        models: The folder of all artifacts. A lake that is moved is seen as a new one; who can
            only write into the lake cannot move it.

    A link at `models` itself is not followed: who may write the lake could set one.
    """

    path: Path
    models: Path

    @classmethod
    def beside(cls, keys: Path, models: Path) -> SeenPromotions:
        """Return the marks in a folder of keys."""
        return cls(path=keys / SEEN_FILE, models=models)

    def _mark(self, name: str, alias: str) -> str:
        return f"{self.models.parent.resolve() / self.models.name}/{name}/{alias}"

    def last(self, name: str, alias: str) -> Seen | None:
        """Return the newest record of an alias that was seen here.

        Raises:
            ModelRefused: The file is damaged or cannot be read.
        """
        return self._all(f"{name}@{alias}").get(self._mark(name, alias))

    def remember(self, name: str, alias: str, seen: Seen) -> None:
        """Keep a record as the newest that was seen; a mark never goes back.

        Where the folder is mounted read-only it still says what was seen before.

        Raises:
            ModelRefused: The file is damaged or cannot be read.
            OSError: The disk is full.
        """
        known = self.last(name, alias)
        if known and seen.sequence <= known.sequence:
            return
        try:
            with _locked(self.path.with_suffix(".lock")):
                self._write(name, alias, seen)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise

    def _write(self, name: str, alias: str, seen: Seen) -> None:
        marks = self._all(f"{name}@{alias}")
        known = marks.get(self._mark(name, alias))
        if known is None or seen.sequence > known.sequence:
            written = _MARKS.dump_json({**marks, self._mark(name, alias): seen}, indent=2)
            write_bytes(self.path, written + b"\n")

    def _all(self, what: str) -> dict[str, Seen]:
        try:
            return _MARKS.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            lost = error.strerror if isinstance(error, OSError) else first_problem(error)
            raise ModelRefused(
                f"What was seen of model {what} cannot be read: {self.path}: {lost}.",
                reason=Refusal.UNREADABLE,
                next_step="Restore that file from a backup.",
            ) from error


_MARKS: TypeAdapter[dict[str, Seen]] = TypeAdapter(dict[str, Seen])


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Hold a file's lock: two processes must not take each other's marks back."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
