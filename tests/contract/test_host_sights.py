"""What the QEMU driver measures for the preflight, with a QEMU that runs: its guest, its disks, its CPU."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import ImageId, VmId
from quorate.hypervisor.contract import Fresh, Instance, LaunchRequest, VmPaths
from quorate.hypervisor.definition import BuiltinGuest, Disk, VmDefinition, complete_definition
from quorate.hypervisor.pinned import Accelerator, Pinned
from quorate.hypervisor.qemu.cpu_features import CpuFeatures
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings
from quorate.hypervisor.qemu.instance import QemuInstance
from quorate.migration.host_rules import HostQuestion, judge_host
from quorate.migration.rules import first_refusal

VM = VmId(str(uuid.uuid4()))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "web1.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "24M"], check=True)
    return path


@asynccontextmanager
async def running(
    hypervisor: QemuHypervisor, root: Path, definition: VmDefinition
) -> AsyncIterator[tuple[Instance, Pinned]]:
    paths = VmPaths(root / "vms", root / "run")
    paths.directory.mkdir()
    paths.runtime.mkdir()
    pinned = await hypervisor.pin(definition)
    request = LaunchRequest(VM, definition.name, ImageId("image"), definition, pinned, paths, Fresh())
    instance = await hypervisor.launch(request)
    try:
        await instance.cont()
        yield instance, pinned
    finally:
        instance.kill()
        await instance.wait_gone()


def test_a_guest_that_runs_is_measured_and_could_go_where_it_came_from(tmp_path: Path, disk: Path) -> None:
    definition = VmDefinition("web1", 64 << 20, guest=BuiltinGuest(), disks=(Disk(str(disk)),))
    definition = complete_definition(definition, VM)

    async def main() -> None:
        hypervisor = QemuHypervisor(QemuSettings(tmp_path / "accelerator.json"))
        async with running(hypervisor, tmp_path, definition) as (instance, pinned):
            unknown = await hypervisor.look_at(instance, definition, pinned)
            assert unknown.cpu_features is None, "nobody has found out yet which features a model has"
            assert (await hypervisor.measure(definition, pinned)).cpu_features is None

            await hypervisor.learn()
            guest = await hypervisor.look_at(instance, definition, pinned)
            host = await hypervisor.measure(definition, pinned)
            assert guest.version == host.version
            assert guest.cpu_features
            assert host.cpu_features is not None
            assert guest.cpu_features < host.cpu_features
            assert guest.blocked == ()
            (seen,) = host.files
            assert (seen.lock_seen, seen.virtual_size) == (True, 24 << 20), "QEMU's own lock, and the size it gives"
            assert guest.files == host.files
            question = HostQuestion("web1", pinned.machine_type, "tcg", pinned.memory_bytes, host, guest, moves=True)
            assert first_refusal(judge_host(question)) is None

            copy = tmp_path / "copy.qcow2"
            shutil.copyfile(disk, copy)
            copy.replace(disk)  # the guest goes on with the file that has no name any more
            host = await hypervisor.measure(definition, pinned)
            refusal = first_refusal(judge_host(replace(question, host=host)))
            assert refusal is not None
            assert "is not the disk that web1 has: inode" in refusal.sentence

    asyncio.run(main())


def test_what_cannot_be_migrated_is_told_by_qemu_itself(tmp_path: Path) -> None:
    definition = complete_definition(VmDefinition("web1", 64 << 20, guest=BuiltinGuest()), VM)
    (shared := tmp_path / "shared").mkdir()

    async def main() -> None:
        hypervisor = QemuHypervisor(QemuSettings(tmp_path / "accelerator.json"))
        async with running(hypervisor, tmp_path, definition) as (instance, pinned):
            assert isinstance(instance, QemuInstance)
            assert (await instance.sight()).blocked == ()
            # It stands against a migration as a device does that is passed through, and needs no such device.
            drive = {"driver": "vvfat", "node-name": "drive", "dir": str(shared), "rw": True}
            await instance._monitor.execute("blockdev-add", drive)
            guest, host = await asyncio.gather(
                hypervisor.look_at(instance, definition, pinned), hypervisor.measure(definition, pinned)
            )
            question = HostQuestion("web1", pinned.machine_type, "tcg", pinned.memory_bytes, host, guest, moves=True)
            refusal = first_refusal(judge_host(question))
            assert refusal is not None
            assert (refusal.rule, refusal.status) == ("devices", 5953)
            assert "vvfat" in refusal.sentence

    asyncio.run(main())


def test_qemu_is_asked_for_features_once_and_what_it_said_is_kept(tmp_path: Path) -> None:
    binary, cache = shutil.which("qemu-system-x86_64"), tmp_path / "cpu.json"
    assert binary is not None
    asked = CpuFeatures(binary, (10, 0, 2), Accelerator.TCG, cache)
    assert asked.known("max") is None
    asyncio.run(asked.learn(("max", "qemu64", "qemu64,+avx2", "no-such-model")))
    everything, plain, more = (asked.known(model) for model in ("max", "qemu64", "qemu64,+avx2"))
    assert everything is not None
    assert plain is not None
    assert more is not None
    assert plain < everything, "TCG can do all that its own model has"
    assert more - plain == {"avx2"}
    assert asked.known("no-such-model") is None

    again = CpuFeatures("/nowhere/qemu", (10, 0, 2), Accelerator.TCG, cache)
    assert again.known("max") == everything
    asyncio.run(again.learn(("max", "qemu64")))  # nobody is asked
    with pytest.raises(FaultError, match="/nowhere/qemu"):
        asyncio.run(again.learn(("Nehalem",)))


def test_a_qemu_that_was_asked_ends_though_the_one_who_asked_is_killed(tmp_path: Path) -> None:
    """A daemon is killed at the very moment at which its QEMU has been started, before it has said a word to it."""
    started, qemu = tmp_path / "started", tmp_path / "qemu"
    qemu.write_text(f'#!/bin/sh\necho $$ > {started}.new; mv {started}.new {started}\nexec qemu-system-x86_64 "$@"\n')
    qemu.chmod(0o700)
    dies = (
        "import asyncio, os, signal",
        "from pathlib import Path",
        "from quorate.hypervisor.pinned import Accelerator",
        "from quorate.hypervisor.qemu.cpu_features import CpuFeatures",
        "async def die(self, input=None): os.kill(os.getpid(), signal.SIGKILL)",
        "asyncio.subprocess.Process.communicate = die",
        f"features = CpuFeatures({str(qemu)!r}, (10, 0, 2), Accelerator.TCG, Path({str(tmp_path / 'kept')!r}))",
        "asyncio.run(features.learn(['max']))",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(dies)], check=False)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline, "QEMU was not started"
        time.sleep(0.005)
    pid = int(started.read_text())
    try:
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline, "QEMU goes on though nobody needs it"
            time.sleep(0.005)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
