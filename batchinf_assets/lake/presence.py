"""Whether a pipeline's folder is still there: a share may be unmounted while one looks at its lake.

What lay in it reads as absent then, which says nothing of what was published.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from batchinf_assets.errors import StorageUnavailable
from batchinf_assets.lake.entries import is_dir
from batchinf_assets.lake.place import Place


@dataclass(frozen=True)
class Presence:
    """Whether a folder was there when somebody began to look.

    Attributes:
        folder: A pipeline's folder in a lake.
        seen: Whether it was there; never on S3, where a bucket that is gone says so itself.
    """

    folder: Place
    seen: bool

    @classmethod
    def of(cls, folder: Place) -> Presence:
        """Look whether a folder is there.

        Raises:
            OSError: We may not look.
        """
        return cls(folder, seen=isinstance(folder, Path) and is_dir(folder))

    @contextmanager
    def required(self) -> Generator[None]:
        """Make sure after the body that the folder is still there, whatever the body came to.

        Raises:
            StorageUnavailable: It was there and is gone.
            OSError: We may not look.
        """
        try:
            yield
        finally:
            if self.seen and not is_dir(self.folder):
                raise StorageUnavailable(
                    f"The folder {self.folder} is gone, which was there when this began.",
                    next_step="Mount the lake or move it back, then try again.",
                )
