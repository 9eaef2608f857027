"""A PostgreSQL server on loopback for tests, from Debian's package, with a cluster of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

DEBIAN = Path("/usr/lib/postgresql")
NEEDS_POSTGRES = "needs Debian's package postgresql"
UNPRIVILEGED = "nobody"  # the server refuses to run as root
ROLE, PASSWORD, DATABASE = "dagster", "of-this-test-alone", "dagster"
PATIENCE_SECONDS = 60.0


def postgres_programs() -> Path | None:
    """Return the folder of the newest server's programs; None where there is none."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    beside = shutil.which("initdb")
    return found[-1].parent if found else Path(beside).parent if beside else None


@contextmanager
def postgres_server() -> Generator[dict[str, str]]:
    """Run a server with a role and a database of its own; yield what Dagster reads of them."""
    programs = postgres_programs()
    assert programs is not None, NEEDS_POSTGRES
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder, as_who = Path(name), _as_who()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        for path in (folder, secret):
            if as_who:
                shutil.chown(path, UNPRIVILEGED)
        cluster = folder / "cluster"
        subprocess.run(
            [
                programs / "initdb",
                "-D",
                cluster,
                "-U",
                ROLE,
                "--pwfile",
                secret,
                "-A",
                "scram-sha-256",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            **as_who,
        )
        port = _free_port()
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", cluster, *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                **as_who,
            )
        environ = _environ(port)
        try:
            _make_database(process, environ)
            yield environ
        finally:
            process.terminate()
            process.wait()


def connect(environ: Mapping[str, str], database: str = DATABASE) -> Any:
    """Open a connection of one's own, which sees what is committed."""
    return psycopg2.connect(
        host=environ["DAGSTER_PG_HOST"],
        port=environ["DAGSTER_PG_PORT"],
        user=environ["DAGSTER_PG_USER"],
        password=environ["DAGSTER_PG_PASSWORD"],
        dbname=database,
    )


def _environ(port: int) -> dict[str, str]:
    return {
        "DAGSTER_PG_HOST": "127.0.0.1",
        "DAGSTER_PG_PORT": str(port),
        "DAGSTER_PG_DB": DATABASE,
        "DAGSTER_PG_USER": ROLE,
        "DAGSTER_PG_PASSWORD": PASSWORD,
    }


def _make_database(process: subprocess.Popen[bytes], environ: Mapping[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None, "the server ended"
        try:
            connection = connect(environ, "postgres")
            break
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    connection.close()


def _as_who() -> dict[str, Any]:
    return {"user": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
