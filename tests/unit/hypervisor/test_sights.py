"""What a host is measured by before a VM comes: files, networks, CPU features; on real files."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quorate.clusapi.errors import FaultError
from quorate.clusapi.host_sight import FileSight
from quorate.hypervisor.definition import Disk, DiskFormat, KernelGuest, Nic, NicKind, VmDefinition
from quorate.hypervisor.pinned import Accelerator
from quorate.hypervisor.qemu.cpu_features import CpuFeatures, expansion, feature_names, features_of
from quorate.hypervisor.qemu.file_sight import huge_pages, look_at_files
from quorate.hypervisor.qemu.network_sight import look_at_networks

HEADER = struct.Struct(">4sIQIIQ")


def qcow2(path: Path, size: int = 1 << 30, backing: str = "") -> Path:
    """Write the first bytes of an image, which are all that is looked at."""
    offset = HEADER.size if backing else 0
    path.write_bytes(HEADER.pack(b"QFI\xfb", 3, offset, len(backing), 16, size) + backing.encode())
    return path


def look(disk: Disk, **storages: Path) -> FileSight:
    (sight,) = look_at_files(VmDefinition("web1", 1 << 28, disks=(disk,)), storages)
    return sight


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock as a QEMU does that writes to an image: on bytes from 100 on, by an open file description."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 101, 1, 0))
        yield
    finally:
        os.close(descriptor)


# --- files -----------------------------------------------------------------------------------------------------------


def test_an_image_is_seen_with_its_size_and_identity(tmp_path: Path) -> None:
    path = qcow2(tmp_path / "web1.qcow2", 3 << 30)
    before = path.stat()
    sight = look(Disk(str(path)))
    assert (sight.trouble, sight.virtual_size, sight.inode) == ("", 3 << 30, before.st_ino)
    assert (sight.device, sight.locks, sight.lock_seen) == (before.st_dev, True, False)
    assert sight.machine == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert FileSight.from_json(sight.to_json()) == sight
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_lock_of_a_qemu_is_seen_and_not_disturbed(tmp_path: Path) -> None:
    path = qcow2(tmp_path / "web1.qcow2")
    with locked(path):
        assert look(Disk(str(path))).lock_seen is True
        with locked(path):  # another reader of the same byte may come in
            pass
    assert look(Disk(str(path))).lock_seen is False


def test_a_raw_disk_has_the_size_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "web1.raw"
    path.write_bytes(bytes(4096))
    assert look(Disk(str(path), format=DiskFormat.RAW)).virtual_size == 4096


def test_a_disk_on_a_named_storage(tmp_path: Path) -> None:
    qcow2(tmp_path / "web1.qcow2")
    disk = Disk("web1.qcow2", storage="fast")
    assert look(disk, fast=tmp_path).trouble == ""
    assert look(disk).trouble == "on the storage 'fast', which this host does not have"


def test_what_is_wrong_with_a_disk(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"no image at all, though it is long enough to be one")
    short = tmp_path / "short"
    short.write_bytes(b"QFI\xfb")
    os.mkfifo(fifo := tmp_path / "fifo")
    for path, words in (
        (tmp_path / "none", "which this host does not have"),
        (plain, "which is no qcow2 image on this host"),
        (short, "which is no qcow2 image on this host"),
        (fifo, "neither a file nor a block device"),
        (tmp_path / "plain" / "below", "which this host cannot read: Not a directory"),
    ):
        assert words in look(Disk(str(path))).trouble


def test_backing_files_belong_to_a_disk(tmp_path: Path) -> None:
    base = qcow2(tmp_path / "base.qcow2")
    qcow2(tmp_path / "middle.qcow2", backing="base.qcow2")
    top = qcow2(tmp_path / "top.qcow2", backing=str(tmp_path / "middle.qcow2"))
    assert look(Disk(str(top))).trouble == ""
    base.unlink()
    assert (
        f"whose backing file this host cannot read: No such file or directory ({base})" in look(Disk(str(top))).trouble
    )


def test_backing_files_in_a_circle_are_followed_no_further(tmp_path: Path) -> None:
    assert look(Disk(str(qcow2(tmp_path / "a", backing="a")))).trouble == ""


def test_a_kernel_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"")
    definition = VmDefinition("web1", 1 << 28, guest=KernelGuest(tmp_path / "vmlinuz", tmp_path / "initrd"))
    kernel, initrd = look_at_files(definition, {})
    assert (kernel.is_disk, kernel.trouble) == (False, "")
    assert (initrd.is_disk, initrd.trouble) == (False, "which this host does not have")


def test_huge_pages_are_told_in_bytes_by_their_size() -> None:
    assert all(free % size == 0 for size, free in huge_pages().items())


# --- networks --------------------------------------------------------------------------------------------------------


def test_networks_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "br0" / "bridge").mkdir(parents=True)
    (tmp_path / "br0" / "operstate").write_text("up\n")
    (tmp_path / "br1" / "bridge").mkdir(parents=True)
    (tmp_path / "br1" / "operstate").write_text("down\n")
    (tmp_path / "eth0").mkdir()
    (tmp_path / "t0").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    absent = "which this host does not have"
    cases = {
        Nic(NicKind.BRIDGE, "br0"): ("bridge br0", "", ""),
        Nic(NicKind.BRIDGE, "br1"): ("bridge br1", "", "br1 is down on this host"),
        Nic(NicKind.BRIDGE, "br9"): ("bridge br9", absent, ""),
        Nic(NicKind.BRIDGE, "eth0"): ("bridge eth0", "and eth0 is no bridge on this host", ""),
        Nic(NicKind.TAP, "t0"): ("tap t0", "", ""),
        Nic(NicKind.TAP, "t9"): ("tap t9", absent, ""),
        Nic(NicKind.SWITCH, "lan"): ("switch lan", "", ""),
        Nic(NicKind.SWITCH, "dmz"): ("switch dmz", "whose bridge br9 this host does not have", ""),
        Nic(NicKind.SWITCH, "wan"): ("switch wan", absent, ""),
    }
    seen = look_at_networks(cases, {"lan": "br0", "dmz": "br9"}, tmp_path)
    assert [(one.name, one.trouble, one.doubt) for one in seen] == list(cases.values())
    (user,) = look_at_networks((Nic(NicKind.USER),), {}, tmp_path)
    assert "do not survive" in user.doubt


def test_a_tap_that_qemu_can_make_is_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tap,) = look_at_networks((Nic(NicKind.TAP, "t9"),), {}, tmp_path)
    assert (tap.trouble, "plugged into nothing" in tap.doubt) == ("", True)


# --- CPU features ----------------------------------------------------------------------------------------------------


def test_each_feature_has_one_name() -> None:
    props = {"sse4.1": True, "sse4_1": True, "sse4-1": True, "pni": True, "sse3": True, "xd": True, "nx": True}
    switches = {"enforce": True, "x-migrate-smi-count": True, "hypervisor": True, "avx2": False, "level": 13}
    assert features_of({**props, **switches}) == {"sse4-1", "pni", "nx"}
    assert feature_names(["sse4.2", "xd", None]) == {"sse4-2", "nx"}


def test_a_model_is_expanded_with_its_options() -> None:
    assert expansion("Nehalem") == {"type": "full", "model": {"name": "Nehalem", "props": {}}}
    assert expansion("host,+aes,-vmx,avx2=off,pmu=on,level=13")["model"] == {
        "name": "host",
        "props": {"aes": True, "vmx": False, "avx2": False, "pmu": True},
    }


def features(cache: Path, version: tuple[int, int, int] = (10, 0, 2)) -> CpuFeatures:
    return CpuFeatures("/nowhere/qemu", version, Accelerator.TCG, cache)


def test_what_another_qemu_has_said_does_not_count(tmp_path: Path) -> None:
    cache = tmp_path / "cpu.json"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    ours = {"key": f"{boot_id} (10, 0, 2) tcg", "models": {"max": ["sse2"]}}
    cache.write_text(json.dumps(ours))
    assert features(cache).known("max") == frozenset({"sse2"})
    assert features(cache).known("qemu64") is None
    assert features(cache, version=(9, 2, 0)).known("max") is None
    for spoiled in ("{", "[]", json.dumps({**ours, "key": "another boot"}), json.dumps({**ours, "models": 3})):
        cache.write_text(spoiled)
        assert features(cache).known("max") is None


def test_a_qemu_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="/nowhere/qemu"):
        asyncio.run(CpuFeatures("/nowhere/qemu", (10, 0, 2), Accelerator.TCG, tmp_path / "c").learn(("max",)))
