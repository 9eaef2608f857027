"""What every command needs: the folders, the registry, Dagster's storage, and how to complain."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from batchinf_assets.console import one_line
from batchinf_assets.errors import StorageUnavailable, UsageError
from batchinf_assets.lake.entries import exists, is_dir
from batchinf_assets.project import Project
from batchinf_assets.spec.load import Pipeline

if TYPE_CHECKING:
    import dagster as dg

    from batchinf_assets.registry.keys import SigningKey
    from batchinf_assets.registry.registry import Registry

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")


def complain(sentence: str) -> None:
    """Say on standard error what is wrong."""
    click.echo(f"batchinf: {one_line(sentence)}", err=True)


def here() -> Project:
    """Return the folders that the environment names."""
    found = Project.here(os.environ)
    if not isinstance(found.lake, Path):
        is_dir(found.lake)  # refused here if there is no such bucket: no object would say so
    elif exists(found.lake) and not is_dir(found.lake):
        raise UsageError(
            f"The lake {found.shown(found.lake)} is no folder.",
            next_step="Set BATCHINF_LAKE to a folder.",
        )
    return found


def tell_absent_lake(project: Project) -> None:
    """Say so where the lake is not there: nothing to do is not what was found out then."""
    if isinstance(project.lake, Path) and not exists(project.lake):
        complain(f"The lake {project.shown(project.lake)} is not there: nothing was looked at.")


def tell_absent_landing(project: Project, unknown: str) -> None:
    """Say so where files land nowhere, and what is therefore unknown."""
    if isinstance(project.landing, Path) and not is_dir(project.landing):
        complain(f"The landing folder {project.shown(project.landing)} is not there: {unknown}.")


def open_registry(project: Project) -> Registry:
    """Return the model registry that the environment names."""
    from batchinf_assets.registry.registry import Registry

    return Registry.at(project, os.environ)


def open_instance(project: Project) -> dg.DagsterInstance:
    """Return Dagster's own storage.

    Raises:
        UsageError: It has no settings, or none that Dagster can read. With Dagster's own, nobody
            would look after runs, and nothing would be known of those before.
    """
    import dagster as dg

    from batchinf_assets.lake.conditional import locked

    home = project.shown(project.dagster_home)
    if not exists(project.dagster_home / "dagster.yaml"):
        raise UsageError(
            f"Dagster's home {home} is no folder with a dagster.yaml: it is mistyped, new, or of a "
            "disk that is not mounted.",
            next_step="Set DAGSTER_HOME to the folder that is in use; for a new one, in "
            f"{project.root}: `mkdir -p {home} && cp deploy/local/dagster.yaml {home}`.",
        )
    os.environ["DAGSTER_HOME"] = str(project.dagster_home)
    try:
        with locked(project.dagster_home / "instance"):  # two first commands would both make tables
            return dg.DagsterInstance.get()
    except (dg.DagsterError, yaml.YAMLError) as error:
        said = error.errors[0].message if isinstance(error, dg.DagsterInvalidConfigError) else error
        raise UsageError(
            f"{project.shown(project.dagster_home / 'dagster.yaml')} is no Dagster configuration: "
            f"{one_line(str(said))[:300]}.",
            next_step=f"Correct it, or copy deploy/local/dagster.yaml of {project.root}.",
        ) from error


def storage_errors() -> tuple[type[Exception], ...]:
    """Return what is raised where the database of Dagster's storage fails.

    Asked only once something was raised: importing them takes longer than most commands.
    """
    from sqlalchemy.exc import SQLAlchemyError

    postgres = sys.modules.get("dagster_postgres.utils")
    return (SQLAlchemyError, postgres.DagsterPostgresException) if postgres else (SQLAlchemyError,)


def dagster_storage_failed(error: Exception) -> StorageUnavailable:
    """Say what the database said, in its driver's words: those hold no address with a password."""
    from sqlalchemy.exc import DBAPIError

    cause = error if isinstance(error, DBAPIError) else error.__cause__
    said = one_line(str(cause.orig))[:200] if isinstance(cause, DBAPIError) else ""
    return StorageUnavailable(
        f"Dagster's storage failed: {said or type(error).__name__}.",
        next_step="See that the database of DAGSTER_HOME's dagster.yaml answers and has room, and "
        "that its settings are right; then run it again.",
    )


def signing_key(project: Project) -> SigningKey:
    """Return the private key from the file, variable or secret that the environment names."""
    from batchinf_assets.orchestration.secrets import fetch_secret
    from batchinf_assets.registry.keyring import load_trusted_key

    return load_trusted_key(project.keys, os.environ, fetch_secret, datetime.now(UTC))


def job_of(pipeline: Pipeline) -> dg.JobDefinition:
    """Return the pipeline's job."""
    return own_definitions(pipeline).resolve_job_def(pipeline.name)


def own_definitions(pipeline: Pipeline) -> dg.Definitions:
    """Return the pipeline's own definitions: a broken neighbour stops it not."""
    import dagster as dg
    from dagster_shared.utils.warnings import disable_dagster_warnings

    from batchinf_assets.orchestration.component import pipeline_definitions
    from batchinf_assets.orchestration.resources import shared

    with disable_dagster_warnings():  # as Dagster itself does where it loads a defs.yaml
        return dg.Definitions.merge(pipeline_definitions(pipeline), shared())
