"""The leases of a pipeline's windows, as the sensor for unfinished windows reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from batchinf_assets.attempts import lease_place
from batchinf_assets.lake.lease import Lease, LeaseInvalid, read_lease
from batchinf_assets.project import Project
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

READERS = 8


@dataclass(frozen=True, kw_only=True)
class WindowLeases:
    """What the lease files of some windows say.

    Attributes:
        known: The leases of windows that were ever held.
        damaged: Windows whose lease file cannot be understood, each with what is wrong: nobody
            knows whether somebody works on them.
    """

    known: tuple[Lease, ...]
    damaged: Mapping[str, str]


def read_leases(project: Project, spec: PipelineSpec, windows: Iterable[Window]) -> WindowLeases:
    """Read the lease files of windows; a damaged one stops no other.

    Raises:
        OSError: A file cannot be read.
    """

    def read(window: Window) -> Lease | LeaseInvalid | None:
        try:
            return read_lease(lease_place(project, spec, window), window.key)
        except LeaseInvalid as error:
            return error

    asked = list(windows)
    with ThreadPoolExecutor(READERS) as readers:
        found = list(readers.map(read, asked))
    damaged = {
        window.key: str(each)
        for window, each in zip(asked, found, strict=True)
        if isinstance(each, LeaseInvalid)
    }
    return WindowLeases(
        known=tuple(each for each in found if isinstance(each, Lease)), damaged=damaged
    )
