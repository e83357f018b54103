"""Who lets QEMU send the last part: we, after the vCPUs stand, and a daemon that comes back in between as well."""

import asyncio
import json
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from quorate.clusapi.identity import ImageId, VmId
from quorate.hypervisor.contract import (
    Fresh,
    Incoming,
    Instance,
    Launch,
    LaunchRequest,
    MigrationParameters,
    MigrationStatus,
    RunState,
    VmPaths,
)
from quorate.hypervisor.definition import BuiltinGuest, VmDefinition, complete_definition
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings

pytestmark = pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU")

BUSY = BuiltinGuest(dirty_bytes=16 << 20, dirty_bytes_per_second=64 << 20)
SLOW = MigrationParameters(max_bandwidth=16 << 20)


class Pair:
    """A running source and a destination that waits for it."""

    def __init__(self, root: Path) -> None:
        self.hypervisor = QemuHypervisor(QemuSettings(cache=root / "kvm", environment={"QUORATE_ACCELERATOR": "tcg"}))
        self.vm_id = VmId(str(uuid.uuid4()))
        self.paths = {name: VmPaths(root / name, root / name / "run") for name in ("a", "b")}
        self.instances: list[Instance] = []
        for paths in self.paths.values():
            paths.runtime.mkdir(parents=True)

    async def launch(self, node: str, launch: Launch) -> Instance:
        definition = complete_definition(VmDefinition("web1", 64 << 20, guest=BUSY), self.vm_id)
        pinned = await self.hypervisor.pin(definition)
        request = LaunchRequest(self.vm_id, "web1", ImageId(node), definition, pinned, self.paths[node], launch)
        self.instances.append(await self.hypervisor.launch(request))
        return self.instances[-1]

    async def start(self) -> tuple[Instance, Instance, str]:
        source = await self.launch("a", Fresh())
        await source.cont()
        destination = await self.launch("b", Incoming(prefault=False))
        return source, destination, await destination.listen(SLOW)

    async def end(self) -> None:
        for instance in self.instances:
            instance.kill()
            await instance.wait_gone()


@pytest.fixture
def root() -> Iterator[Path]:
    """Short, since sockets lie below."""
    directory = Path(tempfile.mkdtemp(prefix="qh"))
    yield directory
    shutil.rmtree(directory)


def run(root: Path, body: Callable[[Pair], Awaitable[None]]) -> None:
    @asynccontextmanager
    async def pair() -> AsyncIterator[Pair]:
        it = Pair(root)
        try:
            yield it
        finally:
            await it.end()

    async def main() -> None:
        async with asyncio.timeout(120), pair() as it:
            await body(it)

    asyncio.run(main())


async def until(instance: Instance, *wanted: MigrationStatus) -> None:
    deadline = time.monotonic() + 60
    while (sample := await instance.migration()).status not in wanted:
        assert time.monotonic() < deadline, sample
        await asyncio.sleep(0.005)


def stop_by_another_hand(control: Path) -> None:
    """What a daemon does that ends right after its `stop`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(control))
        with connection.makefile("rwb") as lines:
            for command in ("qmp_capabilities", "stop"):
                lines.readline()
                lines.write(json.dumps({"execute": command}).encode())
                lines.flush()
            while "return" not in json.loads(lines.readline()):
                continue


def test_the_devices_are_saved_after_the_vcpus_stand(root: Path) -> None:
    async def body(pair: Pair) -> None:
        source, destination, uri = await pair.start()
        await source.migrate(uri, SLOW)
        await until(source, MigrationStatus.ACTIVE)
        await source.stop()
        assert (await source.migration()).status in (MigrationStatus.ACTIVE, MigrationStatus.PRE_SWITCHOVER)
        await until(source, MigrationStatus.COMPLETED)
        await until(destination, MigrationStatus.COMPLETED)
        assert await destination.run_state() is RunState.PAUSED

    run(root, body)


@pytest.mark.parametrize("waiting", [False, True], ids=["before the last part", "at the last part"])
def test_a_daemon_that_comes_back_lets_the_last_part_go(root: Path, waiting: bool) -> None:
    async def body(pair: Pair) -> None:
        source, destination, uri = await pair.start()
        await source.migrate(uri, SLOW)
        await until(source, MigrationStatus.ACTIVE)
        await source.release()
        await asyncio.to_thread(stop_by_another_hand, pair.paths["a"].control_socket(pair.vm_id))
        if waiting:
            await asyncio.sleep(3.0)  # the rest is across by then
        adopted = await pair.hypervisor.adopt(pair.vm_id, pair.paths["a"])
        assert adopted is not None
        pair.instances[0] = adopted
        await until(adopted, MigrationStatus.COMPLETED)
        await until(destination, MigrationStatus.COMPLETED)
        assert await destination.run_state() is RunState.PAUSED

    run(root, body)
