"""Dagster's UI without its pages: the GraphQL that they ask, over the project's code location."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.test.utils import execute_dagster_graphql
from dagster_shared.utils.warnings import disable_dagster_warnings

WINDOWS = """
query Windows($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      assetPartitionStatuses {
        ... on TimePartitionStatuses { ranges { startKey endKey status } }
      }
      assetChecksOrError {
        ... on AssetChecks {
          checks {
            name
            partitionStatuses {
              ... on AssetCheckTimePartitionStatuses { ranges { startKey endKey status } }
            }
          }
        }
      }
    }
  }
}
"""


class DagsterUI:
    """What the UI would show by now."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self._workspace = workspace

    def window(self, key: dg.AssetKey, partition: str) -> dict[str, str]:
        """Return the status of a window's asset, as `asset`, and of its checks by their names."""
        answer = execute_dagster_graphql(
            self._workspace.create_request_context(), WINDOWS, {"key": {"path": key.path}}
        )
        node = answer.data["assetNodeOrError"]
        shown = {"asset": _status(node["assetPartitionStatuses"], partition)}
        for check in node["assetChecksOrError"]["checks"]:
            shown[check["name"]] = _status(check["partitionStatuses"], partition)
        return shown


@contextmanager
def served(instance: dg.DagsterInstance) -> Iterator[DagsterUI]:
    """Load the code location as the webserver does, but in this process."""
    code = LoadableTargetOrigin(module_name="batchinf_assets.definitions")
    origin = InProcessCodeLocationOrigin(code, location_name="batchinf_assets")
    with ExitStack() as stack:
        with disable_dagster_warnings():
            target = InProcessTestWorkspaceLoadTarget(origin)
            workspace = stack.enter_context(WorkspaceProcessContext(instance, target))
        yield DagsterUI(workspace)


def _status(found: dict[str, Any], partition: str) -> str:
    ranges = found["ranges"]
    inside = (each for each in ranges if each["startKey"] <= partition <= each["endKey"])
    return next((each["status"] for each in inside), "MISSING")
