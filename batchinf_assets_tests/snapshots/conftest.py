"""A landing place on S3 for tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.project import Project
from batchinf_assets_tests.resilience.fault_proxy import FaultProxy, fault_proxy
from batchinf_assets_tests.s3_server import ENVIRON, moto_server, new_bucket, place_at


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The server's URL."""
    with moto_server() as url:
        yield url


@pytest.fixture
def s3_landing(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> S3Place:
    """A place in a new bucket, and the credentials for it in the environment."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    return place_at(s3_server, new_bucket(s3_server), "upstream/landing")


@pytest.fixture(scope="module")
def proxy(s3_server: str) -> Iterator[FaultProxy]:
    """What stands before the server, and can fail."""
    with fault_proxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def project_on_s3(tmp_path: Path, s3_landing: S3Place, proxy: FaultProxy) -> Project:
    """A project whose files land on S3, asked through the proxy."""
    here = {name: tmp_path / name for name in ("root", "lake", "dagster_home", "keys")}
    proxy.inject()
    access = replace(s3_landing.access, endpoint=proxy.url)
    return Project(landing=replace(s3_landing, access=access), **here)
