"""An S3 server on loopback that holds thousands of objects from its start.

Each put by HTTP takes moto milliseconds. So this program, moto's server in a process of its own,
fills its store first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from batchinf_assets_tests.s3_server import ENVIRON, free_port, wait_for

BUCKET, ACCOUNT = "stocked", "123456789012"


@contextmanager
def stocked_server(keys: Iterable[str]) -> Generator[str]:
    """Run a server whose bucket `BUCKET` holds objects of these keys, each with its own bytes."""
    port = free_port()
    environ = {**os.environ, **ENVIRON}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, __file__, str(port)]
    with subprocess.Popen(command, env=environ, text=True, **pipes) as process:
        try:
            assert process.stdin is not None
            process.stdin.write("\n".join(keys))
            process.stdin.close()
            url = f"http://127.0.0.1:{port}"
            wait_for(url, process)
            yield url
        finally:
            process.kill()


def main(port: str) -> None:
    from moto.s3.models import s3_backends
    from moto.server import main as serve

    store = s3_backends[ACCOUNT]["aws"]
    store.create_bucket(BUCKET, "us-east-1")
    for key in sys.stdin.read().splitlines():
        store.put_object(BUCKET, key, key.encode())
    serve(["-H", "127.0.0.1", "-p", port])


if __name__ == "__main__":
    main(*sys.argv[1:])
