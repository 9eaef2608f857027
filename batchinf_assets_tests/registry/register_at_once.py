"""Register a drafted artifact again and again; a second process does the same."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batchinf_assets.project import Project
from batchinf_assets.registry.artifact import draft_artifact
from batchinf_assets.registry.card import ModelCard
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.registry.registry import Registry

NOW = datetime(2013, 7, 1, tzinfo=UTC)

root, folder = Path(sys.argv[1]), Path(sys.argv[2])
card = ModelCard.model_validate_json((folder / "model.json").read_bytes())
draft = draft_artifact(card, {name: (folder / name).read_bytes() for name in card.files})
project = Project(
    root=root, lake=root / "lake", landing=root, dagster_home=root, keys=root / "keys"
)
key = load_signing_key(project.keys, {})
for name in ("one", "two", "two"):
    named = draft_artifact(
        draft.card.model_copy(update={"name": name}),
        {file: draft.contents[file] for file in draft.card.files},
    )
    registry = Registry.at(project, {})
    version = registry.register(named, key, now=NOW, expires_at=NOW + timedelta(days=1))
    sys.stdout.write(f"{version.name} {version.version}\n")
