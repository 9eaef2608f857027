"""Settings that name a folder or a place on S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchinf_assets.errors import UsageError
from batchinf_assets.lake.place import parse_place, path_within
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import S3Access

ROOT = Path("/checkout")


def parsed(text: str, **environ: str) -> S3Place | Path:
    return parse_place(text, ROOT, environ, variable="BATCHINF_LAKE")


def test_what_is_no_url_is_a_folder() -> None:
    assert parsed("data/lake") == ROOT / "data/lake"
    assert parsed("/lakes/s3:/one") == Path("/lakes/s3:/one")


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://my-lakes/a/b=1", "my-lakes", "a/b=1"),
        ("s3://my.lakes/", "my.lakes", ""),
        ("s3://lakes", "lakes", ""),
        ("s3://lakes/a/", "lakes", "a"),
    ],
)
def test_a_url_is_a_bucket_and_a_prefix(url: str, bucket: str, key: str) -> None:
    place = parsed(url)
    assert isinstance(place, S3Place)
    assert (place.bucket, place.key) == (bucket, key)


@pytest.mark.parametrize(
    "url",
    [
        *("gs://lakes/a", "file:///lake", "s3:///a", "s3://Lakes/a", "s3://lakes//a"),
        *("s3:/lakes/a", "file:/lake"),
        *("s3://lakes/a/../b", "s3://lakes/./a", "s3://lakes/a b", "s3://lakes/a#b", "s3://l/a"),
    ],
)
def test_any_other_url_is_refused_by_its_variable(url: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parsed(url)
    assert url in refusal.value.message
    assert "BATCHINF_LAKE" in refusal.value.next_step


@pytest.mark.parametrize("url", ["s3://key:SECRET@lakes/a", "s3://lakes/a?signature=SECRET"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parsed(url)
    assert "SECRET" not in str(refusal.value)


def access(**environ: str) -> S3Access:
    return S3Access.from_environ(environ)


def test_the_environment_says_how_the_store_is_reached() -> None:
    found = access(
        AWS_ENDPOINT_URL="https://store.example:9000/",
        AWS_DEFAULT_REGION="eu-west-1",
        AWS_SERVER_SIDE_ENCRYPTION="aws:kms",
        AWS_SSE_KMS_KEY_ID="arn:aws:kms:eu-west-1:1:key/2",
        AWS_SSE_BUCKET_KEY_ENABLED="true",
    )
    options = found.storage_options()
    assert options["aws_endpoint_url"] == "https://store.example:9000"
    assert options["aws_region"] == "eu-west-1"
    assert options["aws_conditional_put"] == "etag"
    assert options["aws_allow_http"] == "false"
    assert options["aws_server_side_encryption"] == "aws:kms"
    assert options["aws_sse_kms_key_id"] == "arn:aws:kms:eu-west-1:1:key/2"
    assert options["aws_sse_bucket_key_enabled"] == "true"
    assert access(AWS_ENDPOINT_URL="https://a", AWS_ENDPOINT_URL_S3="https://b").endpoint == (
        "https://b"
    )
    assert access().endpoint is None


def test_no_secret_is_part_of_how_the_store_is_reached() -> None:
    found = access(
        AWS_ACCESS_KEY_ID="CANARY", AWS_SECRET_ACCESS_KEY="CANARY", AWS_SESSION_TOKEN="CANARY"
    )
    assert "CANARY" not in repr(found)
    assert "CANARY" not in repr(found.storage_options())


@pytest.mark.parametrize("host", ["127.0.0.1:5000", "localhost:9000", "[::1]:9000"])
def test_this_machine_may_be_asked_in_the_clear(host: str) -> None:
    assert access(AWS_ENDPOINT_URL=f"http://{host}").allow_http


def test_a_network_may_be_asked_in_the_clear_only_if_that_is_said() -> None:
    with pytest.raises(UsageError, match=r"store\.example over http"):
        access(AWS_ENDPOINT_URL="http://store.example")
    allowed = access(AWS_ENDPOINT_URL="http://store.example", AWS_ALLOW_HTTP="true")
    assert allowed.allow_http
    assert not access(AWS_ENDPOINT_URL="https://store.example", AWS_ALLOW_HTTP="true").allow_http


@pytest.mark.parametrize(
    "url",
    ["store.example", "ftp://store.example", "https://user:SECRET@store", "https://s?k=SECRET"],
)
def test_an_endpoint_that_is_no_plain_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="AWS_ENDPOINT_URL is no plain") as refusal:
        access(AWS_ENDPOINT_URL=url)
    assert "SECRET" not in str(refusal.value)


@pytest.mark.parametrize("url", ["store.example", "http://store.example"])
def test_the_variable_that_holds_a_refused_endpoint_is_named(url: str) -> None:
    with pytest.raises(UsageError, match=r"^AWS_ENDPOINT_URL_S3 "):
        access(AWS_ENDPOINT_URL_S3=url, AWS_ENDPOINT_URL="https://fine.example")


def test_a_path_within_a_folder_has_slashes_on_both() -> None:
    lake = S3Place(bucket="lakes", key="one")
    assert path_within(lake / "a" / "b", lake) == "a/b"
    assert path_within(ROOT / "a" / "b", ROOT) == "a/b"
    for place, folder in ((ROOT, lake), (lake, ROOT), (ROOT, ROOT / "a")):
        with pytest.raises(ValueError, match=r"one|checkout"):
            path_within(place, folder)
