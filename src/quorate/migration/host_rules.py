"""What a host must have for a virtual machine: judged from what its driver has measured.

A start asks these rules as well as a move: what a host cannot run it can neither start nor take in. A move compares
with what the guest was given where it runs now (`GuestSight`); for a start that is not known, and not asked about.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.host_sight import FileSight, GuestSight, HostSight, Version
from quorate.clusapi.status import Status
from quorate.migration.rules import Finding

INCOMPATIBLE: Final = Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_INCOMPATIBLE_NODES
NO_ROOM: Final = Status.ERROR_CLUSTER_RESOURCE_VETOED_MOVE_NOT_ENOUGH_RESOURCES_ON_DESTINATION

LOCAL_FILE_SYSTEMS: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "tmpfs", "ramfs"})
"""File systems that two machines never have mounted at once: what lies there is seen by one of them only."""


@dataclass(frozen=True, slots=True)
class HostQuestion:
    """A virtual machine as it was pinned at its first start, and what a host has for it. Sizes in bytes."""

    name: str
    machine_type: str
    accelerator: str
    memory: int
    host: HostSight
    guest: GuestSight = field(default_factory=GuestSight)
    moves: bool = False
    """It comes from another node, where it runs or did; else it is to be started."""
    needs_memory: bool = True
    """False: its process is on this host already."""


def judge_accelerator(question: HostQuestion) -> Finding:
    """What executes the guest's code is there: 5953."""
    rule, here = "accelerator", question.host.accelerator
    if question.accelerator != "kvm" or here == "kvm":
        return Finding.ok(rule, here)
    sentence = f"{question.name} was started under KVM, which does not run guests on this host"
    remedy = "enable virtualisation in its firmware, and load kvm_intel or kvm_amd"
    return Finding.refuses(rule, here, INCOMPATIBLE, sentence, remedy)


def judge_machine_type(question: HostQuestion) -> Finding:
    """The host knows the guest's machine type: 5953."""
    rule, wanted, host = "machine type", question.machine_type, question.host
    if wanted in host.machine_types:
        return Finding.ok(rule, wanted)
    which = "" if host.kind == "fake" else f"QEMU {_dotted(host.version)} of "
    sentence = f"{question.name} is a {wanted}, which {which}this host does not know"
    return Finding.refuses(rule, "not known there", INCOMPATIBLE, sentence, "install a newer QEMU there")


def judge_version(question: HostQuestion) -> Finding:
    """From an older QEMU to a newer one, or to one of the same release; not back: 5953."""
    rule, here, source = "version", question.host.version, question.guest.version
    if source is None or source[:2] <= here[:2]:
        return Finding.ok(rule, _dotted(here) if source is None else f"{_dotted(source)} to {_dotted(here)}")
    sentence = (
        f"{question.name} runs under QEMU {_dotted(source)}, and goes to the same release or a newer one only: this "
        f"host has {_dotted(here)}"
    )
    measured = f"{_dotted(source)} to {_dotted(here)}"
    return Finding.refuses(rule, measured, INCOMPATIBLE, sentence, f"install QEMU {_dotted(source)} or newer there")


def judge_writes(question: HostQuestion) -> Finding:
    """TCG before QEMU 9 does not lose what the guest writes: 5953."""
    rule = "writes are kept"
    if not question.host.loses_writes:
        return Finding.ok(rule, "kept")
    version = _dotted(question.host.version)
    sentence = f"with {question.memory} bytes of memory QEMU {version} without KVM would lose guest writes"
    return Finding.refuses(rule, version, INCOMPATIBLE, sentence, "install QEMU 9 or newer there")


def judge_cpu(question: HostQuestion) -> Finding:
    """The host has every CPU feature that the guest sees: 5953, with the flags."""
    rule, seen, here = "CPU features", question.guest.cpu_features, question.host.cpu_features
    if not question.moves:
        return Finding.ok(rule, "not compared for a start")
    if seen is None or here is None:
        who = "the guest's" if seen is None else "the host's"
        return Finding.warns(rule, "not known", f"{who} CPU features are not known, and could not be compared")
    missing = sorted(seen - here)
    if not missing:
        return Finding.ok(rule, f"all {len(seen)} of the guest's")
    flags = ", ".join(missing)
    sentence = f"{question.name} sees CPU features that this host does not have: {flags}"
    remedy = "name another node; or turn it off, and start it where the fewest features are"
    return Finding.refuses(rule, f"lacks {flags}", INCOMPATIBLE, sentence, remedy)


def judge_firmware(question: HostQuestion) -> Finding:
    """UEFI is there for a guest that starts with it: 5953."""
    rule = "firmware"
    if not question.host.lacks_firmware:
        return Finding.ok(rule, "there")
    sentence = f"{question.name} starts with UEFI, and no OVMF is installed on this host"
    return Finding.refuses(rule, "no OVMF", INCOMPATIBLE, sentence, "install ovmf there")


def judge_networks(question: HostQuestion) -> Iterator[Finding]:
    """Every network card can be plugged in: 5953."""
    for network in question.host.networks:
        if network.trouble:
            sentence = f"{question.name} is plugged into the {network.name}, {network.trouble}"
            remedy = f"make the {network.name} there"
            yield Finding.refuses("networks", network.name, INCOMPATIBLE, sentence, remedy)
        elif network.doubt:
            yield Finding.warns("networks", network.name, f"{network.name}: {network.doubt}")
        else:
            yield Finding.ok("networks", network.name)
    if not question.host.networks:
        yield Finding.ok("networks", "none")


def judge_devices(question: HostQuestion) -> Finding:
    """No device of the guest stands against a migration, as one does that is passed through: 5953."""
    rule, blocked = "devices", question.guest.blocked
    if not question.moves or not blocked:
        return Finding.ok(rule, "none passed through")
    reasons = "; ".join(reason.rstrip(".") for reason in blocked)
    sentence = f"QEMU says that {question.name} cannot be migrated: {reasons}"
    return Finding.refuses(rule, reasons, INCOMPATIBLE, sentence, "take the device away, or move it turned off")


def judge_huge_pages(question: HostQuestion) -> Finding:
    """Where the guest's memory is in huge pages, so many of them are free: 5957."""
    rule, size = "huge pages", question.guest.huge_page
    if not size:
        return Finding.ok(rule, "not used")
    free = question.host.huge_pages.get(size, 0)
    pages = -(-question.memory // size)
    if not question.needs_memory or free >= pages * size:
        return Finding.ok(rule, f"{free // size} of {_size(size)} free")
    sentence = f"{question.name} needs {pages} huge pages of {_size(size)} here, {free // size} are free"
    kib = size >> 10
    remedy = f"raise /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages there"
    return Finding.refuses(rule, f"{free // size} free", NO_ROOM, sentence, remedy)


def judge_files(question: HostQuestion) -> Iterator[Finding]:
    """Every disk and kernel is there, and each disk is the very same one: 5953."""
    for file in question.host.files:
        yield _judge_file(question, file, question.guest.file(file.volume) if file.is_disk else None)
    if not question.host.files:
        yield Finding.ok("disks", "none")


def _judge_file(question: HostQuestion, here: FileSight, there: FileSight | None) -> Finding:
    rule, path = "disks" if here.is_disk else "files", here.path
    if here.trouble:
        sentence = f"{question.name} needs {path}, {here.trouble}"
        remedy = f"put {path} on storage that both nodes see"
        return Finding.refuses(rule, path, INCOMPATIBLE, sentence, remedy)
    if there is None or there.trouble:
        return Finding.ok(rule, f"{path}: opened")
    other = _why_another(here, there)
    if other:
        sentence = f"{path} of this host is not the disk that {question.name} has: {other}"
        remedy = f"put {path} on storage that both nodes see"
        if here.read_only:
            return Finding.warns(rule, f"{path}: another file", sentence, remedy)
        return Finding.refuses(rule, f"{path}: another file", INCOMPATIBLE, sentence, remedy)
    if here.locks is False:
        sentence = f"{path} cannot be locked on this host: only the ownership record protects it from being used twice"
        return Finding.warns(rule, f"{path}: no locks", sentence, "use a file system that carries locks")
    if there.lock_seen and here.lock_seen is False:
        sentence = f"the lock that {question.name} has on {path} is not seen on this host"
        return Finding.warns(rule, f"{path}: lock not seen", sentence, "use a file system that carries locks")
    same = "the same file" if here.lock_seen or here.machine == there.machine else "opened"
    return Finding.ok(rule, f"{path}: {same}")


def _why_another(here: FileSight, there: FileSight) -> str:
    """Say why two nodes do not see one file under one path; empty: they do, or it cannot be told."""
    if here.virtual_size and there.virtual_size and here.virtual_size != there.virtual_size:
        return f"it has {here.virtual_size} bytes, not {there.virtual_size}"
    if here.machine and here.machine == there.machine:
        is_other = here.inode != there.inode and not here.lock_seen
        return f"inode {here.inode}, not {there.inode}" if is_other else ""
    local = {here.file_system, there.file_system} & LOCAL_FILE_SYSTEMS
    if here.machine and there.machine and local and not here.lock_seen:
        return f"it lies on {min(local)}, which no two machines share"
    return ""


def judge_free_memory(question: HostQuestion) -> Finding:
    """The host's memory that is free just now suffices: 5957."""
    rule, host = "free memory", question.host
    needed = question.memory + host.overhead
    if not question.needs_memory or needed <= host.memory_free:
        return Finding.ok(rule, f"{_size(host.memory_free)} free, {_size(needed)} needed")
    sentence = f"{question.name} needs {_size(needed)} here, {_size(host.memory_free)} are free"
    remedy = "end something there, or name a node that has more"
    return Finding.refuses(rule, f"{_size(host.memory_free)} free", NO_ROOM, sentence, remedy)


_Rule = Callable[[HostQuestion], Finding | Iterator[Finding]]
HOST_RULES: Final[tuple[_Rule, ...]] = (
    judge_accelerator,
    judge_machine_type,
    judge_version,
    judge_writes,
    judge_cpu,
    judge_firmware,
    judge_networks,
    judge_devices,
    judge_files,
    judge_huge_pages,
    judge_free_memory,
)
"""In the order in which START refuses: 5953 before 5957."""


def judge_host(question: HostQuestion) -> tuple[Finding, ...]:
    """Judge what a host has for a virtual machine."""
    findings: list[Finding] = []
    for rule in HOST_RULES:
        found = rule(question)
        findings += (found,) if isinstance(found, Finding) else found
    return tuple(findings)


def judge_room(name: str, needed: int, committed: int, total: int, shortage: str) -> Finding:
    """What all virtual machines of the node were promised leaves room for this one: 5957.

    ``shortage`` is what is said of the node if it does not.
    """
    rule, free = "memory for virtual machines", max(0, total - committed)
    if committed + needed <= total:
        return Finding.ok(rule, f"{_size(free)} of {_size(total)} left, {_size(needed)} needed")
    remedy = "move something away from there, or name a node that has more"
    return Finding.refuses(
        rule, f"{_size(free)} of {_size(total)} left", NO_ROOM, f"{name} does not fit: {shortage}", remedy
    )


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


def _size(size: int) -> str:
    return f"{size >> 20} MiB"
