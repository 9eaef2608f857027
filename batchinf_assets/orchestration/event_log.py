"""Dagster's event log in SQLite, with its databases kept open.

Dagster's own storage opens a database, prepares every statement and closes it again for each event:
of a range run over a year that is most of the time, as a window has three dozen events. What is
stored stays as it is, and each event is on the disk before the next one, but for those that
`stored_together` makes one. `dagster.yaml` names this class.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dagster import EventLogEntry, Noneable, StringSource
from dagster._core.storage.event_log import EventLogStorage, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import QueuePool

from batchinf_assets.errors import UsageError

OPEN_DATABASES = 8
"""One per run that is written or looked at, and the index of all."""


class OpenSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's default event log, its databases kept open from event to event.

    Args:
        base_dir: Where the databases lie.
        inst_data: How Dagster configured it.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._waiting: dict[int, list[EventLogEntry]] = {}
        self._held: _Held | None = None
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """Return the settings that `dagster.yaml` may give."""
        return {"base_dir": Noneable(StringSource)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Make it of its settings; without a folder it is Dagster's own below `DAGSTER_HOME`."""
        return cls(config_value.get("base_dir") or str(_own_folder()), inst_data)

    @contextmanager
    def together(self) -> Generator[None]:
        """Store the events that this thread has meanwhile at the end, in one transaction.

        Until then nobody reads them, and no lock is held: who logs holds one of the log's, which
        another thread may have that waits for ours.
        """
        thread = threading.get_ident()
        events = self._waiting[thread] = list[EventLogEntry]()
        try:
            yield
        finally:
            del self._waiting[thread]
            self._store(events)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event, now or with those that are stored together."""
        waiting = self._waiting.get(threading.get_ident())
        if waiting is None:
            super().store_event(event)
        else:
            waiting.append(event)

    def _store(self, events: Sequence[EventLogEntry]) -> None:
        with self._db_lock, ExitStack() as transactions:
            self._held = _Held(transactions=transactions)
            try:
                for event in events:
                    super().store_event(event)
            finally:
                self._held = None

    def has_table(self, table_name: str) -> bool:
        """Say whether the index has a table; Dagster asks it of every check that is stored."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    @contextmanager
    def _connect(self, shard: str) -> Generator[Connection]:
        held = self._held
        if held is not None and held.thread == threading.get_ident():
            if shard not in held.connections:
                begun = self._begun(shard)
                held.connections[shard] = held.transactions.enter_context(begun)
            yield held.connections[shard]
            return
        with self._db_lock, self._begun(shard) as connection:
            yield connection

    def _begun(self, shard: str) -> AbstractContextManager[Connection]:
        engine = self._engine(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        return engine.begin()

    def wipe(self) -> None:
        """Remove every database."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close every database."""
        self._close()
        super().dispose()

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            self._engines[shard] = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                max_overflow=4,  # making the tables takes more than one
                # Threads take turns, see `_db_lock`.
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            if len(self._engines) > OPEN_DATABASES:
                self._engines.popitem(last=False)[1].dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def _close(self) -> None:
        with self._db_lock:
            self._tables.clear()
            while self._engines:
                self._engines.popitem()[1].dispose()


@dataclass(frozen=True, kw_only=True)
class _Held:
    """The transactions of a thread whose events are stored together."""

    transactions: ExitStack
    connections: dict[str, Connection] = field(default_factory=dict[str, Connection])
    thread: int = field(default_factory=threading.get_ident)


def stored_together(log: EventLogStorage) -> AbstractContextManager[None]:
    """Store what is logged meanwhile at once, where the log can; elsewhere event by event."""
    return log.together() if isinstance(log, OpenSqliteEventLogStorage) else nullcontext()


def _own_folder() -> Path:
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        raise UsageError(
            "Nobody says where Dagster's event log lies.",
            next_step="Set DAGSTER_HOME, or base_dir of event_log_storage in dagster.yaml.",
        )
    return Path(home, "history", "runs")
