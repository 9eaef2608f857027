"""What assets get from Dagster: plain objects of the layers below."""

from __future__ import annotations

import os

import dagster as dg

from batchinf_assets.project import Project
from batchinf_assets.registry.registry import Registry


class Workplace(dg.ConfigurableResource[None]):
    """Lake, landing folder and registry, read from the environment when a run starts."""

    def project(self) -> Project:
        """Return the folders."""
        return Project.here(os.environ)

    def registry(self) -> Registry:
        """Return the model registry."""
        return Registry.at(self.project().lake, os.environ)


def shared() -> dg.Definitions:
    """Return what all pipelines share: the workplace, and steps that run inside the run's process.

    Starting a process costs seconds per step; a window's steps take less.
    """
    return dg.Definitions(resources={"workplace": Workplace()}, executor=dg.in_process_executor)
