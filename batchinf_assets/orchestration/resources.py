"""What assets get from Dagster: plain objects of the layers below."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import Any, TypeVar

import dagster as dg
from pydantic import PrivateAttr

from batchinf_assets.orchestration.secrets import fetch_secret
from batchinf_assets.project import Project
from batchinf_assets.registry.keyring import load_trusted_key
from batchinf_assets.registry.keys import SigningKey
from batchinf_assets.registry.registry import Registry

Made = TypeVar("Made")


class Workplace(dg.ConfigurableResource[None]):
    """Lake, landing folder, registry and keys, read from the environment when a run starts."""

    _made: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])
    _end: ExitStack = PrivateAttr(default_factory=ExitStack)

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

    def until_the_end(self, name: str, make: Callable[[], AbstractContextManager[Made]]) -> Made:
        """Return what all steps of a run share; made by the first that asks, ended with the run.

        Args:
            name: What it is called.
            make: Makes it.
        """
        if name not in self._made:
            self._made[name] = self._end.enter_context(make())
        return self._made[name]

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """End what the steps shared."""
        self.end()

    def end(self) -> None:
        """End what was made by `until_the_end`."""
        self._made.clear()
        self._end.close()


def shared() -> dg.Definitions:
    """Return what all pipelines share: the workplace, and steps that run inside the run's process.

    Starting a process costs seconds per step; a window's steps take less.
    """
    return dg.Definitions(resources={"workplace": Workplace()}, executor=dg.in_process_executor)
