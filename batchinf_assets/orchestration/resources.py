"""What assets get from Dagster: plain objects of the layers below."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.orchestration.secrets import fetch_secret
from batchinf_assets.project import Project
from batchinf_assets.registry.keyring import load_trusted_key
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry


class Workplace(dg.ConfigurableResource[None]):
    """Lake, landing folder, registry and keys, read from the environment when a run starts."""

    def project(self) -> Project:
        """Return the folders."""
        return Project.here(os.environ)

    def registry(self) -> Registry:
        """Return the model registry."""
        return Registry.at(self.project(), os.environ)

    def signing_key(self) -> SigningKey:
        """Return the private key from the file, variable or secret that the environment names.

        Raises:
            SigningKeyUnavailable: There is none, or it is not kept as it must be.
            ModelRefused: The keyring does not trust it.
        """
        return load_trusted_key(self.project().keys, os.environ, fetch_secret, datetime.now(UTC))


def shared() -> dg.Definitions:
    """Return what all pipelines share: the workplace, and steps that run inside the run's process.

    Starting a process costs seconds per step; a window's steps take less.
    """
    return dg.Definitions(resources={"workplace": Workplace()}, executor=dg.in_process_executor)
