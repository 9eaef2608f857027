"""The project's own definitions, with sensors that look every two seconds."""

from __future__ import annotations

import dagster as dg

from batchinf_assets import definitions  # its own `defs` may not stand here too: Dagster wants one

SECONDS = 2


@dg.definitions
def defs() -> dg.Definitions:
    found = definitions.defs()
    for sensor in found.sensors or ():
        sensor._min_interval = SECONDS
    return found
