"""Commands on signing keys."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta

import click

from batchinf_assets.cli.workplace import as_json, here
from batchinf_assets.console import print_json, print_table
from batchinf_assets.errors import UsageError

PUBLIC_KEY_BYTES = 32


@click.group()
def keys() -> None:
    """Make a signing key, trust one, list the trusted ones, revoke one."""


@keys.command("init")
@click.option("--days", default=730, type=click.IntRange(1, 3650), help="How long it is valid.")
@as_json
def keys_init(*, days: int, json_: bool) -> None:
    """Make an Ed25519 key pair and trust it.

    The private key is written beside the keyring, readable by you alone. Keep the keyring where
    those who write models cannot change it.
    """
    from batchinf_assets.registry.keyring import init_keys

    project, now = here(), datetime.now(UTC)
    key = init_keys(project.keys, not_before=now, not_after=now + timedelta(days=days))
    folder, public = project.shown(project.keys), base64.b64encode(key.public).decode()
    if json_:
        print_json({"key_id": key.id, "folder": folder, "public": public})
        return
    click.echo(f"Key {key.id} made in {folder}, valid for {days} days. Back it up; share it never.")
    click.echo(f"Others trust it by: batchinf keys trust --public {public}")


@keys.command("trust")
@click.option("--public", "text", help="A colleague's public key, as `keys init` prints it.")
@click.option("--days", default=730, type=click.IntRange(1, 3650), help="How long it is valid.")
@click.option(
    "--from",
    "since",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="Since when what it signed counts, from 0:00 UTC; from now on if not given.",
)
@as_json
def keys_trust(*, text: str | None, days: int, since: datetime | None, json_: bool) -> None:
    """Trust a public key, or that of the private key which the environment names.

    For a key that was made elsewhere: a colleague's, or one in AWS Secrets Manager. What it signed
    before --from does not verify here. One that is trusted already is so since --from, if that is
    earlier; until when stays as it is.
    """
    from batchinf_assets.orchestration.secrets import fetch_secret
    from batchinf_assets.registry.keyring import trust_key
    from batchinf_assets.registry.keys import load_signing_key

    project, now = here(), datetime.now(UTC)
    public = (
        load_signing_key(project.keys, os.environ, fetch_secret).public
        if text is None
        else _raw(text)
    )
    not_before = now if since is None else since.replace(tzinfo=UTC)
    if not_before > now:
        raise UsageError(
            f"--from {not_before:%Y-%m-%d} is not over.",
            next_step="Give a day on which the key was already in use, or none.",
        )
    not_after = now + timedelta(days=days)
    key = trust_key(project.keys, public, not_before=not_before, not_after=not_after)
    if json_:
        print_json({"key_id": key.id, "folder": project.shown(project.keys)})
        return
    click.echo(
        f"Key {key.id} is trusted in {project.shown(project.keys)} from {key.not_before:%Y-%m-%d} "
        f"to {key.not_after:%Y-%m-%d}."
    )


@keys.command("list")
@as_json
def keys_list(*, json_: bool) -> None:
    """List the keys of the keyring."""
    from batchinf_assets.registry.keyring import read_keyring

    keyring = read_keyring(here().keys)
    if json_:
        print_json([key.model_dump(mode="json") for key in keyring.keys])
        return
    rows = [
        [key.id, f"{key.not_before:%Y-%m-%d}", f"{key.not_after:%Y-%m-%d}", key.revocation_reason]
        for key in keyring.keys
    ]
    print_table("Trusted keys", ["key", "from", "to", "revoked because"], rows)


@keys.command("revoke")
@click.argument("key_id")
@click.option("--reason", required=True, help="Why; everybody sees it.")
@as_json
def keys_revoke(*, key_id: str, reason: str, json_: bool) -> None:
    """Trust nothing any more that KEY_ID ever signed."""
    from batchinf_assets.registry.keyring import revoke_key

    revoke_key(here().keys, key_id, at=datetime.now(UTC), reason=reason)
    if json_:
        print_json({"key_id": key_id, "revoked": True, "reason": reason})
        return
    click.echo(f"Key {key_id} is revoked: models and promotions that it signed are refused.")


def _raw(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != PUBLIC_KEY_BYTES:
        raise UsageError(
            "That is no public key.", next_step="Give the 44 characters that `keys init` printed."
        )
    return raw
