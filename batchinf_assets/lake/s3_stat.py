"""What `stat` tells of an object in S3, under the names of `os.stat_result`."""

from __future__ import annotations

import stat
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class S3Stat:
    """What `stat` tells of an object.

    Attributes:
        st_size: Bytes.
        st_mtime: When it was written, in seconds since 1970.
        e_tag: Its version.
    """

    st_size: int
    st_mtime: float
    e_tag: str

    @property
    def st_mode(self) -> int:
        """That of a regular file: an object is nothing else."""
        return stat.S_IFREG

    @property
    def st_ctime(self) -> float:
        """When it was written, in whole seconds: some stores tell fractions in listings alone."""
        return float(int(self.st_mtime))

    @property
    def st_ctime_ns(self) -> int:
        """`st_ctime` in nanoseconds."""
        return int(self.st_mtime) * 10**9
