"""Every row of the table of START and CANCEL, in its order, by the C-shaped functions on real QEMUs.

"Nothing has changed" is looked at in the database: no record and no event is written by a refused call.
"""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.system.pocket_cluster import pocket_cluster
from tests.system.qemu_gate import QemuGate
from tests.system.start_cancel_rig import Rig, cancel, measured, over_the_wire, start, sz

from quorate.client.functions import (
    CLUSAPI_ALL_ACCESS,
    CLUSAPI_READ_ACCESS,
    CloseClusterGroup,
    CloseClusterResource,
    CreateClusterGroup,
    CreateClusterResource,
    GetClusterNodeState,
    GetClusterResourceState,
    MigrationState,
    MoveClusterGroup,
    NodeState,
    OfflineClusterResource,
    OfflineClusterResourceEx,
    OnlineClusterResource,
    OpenCluster,
    OpenClusterEx,
    OpenClusterGroup,
    OpenClusterNode,
    OpenClusterNodeEx,
    OpenClusterResource,
    OpenClusterResourceEx,
    PauseClusterNode,
    ResourceState,
    VmState,
)
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.status import E_FAIL
from quorate.hypervisor.pinned import Accelerator, Pinned
from quorate.hypervisor.serial_watch import SerialWatch

IDLE, SETUP, TRANSFER, MOVE = (
    MigrationState.NO_MIGRATION,
    MigrationState.SETUP,
    MigrationState.DATA_TRANSFER,
    MigrationState.MOVE,
)
FORCE_WITH_TERMINATION = 2
SHUTDOWN = pack_property_list(PropertyList.of([("Virtual Machine", PropertyFormat.DWORD, 2)]))
MALFORMED = {
    "empty": b"",
    "odd length": sz("node2")[:-1],
    "not NUL-terminated": "node2".encode("utf-16-le"),
    "only a NUL": sz(""),
    "a NUL inside": sz("no\0de2"),
    "two NULs at the end": sz("node2\0"),
    "half a surrogate pair": b"\x00\xd8" + sz("node2"),
    "not UTF-16 but UTF-8": b"node2\0",
    "256 characters": sz("n" * 256),
}


@pytest.fixture(scope="module", params=["HTTP", "MS-CMRP"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Three nodes; web1 and web2 run on node1. The functions reach them by one of the two faces."""
    place = tmp_path_factory.mktemp("rows")
    gate = QemuGate(place / "gate")
    with ExitStack() as stack:
        stack.enter_context(gate.in_path())
        if request.param == "HTTP":
            cluster = stack.enter_context(pocket_cluster(place / "cluster", lease=60))
            address = str(cluster.directory)
        else:
            cluster, address = stack.enter_context(over_the_wire(place))
        cluster.create_builtin("web1", "64M")
        cluster.create_builtin("web2", "64M")
        yield Rig(cluster, gate, address)
        gate.open()


@pytest.fixture
def busy(rig: Rig) -> Iterator[str]:
    """A VM whose transfer takes a second or more: every pass finds most of its memory rewritten."""
    dirty = 192 << 20
    rig.cluster.create_builtin("busy", "256M", dirty_bytes=dirty, dirty_bytes_per_second=2 << 30)
    yield "busy"
    rig.cluster.call("DeleteVirtualMachine", vm="busy", turn_off=True)


# --- handles and access --------------------------------------------------------------------------------------------


def test_a_handle_that_is_closed_or_of_another_kind_is_status_6(rig: Rig) -> None:
    closed, group = rig.vm("web1"), OpenClusterGroup(rig.handle, "web1")
    node = OpenClusterNode(rig.handle, "node1")
    assert CloseClusterResource(closed)
    closed_group = OpenClusterGroup(rig.handle, "web1")
    assert CloseClusterGroup(closed_group)
    answers = rig.refusals(
        {
            "closed": lambda: start(closed, "node2"),
            "closed, cancel": lambda: cancel(closed),
            "a group": lambda: start(group, "node2"),
            "a node": lambda: start(node, "node2"),
            "the cluster": lambda: start(rig.handle, "node2"),
            "nothing": lambda: start(None, "node2"),
            "the host node is no node": lambda: start(rig.vm("web1"), "node2", host=group),
            "the host node is closed": lambda: start(rig.vm("web1"), "node2", host=closed_group),
        }
    )
    assert set(answers.values()) == {6}, answers


def test_a_handle_with_read_access_only_is_status_5(rig: Rig) -> None:
    read_only = OpenClusterResourceEx(rig.handle, "Virtual Machine web1", CLUSAPI_READ_ACCESS)
    reader = OpenClusterEx(rig.address, CLUSAPI_READ_ACCESS)
    through_reader = OpenClusterResourceEx(reader, "Virtual Machine web1", CLUSAPI_ALL_ACCESS)
    host = OpenClusterNodeEx(rig.handle, "node1", CLUSAPI_READ_ACCESS)
    configuration = OpenClusterResourceEx(rig.handle, "Virtual Machine Configuration web1", CLUSAPI_READ_ACCESS)
    answers = rig.refusals(
        {
            "start": lambda: start(read_only, "node2"),
            "cancel": lambda: cancel(read_only),
            "the cluster's handle has read access": lambda: start(through_reader, "node2"),
            "the host node's handle has read access": lambda: start(rig.vm("web1"), "node2", host=host),
            "the configuration resource": lambda: start(configuration, None),
        }
    )
    assert set(answers.values()) == {5}, answers


# --- where, and what -----------------------------------------------------------------------------------------------


def test_a_host_node_that_does_not_host_the_vm_is_status_5023(rig: Rig) -> None:
    vm, other = rig.at_home("web1"), OpenClusterNode(rig.handle, "node2")
    configuration = OpenClusterResource(rig.handle, "Virtual Machine Configuration web1")
    answers = rig.refusals(
        {
            "start": lambda: start(vm, "node3", host=other),
            "start on the destination itself": lambda: start(vm, "node2", host=other),
            "cancel": lambda: cancel(vm, host=other),
            "malformed input, checked later": lambda: start(vm, b"x", host=other),
            "the configuration, whose type is looked at later": lambda: start(configuration, None, host=other),
        }
    )
    assert set(answers.values()) == {5023}, answers


def test_the_host_node_that_hosts_the_vm_may_be_named(rig: Rig) -> None:
    vm, node1 = rig.at_home("web1"), OpenClusterNode(rig.handle, "node1")
    assert start(vm, "NODE2", host=node1) == 0, "and the destination is found without regard to case"
    rig.wait_moved("web1", "node2")


def test_the_configuration_resource_takes_the_code_as_a_refresh_and_ignores_its_input(rig: Rig) -> None:
    rig.at_home("web1")
    configuration = OpenClusterResource(rig.handle, "Virtual Machine Configuration web1")
    answers = rig.refusals(
        {
            "NULL": lambda: start(configuration, None),
            "the name of a node": lambda: start(configuration, "node2"),
            **{what: lambda data=data: start(configuration, data) for what, data in MALFORMED.items()},  # type: ignore[misc]
        }
    )
    assert set(answers.values()) == {0}, answers
    assert rig.cluster.owner("web1") == "node1"


def test_a_resource_of_another_type_does_not_know_the_code(rig: Rig) -> None:
    group = CreateClusterGroup(rig.handle, "script group")
    script = CreateClusterResource(group, "script", "Generic Script")
    rig.cluster.wait(lambda: start(script, "node2") == 1, 10, "the new resource is hosted")
    answers = rig.refusals(
        {
            "start": lambda: start(script, "node2"),
            "cancel": lambda: cancel(script),
            "malformed input": lambda: start(script, b""),
        }
    )
    assert set(answers.values()) == {1}, answers


def test_malformed_input_is_status_87(rig: Rig) -> None:
    vm = rig.at_home("web1")
    answers = rig.refusals({what: lambda data=data: start(vm, data) for what, data in MALFORMED.items()})  # type: ignore[misc]
    assert set(answers.values()) == {87}, answers
    assert start(vm, sz("n" * 255)) == 5042, "255 characters are a name, of a node that is not there"


# --- VmState is exactly 2 ------------------------------------------------------------------------------------------


def _refused_in(rig: Rig, name: str, state: VmState, *, destination: str | None = "node2") -> None:
    assert rig.cluster.vm_state(name) is state
    assert rig.refusals({"start": lambda: start(rig.vm(name), destination)}) == {"start": 5023}


def test_a_vm_that_is_off_is_status_5023(rig: Rig) -> None:
    rig.cluster.create_builtin("never", "64M", start=False)
    _refused_in(rig, "never", VmState.OFF)
    _refused_in(rig, "never", VmState.OFF, destination=None)
    _refused_in(rig, "never", VmState.OFF, destination="nowhere")
    assert cancel(rig.vm("never")) == 5023


def test_a_vm_that_is_saved_is_status_5023_and_goes_on_afterwards(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with SerialWatch(rig.cluster.serial_log("web1", "node1"), from_end=True) as watch:
        assert OfflineClusterResource(vm) in (0, 997)
        rig.cluster.wait(lambda: rig.cluster.vm_state("web1") is VmState.SAVED, 20, "web1 is saved")
        _refused_in(rig, "web1", VmState.SAVED)
        assert OnlineClusterResource(vm) in (0, 997)
        rig.cluster.wait(lambda: rig.cluster.vm_state("web1") is VmState.RUNNING, 20, "web1 runs")
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous


def test_a_vm_that_is_paused_is_online_and_yet_status_5023(rig: Rig) -> None:
    vm = rig.at_home("web1")
    rig.cluster.call("PauseVirtualMachine", vm="web1")
    assert GetClusterResourceState(vm)[0] == ResourceState.ONLINE
    _refused_in(rig, "web1", VmState.PAUSED)
    rig.cluster.call("ResumeVirtualMachine", vm="web1")
    assert rig.cluster.vm_state("web1") is VmState.RUNNING


def test_a_vm_that_is_starting_is_status_5023(rig: Rig) -> None:
    rig.cluster.create_builtin("slow", "64M", start=False)
    rig.gate.hold_starts()
    assert OnlineClusterResource(rig.vm("slow")) == 997
    rig.cluster.wait(lambda: rig.cluster.vm_state("slow") is VmState.STARTING, 5, "slow is starting")
    _refused_in(rig, "slow", VmState.STARTING)
    rig.gate.open()
    rig.cluster.wait(lambda: rig.cluster.vm_state("slow") is VmState.RUNNING, 20, "slow runs")


def test_a_vm_that_is_stopping_is_status_5023(rig: Rig) -> None:
    vm = rig.at_home("web2")
    rig.cluster.call("PauseVirtualMachine", vm="web2")
    assert OfflineClusterResourceEx(vm, 0, SHUTDOWN) == 997, "its guest does not hear that it is to shut down"
    rig.cluster.wait(lambda: rig.cluster.vm_state("web2") is VmState.STOPPING, 5, "web2 is stopping")
    _refused_in(rig, "web2", VmState.STOPPING)
    assert OfflineClusterResourceEx(vm, FORCE_WITH_TERMINATION) in (0, 997)
    rig.cluster.wait(lambda: rig.cluster.vm_state("web2") is VmState.OFF, 10, "web2 is off")


def test_a_vm_that_is_being_migrated_is_status_5023_and_that_migration_is_not_disturbed(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with SerialWatch(*(rig.cluster.serial_log("web1", node) for node in ("node1", "node2")), from_end=True) as watch:
        rig.gate.hold_arrivals()
        assert start(vm, "node2") == 0
        rig.cluster.wait(lambda: rig.migration_state("web1") is SETUP, 5, "web1 is being prepared")
        session = rig.cluster.vm("web1")["migration"]
        answers = {what: start(vm, what) for what in ("node2", "node3", "nowhere")} | {"NULL": start(vm, None)}
        assert set(answers.values()) == {5023}, answers
        with rig.locked("web1"):
            assert start(vm, "node3") == 5023, "before it is looked at whether it is locked"
        assert isinstance(session, dict)
        now = rig.cluster.vm("web1")["migration"]
        assert isinstance(now, dict)
        assert now["session"] == session["session"]
        rig.gate.open()
        rig.wait_moved("web1", "node2")
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous, watch.report()


# --- locked --------------------------------------------------------------------------------------------------------


def test_a_vm_that_is_locked_from_moving_is_status_5960(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with rig.locked("web1"):
        answers = rig.refusals(
            {"start": lambda: start(vm, "node2"), "best node": lambda: start(vm, None), "5042": lambda: start(vm, "x")}
        )
        assert set(answers.values()) == {5960}, answers


# --- the destination -----------------------------------------------------------------------------------------------


def test_a_destination_that_the_cluster_does_not_know_is_status_5042(rig: Rig) -> None:
    vm = rig.at_home("web1")
    names = ("node4", "node", "node22", " node2", "2x", "⁂")
    answers = rig.refusals({name: lambda name=name: start(vm, name) for name in names})  # type: ignore[misc]
    assert set(answers.values()) == {5042}, answers


def test_the_source_itself_as_destination_is_status_87(rig: Rig) -> None:
    vm = rig.at_home("web1")
    assert rig.refusals({"node1": lambda: start(vm, "node1")}) == {"node1": 87}


def test_a_destination_that_is_down_is_status_5050_also_while_its_lease_still_runs(tmp_path: Path) -> None:
    with pocket_cluster(tmp_path / "cluster", nodes=2) as cluster:
        cluster.create_builtin("web1", "64M")
        rig = Rig(cluster, QemuGate(tmp_path / "gate"))
        vm, node2 = rig.vm("web1"), OpenClusterNode(rig.handle, "node2")
        os.kill(cluster.keeper_pid(), signal.SIGKILL)
        os.kill(cluster.daemon_pid("node2"), signal.SIGKILL)
        assert rig.refusals({"killed a moment ago": lambda: start(vm, "node2")}) == {"killed a moment ago": 5050}
        assert GetClusterNodeState(node2) == NodeState.UP
        cluster.wait(lambda: GetClusterNodeState(node2) == NodeState.DOWN, 15, "node2 is down")
        answers = rig.refusals({"down": lambda: start(vm, "node2"), "no node is left": lambda: start(vm, None)})
        assert answers == {"down": 5050, "no node is left": 5071}
        assert PauseClusterNode(node2) == 0
        with rig.isolated("node2"), rig.possible_owners("web1", "node1"):
            everything = {"also paused, isolated and not a possible owner": lambda: start(vm, "node2")}
            assert set(rig.refusals(everything).values()) == {5050}
        assert cluster.vm_state("web1") is VmState.RUNNING


def test_a_destination_that_is_paused_is_status_5070(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with rig.paused_node("node2"):
        assert rig.refusals({"node2": lambda: start(vm, "node2")}) == {"node2": 5070}


def test_a_destination_that_is_isolated_is_status_5984(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with rig.isolated("node2"):
        assert rig.refusals({"node2": lambda: start(vm, "node2")}) == {"node2": 5984}


def test_a_destination_that_is_not_a_possible_owner_is_status_5071(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with rig.possible_owners("web1", "node1", "node3"):
        assert rig.refusals({"node2": lambda: start(vm, "node2")}) == {"node2": 5071}


def test_a_destination_that_cannot_run_the_vm_is_status_5953(rig: Rig, tmp_path: Path) -> None:
    vm = rig.at_home("web1")
    nic = {"kind": "switch", "target": "lan", "model": "virtio-net-pci"}
    disk = {"volume": str(tmp_path / "not here.qcow2"), "format": "qcow2"}
    circumstances = {
        "it was first started under KVM": rig.pinned("web1", lambda p: replace(p, accelerator=Accelerator.KVM)),
        "it was first started by a newer QEMU": rig.pinned("web1", lambda p: replace(p, machine_type="pc-q35-99.0")),
        "its disk is missing": rig.defined("web1", "disks", [disk]),
        "its storage is missing": rig.defined("web1", "disks", [{**disk, "volume": "a.qcow2", "storage": "fast"}]),
        "its switch is missing": rig.defined("web1", "nics", [nic]),
    }
    answers: dict[str, int] = {}
    for what, circumstance in circumstances.items():
        with circumstance:
            answers |= rig.refusals({what: lambda: start(vm, "node2")})
    assert set(answers.values()) == {5953}, answers


def test_a_disk_that_only_the_source_has_is_status_5953_for_one_node_and_fine_for_another(
    rig: Rig, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    disk = tmp_path / "here" / "data.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "8M"], check=True)
    places = {"node1": "here", "node2": "elsewhere", "node3": "here"}
    rig.configure({node: f'\n[storages]\nfast = "{tmp_path}/{place}"\n' for node, place in places.items()})
    disks: list[JsonValue] = [{"storage": "fast", "volume": "data.qcow2"}]
    definition: JsonObject = {"name": "disky", "memory": "64M", "guest": "builtin", "disks": disks}
    rig.cluster.call("CreateVirtualMachine", name="disky", definition=definition, node="node1")
    vm = rig.at_home("disky")
    assert rig.refusals({"node2": lambda: start(vm, "node2")}) == {"node2": 5953}
    assert start(vm, None) == 0, "the best node is the one that has the disk"
    rig.wait_moved("disky", "node3")


def _huge(pinned: Pinned) -> Pinned:
    return replace(pinned, memory_bytes=1 << 50)


def test_a_destination_that_lacks_memory_is_status_5957(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with rig.pinned("web1", _huge):
        assert rig.refusals({"node2": lambda: start(vm, "node2")}) == {"node2": 5957}


# --- no destination named ------------------------------------------------------------------------------------------


def test_without_input_the_best_node_is_chosen(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with rig.paused_node("node3"):
        assert start(vm, None) == 0
        rig.wait_moved("web1", "node2")


def test_without_input_and_with_memory_lacking_everywhere_it_is_status_5957(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with rig.pinned("web1", _huge):
        assert rig.refusals({"NULL": lambda: start(vm, None)}) == {"NULL": 5957}


def test_without_input_and_without_any_possible_node_it_is_status_5071(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with rig.paused_node("node2"), rig.isolated("node3"):
        assert rig.refusals({"paused and isolated": lambda: start(vm, None)}) == {"paused and isolated": 5071}
    with rig.possible_owners("web1", "node1"):
        assert rig.refusals({"no other possible owner": lambda: start(vm, None)}) == {"no other possible owner": 5071}
    with rig.pinned("web1", lambda pinned: replace(pinned, accelerator=Accelerator.KVM)):
        assert rig.refusals({"no other can run it": lambda: start(vm, None)}) == {"no other can run it": 5071}


# --- the order of the checks ---------------------------------------------------------------------------------------


def test_the_first_check_that_fails_answers(rig: Rig) -> None:
    """Everything is wrong at once; then one thing after another is put right, from the first check to the last."""
    vm, node2 = rig.at_home("web1"), OpenClusterNode(rig.handle, "node2")
    closed = rig.vm("web1")
    CloseClusterResource(closed)
    read_only = OpenClusterResourceEx(rig.handle, "Virtual Machine web1", CLUSAPI_READ_ACCESS)
    with ExitStack() as memory, ExitStack() as kvm, ExitStack() as owners, ExitStack() as alone, ExitStack() as node:
        memory.enter_context(rig.pinned("web1", _huge))
        kvm.enter_context(rig.pinned("web1", lambda p: replace(p, accelerator=Accelerator.KVM)))
        owners.enter_context(rig.possible_owners("web1", "node1"))
        alone.enter_context(rig.isolated("node2"))
        node.enter_context(rig.paused_node("node2"))
        with rig.locked("web1"):
            rig.cluster.call("PauseVirtualMachine", vm="web1")
            answers = rig.refusals(
                {
                    "closed": lambda: start(closed, b"x", host=node2),
                    "read-only": lambda: start(read_only, b"x", host=node2),
                    "host": lambda: start(vm, b"x", host=node2),
                    "malformed": lambda: start(vm, b"x"),
                    "not running": lambda: start(vm, "nowhere"),
                }
            )
            assert list(answers.values()) == [6, 5, 5023, 87, 5023], answers
            rig.cluster.call("ResumeVirtualMachine", vm="web1")
            assert rig.refusals({"locked": lambda: start(vm, "nowhere")}) == {"locked": 5960}
        assert rig.refusals({"unknown": lambda: start(vm, "nowhere")}) == {"unknown": 5042}
        assert rig.refusals({"itself": lambda: start(vm, "node1")}) == {"itself": 87}
        assert rig.refusals({"paused": lambda: start(vm, "node2")}) == {"paused": 5070}
        node.close()
        assert rig.refusals({"isolated": lambda: start(vm, "node2")}) == {"isolated": 5984}
        alone.close()
        assert rig.refusals({"not an owner": lambda: start(vm, "node2")}) == {"not an owner": 5071}
        owners.close()
        assert rig.refusals({"cannot run it": lambda: start(vm, "node2")}) == {"cannot run it": 5953}
        kvm.close()
        assert rig.refusals({"lacks memory": lambda: start(vm, "node2")}) == {"lacks memory": 5957}
        memory.close()
    assert start(vm, "node2") == 0
    rig.wait_moved("web1", "node2")


# --- accepted ------------------------------------------------------------------------------------------------------


def test_start_returns_before_the_destination_has_done_anything(rig: Rig) -> None:
    times = []
    for _ in range(5):
        vm = rig.at_home("web1")
        rig.gate.hold_arrivals()
        status, milliseconds = measured(start, vm, "node2")
        times.append(milliseconds)
        assert status == 0
        assert rig.migration_state("web1") is SETUP
        assert cancel(vm) == 0
    print(f"START took {', '.join(f'{t:.0f}' for t in sorted(times))} ms")


def test_a_start_right_after_a_cancel_to_the_same_destination_succeeds(rig: Rig) -> None:
    vm = rig.at_home("web1")
    for _ in range(2):
        assert (start(vm, "node2"), cancel(vm)) == (0, 0)
    assert start(vm, "node2") == 0
    rig.wait_moved("web1", "node2")


def test_a_migration_beyond_those_allowed_is_queued_and_can_be_cancelled(rig: Rig) -> None:
    first, second = rig.at_home("web1"), rig.at_home("web2")
    rig.gate.hold_arrivals()
    assert start(first, "node2") == 0
    assert start(second, "node3") == 0
    assert (rig.migration_state("web2"), rig.status_information("web2")) == (SETUP, 4)
    assert rig.status_information("web1") == 0
    assert start(second, "node2") == 5023, "it is being migrated already"
    assert cancel(second) == 0
    assert (rig.migration_state("web2"), rig.status_information("web2")) == (MigrationState.CANCELED, 0)
    assert start(second, "node2") == 0
    assert (rig.migration_state("web2"), rig.status_information("web2")) == (SETUP, 4)
    rig.gate.open()
    rig.wait_moved("web1", "node2")
    rig.wait_moved("web2", "node2")
    assert rig.status_information("web2") == 0


def test_with_two_allowed_two_run_at_the_same_time(rig: Rig) -> None:
    first, second = rig.at_home("web1"), rig.at_home("web2")
    with rig.at_once(2):
        rig.gate.hold_arrivals()
        assert (start(first, "node2"), start(second, "node3")) == (0, 0)
        assert (rig.status_information("web1"), rig.status_information("web2")) == (0, 0)
        rig.gate.open()
        rig.wait_moved("web1", "node2")
        rig.wait_moved("web2", "node3")


def test_after_success_progress_is_100_and_state_0_was_written_last(rig: Rig) -> None:
    vm = rig.at_home("web1")
    before = rig.revision()
    assert start(vm, "node2") == 0
    rig.wait_moved("web1", "node2")
    assert rig.hands_and_states("web1", before) == [("", SETUP), ("", TRANSFER), ("2", MOVE), ("2", IDLE)]
    found = rig.properties("web1")
    assert [found[name] for name in ("MigrationProgress", "MigrationFailureReason", "VmState")] == [100, 0, 2]
    rig.gate.hold_arrivals()
    assert start(rig.vm("web1"), "node3") == 0
    assert rig.properties("web1")["MigrationProgress"] == 0, "until the next START"
    assert cancel(rig.vm("web1")) == 0


# --- CANCEL --------------------------------------------------------------------------------------------------------


def _watch(rig: Rig, name: str) -> SerialWatch:
    return SerialWatch(*(rig.cluster.serial_log(name, f"node{n}") for n in (1, 2, 3)), from_end=True)


def test_cancel_in_state_1_is_status_0_and_the_vm_never_stops(rig: Rig) -> None:
    vm = rig.at_home("web1")
    others = set(rig.cluster.qemu_pids("node2"))
    with _watch(rig, "web1") as watch:
        rig.gate.hold_arrivals()
        assert start(vm, "node2") == 0
        assert rig.migration_state("web1") is SETUP
        phases = rig.phases("node1")
        assert cancel(vm) == 0
        assert rig.migration_state("web1") is MigrationState.CANCELED
        assert cancel(vm) == 5023, "it is in state 4"
        assert watch.wait_beats(20, 60)
    assert rig.phases("node1")[len(phases) :] == ["preparing -> ended"]
    assert watch.report().continuous
    rig.gate.open()
    rig.cluster.wait(lambda: set(rig.cluster.qemu_pids("node2")) <= others, 10, "nothing is left on node2")


def test_cancel_in_state_2_is_status_0_and_the_vm_never_stops(rig: Rig, busy: str) -> None:
    vm = rig.at_home(busy)
    others = set(rig.cluster.qemu_pids("node2"))
    with _watch(rig, busy) as watch:
        phases = rig.phases("node1")
        assert start(vm, "node2") == 0
        rig.wait_state(busy, TRANSFER)
        assert cancel(vm) == 0
        assert rig.migration_state(busy) is MigrationState.CANCELED
        assert cancel(vm) == 5023
        assert watch.wait_beats(20, 60)
    assert not [phase for phase in rig.phases("node1")[len(phases) :] if "stopping" in phase], "no STOP was sent"
    assert watch.report().continuous
    assert rig.cluster.owner(busy) == "node1"
    assert rig.properties(busy)["MigrationFailureReason"] == 0
    rig.cluster.wait(lambda: set(rig.cluster.qemu_pids("node2")) <= others, 10, "nothing is left on node2")


def test_cancel_in_state_0_is_status_5023(rig: Rig) -> None:
    vm = rig.at_home("web1")
    rig.cluster.client_of("node1").call("GetVirtualMachine", vm="web1")
    assert start(vm, "node2") == 0
    rig.wait_moved("web1", "node2")
    assert rig.refusals({"cancel": lambda: cancel(rig.vm("web1"))}) == {"cancel": 5023}


def test_cancel_in_state_3_is_status_5023_and_the_migration_goes_on(rig: Rig) -> None:
    """State 3 is held by a database that does not answer writes: the guest stands still until ownership is written."""
    vm = rig.at_home("web1")
    with _watch(rig, "web1") as watch, closing(sqlite3.connect(rig.database, isolation_level=None)) as other:
        rig.gate.hold_arrivals()
        assert start(vm, "node2") == 0
        assert rig.migration_state("web1") is SETUP
        other.execute("BEGIN IMMEDIATE")
        try:
            rig.gate.open()
            rig.wait_state("web1", MOVE)
            assert cancel(vm) == 5023
            assert start(vm, "node3") == 5023
        finally:
            other.execute("ROLLBACK")
        rig.wait_moved("web1", "node2")
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous


def test_a_migration_whose_destination_breaks_is_state_5_which_cannot_be_cancelled_but_reset(rig: Rig) -> None:
    vm = rig.at_home("web1")
    with _watch(rig, "web1") as watch:
        rig.gate.hold_arrivals()
        assert start(vm, "node2") == 0
        rig.gate.break_arrivals()
        rig.wait_state("web1", MigrationState.FAILURE)
        assert rig.refusals({"cancel": lambda: cancel(vm)}) == {"cancel": 5023}
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous
    assert rig.properties("web1")["MigrationFailureReason"] == E_FAIL
    assert rig.cluster.owner("web1") == "node1"
    assert rig.reset_migration_state("web1") == 0
    found = rig.properties("web1")
    assert (found["MigrationState"], found["MigrationFailureReason"]) == (IDLE, 0)


def test_a_start_after_a_failure_begins_anew(rig: Rig) -> None:
    vm = rig.at_home("web1")
    rig.gate.break_arrivals()
    assert start(vm, "node2") == 0
    rig.wait_state("web1", MigrationState.FAILURE)
    rig.gate.open()
    assert start(vm, "node2") == 0
    rig.wait_moved("web1", "node2")
    assert rig.properties("web1")["MigrationFailureReason"] == 0


# --- the other ways in ---------------------------------------------------------------------------------------------


def test_moving_the_group_of_a_running_vm_is_a_live_migration(rig: Rig) -> None:
    rig.at_home("web1")
    group, node2 = OpenClusterGroup(rig.handle, "web1"), OpenClusterNode(rig.handle, "node2")
    with _watch(rig, "web1") as watch:
        assert MoveClusterGroup(group, node2) == 997
        rig.wait_moved("web1", "node2")
        assert watch.wait_beats(20, 60)
    assert watch.report().continuous
    assert MoveClusterGroup(group, node2) == 0, "it is there already"


def test_a_group_moves_as_the_default_move_type_of_its_vm_says(rig: Rig) -> None:
    rig.at_home("web1")
    group, node2 = OpenClusterGroup(rig.handle, "web1"), OpenClusterNode(rig.handle, "node2")
    quick = 1
    assert rig.set_property("web1", "DefaultMoveType", quick) == 0
    try:
        with _watch(rig, "web1") as watch:
            before = rig.revision()
            assert MoveClusterGroup(group, node2) == 997
            rig.wait_moved("web1", "node2")
            rig.cluster.wait(lambda: rig.cluster.vm_state("web1") is VmState.RUNNING, 20, "web1 runs")
            assert watch.wait_beats(20, 60)
        assert watch.report().continuous, "saved there, restored here"
        assert {state for _, state in rig.hands_and_states("web1", before)} == {IDLE}, "it was no migration"
    finally:
        assert rig.set_property("web1", "DefaultMoveType", 0xFFFFFFFF) == 0


def test_the_usual_cluster_is_the_one_that_the_environment_names(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.at_home("web1")
    monkeypatch.setenv("QUORATE_CLUSTER", rig.address)
    vm = OpenClusterResource(OpenCluster(None), "Virtual Machine web1")
    assert start(vm, "node2") == 0
    rig.wait_moved("web1", "node2")
