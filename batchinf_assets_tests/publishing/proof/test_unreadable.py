"""What `verify` says of a published window while the store cannot be read: that nobody can tell."""

from __future__ import annotations

from pathlib import Path

from batchinf_assets.lake.presence import Presence
from batchinf_assets.publishing.proof.verify import verify_key
from batchinf_assets_tests.nobody import as_nobody, give_to_nobody
from batchinf_assets_tests.publishing.conftest import Desk
from batchinf_assets_tests.publishing.proof.new_look import forget
from batchinf_assets_tests.publishing.rollback.test_damage import lost_permissions


def test_no_lost_permission_is_taken_for_damage(desk: Desk) -> None:
    desk.publish()
    root = Path(str(desk.project.lake)).parent
    give_to_nobody(root)
    presence = Presence.of(desk.project.lake / desk.spec.name)
    unknown: list[str] = []
    for lost in lost_permissions(root):
        forget(desk.project, desk.spec)
        with as_nobody():
            found = verify_key(desk.project, desk.registry, desk.spec, desk.window.key, presence)
        assert found.holds or not found.known, f"{lost}: {found.problems}"
        if not found.known:
            unknown.append(lost)
            assert "It is not known whether it holds: " in found.problems[-1], lost
    day, revision = desk.window.folder_name, desk.visible()
    (model,) = (desk.project.lake / "_models" / "flight_delays").glob("v1-*")
    assert {
        "keys/keyring.json at 0",
        f"lake/flight_delays/_manifests/{day}/{revision}.json at 0",
        f"lake/flight_delays/predictions/window={day}/{revision} at 0",
        f"lake/_models/flight_delays/{model.name}/statement.json at 0",
        f"lake/flight_delays/predictions/_delta_log/{1:020d}.json at 0",
    } <= set(unknown)
