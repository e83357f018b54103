"""A cluster is made in one transaction, the last thing that is done; with a real etcd in tests/contract."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import ClusterError, FaultError, RefusalError
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Compare, Outcome, StoreUnavailable, Write
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.member_records import StoreAccess
from quorate.database.memory import MemoryData, MemoryStore
from quorate.peers.authority import describe
from quorate.peers.tls import NodeTls
from quorate.service import installation
from quorate.service.configuration import read_configuration
from quorate.service.installation import CreatedCluster, NewCluster, create_cluster
from quorate.service.machine import Machine


class Flaky(MemoryStore):
    """Loses answers, or whole transactions."""

    landing: Sequence[bool] = ()
    """What becomes of the first transactions, whose answers are lost: whether they land."""

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        if not self.landing:
            return await super().transact(compares, writes)
        lands, *self.landing = self.landing
        if lands:
            await super().transact(compares, writes)
        raise StoreUnavailable("no answer")


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(settings: EtcdSettings) -> None:
        settings.parsed()

    monkeypatch.setattr(installation, "check_etcd", check)


@pytest.fixture
def new(tmp_path: Path) -> NewCluster:
    for name in ("ca", "cert", "key"):
        kind = "PRIVATE KEY" if name == "key" else "CERTIFICATE"
        (tmp_path / name).write_text(f"-----BEGIN {kind}-----\n{name}\n-----END {kind}-----\n")
    etcd = EtcdSettings(("https://10.0.0.9",), tmp_path / "ca", tmp_path / "cert", tmp_path / "key")
    machine = Machine(
        "alpha", HostPort("192.0.2.1", 7443), HostPort("192.0.2.1", 7444), tmp_path / "a" / "b", Path("/r")
    )
    return NewCluster("Prod", etcd, machine)


def create(new: NewCluster, store: MemoryStore) -> CreatedCluster:
    def open_store(settings: EtcdSettings) -> MemoryStore:
        assert settings.prefix == "quorate/prod/"
        return store

    return asyncio.run(create_cluster(new, open_store))


def test_what_is_made_fits_together(new: NewCluster) -> None:
    data = MemoryData()
    made = create(new, MemoryStore(data))
    database = ClusterDatabase(MemoryStore(data))
    snapshot = asyncio.run(database.snapshot())
    assert (made.name, made.node, made.prefix) == ("Prod", "1", "quorate/prod/")
    assert snapshot.cluster.instance_id == made.instance_id
    configuration = read_configuration(made.configuration)
    assert isinstance(configuration.database, EtcdSettings)
    assert configuration.database.endpoints == ("https://10.0.0.9:2379",)
    tls = NodeTls(new.machine.identity, made.instance_id)
    facts = describe(tls.identity.load().certificate)
    assert (facts.subject, facts.organization, facts.names) == ("1", made.instance_id, ("192.0.2.1",))
    access = asyncio.run(database.members.store_access())
    assert access == StoreAccess(
        ("https://10.0.0.9:2379",),
        "quorate/prod/",
        (new.etcd.ca or Path()).read_text(),
        (new.etcd.cert or Path()).read_text(),
        (new.etcd.key or Path()).read_text(),
    )
    kinds = [event.kind for event in asyncio.run(database.events())]
    assert kinds == ["cluster.created", "node.added"]


def test_the_key_to_etcd_stays_here_where_that_is_wished(new: NewCluster) -> None:
    data = MemoryData()
    create(replace(new, hand_over=False), MemoryStore(data))
    access = asyncio.run(ClusterDatabase(MemoryStore(data)).members.store_access())
    assert (access.handed_over, access.certificate, access.key) == (False, "", "")
    assert access.ca
    assert (new.machine.state / "etcd" / "client.key").exists()


@pytest.mark.parametrize("landing", [[True], [False], [False, False, True], [False, True]])
def test_an_answer_that_is_lost_is_found_out(
    landing: list[bool], new: NewCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def soon(seconds: float) -> None:
        return None

    monkeypatch.setattr(asyncio, "sleep", soon)
    data = MemoryData()
    store = Flaky(data)
    store.landing = landing
    made = create(new, store)
    snapshot = asyncio.run(ClusterDatabase(MemoryStore(data)).snapshot())
    assert snapshot.cluster.instance_id == made.instance_id
    assert len(snapshot.nodes) == 1
    assert made.configuration.exists()


def test_an_etcd_that_falls_silent_leaves_nothing_here(new: NewCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "SETTLING", 0.0)
    store = Flaky()
    store.landing = [False] * 9
    with pytest.raises(FaultError, match="it is not known whether it was") as caught:
        create(new, store)
    assert caught.value.status == Status.ERROR_TIMEOUT
    assert not new.machine.state.parent.exists()


def test_a_cluster_that_somebody_makes_in_the_very_moment_stays_theirs(new: NewCluster) -> None:
    class Quick(MemoryStore):
        async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
            await ClusterDatabase(MemoryStore(self.data)).create_cluster("Prod")
            return await super().transact(compares, writes)

    store = Quick()
    with pytest.raises(RefusalError) as caught:
        create(new, store)
    assert caught.value.status == Status.ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME
    assert not new.machine.state.parent.exists()
    assert asyncio.run(ClusterDatabase(MemoryStore(store.data)).snapshot()).nodes == {}


def test_a_disk_that_cannot_be_written_stops_it_before_etcd_is_touched(new: NewCluster) -> None:
    new.machine.state.parent.mkdir()
    new.machine.state.write_text("a file is in the way")
    store = MemoryStore()
    with pytest.raises(FaultError, match="cannot be written"):
        create(new, store)
    assert asyncio.run(ClusterDatabase(MemoryStore(store.data)).is_created()) is False
    assert new.machine.state.read_text() == "a file is in the way"


def test_a_file_that_is_no_pem_is_told(new: NewCluster, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    with pytest.raises(ClusterError, match="is no PEM file"):
        create(new, MemoryStore())
    assert not new.machine.state.parent.exists()
