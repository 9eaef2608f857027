"""Where signing keys come from when AWS Secrets Manager keeps them."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager

from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.errors import SigningKeyUnavailable, UsageError
from batchinf_assets.registry.untrusted_text import one_line


def fetch_secret(name: str) -> str:
    """Return the text of a secret, asked for with the credentials of this process.

    `AWS_ENDPOINT_URL_SECRETS_MANAGER`, `AWS_REGION` and the other variables of AWS are obeyed.

    Raises:
        UsageError: `dagster-aws` is not installed.
        SigningKeyUnavailable: The secret is not there or no text, or these credentials may not
            read it.
    """
    try:
        from botocore.exceptions import BotoCoreError, ClientError
        from dagster_aws.secretsmanager import SecretsManagerResource
    except ImportError as error:
        raise UsageError(
            "The signing key is in AWS Secrets Manager, and dagster-aws is not installed.",
            next_step="Install it: `pip install 'batchinf-assets[aws]'`.",
        ) from error
    with disable_dagster_warnings():  # the resource is called beta
        resource = SecretsManagerResource(region_name=os.environ.get("AWS_REGION"))
    try:
        with _unlogged_answers():
            answer = resource.get_client().get_secret_value(SecretId=name)
    except (BotoCoreError, ClientError) as error:
        reason = one_line(str(error)).rstrip(".")
        raise SigningKeyUnavailable(
            f"The secret '{name}' cannot be read: {reason}.",
            next_step="Check the secret's name, the region, and the right to "
            "secretsmanager:GetSecretValue.",
        ) from error
    if "SecretString" not in answer:
        raise SigningKeyUnavailable(
            f"The secret '{name}' is binary.", next_step="Store the key's PEM as the secret's text."
        )
    return answer["SecretString"]


@contextmanager
def _unlogged_answers() -> Generator[None]:
    """Keep botocore from logging what the store answers, as it does at level DEBUG."""
    logger = logging.getLogger("botocore.parsers")
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
