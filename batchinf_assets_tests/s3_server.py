"""An S3 server on loopback for tests: moto's, in a process of its own.

In this process it would wait for the interpreter while a client in Rust holds it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from typing import Any

from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import S3Access, S3Limits

ENVIRON = {"AWS_ACCESS_KEY_ID": "CANARY-KEY-ID", "AWS_SECRET_ACCESS_KEY": "CANARY-SECRET"}
PATIENCE_SECONDS = 30.0

_numbers = count()


@contextmanager
def moto_server() -> Generator[str]:
    """Run a server without buckets; yield its URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env={**os.environ, **ENVIRON}, **quiet) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(url, process)
            yield url
        finally:
            process.kill()


def new_bucket(url: str) -> str:
    """Make a bucket and return its name."""
    name = f"lake-{os.getpid()}-{next(_numbers)}"
    asked = urllib.request.Request(f"{url}/{name}", method="PUT")
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 200
    return name


def place_at(url: str, bucket: str, key: str = "a-lake", limits: S3Limits | None = None) -> S3Place:
    """Return a place in a bucket of the server at `url`."""
    access = S3Access(endpoint=url, region="us-east-1", limits=limits or S3Limits())
    return S3Place(bucket=bucket, key=key, access=access)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[Any]) -> None:
    """Return once the server answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.HTTPError as refusal:
            refusal.close()
        except OSError:
            assert process.poll() is None, "moto's server ended at once"
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.02)
            continue
        return
