"""How a bucket is reached, and what its refusals mean; the requests are `lake.s3_objects`'s.

The same settings go to both clients, obstore for objects and delta-rs for tables, which share one
implementation in Rust. Credentials are no part of them: each client finds those by itself.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from batchinf_assets.errors import StorageRefused, StorageUnavailable, UsageError

ENDPOINT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that name the store's address; the first one that is set counts."""

ENCRYPTION = ("server_side_encryption", "sse_kms_key_id", "sse_bucket_key_enabled")
"""Settings of server-side encryption, named alike by obstore, delta-rs and in the environment."""

_REFUSED = re.compile(
    r"40[13] (Unauthorized|Forbidden)|AccessDenied|ExpiredToken|InvalidAccessKeyId"
    r"|SignatureDoesNotMatch|PermissionDenied|Unauthenticated|lacked the necessary privileges"
)
_STATUS = re.compile(r"\b[345]\d\d [A-Z][a-z]+(?: [A-Z][a-z]+)*")
_FAILED_ON_THE_WAY = re.compile(r"Generic S3 error|Error performing [A-Z]+ http")


class ObjectReplaced(OSError):
    """An object was replaced while it was read.

    Args:
        place: The object.
    """

    def __init__(self, place: str) -> None:
        super().__init__(errno.ESTALE, "was replaced while it was read", place)


@dataclass(frozen=True, kw_only=True)
class S3Limits:
    """How long the store is waited for, so that a window's run ends whatever the store does.

    A request that fails on the way, times out or is answered with 5xx is tried again with
    exponential backoff and jitter, but not once `total_seconds` have passed.

    Attributes:
        connect_seconds: Until a connection stands.
        stall_seconds: Until the next bytes of an answer.
        request_seconds: From the first byte sent to the last one received; at most 8 MiB are sent.
        retries: How often one request is tried again.
        total_seconds: No request is tried again after this time.
    """

    connect_seconds: float = 5.0
    stall_seconds: float = 20.0
    request_seconds: float = 120.0
    retries: int = 4
    total_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class S3Access:
    """How a bucket is reached.

    Attributes:
        endpoint: The store's address, or None for AWS itself.
        region: The bucket's region, or None for that of the AWS profile.
        encryption: Pairs of an `ENCRYPTION` setting and its value.
        limits: How long the store is waited for.
    """

    endpoint: str | None = None
    region: str | None = None
    encryption: tuple[tuple[str, str], ...] = ()
    limits: S3Limits = S3Limits()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> S3Access:
        """Read `AWS_ENDPOINT_URL` (or `_S3`), `AWS_REGION` and the settings of encryption.

        Raises:
            UsageError: The endpoint is no URL, holds credentials, or would send data in the clear
                over a network without `AWS_ALLOW_HTTP=true`.
        """
        variable = next((name for name in ENDPOINT if environ.get(name)), "")
        endpoint = environ.get(variable)
        if endpoint:
            _require_endpoint(endpoint, variable, environ)
        found = {name: environ.get(f"AWS_{name.upper()}") for name in ENCRYPTION}
        return cls(
            endpoint=endpoint.rstrip("/") if endpoint else None,
            region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None,
            encryption=tuple((name, value) for name, value in found.items() if value),
        )

    @property
    def allow_http(self) -> bool:
        """Whether requests go out in the clear: only where the endpoint says so."""
        return self.endpoint is not None and self.endpoint.startswith("http://")

    @property
    def region_or_default(self) -> str:
        """The region, that of the AWS profile where none was set, or else `us-east-1`."""
        if self.region:
            return self.region
        session = aws_session()
        return (session.region_name if session else None) or "us-east-1"

    def storage_options(self) -> dict[str, str]:
        """Return the settings as delta-rs takes them; they hold no secret."""
        limits = self.limits
        options = {
            "aws_conditional_put": "etag",
            "aws_region": self.region_or_default,
            "aws_allow_http": str(self.allow_http).lower(),
            "connect_timeout": f"{limits.connect_seconds * 1000:.0f}ms",
            # It knows no limit between two reads; what it asks of a table is small.
            "timeout": f"{limits.stall_seconds * 1000:.0f}ms",
            "max_retries": str(limits.retries),
            "retry_timeout": f"{limits.total_seconds * 1000:.0f}ms",
            **{f"aws_{name}": value for name, value in self.encryption},
        }
        if self.endpoint:
            options["aws_endpoint_url"] = self.endpoint
        if "AWS_ACCESS_KEY_ID" not in os.environ:
            # With an endpoint of one's own delta-rs would look at nothing but the environment.
            options["aws_force_credential_load"] = "true"
        return options


def aws_session() -> Any:
    """Return boto3's session, which knows profiles and roles, or None where it is not installed.

    Raises:
        StorageRefused: `AWS_PROFILE` names a profile that is not there.
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return None
    try:
        return boto3.Session()
    except BotoCoreError as error:
        raise StorageRefused(
            "The AWS configuration cannot be used: see AWS_PROFILE and AWS_CONFIG_FILE.",
            next_step="Correct it; `aws sts get-caller-identity` shows whether it is right.",
        ) from error


def storage_failure(place: object, error: Exception) -> StorageRefused | StorageUnavailable:
    """Say what a client's error means, without its own text: that quotes requests.

    Args:
        place: What was asked for.
        error: From obstore or delta-rs.
    """
    text = str(error)
    if "NoSuchBucket" in text:
        return StorageUnavailable(
            f"The bucket of {place} does not exist.",
            next_step="Correct the setting that names it, or create the bucket.",
        )
    if _REFUSED.search(text):
        return StorageRefused(
            f"The store refused access to {place}.",
            next_step="Let the credentials in use read, write, list and delete there, "
            "with the key that encrypts it; or use others.",
        )
    return StorageUnavailable(
        f"The store did not do its part for {place}: {_cause(text)}.",
        next_step="Check the endpoint (AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL), the network and "
        "the store; then run it again.",
    )


def failed_on_the_way(error: Exception) -> bool:
    """Say whether an error of delta-rs is the store's and not about what a table holds."""
    return isinstance(error, OSError) or _FAILED_ON_THE_WAY.search(str(error)) is not None


def _cause(text: str) -> str:
    status = _STATUS.search(text)
    if status:
        return f"it answered {status[0]}"
    if "timed out" in text or "TimedOut" in text:
        return "it did not answer in time"
    return "no connection" if "onnect" in text else "the request failed"


def _require_endpoint(endpoint: str, variable: str, environ: Mapping[str, str]) -> None:
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or "@" in url.netloc:
        raise UsageError(
            f"{variable} is no plain address like https://host:port.",
            next_step="Correct it; credentials belong into AWS_ACCESS_KEY_ID and the like.",
        )
    allowed = environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    if url.scheme == "http" and not allowed and not _is_loopback(url):
        raise UsageError(
            f"{variable} reaches {url.hostname} over http, where anybody can listen.",
            next_step="Use https, or set AWS_ALLOW_HTTP=true if that network is yours alone.",
        )


def _is_loopback(url: SplitResult) -> bool:
    host = url.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
