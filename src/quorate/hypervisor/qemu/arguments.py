"""The command line of one QEMU.

Everything is named: no defaults of QEMU or of the distribution take part, so that source and destination build the same
machine. Options that QEMU reads as JSON are given as JSON. The function is pure; the driver has checked what it names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quorate.hypervisor.contract import Fresh, Incoming, LaunchRequest
from quorate.hypervisor.definition import (
    AGENT_SLOT,
    RNG_SLOT,
    BuiltinGuest,
    Disk,
    DiskFormat,
    Firmware,
    KernelGuest,
    Nic,
    NicKind,
    volume_path,
)
from quorate.hypervisor.pinned import Accelerator

_PREFAULT_THREADS: Final = 4
_FIRST_IN_BOOT_ORDER: Final = 1  # QEMU itself takes 0 for a kernel that it starts directly


@dataclass(frozen=True, slots=True)
class HostSide:
    """What of this host goes into the command line."""

    binary: str
    control_descriptor: int  # the inherited listening socket
    storages: Mapping[str, Path] = field(default_factory=dict)
    switches: Mapping[str, str] = field(default_factory=dict)  # switch -> bridge
    block_devices: frozenset[Path] = frozenset()
    processors: int = 1
    uefi_code: Path | None = None
    account: str | None = None  # unprivileged account that QEMU changes to


def build_arguments(request: LaunchRequest, host: HostSide) -> list[str]:
    """Build the command line, the program first."""
    definition = request.definition
    arguments = [
        *(host.binary, "-name", f"guest={_comma(request.name)},debug-threads=on", "-uuid", request.vm_id),
        *("-nodefaults", "-no-user-config", "-S", "-display", "none"),
        *("-sandbox", _sandbox(definition.nics)),
        *_machine(request, host),
        *("-smp", f"cpus={definition.vcpus},sockets=1,cores={definition.vcpus},threads=1"),
        *("-rtc", f"base={definition.rtc_base}"),
        *("-smbios", "type=1,manufacturer=Quorate,product=Virtual Machine"),
        *("-action", "shutdown=pause,panic=pause"),  # we end it: after a restart of the daemon it tells what happened
        *_control(request, host),
        *_boot(request),
        *_agent(request),
    ]
    if definition.rng:
        arguments += _json("-object", {"qom-type": "rng-random", "id": "rng0", "filename": "/dev/urandom"})
        arguments += _json("-device", {"driver": "virtio-rng-pci", "id": "rng", "rng": "rng0", **_slot(RNG_SLOT)})
    for number, disk in enumerate(definition.disks, _FIRST_IN_BOOT_ORDER):
        arguments += _disk(disk, number, host)
    for number, nic in enumerate(definition.nics, _FIRST_IN_BOOT_ORDER + len(definition.disks)):
        arguments += _nic(nic, number, host)
    if not isinstance(request.launch, Fresh):
        arguments += ["-incoming", "defer"]
    if host.account is not None:
        arguments += ["-run-with", f"user={host.account}"]
    return arguments


def _machine(request: LaunchRequest, host: HostSide) -> list[str]:
    pinned = request.pinned
    machine = f"type={pinned.machine_type},memory-backend=ram0"
    arguments: list[str] = []
    if request.definition.firmware is Firmware.UEFI:
        variables = {"driver": "file", "filename": str(request.paths.firmware_variables(request.vm_id))}
        code = {"driver": "file", "filename": str(host.uefi_code)}
        arguments += _json("-blockdev", {"driver": "raw", "node-name": "uefi0", "read-only": True, "file": code})
        arguments += _json("-blockdev", {"driver": "raw", "node-name": "uefi1", "file": variables})
        machine += ",pflash0=uefi0,pflash1=uefi1"
    cpu = pinned.cpu_model + (",enforce" if pinned.accelerator is Accelerator.KVM else "")
    memory: dict[str, object] = {"qom-type": "memory-backend-ram", "id": "ram0", "size": pinned.memory_bytes}
    if isinstance(request.launch, Incoming) and request.launch.prefault:
        memory |= {"prealloc": True, "prealloc-threads": min(_PREFAULT_THREADS, host.processors)}
    arguments += ["-machine", machine, "-accel", pinned.accelerator.value, "-cpu", cpu]
    return [*arguments, "-m", f"size={pinned.memory_bytes}B", *_json("-object", memory)]


def _control(request: LaunchRequest, host: HostSide) -> list[str]:
    log = _comma(str(request.paths.serial_log(request.vm_id)))
    return [
        *("-chardev", f"socket,id=control,fd={host.control_descriptor},server=on,wait=off"),
        *("-mon", "chardev=control,mode=control"),
        *("-chardev", f"file,id=serial0,path={log},append=on"),
        *_json("-device", {"driver": "isa-serial", "id": "com1", "chardev": "serial0", "index": 0}),
        *_json("-device", {"driver": "pvpanic", "id": "panic"}),
    ]


def _boot(request: LaunchRequest) -> list[str]:
    match request.definition.guest:
        case BuiltinGuest():
            return ["-bios", str(request.paths.rom(request.vm_id))]
        case KernelGuest(kernel, initrd, append):
            arguments = ["-kernel", str(kernel)]
            arguments += ["-initrd", str(initrd)] if initrd else []
            return [*arguments, "-append", append] if append else arguments
        case None:
            return []


def _agent(request: LaunchRequest) -> list[str]:
    if not request.definition.agent:
        return []
    path = _comma(str(request.paths.agent_socket(request.vm_id)))
    port = {"driver": "virtserialport", "bus": "agentbus.0", "chardev": "agent", "name": "org.qemu.guest_agent.0"}
    return [
        *("-chardev", f"socket,id=agent,path={path},server=on,wait=off"),
        *_json("-device", {"driver": "virtio-serial-pci", "id": "agentbus", **_slot(AGENT_SLOT)}),
        *_json("-device", port),
    ]


def _disk(disk: Disk, number: int, host: HostSide) -> list[str]:
    path = volume_path(disk, host.storages)
    driver = "host_device" if path in host.block_devices else "file"
    file: dict[str, object] = {"driver": driver, "filename": str(path), "locking": "on"}
    backend: dict[str, object] = {"driver": disk.format.value, "node-name": disk.id, "read-only": disk.read_only}
    if disk.format is DiskFormat.QCOW2:
        backend["discard"] = "unmap"
    device: dict[str, object] = {"driver": "virtio-blk-pci", "id": f"device-{disk.id}", "drive": disk.id}
    device |= {"serial": disk.serial, "bootindex": number, **_slot(disk.pci)}
    return [*_json("-blockdev", {**backend, "file": file}), *_json("-device", device)]


def _nic(nic: Nic, number: int, host: HostSide) -> list[str]:
    backend: dict[str, object] = {"id": nic.id}
    match nic.kind:
        case NicKind.USER:
            backend["type"] = "user"
        case NicKind.TAP:
            backend |= {"type": "tap", "ifname": nic.target, "script": "no", "downscript": "no"}
        case NicKind.BRIDGE:
            backend |= {"type": "bridge", "br": nic.target}
        case NicKind.SWITCH:
            backend |= {"type": "bridge", "br": host.switches[nic.target]}
    device: dict[str, object] = {"driver": nic.model, "id": f"device-{nic.id}", "netdev": nic.id, "mac": nic.mac}
    device |= {"bootindex": number, **_slot(nic.pci)}
    return [*_json("-netdev", backend), *_json("-device", device)]


def _sandbox(nics: tuple[Nic, ...]) -> str:
    """QEMU may start no other program, except that a bridge is joined by QEMU's set-uid helper."""
    helper = any(nic.kind in (NicKind.BRIDGE, NicKind.SWITCH) for nic in nics)
    start = "elevateprivileges=allow,spawn=allow" if helper else "elevateprivileges=deny,spawn=deny"
    return f"on,obsolete=deny,{start},resourcecontrol=deny"


def _slot(slot: str) -> Mapping[str, str]:
    return {"bus": "pcie.0", "addr": f"0x{slot}"}


def _json(option: str, value: Mapping[str, object]) -> list[str]:
    return [option, json.dumps(value)]


def _comma(text: str) -> str:
    """Write a value inside an option that is not JSON: a comma is doubled."""
    return text.replace(",", ",,")
