from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from quorate.clusapi.errors import CallerError, FaultError, RefusalError
from quorate.clusapi.identity import ImageId, VmId
from quorate.engine.host_check import check_can_run
from quorate.hypervisor.contract import (
    Fresh,
    GuestPanicked,
    GuestShutdown,
    Incoming,
    InstanceEvent,
    Launch,
    LaunchRequest,
    MigrationChanged,
    MigrationParameters,
    MigrationStatus,
    PassStarted,
    RunState,
    RunStateChanged,
    VmPaths,
)
from quorate.hypervisor.definition import (
    BuiltinGuest,
    Disk,
    Firmware,
    KernelGuest,
    Nic,
    NicKind,
    VmDefinition,
    complete_definition,
)
from quorate.hypervisor.pinned import Accelerator, Pinned
from quorate.hypervisor.qemu import migration
from quorate.hypervisor.qemu.arguments import HostSide, build_arguments
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings
from quorate.hypervisor.qemu.events import migration_status, run_state, translate
from quorate.hypervisor.qemu.host import QemuBinary
from quorate.hypervisor.qemu.process import ProcessHandle, RunFile, VmLock, spawn, start_time

VM = VmId("6f1c2d3e-0000-4000-8000-000000000001")
PINNED = Pinned("pc-q35-10.0", Accelerator.TCG, "qemu64", 1 << 30)
PATHS = VmPaths(Path("/vm,1"), Path("/run/q"))
HOST = HostSide("/usr/bin/qemu", control_descriptor=7, storages={"fast": Path("/fast")}, processors=2)


def arguments(definition: VmDefinition, launch: Launch = Fresh(), host: HostSide = HOST) -> list[str]:  # noqa: B008
    done = complete_definition(definition, VM)
    return build_arguments(LaunchRequest(VM, done.name, ImageId("i"), done, PINNED, PATHS, launch), host)


def test_the_command_line_of_a_small_guest_is_this() -> None:
    definition = VmDefinition("web,1", 1 << 30, guest=BuiltinGuest(), agent=False, rng=False)
    socket, ram = "socket,id=control,fd=7,server=on,wait=off", '{"qom-type": "memory-backend-ram", "id": "ram0", '
    assert arguments(definition) == [
        "/usr/bin/qemu",
        *("-name", "guest=web,,1,debug-threads=on"),
        *("-uuid", VM),
        *("-nodefaults", "-no-user-config", "-S", "-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-machine", "type=pc-q35-10.0,memory-backend=ram0"),
        *("-accel", "tcg", "-cpu", "qemu64", "-m", "size=1073741824B"),
        *("-object", ram + '"size": 1073741824}'),
        *("-smp", "cpus=1,sockets=1,cores=1,threads=1"),
        *("-rtc", "base=utc"),
        *("-smbios", "type=1,manufacturer=Quorate,product=Virtual Machine"),
        *("-action", "shutdown=pause,panic=pause"),
        *("-chardev", socket),
        *("-mon", "chardev=control,mode=control"),
        *("-chardev", f"file,id=serial0,path=/vm,,1/{VM}.serial.log,append=on"),
        *("-device", '{"driver": "isa-serial", "id": "com1", "chardev": "serial0", "index": 0}'),
        *("-device", '{"driver": "pvpanic", "id": "panic"}'),
        *("-bios", f"/vm,1/{VM}.rom"),
    ]


def json_of(argv: list[str], option: str) -> list[dict[str, object]]:
    return [json.loads(value) for name, value in pairwise(argv) if name == option and value[0] == "{"]


def test_devices_have_fixed_addresses_and_names() -> None:
    definition = VmDefinition(
        "web1",
        1 << 30,
        guest=KernelGuest(Path("/k"), Path("/i"), "quiet"),
        disks=(Disk("/a.qcow2"), Disk("b", storage="fast", read_only=True)),
        nics=(Nic(NicKind.TAP, "tap0"), Nic(NicKind.SWITCH, "lan")),
    )
    host = replace(HOST, switches={"lan": "br7"}, block_devices=frozenset({Path("/fast/b")}))
    argv = arguments(definition, host=host)
    slots = {str(device.get("id")): device["addr"] for device in json_of(argv, "-device") if "addr" in device}
    assert slots == {
        "agentbus": "0x03",
        "rng": "0x02",
        "device-disk0": "0x04",
        "device-disk1": "0x05",
        "device-nic0": "0x06",
        "device-nic1": "0x07",
    }
    files = [block["file"] for block in json_of(argv, "-blockdev")]
    assert files == [
        {"driver": "file", "filename": "/a.qcow2", "locking": "on"},
        {"driver": "host_device", "filename": "/fast/b", "locking": "on"},
    ]
    assert [net["type"] for net in json_of(argv, "-netdev")] == ["tap", "bridge"]
    assert json_of(argv, "-netdev")[1]["br"] == "br7"
    assert argv[argv.index("-kernel") :][:6] == ["-kernel", "/k", "-initrd", "/i", "-append", "quiet"]
    assert "spawn=allow" in argv[argv.index("-sandbox") + 1]


def test_a_kernel_that_is_started_directly_comes_before_the_disks_in_boot_order() -> None:
    definition = VmDefinition(
        "a", 1 << 30, guest=KernelGuest(Path("/k")), disks=(Disk("/a"), Disk("/b")), nics=(Nic(NicKind.USER),)
    )
    order = [device["bootindex"] for device in json_of(arguments(definition), "-device") if "bootindex" in device]
    assert order == [1, 2, 3]  # QEMU gives the kernel 0, and refuses to have it twice


def test_an_incoming_machine_waits_and_touches_its_memory_first() -> None:
    definition = VmDefinition("web1", 1 << 30, guest=BuiltinGuest())
    warm = arguments(definition, Incoming(prefault=True))
    assert warm[-2:] == ["-incoming", "defer"]
    ram = json_of(warm, "-object")[0]
    assert (ram["prealloc"], ram["prealloc-threads"]) == (True, 2)
    assert "prealloc" not in json_of(arguments(definition, Incoming(prefault=False)), "-object")[0]


def test_an_account_and_uefi_have_their_place() -> None:
    definition = VmDefinition("web1", 1 << 30, firmware=Firmware.UEFI, disks=(Disk("/a"),))
    argv = arguments(definition, host=replace(HOST, account="quorate-vm", uefi_code=Path("/ovmf")))
    assert argv[-2:] == ["-run-with", "user=quorate-vm"]
    assert "pflash0=uefi0,pflash1=uefi1" in argv[argv.index("-machine") + 1]


def test_sockets_have_short_names_whatever_the_id() -> None:
    paths = VmPaths(Path("/d"), Path("/" + "r" * 88))
    for socket in (paths.control_socket(VM), paths.migration_socket(VM), paths.agent_socket(VM)):
        assert len(os.fsencode(socket)) < 107


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "event"),
    [
        ("STOP", {}, RunStateChanged(RunState.PAUSED)),
        ("RESUME", {}, RunStateChanged(RunState.RUNNING)),
        ("MIGRATION", {"status": "pre-switchover"}, MigrationChanged(MigrationStatus.PRE_SWITCHOVER)),
        ("MIGRATION", {"status": "postcopy-paused"}, MigrationChanged(MigrationStatus.POSTCOPY_PAUSED)),
        ("MIGRATION_PASS", {"pass": 2}, PassStarted(2)),
        ("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}, GuestShutdown(by_guest=True)),
        ("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"}, GuestShutdown(by_guest=False)),
        ("GUEST_PANICKED", {"action": "pause"}, GuestPanicked()),
        ("NIC_RX_FILTER_CHANGED", {}, None),
    ],
)
def test_events_are_translated(name: str, data: dict[str, object], event: InstanceEvent | None) -> None:
    assert translate(name, data) == event


def test_states_are_translated_and_unknown_ones_do_not_pass_for_running() -> None:
    assert run_state("prelaunch") is RunState.PAUSED
    assert run_state("finish-migrate") is RunState.SAVING
    assert run_state("guest-panicked") is RunState.PANICKED
    assert run_state("something new") is RunState.UNKNOWN
    assert migration_status(None) is MigrationStatus.NONE
    assert not run_state("something new").vcpus_run


# --- migration -----------------------------------------------------------------------------------------------------


def capabilities(value: object) -> dict[str, bool]:
    assert isinstance(value, dict)
    return {item["capability"]: item["state"] for item in value["capabilities"]}


def test_the_source_alone_waits_for_a_consent_that_never_comes() -> None:
    source = capabilities(migration.source_capabilities(MigrationParameters(), (10, 0, 2)))
    assert source["switchover-ack"]
    assert source["return-path"]
    assert source["pause-before-switchover"], "the vCPUs must stand before the devices are saved"
    destination = capabilities(migration.destination_capabilities(MigrationParameters(multifd_channels=2)))
    assert "switchover-ack" not in destination
    assert destination["multifd"]
    old = capabilities(migration.source_capabilities(MigrationParameters(), (7, 2, 22)))
    assert not old.keys() & {"switchover-ack", "pause-before-switchover"}, "it stops by itself, and would wait for ever"


def test_a_file_is_written_without_waiting_for_anybody() -> None:
    to_file = capabilities(migration.file_capabilities((10, 0, 2)))
    assert not to_file["switchover-ack"]
    assert not to_file["pause-before-switchover"]


def test_a_loaded_destination_leaves_the_disks_to_the_source_until_it_runs() -> None:
    assert capabilities(migration.destination_capabilities(MigrationParameters()))["late-block-activate"]


def test_bandwidth_is_never_left_at_the_default() -> None:
    assert migration.transfer_parameters(MigrationParameters())["max-bandwidth"] == 1 << 40
    assert migration.transfer_parameters(MigrationParameters(max_bandwidth=5))["max-bandwidth"] == 5


@pytest.mark.parametrize("uri", ["exec:rm", "file:/x", "fd:3", "unix:x", "rdma:a:1", ""])
def test_only_the_address_of_a_qemu_is_accepted(uri: str) -> None:
    with pytest.raises(CallerError):
        migration.check_uri(uri)


def test_the_port_that_the_system_chose_is_told() -> None:
    answer = {"socket-address": [{"type": "inet", "host": "::", "port": "4711"}]}
    assert migration.bound_uri("tcp:10.0.0.1:0", answer) == "tcp:10.0.0.1:4711"
    assert migration.bound_uri("unix:/x", {}) == "unix:/x"


def test_an_address_of_tcp_is_written_as_qemu_reads_it() -> None:
    default = Path("/run/x.m")
    assert migration.listen_uri(MigrationParameters(), default) == "unix:/run/x.m"
    assert migration.listen_uri(MigrationParameters(tcp_host="192.0.2.7"), default) == "tcp:192.0.2.7:0"
    assert migration.listen_uri(MigrationParameters(tcp_host="2001:db8::7"), default) == "tcp:[2001:db8::7]:0"


def query(normal: int, zero: int, remaining: int, passes: int) -> dict[str, object]:
    ram = {"normal": normal, "duplicate": zero, "page-size": 4096, "remaining": remaining, "dirty-sync-count": passes}
    return {"status": "active", "ram": {**ram, "total": 1 << 30, "transferred": 5}}


def test_speed_is_measured_on_pages_that_are_not_zero() -> None:
    rates = migration.Rates()
    migration.sample_from(query(0, 0, 1 << 30, 1), rates, 10.0)
    assert migration.sample_from(query(10_000, 0, 1 << 29, 1), rates, 10.1).bytes_per_second == pytest.approx(
        409_600_000
    )
    assert migration.sample_from(query(10_000, 90_000, 1 << 28, 1), rates, 10.2).bytes_per_second == pytest.approx(
        409_600_000
    )
    assert migration.sample_from(query(10_010, 90_000, 0, 1), rates, 20.0).bytes_per_second == pytest.approx(
        409_600_000
    )


def test_speed_is_measured_over_a_tenth_of_a_second() -> None:
    """Sockets take megabytes at a time: 2 MiB within 4 ms, 2 MiB in the next 4 ms, then none for 24 ms: 131 MB/s."""
    rates = migration.Rates()
    rates.pass_started(1, 10.0)
    speeds, pages = [], 0
    for look in range(1, 201):
        pages += 512 if look % 8 in (6, 7) else 0
        sample = migration.sample_from(query(pages, 0, 1 << 30, 1), rates, 10.0 + look * 0.004)
        speeds.append(sample.bytes_per_second)
    assert all(0.75 * 131e6 < speed < 1.25 * 131e6 for speed in speeds[50:])


def test_the_dirty_rate_is_known_from_the_second_pass_on() -> None:
    rates = migration.Rates()
    rates.pass_started(1, 10.0)
    assert migration.sample_from(query(0, 0, 4096 * 1000, 1), rates, 10.01).dirty_bytes_per_second == 0
    assert migration.sample_from(query(900, 0, 4096 * 100, 1), rates, 10.09).dirty_bytes_per_second == 0
    rates.pass_started(2, 10.1)
    sample = migration.sample_from(query(1010, 0, 4096 * 40, 2), rates, 10.11)
    assert sample.dirty_bytes_per_second == pytest.approx(50 * 4096 / 0.1)


def test_an_answer_of_any_shape_is_read() -> None:
    assert migration.sample_from({}, migration.Rates(), 0.0).status is MigrationStatus.NONE
    assert migration.sample_from(None, migration.Rates(), 0.0).status is MigrationStatus.NONE
    failed = {"status": "failed", "error-desc": "broken pipe"}
    assert migration.sample_from(failed, migration.Rates(), 0.0).sentence == "broken pipe"


# --- the host ------------------------------------------------------------------------------------------------------


class OldHost(QemuHypervisor):
    """A host whose QEMU is not asked."""

    def __init__(self, cache: Path, version: tuple[int, int, int], accelerator: Accelerator) -> None:
        super().__init__(QemuSettings(cache))
        machine = f"pc-q35-{version[0]}.{version[1]}"
        self._binary = QemuBinary("/usr/bin/qemu", version, frozenset({machine}), machine)
        self._accelerator = accelerator


def test_memory_is_padded_where_writes_would_be_lost(tmp_path: Path) -> None:
    definition = VmDefinition("web1", 256 << 20, guest=BuiltinGuest())

    def size(version: tuple[int, int, int], accelerator: Accelerator) -> int:
        return asyncio.run(OldHost(tmp_path, version, accelerator).pin(definition)).memory_bytes - (256 << 20)

    assert size((7, 2, 22), Accelerator.TCG) == 8192
    assert size((7, 2, 22), Accelerator.KVM) == 0
    assert size((9, 0, 0), Accelerator.TCG) == 0


def test_a_host_that_cannot_run_it_says_why(tmp_path: Path) -> None:
    definition = VmDefinition("web1", 256 << 20, guest=BuiltinGuest())
    old = OldHost(tmp_path, (7, 2, 22), Accelerator.TCG)
    good = asyncio.run(old.pin(definition))
    asyncio.run(check_can_run(old, definition, good))
    for wrong, pinned, status, reason in (
        (definition, replace(good, machine_type="pc-q35-10.0"), 5953, "does not know"),
        (definition, replace(good, accelerator=Accelerator.KVM), 5953, "KVM"),
        (definition, replace(good, memory_bytes=256 << 20), 5953, "lose"),
        (definition, replace(good, memory_bytes=(1 << 50) + 8192), 5957, "MiB"),
        (replace(definition, disks=(Disk("/nowhere"),)), good, 5953, "/nowhere"),
        (replace(definition, disks=(Disk("x", storage="fast"),)), good, 5953, "storage"),
        (replace(definition, nics=(Nic(NicKind.SWITCH, "lan"),)), good, 5953, "switch lan"),
    ):
        with pytest.raises(RefusalError, match=reason) as refused:
            asyncio.run(check_can_run(old, wrong, pinned))
        assert refused.value.status == status


def test_without_qemu_the_sentence_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="install"):
        asyncio.run(QemuHypervisor(QemuSettings(tmp_path / "c", binary="/nowhere/qemu")).host_facts())


# --- processes -----------------------------------------------------------------------------------------------------


def test_a_lock_is_held_until_the_last_holder_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = VmLock.take(path, VM)
    child = spawn(["/bin/sleep", "60"], tmp_path / "log", (lock.descriptor,))
    lock.hand_over()
    with pytest.raises(RefusalError):
        VmLock.take(path, VM)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    VmLock.take(path, VM).discard()
    assert not path.exists()


def test_a_pipe_that_we_inherited_is_not_handed_on(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    child = spawn(["/bin/sleep", "60"], tmp_path / "log", ())
    os.close(writing)
    assert os.read(reading, 1) == b""  # the end of the pipe: nobody else holds it
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_run_file_is_read_back_and_nonsense_is_none(tmp_path: Path) -> None:
    path = tmp_path / "run"
    written = RunFile(VM, "i", 5, 7, 1.5, (10, 0, 2), ("a", "b"), "/q", "/s", True)
    written.write(path)
    assert RunFile.read(path) == written
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    for nonsense in ("", "{}", "[]", '{"schema": 99}', path.read_text().replace('"pid"', '"dip"')):
        path.write_text(nonsense)
        assert RunFile.read(path) is None
    assert RunFile.read(tmp_path / "none") is None
    with pytest.raises(IsADirectoryError):
        RunFile.read(tmp_path)  # there is something: that it cannot be read does not mean that nothing lives


def test_only_the_very_process_is_found(tmp_path: Path) -> None:
    child = spawn(["/bin/sleep", "60"], tmp_path / "log", ())
    ticks = start_time(child)
    assert ticks is not None
    assert ProcessHandle.find(child, ticks + 1) is None
    handle = ProcessHandle.find(child, ticks)
    assert handle is not None
    handle.kill()
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert handle.is_gone
    assert ProcessHandle.find(child, ticks) is None  # a zombie
    os.waitpid(child, 0)
    handle.kill()
    handle.close()
    assert start_time(child) is None
