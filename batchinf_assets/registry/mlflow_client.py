"""MLflow's registry, asked through MLflow's client, which is imported only once something is asked.

What is asked and what the answers mean is `registry.registry`'s business.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from batchinf_assets.errors import ModelUnavailable
from batchinf_assets.lake.entries import exists
from batchinf_assets.registry.artifact import ArtifactDraft
from batchinf_assets.registry.untrusted_text import one_line

SQLITE = "sqlite:///"

RETRIES, FEW = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"
"""MLflow tries a server seven times more, for four minutes in which nobody is told anything."""


def is_absent(tracking_uri: str) -> bool:
    """Say whether a registry is an SQLite file that asking MLflow would create."""
    path = tracking_uri.removeprefix(SQLITE)
    return path not in (tracking_uri, "", ":memory:") and not exists(Path(path))


@contextmanager
def asking(tracking_uri: str) -> Generator[Any]:
    """Give a client of a registry, which is made where it is an SQLite file that is absent.

    Raises:
        ModelUnavailable: The registry does not answer.
    """
    from sqlalchemy.exc import SQLAlchemyError

    os.environ.setdefault(RETRIES, FEW)  # who sets it waits as long as they want
    try:
        if is_absent(tracking_uri):
            _create_database(Path(tracking_uri.removeprefix(SQLITE)))
        yield _client(tracking_uri)
    except (_mlflow().exceptions.MlflowException, SQLAlchemyError) as error:
        shown = _redacted(tracking_uri.partition("?")[0])  # options can hold passwords
        reason = one_line(_redacted(str(error).partition("\n")[0])).rstrip(".")
        raise ModelUnavailable(
            f"The model registry {shown} failed: {reason}.",
            next_step="Repair it, or set MLFLOW_TRACKING_URI to a registry that answers.",
        ) from error


def find(tracking_uri: str, name: str, alias: str) -> Any | None:
    """Return the entry of the version that an alias names; None where it names none.

    Raises:
        ModelUnavailable: The registry does not answer.
    """
    with asking(tracking_uri) as client:
        try:
            return client.get_model_version_by_alias(name, alias)
        except _mlflow().exceptions.MlflowException as error:
            # MLflow answers so for a missing model, and for a missing alias of a model.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def create_version(client: Any, draft: ArtifactDraft) -> str:
    """Add a version, and its model where it is the first one; return its number."""
    name, card = draft.card.name, draft.card
    try:
        client.create_registered_model(name)
    except _mlflow().exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    golden = {f"batchinf.golden.{key}": repr(value) for key, value in card.golden.metrics.items()}
    entry = client.create_model_version(
        name,
        # Not a file URI: an MLflow server refuses local paths that no run of its own logged.
        source=f"batchinf:/{name}/{draft.digest[:16]}",
        tags={"batchinf.scorer": card.scorer, **golden},  # for people who look at MLflow's UI
        await_creation_for=0,
    )
    return str(entry.version)


def point(client: Any, name: str, alias: str, version: str) -> None:
    """Let an alias name a version."""
    try:
        client.set_registered_model_alias(name, alias, version)
    except _mlflow().exceptions.MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        # MLflow looks whether the alias is there and then inserts it; another did in between.
        client.set_registered_model_alias(name, alias, version)


def search(client: Any, name: str) -> Iterator[Any]:
    """Yield the entries of all versions of a model."""
    page = client.search_model_versions(f"name = '{name}'")
    yield from page
    while page.token:
        page = client.search_model_versions(f"name = '{name}'", page_token=page.token)
        yield from page


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


def _redacted(text: str) -> str:
    return re.sub(r"//[^/\s]*@", "//", text)
