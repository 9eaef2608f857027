"""The demo pipeline under a cap that every run is predicted to exceed."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg

from batchinf_assets.cli.workplace import own_definitions
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.run import CapsSpec

CAP_SECONDS = 0.001


def capped() -> Pipeline:
    """The pipeline as somebody would declare it who lets nothing run for more than a moment."""
    declared = load_pipeline("flight_delays")
    caps = CapsSpec(seconds=CAP_SECONDS)
    return replace(declared, spec=declared.spec.model_copy(update={"caps": caps}))


@dg.definitions
def defs() -> dg.Definitions:
    return own_definitions(capped())
