"""Writes the ledger beside the work: scoring never waits for it and never fails because of it.

What cannot be written now is kept in a local folder, one JSON file per record, and written by the
next recorder that reaches the ledger.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pyarrow as pa
from deltalake.exceptions import DeltaError
from pydantic import TypeAdapter, ValidationError

from batchinf_assets.errors import BatchinfError
from batchinf_assets.lake.files import write_bytes
from batchinf_assets.telemetry.attempt import FIELDS, AttemptRecord, reason_text, storable
from batchinf_assets.telemetry.ledger import Ledger

_log = logging.getLogger(__name__)

CAPACITY = 1_000
CLOSE_SECONDS = 10.0
SPOOLED_AT_ONCE = 1_000
STORAGE_FAILURES = (OSError, DeltaError, pa.ArrowException, BatchinfError)

_document = TypeAdapter(AttemptRecord)


class Spool:
    """Records that wait on the local disk until the ledger can be written again.

    Args:
        folder: One JSON file per record; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, record: AttemptRecord) -> Path:
        """Write a record down; the same record again changes nothing.

        Raises:
            OSError: The disk is full or the folder cannot be written.
            ValueError: A field holds what it may not.
        """
        texts = {name: storable(getattr(record, name)) for name in FIELDS}
        content = _document.dump_json(replace(record, **texts))
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}.json"
        write_bytes(path, content)
        return path

    def read(self) -> dict[Path, AttemptRecord]:
        """Return what waits, at most `SPOOLED_AT_ONCE`.

        A damaged file is renamed to `*.damaged` and skipped.

        Raises:
            OSError: It cannot be renamed.
        """
        found: dict[Path, AttemptRecord] = {}
        for path in sorted(self.folder.glob("*.json"))[:SPOOLED_AT_ONCE]:
            try:
                found[path] = _document.validate_json(path.read_bytes())
            except OSError:
                continue  # another process wrote it meanwhile; what is unreadable stays
            except ValidationError:
                damaged = path.rename(path.with_suffix(".damaged"))
                _log.warning("%s is no record of an attempt and was set aside.", damaged)
        return found

    def forget(self, paths: Iterable[Path]) -> None:
        """Remove records that the ledger has now."""
        for path in paths:
            path.unlink(missing_ok=True)


class Recorder:
    """Takes records at once and writes them from a thread of its own.

    The thread is there only while there is something to write. Leave the `with` block, or call
    `close`, before the process ends: what is still waiting then is kept in the spool.

    Args:
        ledger: Where to write.
        spool: A local folder for what cannot be written now.
        capacity: How many records may wait; more drop the oldest.
    """

    def __init__(self, ledger: Ledger, *, spool: Path, capacity: int = CAPACITY) -> None:
        self._ledger = ledger
        self._spool = Spool(spool)
        self._capacity = capacity
        self._changed = threading.Condition()
        self._waiting: deque[AttemptRecord] = deque()
        self._writing: tuple[AttemptRecord, ...] = ()
        self._spooled: set[Path] = set()
        self._asked = self._answered = self._lost = 0
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> int:
        """How many records are neither in the ledger nor kept anywhere."""
        return self._lost

    def record(self, record: AttemptRecord) -> None:
        """Take a record and return at once; nothing that happens to it is raised."""
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self._lost += 1
                if self._lost.bit_count() == 1:  # 1, 2, 4, 8, …: a slow store must not fill the log
                    _log.warning("The ledger is too slow: %d records lost so far.", self._lost)
            self._waiting.append(record)
            self._start()

    def flush(self, timeout_seconds: float) -> int:
        """Try to write all that waits, also what was spooled earlier.

        Returns:
            How many of the records taken so far are not in the ledger: waiting, spooled or lost.
        """
        with self._changed:
            self._asked += 1
            ticket = self._asked
            self._start()
            self._changed.wait_for(
                lambda: self._answered >= ticket or self._thread is None, timeout_seconds
            )
            return self._unwritten()

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> int:
        """Flush, and spool what could not be written in time; returns what `flush` does."""
        self.flush(timeout_seconds)
        with self._changed:
            # A write that hangs may still succeed; readers see a record that came twice once.
            self._keep((*self._writing, *self._waiting), "it does not answer")
            self._waiting.clear()
            self._writing = ()
            return self._unwritten()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _failure: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._work, name="batchinf-ledger", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: `close` spools
            return
        self._thread = thread

    def _work(self) -> None:
        try:
            while (asked := self._take()) is not None:
                try:
                    self._write(self._writing)
                finally:
                    self._settle(asked)
        finally:
            self._leave()

    def _take(self) -> int | None:
        """Begin to write what waits; None, and the thread is gone, where nothing does."""
        with self._changed:
            if not self._waiting and self._answered == self._asked:
                self._thread = None
                return None
            self._writing = tuple(self._waiting)
            self._waiting.clear()
            return self._asked

    def _settle(self, asked: int) -> None:
        with self._changed:
            self._writing = ()
            self._answered = asked
            self._changed.notify_all()

    def _leave(self) -> None:
        """Where an error that nobody foresaw ends this thread, let another one go on."""
        with self._changed:
            if self._thread is threading.current_thread():
                self._thread = None
                if self._waiting or self._answered != self._asked:
                    self._start()

    def _write(self, records: Sequence[AttemptRecord]) -> None:
        problem: str | None = "an error that nobody foresaw"
        try:
            spooled = self._spool.read()
            self._ledger.append([*spooled.values(), *records])
            self._spool.forget(spooled)
            problem = None
        except STORAGE_FAILURES as error:
            problem = reason_text(error)
        finally:
            if problem is not None:
                with self._changed:
                    self._keep(records, problem)

    def _keep(self, records: Sequence[AttemptRecord], reason: str) -> None:
        kept = 0
        try:
            for record in records:
                with suppress(OSError, ValueError):
                    self._spooled.add(self._spool.keep(record))
                    kept += 1
        finally:
            lost = len(records) - kept
            self._lost += lost
        if records:
            _log.warning(
                "The ledger was not written (%s): %d records wait in %s, %d are lost.",
                *(reason, kept, self._spool.folder, lost),
            )

    def _unwritten(self) -> int:
        self._spooled = {path for path in self._spooled if path.exists()}
        return len(self._waiting) + len(self._writing) + len(self._spooled) + self._lost
