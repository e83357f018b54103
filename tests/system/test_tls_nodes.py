"""Two real daemons that talk over TLS, as on two machines: a guest moves between them over TCP and lives on."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.tls_rig import write_authorities
from tests.system.pocket_cluster import PocketCluster, pocket_cluster
from tests.system.shell import Shell
from tests.system.start_cancel_rig import start
from tests.unit.peers.certificates import Authorities

from quorate.client.blocking import BlockingClient
from quorate.client.credentials import add_user
from quorate.client.functions import OpenCluster, OpenClusterResource
from quorate.clusapi.identity import VmId
from quorate.clusapi.json_types import JsonObject, json_object, json_objects, json_text
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.sqlite import SqliteStore
from quorate.hypervisor.contract import VmPaths
from quorate.hypervisor.qemu.host import has_zstd
from quorate.hypervisor.serial_watch import SerialWatch

DOORS = 'listen = "127.0.0.1:0"\npeers = "127.0.0.1:0"\ncertificates = "pki"\n'
NODES = ("node1", "node2")
ZSTD = has_zstd(shutil.which("qemu-system-x86_64") or "")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocketCluster]:
    """A pocket cluster whose nodes were given authorities, certificates and doors of several machines."""
    with pocket_cluster(tmp_path_factory.mktemp("tls") / "cluster", nodes=2, lease=60) as found:
        authorities = asyncio.run(_found_authorities(found.directory))
        for node in NODES:
            place = found.directory / "nodes" / node.removeprefix("node")
            authorities.identity(place / "pki", node.removeprefix("node"))
            with (place / "node.toml").open("a") as file:
                file.write(DOORS)
        before = {node: found.daemon_pid(node) for node in NODES}
        for pid in before.values():
            os.kill(pid, signal.SIGTERM)
        found.wait(lambda: len(_doors(found)) == 2, 30, "both daemons have opened their doors to other machines")
        yield found


async def _found_authorities(directory: Path) -> Authorities:
    store = SqliteStore(directory / "cluster.sqlite")
    try:
        database = ClusterDatabase(store)
        authorities = Authorities.make((await database.snapshot()).cluster.instance_id)
        await write_authorities(database, authorities)
    finally:
        await store.close()
    return authorities


def _doors(cluster: PocketCluster) -> dict[str, str]:
    """Where the nodes answer other machines, once they do."""

    async def facts() -> dict[str, str]:
        store = SqliteStore(cluster.directory / "cluster.sqlite")
        try:
            found = (await ClusterDatabase(store).snapshot()).facts
        finally:
            await store.close()
        return {
            node: known.value.http_address
            for node, known in found.items()
            if known.value.peers_address.startswith("tcp:127.0.0.1:")
        }

    return asyncio.run(facts())


def test_a_guest_moves_over_tcp_and_lives_on(cluster: PocketCluster, tmp_path: Path) -> None:
    out = tmp_path / "alice"
    user = add_user(BlockingClient.at(str(cluster.directory)), "alice", "full", out)
    assert {json_text(node, "http") for node in user.nodes} == set(_doors(cluster).values())
    cluster.wait(
        lambda: len(BlockingClient.at(str(out)).call("ListUsers").objects("users")) == 1, 10, "alice may enter"
    )

    cluster.create_builtin("web1", "64M")
    vm_id = VmId(json_text(cluster.vm("web1"), "vm"))
    for node in NODES:  # nobody can listen at a socket of this machine
        runtime = cluster.runtime(node)
        VmPaths(runtime, runtime).migration_socket(vm_id).mkdir()
    vm = OpenClusterResource(OpenCluster(str(out)), "Virtual Machine web1")
    logs = [cluster.serial_log("web1", node) for node in NODES]
    with SerialWatch(*logs, from_end=True) as watch:
        assert watch.wait_beats(5, 10)
        for destination in ("node2", "node1"):
            assert start(vm, destination) == 0
            cluster.wait(lambda node=destination: cluster.owner("web1") == node, 30, "it has moved")  # type: ignore[misc]
            cluster.wait(lambda: cluster.migration_state("web1") == 0, 10, "the migration is over")
        assert watch.wait_beats(20, 10)
    assert watch.report().continuous
    assert [json_text(move, "mode").startswith("pre-copy, 2 channels, TLS") for move in moves(cluster)] == [True] * 2
    assert json_text(json_object(cluster.vm("web1"), "migration"), "transport").startswith("2 channels, TLS")


def moves(cluster: PocketCluster, count: int = 2) -> tuple[JsonObject, ...]:
    """The migrations, the last one last, as both ends have written them down, once they have."""

    def listed() -> tuple[JsonObject, ...]:
        return cluster.call("ListMigrations").objects("migrations")

    cluster.wait(
        lambda: len(listed()) >= count and all(one["result"] == "moved" for one in listed()), 30, "it is written down"
    )
    return listed()


def test_encryption_can_be_switched_off_and_made_a_must(cluster: PocketCluster, tmp_path: Path) -> None:
    """So can compression. With 2 nothing is refused here: both ends can. A preflight says what there is."""
    shell = Shell(tmp_path, cluster.directory)
    for wanted in (0, 2):
        shell.run("cluster", "set", f"MigrationEncryption={wanted}", f"MigrationCompression={wanted}")
        before = len(moves(cluster))
        destination = "node2" if cluster.owner("web1") == "node1" else "node1"
        shell.run("vm", "migrate", "web1", "--to", destination)
        mode = json_text(moves(cluster, before + 1)[-1], "mode")
        assert ("TLS" in mode) is (wanted == 2)
        assert ("zstd" in mode) is (wanted == 2 and ZSTD)
        (node,) = cluster.call("AssessMove", vm="web1", destination=other(destination)).objects("nodes")
        measured = {json_text(one, "rule"): json_text(one, "measured") for one in json_objects(node, "findings")}
        assert measured["encryption"] == ("TLS" if wanted else "none")


def other(node: str) -> str:
    return next(name for name in NODES if name != node)
