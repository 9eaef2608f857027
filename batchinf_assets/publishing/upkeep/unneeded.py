"""Which files of a window go: judged by what its manifests need, by their age, by what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Literal

from batchinf_assets.lake.manifests import SIGNATURE_NAME
from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.publishing.stored_files import (
    CHECKPOINTS,
    MANIFESTS,
    is_temporary,
    parts_within,
    pipeline_folder,
)
from batchinf_assets.publishing.upkeep.retention import (
    DRAFT,
    History,
    Needs,
    Visible,
    needs_of_window,
    publication_history,
    visible_files,
)
from batchinf_assets.scoring.predictions import ASSET as PREDICTIONS
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

What = Literal["draft", "manifest", "signature", "checkpoint", "file", "temporary file"]

_ORDER: tuple[What, ...] = (
    "draft",
    "manifest",
    "signature",
    "checkpoint",
    "file",
    "temporary file",
)


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A file to remove.

    Attributes:
        what: What it is.
        place: Where it lies.
        bytes: Its size.
        why: Why it is not needed.
        written_at: When it was written.
        window: The key of its window, if it belongs to one.
    """

    what: What
    place: Place
    bytes: int
    why: str
    written_at: datetime
    window: str | None = None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the files of a pipeline are judged by; made by `take`.

    Attributes:
        project: Where the tables are.
        spec: The pipeline, with its retention.
        now: The time.
        visible: What the tables show.
        history: Gives what the log says; read only where it is asked.
    """

    project: Project
    spec: PipelineSpec
    now: datetime
    visible: Visible
    history: Callable[[], History]

    @classmethod
    def take(cls, project: Project, spec: PipelineSpec, now: datetime) -> Survey:
        """Ask the tables what they show now.

        Raises:
            ManifestInvalid: The log of a table is damaged.
        """
        return cls(
            project=project,
            spec=spec,
            now=now,
            visible=visible_files(project, spec),
            history=cache(partial(publication_history, project, spec)),
        )

    @property
    def folder(self) -> Place:
        """The pipeline's folder."""
        return pipeline_folder(self.project, self.spec)

    @property
    def settled(self) -> datetime:
        """Whoever wrote a file before this time has ended."""
        return self.now - timedelta(days=self.spec.retention.staging_days)

    def temporary(self, files: Iterable[Place], window: Window | None = None) -> Iterator[Removal]:
        """Yield what writes left behind that did not end."""
        for place in files:
            if is_temporary(place, self.folder):
                for found in removal("temporary file", place, "its write did not end", window):
                    if found.written_at < self.settled:
                        yield found

    def of_window(self, window: Window, files: Sequence[Place]) -> list[Removal]:
        """Say which files of a window go, in the order to remove them.

        Args:
            window: The window.
            files: All files in its folders.

        Raises:
            ManifestInvalid: A manifest cannot be read.
        """
        finished = [place for place in files if not place.name.startswith(".")]
        needs = needs_of_window(
            self.project,
            self.spec,
            window,
            _documents(finished, self.folder),
            self.visible,
            self.history,
            now=self.now,
        )
        judged = _WindowFiles(survey=self, window=window, needs=needs)
        found = [*judged.unneeded(finished), *self.temporary(files, window)]
        return sorted(found, key=lambda each: _ORDER.index(each.what))


def removal(what: What, place: Place, why: str, window: Window | None = None) -> Iterator[Removal]:
    """Yield a file as one to remove; nothing if it is gone by now."""
    try:
        stat = place.stat()
    except FileNotFoundError:
        return
    yield Removal(
        what=what,
        place=place,
        bytes=stat.st_size,
        why=why,
        written_at=datetime.fromtimestamp(stat.st_mtime, UTC),
        window=window.key if window else None,
    )


@dataclass(frozen=True, kw_only=True)
class _WindowFiles:
    """The files of one window against what its manifests need."""

    survey: Survey
    window: Window
    needs: Needs

    def unneeded(self, files: Iterable[Place]) -> Iterator[Removal]:
        """Yield what goes; of an unfinished revision all or nothing, by its newest file."""
        unnamed: dict[tuple[str, str], list[Removal]] = {}
        for place in files:
            area, _, *below = parts_within(place, self.survey.folder)
            if area == MANIFESTS and len(below) == 1:
                yield from self._document(place)
            elif area == CHECKPOINTS and below[0] in self.needs.finished:
                yield from self._removal("checkpoint", place, f"revision {below[0]} is whole")
            elif self._is_unnamed(place, area, below[0]):
                is_checkpoint = area == CHECKPOINTS
                group = unnamed.setdefault((PREDICTIONS if is_checkpoint else area, below[0]), [])
                what = "checkpoint" if is_checkpoint else "file"
                group += self._removal(what, place, self._why_unnamed(below[0]))
        for group in unnamed.values():
            if all(each.written_at < self.survey.settled for each in group):
                yield from group

    def _document(self, place: Place) -> Iterator[Removal]:
        signature = SIGNATURE_NAME.fullmatch(place.name)
        revision = signature["stem"] if signature else place.stem
        if revision == DRAFT:
            if self.needs.draft is None:
                yield from self._removal("draft", place, "it was never published")
        elif revision in self.needs.expired:
            what = "signature" if signature else "manifest"
            yield from self._removal(what, place, self._why_unnamed(revision))
        elif signature and revision not in self.needs.revisions:
            for found in self._removal("signature", place, "it signs no manifest"):
                if found.written_at < self.survey.settled:
                    yield found

    def _is_unnamed(self, place: Place, area: str, revision: str) -> bool:
        if area == CHECKPOINTS:
            return revision != self.needs.draft
        return (
            area in self.survey.visible.logged
            and place.suffix == ".parquet"
            and place not in self.survey.visible.files
            and place not in self.needs.files
        )

    def _why_unnamed(self, revision: str) -> str:
        if revision in self.needs.expired:
            return f"revision {revision} was replaced on {self.needs.expired[revision]:%Y-%m-%d}"
        return "no table shows it, no manifest names it"

    def _removal(self, what: What, place: Place, why: str) -> Iterator[Removal]:
        return removal(what, place, why, self.window)


def _documents(files: Iterable[Place], folder: Place) -> dict[str, datetime]:
    """Return when each manifest among the files was written, by revision, and the draft."""
    found: dict[str, datetime] = {}
    for place in files:
        if parts_within(place, folder)[0] == MANIFESTS and place.suffix == ".json":
            found.update((place.stem, each.written_at) for each in removal("manifest", place, ""))
    return found
