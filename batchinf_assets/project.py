"""Where a project keeps things: lake, landing folder, Dagster's home, committed data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchinf_assets.lake.place import Place, parse_place

CHECKOUT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Project:
    """The folders that one installation works in.

    Attributes:
        root: The checkout; committed data such as golden sets lies below it.
        lake: Root of every table, manifest and model; a folder or a place on S3.
        landing: Where upstream systems drop files; a folder or a place on S3.
        dagster_home: Dagster's event log and run storage.
        keys: The keyring, and where no secret store has it the signing key; never in the lake.
    """

    root: Path
    lake: Place
    landing: Place
    dagster_home: Path
    keys: Path

    @classmethod
    def here(cls, environ: Mapping[str, str], root: Path = CHECKOUT) -> Project:
        """Read the folders from `BATCHINF_LAKE`, `_LANDING`, `_KEYS` and `DAGSTER_HOME`.

        Relative paths count from the checkout, so every command means the same lake wherever it
        is started.

        Raises:
            UsageError: Lake or landing is a URL of a store that this version does not know, or what
                reaches S3 is set wrongly.
        """
        lake = environ.get("BATCHINF_LAKE") or "data/lake"
        landing = environ.get("BATCHINF_LANDING") or "data/landing"
        return cls(
            root=root,
            lake=parse_place(lake, root, environ, variable="BATCHINF_LAKE"),
            landing=parse_place(landing, root, environ, variable="BATCHINF_LANDING"),
            dagster_home=root / (environ.get("DAGSTER_HOME") or "data/dagster"),
            keys=root / (environ.get("BATCHINF_KEYS") or "data/keys"),
        )

    def shown(self, path: Place) -> str:
        """Write a place for a message or a manifest: from the checkout where it lies inside."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
