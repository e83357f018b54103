"""A second client of others, impacket: it calls by number, reads with its own NDR, and moves a virtual machine."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.system.qemu_gate import QemuGate
from tests.system.wire_cluster import PASSWORD, READER, USER, WireCluster, why_no_wire, wire_cluster

from quorate.clusapi.control_codes import (
    CLUSCTL_CLUSTER_GET_PRIVATE_PROPERTIES,
    CLUSCTL_CLUSTER_SET_PRIVATE_PROPERTIES,
    CLUSCTL_RESOURCE_GET_NAME,
    CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES,
    CLUSCTL_RESOURCE_GET_RO_PRIVATE_PROPERTIES,
    CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION,
    CLUSCTL_RESOURCE_VM_START_MIGRATION,
)
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    Value,
    pack_property_list,
    pack_sz,
    parse_property_list,
)
from quorate.clusapi.states import MigrationState, VmState

pytestmark = pytest.mark.skipif(why_no_wire() is not None, reason=str(why_no_wire()))

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAM: Final = (sys.executable, "-W", "ignore", "-m", "tests.system.mscmrp_impacket")
VM: Final = "Virtual Machine web1"
START: Final = CLUSCTL_RESOURCE_VM_START_MIGRATION
CANCEL: Final = CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION
DENIED: Final = "access_denied"


class Impacket:
    """Impacket, waiting for orders."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def do(self, what: str, **order: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **order}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def open(self, method: str, name: str) -> str:
        answer = self.do(method, name=name)
        assert answer["status"] == 0, answer
        return str(answer["handle"])

    def control(
        self, method: str, handle: str, code: int, data: bytes | None = None, room: int = 10_000, **more: str
    ) -> tuple[int, bytes, int]:
        sent = None if data is None else data.hex()
        answer = self.do(method, handle=handle, code=code, data=sent, room=room, **more)
        return answer["status"], bytes.fromhex(answer["out"]), answer["required"]

    def start(self, vm: str, destination: str) -> int:
        return self.control("ResourceControl", vm, START, pack_sz(destination))[0]

    def cancel(self, vm: str) -> int:
        return self.control("ResourceControl", vm, CANCEL)[0]

    def properties(self, vm: str) -> dict[str, Value]:
        """The private properties, those that may be set and those that may not."""
        found: dict[str, Value] = {}
        for code in (CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES, CLUSCTL_RESOURCE_GET_RO_PRIVATE_PROPERTIES):
            status, output, _ = self.control("ResourceControl", vm, code)
            assert status == 0
            found.update((item.name, item.value) for item in parse_property_list(output))
        return found


@contextmanager
def impacket(cluster: WireCluster) -> Iterator[Impacket]:
    """Impacket in a process of its own on the cluster's machine; not connected yet."""
    with subprocess.Popen(
        [*cluster.machine.prefix, *PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Impacket(process)
        finally:
            process.kill()


def connected(peer: Impacket, cluster: WireCluster, node: str = "node1", **more: object) -> dict[str, Any]:
    order = {"port": cluster.port(node), "user": USER, "password": PASSWORD} | more
    return peer.do("connect", **order)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WireCluster, QemuGate]]:
    place = tmp_path_factory.mktemp("impacket")
    gate = QemuGate(place / "gate")
    with gate.in_path(), wire_cluster(place / "pc") as running:
        running.create_builtin("web1", "64M")
        yield running, gate
        gate.open()


@pytest.fixture
def cluster(lab: tuple[WireCluster, QemuGate]) -> WireCluster:
    return lab[0]


@pytest.fixture
def gate(lab: tuple[WireCluster, QemuGate]) -> Iterator[QemuGate]:
    yield lab[1]
    lab[1].open()


@pytest.fixture
def peer(cluster: WireCluster) -> Iterator[Impacket]:
    with impacket(cluster) as running:
        assert connected(running, cluster) == {}
        yield running


# --- Calls ---------------------------------------------------------------------------------------------------------


def test_it_binds_seals_and_calls_by_number(cluster: WireCluster, peer: Impacket) -> None:
    name = bytes.fromhex(peer.do("raw", opnum=3, data="")["data"])
    assert "pocket\0".encode("utf-16-le") in name
    assert "node1\0".encode("utf-16-le") in name
    assert name.endswith(bytes(4))
    listed = peer.do("CreateEnum", mask=1 | 8)
    assert listed["status"] == 0
    assert [[1, f"node{n}"] for n in (1, 2, 3)] == [entry for entry in listed["entries"] if entry[0] == 1]
    assert [8, "web1"] in listed["entries"]
    assert "op_rng_error" in peer.do("raw", opnum=80, data="")["fault"]
    assert "op_rng_error" in peer.do("raw", opnum=184, data="")["fault"]
    assert peer.do("OpenCluster")["status"] == 0


def test_handles_are_opened_used_and_closed(cluster: WireCluster, peer: Impacket) -> None:
    vm = peer.open("OpenResource", VM.upper())
    told = peer.do("GetResourceState", handle=vm)
    assert told == {"status": 0, "state": 2, "node": "node1", "group": "web1"}
    assert peer.control("ResourceControl", vm, CLUSCTL_RESOURCE_GET_NAME) == (0, pack_sz(VM), len(pack_sz(VM)))
    assert peer.control("ResourceControl", vm, CLUSCTL_RESOURCE_GET_NAME, room=4) == (234, b"", len(pack_sz(VM)))
    group = peer.open("OpenGroup", "web1")
    assert "context_mismatch" in peer.do("GetResourceState", handle=group)["fault"]
    assert peer.do("CloseResource", handle=vm) == {"status": 0, "handle": bytes(20).hex()}
    assert "context_mismatch" in peer.do("GetResourceState", handle=vm)["fault"]
    with impacket(cluster) as other:
        connected(other, cluster)
        assert "context_mismatch" in other.do("CloseGroup", handle=group)["fault"]
    missing = peer.do("OpenResource", name="nope")
    assert missing == {"status": 5007, "handle": bytes(20).hex()}


def test_large_requests_and_answers_go_in_fragments(cluster: WireCluster, peer: Impacket) -> None:
    handle = peer.do("OpenCluster")["handle"]
    value = bytes(range(256)) * 160
    names = [f"Large{number:02}" for number in range(16)]
    try:
        for name in names:
            data = pack_property_list(PropertyList.of([(name, PropertyFormat.BINARY, value)]))
            assert len(data) > 40_000
            status, _, _ = peer.control("ClusterControl", handle, CLUSCTL_CLUSTER_SET_PRIVATE_PROPERTIES, data)
            assert status == 0
        get = CLUSCTL_CLUSTER_GET_PRIVATE_PROPERTIES
        status, output, required = peer.control("ClusterControl", handle, get, room=1_000_000)
        assert (status, len(output)) == (0, required)
        assert required > 600_000
        found = parse_property_list(output)
        assert [found[name] for name in names] == [value] * len(names)
        with impacket(cluster) as other:  # small fragments, and another node
            connected(other, cluster, "node2", fragment=1000)
            handle = other.do("OpenCluster")["handle"]
            assert other.control("ClusterControl", handle, get, room=1_000_000) == (0, output, required)
    finally:
        cluster.call("ClusterControl", control_code=CLUSCTL_CLUSTER_SET_PRIVATE_PROPERTIES, in_buffer=_unset(names))


def _unset(names: list[str]) -> bytes:
    return pack_property_list(PropertyList.of([(name, PropertyFormat.BINARY, b"") for name in names]))


# --- Refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2, 5])
def test_nobody_is_let_in_below_privacy(cluster: WireCluster, level: int) -> None:
    with impacket(cluster) as peer:
        connected(peer, cluster, level=level)
        assert DENIED in peer.do("raw", opnum=3, data="")["fault"]


@pytest.mark.parametrize("who", [{"password": "wrong"}, {"user": "nobody"}, {"user": "", "password": ""}])
def test_who_cannot_log_on_is_let_in_nowhere(cluster: WireCluster, who: dict[str, str]) -> None:
    with impacket(cluster) as peer:
        connected(peer, cluster, **who)
        assert DENIED in peer.do("raw", opnum=3, data="")["fault"]


def test_the_version_before_is_not_spoken(cluster: WireCluster) -> None:
    with impacket(cluster) as peer:
        assert "abstract_syntax_not_supported" in connected(peer, cluster, version="2.0")["fault"]


def test_who_may_read_only_changes_nothing(cluster: WireCluster) -> None:
    with impacket(cluster) as peer:
        connected(peer, cluster, user=READER)
        assert peer.do("OpenResource", name=VM) == {"status": 5, "handle": bytes(20).hex()}
        assert peer.do("CreateEnum", mask=1)["status"] == 0
        assert cluster.vm_state("web1") is VmState.RUNNING


# --- A live migration ----------------------------------------------------------------------------------------------


def at_home(cluster: WireCluster, name: str = "web1") -> None:
    """Have a VM run on node1, and not on its way."""
    cluster.call("MoveGroup", group=name, destination="node1")
    settled = (MigrationState.NO_MIGRATION, MigrationState.CANCELED)
    cluster.wait(
        lambda: cluster.owner(name) == "node1" and cluster.migration_state(name) in settled, 30, f"{name} is at home"
    )


def followed(peer: Impacket, vm: str, node: str) -> list[dict[str, Value]]:
    """Poll the private properties until the migration is over and the VM is there; what was seen."""
    seen: list[dict[str, Value]] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = peer.properties(vm)
        if not seen or found != seen[-1]:
            seen.append(found)
        assert found["MigrationState"] != MigrationState.FAILURE, found
        if found["MigrationState"] == 0 and peer.do("GetResourceState", handle=vm)["node"] == node:
            return seen
    raise AssertionError(f"not within 60 s; seen: {seen}")


def test_a_vm_moves_and_is_followed_by_its_properties(cluster: WireCluster, peer: Impacket) -> None:
    dirty = 128 << 20
    cluster.create_builtin("busy", "256M", dirty_bytes=dirty, dirty_bytes_per_second=1 << 30)
    try:
        vm = peer.open("OpenResource", "Virtual Machine busy")
        home = peer.do("GetResourceState", handle=vm)["node"]
        away = "node2" if home != "node2" else "node3"
        before = peer.properties(vm)
        assert (before["MigrationState"], before["VmState"]) == (0, VmState.RUNNING)
        assert peer.start(vm, away) == 0
        assert peer.start(vm, away) == 5023, "it is being migrated already"
        seen = followed(peer, vm, away)
        states = {found["MigrationState"] for found in seen}
        assert states & {MigrationState.SETUP, MigrationState.DATA_TRANSFER}, seen
        last = seen[-1]
        assert (last["VmState"], last["MigrationProgress"], last["MigrationFailureReason"]) == (VmState.RUNNING, 100, 0)
        assert cluster.owner("busy") == away
    finally:
        cluster.call("DeleteVirtualMachine", vm="busy", turn_off=True)


def test_a_migration_is_cancelled(cluster: WireCluster, peer: Impacket, gate: QemuGate) -> None:
    at_home(cluster)
    vm = peer.open("OpenResource", VM)
    assert peer.cancel(vm) == 5023, "there is none"
    gate.hold_arrivals()
    assert peer.start(vm, "node2") == 0
    assert peer.properties(vm)["MigrationState"] == MigrationState.SETUP
    assert peer.cancel(vm) == 0
    assert peer.properties(vm)["MigrationState"] == MigrationState.CANCELED
    assert peer.cancel(vm) == 5023, "it is cancelled already"
    assert peer.do("GetResourceState", handle=vm)["node"] == "node1"
    assert cluster.vm_state("web1") is VmState.RUNNING


def test_a_vm_moves_by_its_group_with_a_context(cluster: WireCluster, peer: Impacket) -> None:
    at_home(cluster)
    group, node = peer.open("OpenGroup", "web1"), peer.open("OpenNode", "node3")
    live = pack_property_list(PropertyList.of([("Virtual Machine", PropertyFormat.DWORD, 4)])).hex()
    assert peer.do("MoveGroupToNodeEx", handle=group, node=node, flags=0xE, data=live)["status"] == 997
    followed(peer, peer.open("OpenResource", VM), "node3")
    assert peer.do("MoveGroupToNodeEx", handle=group, node=node, flags=0xE, data=live)["status"] == 0


def test_only_the_owner_may_be_named_as_the_host(cluster: WireCluster, peer: Impacket) -> None:
    at_home(cluster)
    vm = peer.open("OpenResource", VM)
    owner, other = peer.open("OpenNode", "node1"), peer.open("OpenNode", "node2")
    name = CLUSCTL_RESOURCE_GET_NAME
    assert peer.control("NodeResourceControl", vm, name, node=owner)[0] == 0
    assert peer.control("NodeResourceControl", vm, name, node=other)[0] == 5015
    assert peer.control("NodeResourceControl", vm, START, pack_sz("node2"), node=other)[0] == 5023


def test_what_one_node_was_asked_to_do_every_node_tells(cluster: WireCluster, peer: Impacket) -> None:
    at_home(cluster)
    with impacket(cluster) as other:
        connected(other, cluster, "node2")
        vm = other.open("OpenResource", VM)
        assert other.start(vm, "node3") == 0
        followed(other, vm, "node3")
        assert peer.do("GetResourceState", handle=peer.open("OpenResource", VM))["node"] == "node3"
