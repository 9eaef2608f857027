"""The model registry: which version an alias names, kept through MLflow's registry API.

MLflow keeps names, versions, aliases and the digest; the files are `registry.artifact`'s, found
below `artifact_root` by that digest, so a lake that was moved or cloned still resolves.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from batchinf_assets.errors import ModelRefused, ModelUnavailable, UsageError
from batchinf_assets.registry.artifact import Artifact, artifact_folder, open_artifact

DIGEST_TAG = "batchinf.digest"
METRIC_TAG = "batchinf.metric."

SQLITE = "sqlite:///"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A registered version.

    Attributes:
        name: The registered model's name.
        version: Its number, as text.
        aliases: Names that point at it, sorted.
        digest: The artifact's digest, 64 hex digits.
        source: The artifact's folder; not verified yet.
        created_at: When it was registered, in UTC.
        metrics: Measured on the training rows.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    digest: str
    source: Path
    created_at: datetime
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry and the folder of its artifacts.

    Attributes:
        tracking_uri: Where MLflow keeps the registry.
        artifact_root: Folder of all artifacts.
    """

    tracking_uri: str
    artifact_root: Path

    @classmethod
    def at(cls, lake_root: Path, environ: Mapping[str, str]) -> Registry:
        """Use `MLFLOW_TRACKING_URI`, or else an SQLite file inside the lake.

        Raises:
            UsageError: The lake's path cannot be written as an SQLite URI.
        """
        lake = lake_root.absolute()
        embedded = f"{SQLITE}{(lake / '_registry' / 'registry.db').as_posix()}"
        uri = environ.get("MLFLOW_TRACKING_URI") or embedded
        odd = next((mark for mark in "?%" if mark in embedded), None)
        if uri == embedded and odd:
            raise UsageError(
                f"The lake's path {lake} contains '{odd}', which an SQLite URI cannot.",
                next_step="Move the lake or set BATCHINF_LAKE to another folder.",
            )
        return cls(tracking_uri=uri, artifact_root=lake / "_models")

    def register(self, artifact: Artifact, *, alias: str) -> ModelVersion:
        """Register a verified artifact and point the alias at it.

        A digest that is registered already keeps its version; only the alias moves.

        Raises:
            ModelRefused: The artifact does not verify or lies outside `artifact_root`.
            ModelUnavailable: The registry does not answer.
        """
        name, digest = artifact.card.name, artifact.digest
        open_artifact(artifact_folder(self.artifact_root, name, digest), digest=digest)
        known = [found.version for found in self.versions(name) if found.digest == digest]
        with self._asking() as client:
            version = known[-1] if known else _create_version(client, artifact)
            client.set_registered_model_alias(name, alias, version)
        return self.resolve(name, alias)

    def resolve(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias names; writes nothing.

        Raises:
            ModelUnavailable: There is no registry, no such model, no such alias, or no answer.
            ModelRefused: The version was registered by something else.
        """
        found = None if self._absent() else self._find(name, alias)
        if found is None:
            raise ModelUnavailable(
                f"The registry has no model '{name}' with alias '{alias}'.",
                next_step="Register one: `batchinf model register <pipeline>`.",
            )
        if DIGEST_TAG not in found.tags:
            raise ModelRefused(
                f"Version {found.version} of model '{name}' has no tag {DIGEST_TAG}: "
                "it was not registered by batchinf.",
                next_step="Register one: `batchinf model register <pipeline>`.",
            )
        return self._version(found, found.aliases)

    def versions(self, name: str) -> list[ModelVersion]:
        """List the versions that batchinf registered, oldest first; writes nothing.

        Raises:
            ModelUnavailable: The registry does not answer.
        """
        if self._absent():
            return []
        with self._asking() as client:
            entries = sorted(_search(client, name), key=lambda entry: int(entry.version))
            # A server's search leaves the aliases of versions empty; the model knows them.
            aliases = client.get_registered_model(name).aliases if entries else {}
        return [
            self._version(
                entry, [a for a, named in aliases.items() if str(named) == str(entry.version)]
            )
            for entry in entries
            if DIGEST_TAG in entry.tags
        ]

    def _find(self, name: str, alias: str) -> Any | None:
        with self._asking() as client:
            try:
                return client.get_model_version_by_alias(name, alias)
            except _mlflow().exceptions.MlflowException as error:
                # MLflow answers so for a missing model, and for a missing alias of a model.
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def _version(self, entry: Any, aliases: list[str]) -> ModelVersion:
        digest = entry.tags[DIGEST_TAG]
        if not re.fullmatch(r"[0-9a-f]{64}", digest):  # it becomes a path
            raise ModelRefused(
                f"Version {entry.version} of model '{entry.name}' has a tag {DIGEST_TAG} that is "
                "no SHA-256.",
                next_step="Register the model again: `batchinf model register <pipeline>`.",
            )
        return ModelVersion(
            name=entry.name,
            version=str(entry.version),
            aliases=tuple(sorted(aliases)),
            digest=digest,
            source=artifact_folder(self.artifact_root, entry.name, digest),
            created_at=datetime.fromtimestamp(entry.creation_timestamp / 1000, tz=UTC),
            metrics={
                key.removeprefix(METRIC_TAG): float(value)
                for key, value in sorted(entry.tags.items())
                if key.startswith(METRIC_TAG)
            },
        )

    def _absent(self) -> bool:
        """Whether the registry is an SQLite file that asking MLflow would create."""
        path = self.tracking_uri.removeprefix(SQLITE)
        return path not in (self.tracking_uri, "", ":memory:") and not Path(path).exists()

    @contextmanager
    def _asking(self) -> Generator[Any]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self._absent():
                _create_database(Path(self.tracking_uri.removeprefix(SQLITE)))
            yield _client(self.tracking_uri)
        except (_mlflow().exceptions.MlflowException, SQLAlchemyError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise ModelUnavailable(
                f"The model registry {_redacted(self.tracking_uri)} failed: {_redacted(reason)}.",
                next_step="Repair it, or set MLFLOW_TRACKING_URI to a registry that answers.",
            ) from error


@cache
def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read while mlflow is imported
    import mlflow  # takes a second

    for name in ("mlflow", "alembic"):  # they announce each step of a new database
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def _create_database(path: Path) -> None:
    """Make the tables aside: MLflow's migrations break when two processes run them at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as staging:
        made = Path(staging) / path.name
        _new_client(f"{SQLITE}{made.as_posix()}")
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(made)


@cache
def _client(tracking_uri: str) -> Any:
    return _new_client(tracking_uri)


def _new_client(tracking_uri: str) -> Any:
    from sqlalchemy.exc import SADeprecationWarning

    with warnings.catch_warnings():
        # MLflow 3.17 maps a relation in a way that SQLAlchemy 2.1 deprecates.
        warnings.filterwarnings("ignore", message="The ``noload``", category=SADeprecationWarning)
        return _mlflow().MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _create_version(client: Any, artifact: Artifact) -> str:
    name = artifact.card.name
    try:
        client.create_registered_model(name)
    except _mlflow().exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    metrics = {f"{METRIC_TAG}{key}": repr(value) for key, value in artifact.card.metrics.items()}
    entry = client.create_model_version(
        name,
        # Not a file URI: an MLflow server refuses local paths that no run of its own logged.
        source=f"batchinf:/{name}/{artifact.digest[:16]}",
        tags={DIGEST_TAG: artifact.digest, **metrics},
        await_creation_for=0,
    )
    return str(entry.version)


def _search(client: Any, name: str) -> Iterator[Any]:
    page = client.search_model_versions(f"name = '{name}'")
    yield from page
    while page.token:
        page = client.search_model_versions(f"name = '{name}'", page_token=page.token)
        yield from page


def _redacted(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)
