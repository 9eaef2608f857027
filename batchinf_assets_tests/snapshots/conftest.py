"""A landing place on S3 for tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchinf_assets.lake.s3 import S3Place
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
