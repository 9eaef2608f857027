"""The model registry: which version an alias names, kept through MLflow's registry API.

MLflow keeps names, versions, aliases and the digest; the files are `registry.artifact`'s, found
below `artifact_root` by that digest, so a lake that was moved or cloned still resolves. Nothing
here is trusted: `registry.trust` says whether what a version names may score. How MLflow is asked
is in `registry.mlflow_client`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchinf_assets.errors import ModelRefused, ModelUnavailable, Refusal, UsageError
from batchinf_assets.lake.place import Place, parse_place
from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import ArtifactDraft, place_artifact
from batchinf_assets.registry.keyring import require_trusted
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.mirror import Mirror, Models
from batchinf_assets.registry.mlflow_client import (
    SQLITE,
    asking,
    create_version,
    find,
    is_absent,
    point,
    search,
)
from batchinf_assets.registry.statement import ModelStatement
from batchinf_assets.registry.untrusted_text import one_line

CHALLENGER = "challenger"
"""The alias of what was registered last; it takes a promotion to become another one's champion."""

DIGEST_TAG = "batchinf.digest"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A registered version.

    Attributes:
        name: The registered model's name.
        version: Its number, as text.
        aliases: Names that point at it, sorted.
        digest: The artifact's digest, 64 hex digits.
        created_at: When it was registered, in UTC.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    digest: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry, the folder of its artifacts, and the keys that it trusts.

    Attributes:
        tracking_uri: Where MLflow keeps the registry.
        artifact_root: Folder of all artifacts and promotions.
        keys: Folder of the keyring.
    """

    tracking_uri: str
    artifact_root: Models
    keys: Path

    @classmethod
    def at(cls, project: Project, environ: Mapping[str, str]) -> Registry:
        """Use `MLFLOW_TRACKING_URI`, or else an SQLite file inside the lake.

        Models lie at `BATCHINF_MODELS`, a folder or an `s3://` URL, or else inside the lake.

        Raises:
            UsageError: The lake's path cannot be written as an SQLite URI, or is no path at all;
                or the keys lie where models are written.
        """
        root = _artifact_root(project, environ)
        _require_apart(project.keys, project.lake, "the lake")
        _require_apart(project.keys, root, "the folder of models")
        uri = environ.get("MLFLOW_TRACKING_URI") or _embedded(project.lake)
        return cls(tracking_uri=uri, artifact_root=root, keys=project.keys)

    def register(
        self, draft: ArtifactDraft, key: SigningKey, *, now: datetime, expires_at: datetime
    ) -> ModelVersion:
        """Sign an artifact as the next version of its model; the alias `challenger` names it.

        The version exists before it is signed, because its number is part of what is signed. Dying
        in between leaves a number without a model, which is never listed.

        It counts until `expires_at`, or as long as the key if that is shorter.

        Raises:
            KeyringInvalid: There is no keyring.
            ModelRefused: The keyring does not trust the key now.
            ModelUnavailable: The registry does not answer.
            LostRace: Another registry placed this version on S3.
            OSError: The artifact cannot be written.
        """
        name, card = draft.card.name, draft.card
        trusted = require_trusted(self.keys, key, now)
        with asking(self.tracking_uri) as client:
            version = create_version(client, draft)
            statement = ModelStatement(
                name=name,
                version=version,
                feature_definition=card.feature_definition,
                created_at=now,
                expires_at=min(expires_at, trusted.not_after),
                key_id=key.id,
                files={**draft.files},
            )
            place_artifact(self.artifact_root, draft, version, statement.signed(key))
            client.set_model_version_tag(name, version, DIGEST_TAG, draft.digest)
            point(client, name, CHALLENGER, version)
        return self.version(name, version)

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version.

        Raises:
            ModelUnavailable: The registry does not answer.
        """
        with asking(self.tracking_uri) as client:
            point(client, name, alias, version)

    def resolve(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias names; writes nothing.

        Raises:
            ModelUnavailable: There is no registry, no such model, no such alias, or no answer.
            ModelRefused: The version was registered by something else.
        """
        uri = self.tracking_uri
        found = None if is_absent(uri) else find(uri, name, alias)
        if found is None:
            raise ModelUnavailable(
                f"The registry has no model '{name}' with alias '{alias}'.",
                next_step="Register one (`batchinf model register <pipeline>`) and promote it "
                f"(`batchinf model promote {name} VERSION --reason ...`).",
            )
        return self._version(name, found, found.aliases)

    def version(self, name: str, version: str) -> ModelVersion:
        """Return a version by its number.

        Raises:
            ModelUnavailable: There is no such version, or the registry does not answer.
            ModelRefused: What the registry says of a version cannot be.
        """
        entries = {entry.version: entry for entry in self.versions(name)}
        if version not in entries:
            raise ModelUnavailable(
                f"The registry has no version '{one_line(version, 16)}' of model "
                f"'{one_line(name, 64)}'.",
                next_step=f"Known versions: {', '.join(entries) or 'none'}.",
            )
        return entries[version]

    def versions(self, name: str) -> list[ModelVersion]:
        """List the versions that batchinf registered, oldest first; writes nothing.

        Raises:
            ModelUnavailable: The registry does not answer.
            ModelRefused: What the registry says of a version cannot be.
        """
        if is_absent(self.tracking_uri):
            return []
        with asking(self.tracking_uri) as client:
            entries = sorted(search(client, name), key=lambda entry: int(entry.version))
            # A server's search leaves the aliases of versions empty; the model knows them.
            aliases = client.get_registered_model(name).aliases if entries else {}
        return [
            self._version(
                name, entry, [a for a, named in aliases.items() if str(named) == str(entry.version)]
            )
            for entry in entries
            if DIGEST_TAG in entry.tags
        ]

    def _version(self, name: str, entry: Any, aliases: list[str]) -> ModelVersion:
        version, digest = str(entry.version), entry.tags.get(DIGEST_TAG, "")
        if entry.name != name or not re.fullmatch(r"[1-9][0-9]{0,9}", version):
            raise ModelRefused(
                f"Asked for model '{name}', the registry answers with version "
                f"'{one_line(version, 16)}' of '{one_line(str(entry.name), 64)}'.",
                reason=Refusal.OTHER_MODEL,
                next_step="Find out who changed the registry, or set MLFLOW_TRACKING_URI to yours.",
            )
        if not re.fullmatch(r"[0-9a-f]{64}", digest):  # it becomes a path
            raise ModelRefused(
                f"Version {version} of model '{name}' has no SHA-256 in its tag "
                f"{DIGEST_TAG}: it was not registered by batchinf.",
                reason=Refusal.NOT_REGISTERED_HERE,
                next_step="Register one: `batchinf model register <pipeline>`.",
            )
        return ModelVersion(
            name=name,
            version=version,
            aliases=tuple(sorted(aliases)),
            digest=digest,
            created_at=datetime.fromtimestamp(entry.creation_timestamp / 1000, tz=UTC),
        )


def _artifact_root(project: Project, environ: Mapping[str, str]) -> Models:
    named = environ.get("BATCHINF_MODELS")
    place = project.lake / "_models"
    if named:
        place = parse_place(named, project.root, environ, variable="BATCHINF_MODELS")
    return place.absolute() if isinstance(place, Path) else Mirror.of(place, environ)


def _require_apart(keys: Path, folder: object, what: str) -> None:
    if isinstance(folder, Path) and keys.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"The folder of keys {keys} lies inside {what} {folder.absolute()}: who may write "
            "models could say whose signatures count.",
            next_step="Set BATCHINF_KEYS to a folder elsewhere.",
        )


def _embedded(lake: Place) -> str:
    """Return the URI of the registry inside a lake.

    Every machine that uses a lake on S3 must see the same registry. A file on each machine's disk
    would number versions twice and know other aliases, so none is made unless it is named.
    """
    if not isinstance(lake, Path):
        raise UsageError(
            f"The lake {lake} is on S3, where the model registry inside it, an SQLite file, cannot "
            "be.",
            next_step="Set MLFLOW_TRACKING_URI to an MLflow server, or where only one machine "
            "works, to a file of its own: sqlite:////folder/registry.db.",
        )
    path = (lake.absolute() / "_registry" / "registry.db").as_posix()
    if odd := next((mark for mark in "?%" if mark in path), None):
        raise UsageError(
            f"The lake's path {lake.absolute()} contains '{odd}', which an SQLite URI cannot.",
            next_step="Move the lake or set BATCHINF_LAKE to another folder.",
        )
    return f"{SQLITE}{path}"
