"""Rows of landed files that were read last, kept within a number of bytes.

Reference files are read for every window, and the outcomes of a window for several; the source of a
window is read once. What has not been asked for longest goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.files import FileRecord


@dataclass(frozen=True, kw_only=True)
class ReadFile:
    """A file as it was read.

    Attributes:
        identity: Differs where the file is another one, or is read in another way.
        record: Its digest and size.
        rows: Its rows.
        bytes: What the rows take in memory.
    """

    identity: tuple[int | str, ...]
    record: FileRecord
    rows: pa.Table
    bytes: int


class RecentRows:
    """Files that were read last, by path; safe to use from several threads.

    Args:
        largest_total: Bytes of rows to keep. A file of more than half of that is never kept: it
            would drive out what is read again.

    Attributes:
        bytes: What all the kept rows take in memory.
    """

    def __init__(self, largest_total: int) -> None:
        self.bytes = 0
        self._largest_total = largest_total
        self._kept: OrderedDict[Place, ReadFile] = OrderedDict()
        self._changing = threading.Lock()

    def get(
        self,
        path: Place,
        identity: tuple[int | str, ...],
        read: Callable[[], tuple[FileRecord, pa.Table]],
    ) -> ReadFile:
        """Return a file as it was read before, or read it.

        Args:
            path: Where it lies.
            identity: Of the file that lies there now.
            read: Reads it; what it raises comes through, and nothing is kept.
        """
        with self._changing:
            known = self._kept.get(path)
            if known is not None and known.identity == identity:
                self._kept.move_to_end(path)
                return known
            self._drop(path)  # another file's
        record, rows = read()
        size = rows.get_total_buffer_size()
        found = ReadFile(identity=identity, record=record, rows=rows, bytes=size)
        if found.bytes <= self._largest_total // 2:
            self._keep(path, found)
        return found

    def _keep(self, path: Place, found: ReadFile) -> None:
        with self._changing:
            self._drop(path)  # another thread's
            self._kept[path] = found
            self.bytes += found.bytes
            while self.bytes > self._largest_total:
                self._drop(next(iter(self._kept)))

    def _drop(self, path: Place) -> None:
        dropped = self._kept.pop(path, None)
        self.bytes -= dropped.bytes if dropped else 0
