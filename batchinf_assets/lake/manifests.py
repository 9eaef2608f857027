"""Where the manifests of a pipeline lie: one signed document per revision, one draft per window.

Bytes and places alone: what a signature must be is said in `publishing.signed`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.conditional import create, read_versioned, replace
from batchinf_assets.lake.entries import entries, is_file
from batchinf_assets.lake.files import read_bounded, write_bytes
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.versioned import LARGEST_DOCUMENT, outdated
from batchinf_assets.manifest.document import Manifest, parse_manifest
from batchinf_assets.windows import Window

DRAFT = "draft.json"
SIGNATURE_NAME = re.compile(r"(?P<stem>[0-9a-f]{16})\.(?P<key>[0-9a-f]{16})\.sig")
SIGNATURE_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class SignedManifest:
    """A finished manifest with a signature over its bytes.

    Attributes:
        revision: What it is about.
        body: Its bytes.
        key_id: The key that signed it.
        signature: 64 bytes.
    """

    revision: str
    body: bytes
    key_id: str
    signature: bytes


@dataclass(frozen=True)
class ManifestStore:
    """The manifests below one folder.

    Attributes:
        folder: `<lake>/<pipeline>/_manifests`.
    """

    folder: Place

    def path(self, window: Window, revision: str) -> Place:
        """Return where the manifest of a revision lies."""
        return self._of(window) / f"{revision}.json"

    def signature_path(self, window: Window, revision: str, key_id: str) -> Place:
        """Return where the signature of a key over the manifest of a revision lies."""
        return self._of(window) / f"{revision}.{key_id}.sig"

    def read(self, window: Window, revision: str) -> Manifest:
        """Read the manifest of a revision, whoever wrote it; `publishing.signed` asks who.

        Raises:
            ManifestInvalid: It is missing, unreadable or names another revision.
        """
        return self.parsed(window, revision, self.body(window, revision))

    def body(self, window: Window, revision: str) -> bytes:
        """Read the bytes of the manifest of a revision.

        Raises:
            ManifestInvalid: It is missing or larger than any manifest.
        """
        path = self.path(window, revision)
        if not is_file(path):
            raise ManifestInvalid(
                f"Revision {revision} of window {window} has no manifest at {path}.",
                next_step="Restore it from a backup.",
            )
        return read_bounded(path)

    def parsed(self, window: Window, revision: str, body: bytes) -> Manifest:
        """Parse the bytes of the manifest of a revision.

        Raises:
            ManifestInvalid: They are no manifest, or are about another revision or window.
        """
        path = self.path(window, revision)
        manifest = parse_manifest(body, str(path))
        if (manifest.revision, manifest.window.key) != (revision, window.key):
            raise ManifestInvalid(
                f"{path} is about revision {manifest.revision} of {manifest.window.key}.",
                next_step="Restore it from a backup.",
            )
        return manifest

    def signatures(self, window: Window, revision: str) -> dict[str, Place]:
        """Return the files that say to sign the manifest of a revision, by the id of their key."""
        found: dict[str, Place] = {}
        for place in entries(self._of(window), f"{revision}.*.sig"):
            name = SIGNATURE_NAME.fullmatch(place.name)
            if name and name["stem"] == revision and is_file(place):
                found[name["key"]] = place
        return found

    def revisions(self, window: Window) -> list[str]:
        """List the revisions that have a manifest."""
        found = entries(self._of(window), "*.json")
        return sorted(path.stem for path in found if path.name != DRAFT)

    def write(
        self, window: Window, signed: SignedManifest, *, require_held: Callable[[], None]
    ) -> Place:
        """Keep a finished manifest, its signature first: the document is never there without.

        Another process may do the same for a later attempt. So both files are replaced only as
        they were while this attempt still held the window. Signatures by other keys are of earlier
        bytes, which a try that died left behind; they go last.

        Args:
            window: The window.
            signed: The manifest.
            require_held: Raises `LostRace` where a later attempt has taken the window over.

        Raises:
            LostRace: A later attempt took the window over; nothing of its was touched.
            OSError: The disk is full or the folder cannot be written.
        """
        path = self.path(window, signed.revision)
        signature = self.signature_path(window, signed.revision, signed.key_id)
        before = [(place, _version(place)) for place in (signature, path)]
        require_held()
        for (place, version), content in zip(before, (signed.signature, signed.body), strict=True):
            _exchange(place, content, version)
        for key_id, place in self.signatures(window, signed.revision).items():
            if key_id != signed.key_id:
                place.unlink(missing_ok=True)
        return path

    def draft(self, window: Window) -> Manifest | None:
        """Read the draft of a window that was scored and not yet published.

        Raises:
            ManifestInvalid: The draft is unreadable, or larger than any manifest.
        """
        path = self._of(window) / DRAFT
        return parse_manifest(read_bounded(path), str(path)) if is_file(path) else None

    def write_draft(self, window: Window, manifest: Manifest) -> None:
        """Keep a draft in the place of the window's earlier one.

        Raises:
            ManifestInvalid: It is larger than what anybody would read.
            OSError: The disk is full or the folder cannot be written.
        """
        content = manifest.to_json()
        if len(content) > LARGEST_DOCUMENT:
            raise ManifestInvalid(
                f"The manifest of window {window} names {len(manifest.outputs)} files: more than "
                f"fit into {LARGEST_DOCUMENT} bytes.",
                next_step="Declare more `shard_rows`, and run the window again.",
            )
        write_bytes(self._of(window) / DRAFT, content)

    def drop_draft(self, window: Window) -> None:
        """Forget the draft of a window, if there is one."""
        (self._of(window) / DRAFT).unlink(missing_ok=True)

    def _of(self, window: Window) -> Place:
        return self.folder / window.folder_name


def _version(place: Place) -> str | None:
    found = read_versioned(place)
    return found.version if found else None


def _exchange(place: Place, content: bytes, version: str | None) -> None:
    if version is not None:
        replace(place, content, version)
        return
    try:
        create(place, content)
    except FileExistsError as error:
        raise outdated(place) from error
