from datetime import timedelta

import pytest

from batchinf_assets.errors import KeyringInvalid, ModelRefused, ModelUnavailable
from batchinf_assets.registry.trust import open_version, promoted_model, promotion_log


def promoted(toys, **changed):
    asked = {"name": "toy", "alias": "champion", "at": toys.at, **changed}
    return promoted_model(toys.registry, **asked)


def test_the_promoted_model_is_returned_verified(toys):
    found = promoted(toys)
    assert (found.version.name, found.version.version) == ("toy", "2")
    assert found.artifact.contents["model.skops"] == b"second"
    assert found.artifact.statement.version == found.promotion.version == "2"
    assert found.artifact.digest == found.version.digest == found.promotion.digest


def test_a_signed_version_opens_without_promotion(toys):
    version = toys.registry.version("toy", "3")
    assert open_version(toys.registry, version, toys.at).contents["model.skops"] == b"third"


def test_authenticity_outlives_expiry(toys):
    version, late = toys.registry.version("toy", "3"), toys.at + timedelta(days=99)
    with pytest.raises(ModelRefused):
        open_version(toys.registry, version, late)
    assert open_version(toys.registry, version, None).card.name == "toy"


def test_promote_score_demote_score_names_the_right_model_each_time(toys):
    third, second = toys.registry.version("toy", "3"), toys.registry.version("toy", "2")
    toys.promote(third)
    assert promoted(toys).artifact.contents["model.skops"] == b"third"
    toys.promote(second, action="demote")
    assert promoted(toys).artifact.contents["model.skops"] == b"second"
    assert promoted(toys).promotion.sequence == 4


def test_each_alias_is_promoted_for_itself(toys):
    toys.promote(toys.registry.version("toy", "3"), alias="shadow")
    assert promoted(toys, alias="shadow").version.version == "3"
    assert promoted(toys).version.version == "2"


def test_a_model_that_was_signed_and_promoted_by_two_people_scores(toys):
    version = toys.register(toys.draft(model=b"fourth"), key="colleague")
    toys.promote(version, key="mine")
    found = promoted(toys)
    assert found.artifact.statement.key_id == toys.keys["colleague"].id
    assert found.promotion.key_id == toys.keys["mine"].id


@pytest.mark.parametrize(("name", "alias"), [("toy", "shadow"), ("unknown", "champion")])
def test_an_unknown_model_or_alias_is_unavailable(toys, name, alias):
    with pytest.raises(ModelUnavailable, match=f"'{name}' with alias '{alias}'"):
        promoted(toys, name=name, alias=alias)


def test_without_keyring_nothing_is_trusted(toys):
    (toys.registry.keys / "keyring.json").unlink()
    with pytest.raises(KeyringInvalid, match="no model can be trusted"):
        promoted(toys)
    with pytest.raises(KeyringInvalid, match="no model can be trusted"):
        open_version(toys.registry, toys.registry.version("toy", "2"), toys.at)


def test_a_promotion_is_seen_although_its_artifact_does_not_verify(toys):
    """Else breaking the artifact for a while would hide that it had been promoted."""
    (toys.registry.keys / "promotions-seen.json").unlink()
    (toys.folder() / "model.skops").write_bytes(b"broken")
    with pytest.raises(ModelRefused):
        promoted(toys)
    assert (
        promotion_log(toys.registry, "toy", "champion").seen.last("toy", "champion").sequence == 2
    )
