"""The two situations in which the crash matrix kills runs, and what an undisturbed run makes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow.parquet as pq

from batchinf_assets.project import Project
from batchinf_assets_tests.resilience.window_run import DAY, STAGES, project_at


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What lies there before a run.

    Attributes:
        name: `first` where nothing is published, `correction` where an older revision is.
        template: Folder with the lake and the keys to begin with.
        landing: What has landed.
    """

    name: str
    template: Path
    landing: Path

    def project(self, root: Path) -> Project:
        return project_at(root, self.landing)

    def copy_to(self, root: Path) -> Project:
        """Give a run its own lake and keys."""
        shutil.copytree(self.template, root)
        return self.project(root)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a run that nobody disturbs makes of a scene.

    Attributes:
        before: Fingerprint of what readers see first.
        after: And afterwards.
        outputs: Published revision and digests of its files.
        files: The files in the lake and among the keys.
        changes: Every change of the folder in its order: stage, syscall, path.
    """

    before: str
    after: str
    outputs: list[str]
    files: list[str]
    changes: list[tuple[str, str, str]]

    def steps(self) -> list[Sequence[int]]:
        """Group the numbers of the changes: a step is a run of equal calls on one file."""
        numbers = range(len(self.changes))
        return [list(step) for _, step in groupby(numbers, key=lambda n: self.changes[n])]

    def place(self, change: int) -> tuple[int, int]:
        """Return the stage of a change and its number within it, both from 0.

        A slow machine makes more changes, such as heartbeats of the lease: numbers within a stage
        drift less than numbers within the run.
        """
        stage = self.changes[change][0]
        return STAGES.index(stage), sum(at == stage for at, *_ in self.changes[:change])


def set_scenes(folder: Path, world: Path) -> Iterator[Scene]:
    """Make what has landed early and now, and one template each for the two scenes.

    Args:
        folder: Where to; empty.
        world: Has `lake` (nothing but a registry with a champion), `keys` and `landing`.
    """
    for name in ("early", "now"):
        for path in ("weather.parquet", "planes.parquet", f"flights/{DAY}.parquet"):
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(world / "landing" / path, folder / name / path)
    early = folder / "early" / "flights" / f"{DAY}.parquet"
    pq.write_table(pq.read_table(early).slice(25), early)
    for name in ("first", "correction"):
        for part in ("lake", "keys"):
            shutil.copytree(world / part, folder / name / part)
        yield Scene(name=name, template=folder / name, landing=folder / "now")


def lasting_files(root: Path) -> list[str]:
    """List the files whose names do not depend on who wrote them and how often."""
    named_anew = ("/_delta_log/", "/_ledger/", "/unwritten_attempts/")
    lasting = (name for name in _files(root) if not _temporary(name))
    return sorted(name for name in lasting if not any(part in f"/{name}" for part in named_anew))


def temporary_files(root: Path) -> list[str]:
    """List what a writer puts aside before it renames or links it.

    Maintenance looks after the lake; beside the keys at most one small mark per kill stays.
    """
    return sorted(
        name for name in _files(root) if _temporary(name) and not name.startswith("keys/")
    )


def _files(root: Path) -> Iterator[str]:
    return (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def _temporary(name: str) -> bool:
    """Hidden files, but for locks, which stay; and what object_store numbers until it links it."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return (hidden and not name.endswith(".lock")) or "#" in name
