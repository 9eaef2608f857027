"""Models, keyrings and promotions that released versions wrote still verify and open.

Each format has a folder of its own, written once by the script of its name and never again.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.artifact import open_artifact
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.promotions import PromotionLog

V2 = Path(__file__).with_name("model_v2")
DIGEST = "c2c684081998ef21ddc8947532f28eba48b509ed546b3141224ab168841cb24b"
AT = datetime(2126, 11, 21, tzinfo=UTC)


@pytest.fixture
def ring(tmp_path):
    """The committed keyring, closed to others as a checkout may not be."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    shutil.copyfile(V2 / "keys" / "keyring.json", folder / "keyring.json")
    (folder / "keyring.json").chmod(0o600)
    return read_keyring(folder)


def opened(ring, at=AT):
    return open_artifact(
        V2 / "models",
        name="toy",
        version="1",
        digest=DIGEST,
        keyring=ring,
        at=at,
    )


def test_an_artifact_of_format_2_verifies_and_opens(ring):
    artifact = opened(ring)
    assert artifact.card.format_version == 2
    assert artifact.statement.format_version == 1
    assert [(c.name, c.type, c.nullable) for c in artifact.card.input_schema] == [
        ("distance", "float64", False),
        ("carrier", "string", True),
    ]
    assert artifact.card.golden.metrics == {"auroc": 0.5, "precision": None}
    assert [record.verdict for record in artifact.card.parity] == ["passed", "refused"]
    assert artifact.card.origin == "trained here"
    assert artifact.contents["trees.parquet"] == b"PAR1"
    assert artifact.profile.subjects["carrier"].counts == {"AA": 1, "UA": 1}


def test_a_profile_of_version_1_has_its_digest_and_knows_no_windows(ring):
    profile = opened(ring).profile
    assert profile.window_spreads is None
    assert profile.to_json().encode() == opened(ring).contents["profile.json"]


def test_an_artifact_of_format_2_still_expires(ring):
    with pytest.raises(ModelRefused) as refusal:
        opened(ring, datetime(2126, 11, 22, tzinfo=UTC))
    assert refusal.value.reason is Refusal.SIGNATURE_EXPIRED


def test_a_promotion_of_format_1_verifies(ring, tmp_path):
    log = PromotionLog.of(V2 / "models", tmp_path, "toy", "champion")
    record = log.current(ring, AT)
    assert log.history(ring) == [record]
    assert (record.version, record.digest, record.forced) == ("1", DIGEST, True)
    assert record.clauses[0].measured == {"fell": 0.1}


def test_no_private_key_was_kept():
    names = sorted(path.relative_to(V2).as_posix() for path in V2.rglob("*") if path.is_file())
    assert [name for name in names if name.startswith("keys/")] == ["keys/keyring.json"]
    assert not [
        path for path in V2.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()
    ]
