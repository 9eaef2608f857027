"""What scoring did and took: rows, shards, changes, resources."""

from __future__ import annotations

from pydantic import (
    model_validator,
)

from batchinf_assets.manifest.values import Count, Measure, RevisionId, Text, Value


class CountsRecord(Value):
    """Row conservation: rows in = scored + quarantined."""

    rows_in: Count
    scored: Count
    quarantined: Count


class ShardsRecord(Value):
    """How the revision's shards came to be: planned = computed + reused."""

    planned: Count
    computed: Count
    reused: Count

    @model_validator(mode="after")
    def _adds_up(self) -> ShardsRecord:
        if self.planned != self.computed + self.reused:
            raise ValueError("planned shards are those computed and those reused")
        return self


class ChangesRecord(Value):
    """What a revision corrects; row counts are None where they are not known.

    Attributes:
        supersedes: The revision that readers saw while this one was scored; None where there was
            none.
        carried_from: The revision whose scores were kept for rows with unchanged features; None
            where every row was scored.
        reason: Why every row was scored, although a revision was superseded.
        rows_added: Snapshot rows whose key is new.
        rows_changed: Snapshot rows with other values.
        rows_removed: Snapshot rows that are gone.
        carried: Rows that kept their score.
        scored_again: Rows that were scored, those added among them; 0 where nothing is superseded.
    """

    supersedes: RevisionId | None = None
    carried_from: RevisionId | None = None
    reason: Text | None = None
    rows_added: Count | None = None
    rows_changed: Count | None = None
    rows_removed: Count | None = None
    carried: Count = 0
    scored_again: Count = 0


class ResourcesRecord(Value):
    """What scoring used; None where the machine does not tell.

    Attributes:
        cpu_seconds: User and system time of all threads and worker processes.
        io_read_bytes: Read from storage.
        io_write_bytes: Written to storage.
        peak_memory_bytes: Largest resident size of the process.
        workers: How many shards were worked on at once.
    """

    cpu_seconds: Measure | None = None
    io_read_bytes: Count | None = None
    io_write_bytes: Count | None = None
    peak_memory_bytes: Count | None = None
    workers: Count | None = None
