"""Where the manifests of a pipeline lie: one document per revision, and one draft per window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.files import write_bytes
from batchinf_assets.manifest import Manifest, parse_manifest
from batchinf_assets.windows import Window

DRAFT = "draft.json"


@dataclass(frozen=True)
class ManifestStore:
    """The manifests below one folder.

    Attributes:
        folder: `<lake>/<pipeline>/_manifests`.
    """

    folder: Path

    def path(self, window: Window, revision: str) -> Path:
        """Return where the manifest of a revision lies."""
        return self._of(window) / f"{revision}.json"

    def read(self, window: Window, revision: str) -> Manifest:
        """Read the manifest of a revision.

        Raises:
            ManifestInvalid: It is missing, unreadable or names another revision.
        """
        path = self.path(window, revision)
        if not path.is_file():
            raise ManifestInvalid(
                f"Revision {revision} of window {window} has no manifest at {path}.",
                next_step="Restore it from a backup.",
            )
        manifest = parse_manifest(path.read_bytes(), str(path))
        if (manifest.revision, manifest.window.key) != (revision, window.key):
            raise ManifestInvalid(
                f"{path} is about revision {manifest.revision} of {manifest.window.key}.",
                next_step="Restore it from a backup.",
            )
        return manifest

    def revisions(self, window: Window) -> list[str]:
        """List the revisions that have a manifest."""
        found = self._of(window).glob("*.json")
        return sorted(path.stem for path in found if path.name != DRAFT)

    def write(self, window: Window, manifest: Manifest) -> Path:
        """Keep a finished manifest; readable as a whole or not at all."""
        path = self.path(window, manifest.revision)
        write_bytes(path, manifest.to_json())
        return path

    def draft(self, window: Window) -> Manifest | None:
        """Read the draft of a window that was scored and not yet published.

        Raises:
            ManifestInvalid: The draft is unreadable.
        """
        path = self._of(window) / DRAFT
        return parse_manifest(path.read_bytes(), str(path)) if path.is_file() else None

    def write_draft(self, window: Window, manifest: Manifest) -> None:
        """Keep a draft in the place of the window's earlier one."""
        write_bytes(self._of(window) / DRAFT, manifest.to_json())

    def drop_draft(self, window: Window) -> None:
        """Forget the draft of a window, if there is one."""
        (self._of(window) / DRAFT).unlink(missing_ok=True)

    def _of(self, window: Window) -> Path:
        return self.folder / window.key.replace(":", "")
