"""Where reports lie in the lake, and how their links find what lies beside them."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from batchinf_assets.lake.manifests import DRAFT
from batchinf_assets.lake.place import Place, path_within
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

FOLDER = "_reports"


@dataclass(frozen=True, kw_only=True)
class Link:
    """Something of the lake that a page points at.

    Attributes:
        name: Its path from the lake's root, to find it wherever the page was carried.
        href: Its path from the page; None where the page does not lie in the lake.
    """

    name: str
    href: str | None


def window_report_place(
    project: Project, spec: PipelineSpec, window: Window, revision: str
) -> Place:
    """Return where the report of a revision lies."""
    return project.lake / spec.name / FOLDER / window.folder_name / f"{revision}.html"


def range_report_place(project: Project, spec: PipelineSpec, first: Window, last: Window) -> Place:
    """Return where the report of a range lies."""
    name = f"{first.folder_name}_{last.folder_name}.html"
    return project.lake / spec.name / FOLDER / name


def manifest_link(
    project: Project, spec: PipelineSpec, window: Window, manifest: Manifest, page: Place
) -> Link:
    """Point at a manifest: at the draft while it is one."""
    place = manifests(project, spec).path(window, manifest.revision)
    if manifest.published_at is None:
        place = place.with_name(DRAFT)
    return link_to(project, place, page)


def link_to(project: Project, place: Place, page: Place) -> Link:
    """Point from a page at something of the lake.

    A page that was written elsewhere has no links: they would say where on this machine the lake
    is, and lead nowhere on another one.
    """
    name = path_within(place, project.lake)
    if not _lies_in(page, project.lake):
        return Link(name=name, href=None)
    here = os.path.dirname(path_within(page, project.lake))  # noqa: PTH120 - of a key too
    return Link(name=name, href=quote(os.path.relpath(name, here).replace(os.sep, "/")))


def without_places(project: Project, text: str) -> str:
    """Return a sentence without where on this machine the project's folders lie."""
    folders = {
        "lake": project.lake,
        "landing": project.landing,
        "keys": project.keys,
        "dagster": project.dagster_home,
        "project": project.root,
    }
    for name, folder in sorted(folders.items(), key=lambda each: -len(str(each[1]))):
        text = text.replace(f"{folder}/", f"{name}/").replace(str(folder), name)
    return text


def _lies_in(page: Place, lake: Place) -> bool:
    if isinstance(page, Path):
        return isinstance(lake, Path) and page.is_relative_to(lake)
    return page.is_relative_to(lake)
