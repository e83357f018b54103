"""A node's files."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.peers.certificates import INSTANCE, Authorities, now

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.peers.authority import describe, issue_node, request_for
from quorate.peers.identity import NodeIdentity


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return Authorities.make()


def test_the_files_are_their_owner_s_alone(authorities: Authorities, tmp_path: Path) -> None:
    identity = authorities.identity(tmp_path / "pki", "1")
    assert stat.S_IMODE(identity.directory.stat().st_mode) == 0o700
    files = sorted(identity.directory.iterdir())
    assert [path.name for path in files] == ["node.crt", "node.key", "nodes-ca.crt", "users-ca.crt"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_what_was_saved_is_loaded(authorities: Authorities, tmp_path: Path) -> None:
    identity = NodeIdentity(tmp_path)
    assert not identity.exists()
    authorities.identity(tmp_path, "4")
    assert identity.exists()
    pems = identity.load()
    assert describe(pems.certificate).subject == "4"
    assert pems.nodes_ca == authorities.nodes.certificate_pem
    assert pems.users_ca == authorities.users.certificate_pem


def test_a_missing_file_is_named(authorities: Authorities, tmp_path: Path) -> None:
    identity = authorities.identity(tmp_path, "4")
    identity.key.unlink()
    with pytest.raises(FaultError, match=r"node\.key") as missing:
        identity.load()
    assert missing.value.status is Status.ERROR_FILE_NOT_FOUND


def test_a_directory_that_cannot_be_made_is_said(authorities: Authorities, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FaultError, match="could not be written"):
        authorities.identity(tmp_path / "file" / "pki", "4")


def test_it_is_renewed_with_a_third_of_its_life_left(authorities: Authorities, tmp_path: Path) -> None:
    identity = authorities.identity(tmp_path, "4", days=90)
    facts = describe(identity.load().certificate)
    life = facts.not_after - facts.not_before
    third = facts.not_after - life / 3
    assert not identity.due_for_renewal(third - timedelta(seconds=1))
    assert identity.due_for_renewal(third + timedelta(seconds=1))
    assert identity.due_for_renewal(facts.not_after + timedelta(days=1))


def test_a_renewal_changes_one_file_and_the_stamp(authorities: Authorities, tmp_path: Path) -> None:
    identity = authorities.identity(tmp_path, "4")
    before, stamp = identity.load(), identity.stamp()
    assert identity.stamp() == stamp
    renewed = issue_node(authorities.nodes, request_for(before.key, "4"), "4", INSTANCE, [], now())
    identity.save_certificate(renewed)
    after = identity.load()
    assert (after.key, after.nodes_ca, after.users_ca) == (before.key, before.nodes_ca, before.users_ca)
    assert after.certificate == renewed
    assert identity.stamp() != stamp
