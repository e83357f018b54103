"""Migrations over TLS between real QEMUs: who may connect, and that nobody on the way can read along."""

import asyncio
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.peers.certificates import INSTANCE, Authorities
from tests.waiting import PATIENCE

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import ImageId, VmId
from quorate.hypervisor.contract import (
    Fresh,
    Incoming,
    Instance,
    Launch,
    LaunchRequest,
    MigrationParameters,
    MigrationStatus,
    MigrationTls,
    RunState,
    VmPaths,
)
from quorate.hypervisor.definition import BuiltinGuest, VmDefinition, complete_definition
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings
from quorate.hypervisor.qemu.host import has_zstd

pytestmark = pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU")

HOST = "127.0.0.1"
NAME = "web1-the-name-of-the-guest"
_HELLO = 0x16  # the first byte of a TLS handshake
_MAGIC = b"QEVM"  # the first bytes of a migration that is not encrypted


@dataclass
class Lab:
    """Nodes with certificates of one cluster, the strangers' too, and the QEMUs of one test."""

    root: Path
    channels: int = 2
    compressed: bool = False
    fill: int = 8 << 20
    authorities: Authorities = field(default_factory=Authorities.make)
    vm_id: VmId = field(default_factory=lambda: VmId(str(uuid.uuid4())))
    instances: list[Instance] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hypervisor = QemuHypervisor(
            QemuSettings(cache=self.root / "kvm", environment={"QUORATE_ACCELERATOR": "tcg"})
        )

    def tls(self, node: str, peer: str, authorities: Authorities | None = None) -> MigrationTls:
        """What a node shows, certified by the cluster's authority or by another."""
        directory = self.root / f"pki-{node}-{id(authorities)}"
        identity = (authorities or self.authorities).identity(directory, node)
        return MigrationTls(identity.nodes_ca, identity.certificate, identity.key, peer)

    def parameters(self, tls: MigrationTls | None) -> MigrationParameters:
        return MigrationParameters(multifd_channels=self.channels, compressed=self.compressed, tcp_host=HOST, tls=tls)

    async def launch(self, place: str, launch: Launch) -> Instance:
        paths = self.paths(place)
        paths.runtime.mkdir(parents=True, exist_ok=True)
        guest = BuiltinGuest(fill_bytes=self.fill)
        definition = complete_definition(VmDefinition(NAME, 2 * self.fill + (16 << 20), guest=guest), self.vm_id)
        pinned = await self.hypervisor.pin(definition)
        request = LaunchRequest(self.vm_id, NAME, ImageId(place), definition, pinned, paths, launch)
        self.instances.append(await self.hypervisor.launch(request))
        return self.instances[-1]

    def paths(self, place: str) -> VmPaths:
        return VmPaths(self.root / place, self.root / place / "run")

    async def source(self, place: str = "a") -> Instance:
        instance = await self.launch(place, Fresh())
        await instance.cont()
        return instance

    async def destination(self) -> tuple[Instance, str]:
        """A QEMU of node 2 that waits for node 1."""
        instance = await self.launch("b", Incoming(prefault=False))
        subject = f"CN=1,O={INSTANCE}"
        return instance, await instance.listen(self.parameters(self.tls("2", subject)))

    async def migrate(self, source: Instance, uri: str, tls: MigrationTls | None) -> MigrationStatus:
        """Let one try to send its guest; how that ended."""
        await source.migrate(uri, self.parameters(tls))
        stopped = False
        deadline = time.monotonic() + 60
        while not (sample := await source.migration()).status.is_final:
            assert time.monotonic() < deadline, sample
            if sample.passes and not sample.remaining and not stopped:
                await source.stop()
                stopped = True
            await asyncio.sleep(0.005)
        return sample.status


@pytest.fixture
def run() -> Iterator[Callable[..., None]]:
    root = Path(tempfile.mkdtemp(prefix="qh"))  # short, since sockets lie below

    @asynccontextmanager
    async def lab(channels: int) -> AsyncIterator[Lab]:
        it = Lab(root, channels)
        try:
            yield it
        finally:
            for instance in it.instances:
                instance.kill()
                await instance.wait_gone()

    def go(body: Callable[[Lab], Awaitable[None]], channels: int = 2) -> None:
        async def main() -> None:
            async with asyncio.timeout(120), lab(channels) as it:
                await body(it)

        asyncio.run(main())

    yield go
    shutil.rmtree(root)


async def loaded(destination: Instance) -> None:
    deadline = time.monotonic() + 60
    while (sample := await destination.migration()).status is not MigrationStatus.COMPLETED:
        assert time.monotonic() < deadline and not sample.status.is_final, sample
        await asyncio.sleep(0.005)


class Eavesdropper:
    """Somebody on the way: hands on what is sent, and keeps the beginning of each connection."""

    def __init__(self) -> None:
        self.heard: list[bytearray] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def between(self, uri: str) -> str:
        """Sit before the address of a destination; the address to which the source is to be sent instead."""
        host, port = uri.removeprefix("tcp:").split(":")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard = bytearray()
            self.heard.append(heard)
            there_reader, there = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_pump(reader, there, heard), _pump(there_reader, writer, bytearray()))

        self.server = await asyncio.start_server(serve, HOST, 0)
        return f"tcp:{HOST}:{self.server.sockets[0].getsockname()[1]}"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray) -> None:
    with suppress(OSError):
        while piece := await reader.read(1 << 18):
            heard += piece[: max(0, (1 << 20) - len(heard))]
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.close()


@pytest.mark.parametrize("channels", [0, 2])
def test_a_guest_moves_and_nobody_on_the_way_reads_along(run: Callable[..., None], channels: int) -> None:
    async def body(lab: Lab) -> None:
        source = await lab.source()
        destination, uri = await lab.destination()
        listener = Eavesdropper()
        way = await listener.between(uri)
        assert await lab.migrate(source, way, lab.tls("1", HOST)) is MigrationStatus.COMPLETED
        await loaded(destination)
        assert await destination.run_state() is RunState.PAUSED
        assert len(listener.heard) == channels + 1
        for heard in listener.heard:
            assert heard[0] == _HELLO and _MAGIC not in heard and NAME.encode() not in heard
            assert b"\0" * 256 not in heard  # what memory of a guest is full of
        listener.server.close()

    run(body, channels)


def test_without_tls_it_would_have_been_read(run: Callable[..., None]) -> None:
    """The eavesdropper of the other test can hear."""

    async def body(lab: Lab) -> None:
        source = await lab.source()
        destination = await lab.launch("b", Incoming(prefault=False))
        listener = Eavesdropper()
        way = await listener.between(await destination.listen(lab.parameters(None)))
        assert await lab.migrate(source, way, None) is MigrationStatus.COMPLETED
        await loaded(destination)
        assert any(heard.startswith(_MAGIC) for heard in listener.heard)
        listener.server.close()

    run(body)


def test_strangers_get_nowhere_and_the_source_finds_its_place_free(run: Callable[..., None]) -> None:
    """No certificate; one of another authority; another node's: none of them keeps the destination from its source."""

    async def body(lab: Lab) -> None:
        destination, uri = await lab.destination()
        await asyncio.to_thread(_knock, uri)
        for number, tls in enumerate((None, lab.tls("1", HOST, Authorities.make()), lab.tls("3", HOST))):
            stranger = await lab.source(f"stranger{number}")
            assert await lab.migrate(stranger, uri, tls) is MigrationStatus.FAILED
            assert (await destination.migration()).status in (MigrationStatus.NONE, MigrationStatus.SETUP)
            assert await destination.run_state() is RunState.INMIGRATE
        source = await lab.source()
        assert await lab.migrate(source, uri, lab.tls("1", HOST)) is MigrationStatus.COMPLETED
        await loaded(destination)

    run(body)


def _knock(uri: str) -> None:
    host, port = uri.removeprefix("tcp:").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(_MAGIC + bytes(100))


def test_a_source_sends_nothing_to_another_than_its_destination(run: Callable[..., None]) -> None:
    async def body(lab: Lab) -> None:
        source = await lab.source()
        _, uri = await lab.destination()
        wrong = await lab.migrate(source, uri, lab.tls("1", "192.0.2.9"))
        assert wrong is MigrationStatus.FAILED
        assert "192.0.2.9" in (await source.migration()).sentence
        assert await source.run_state() is RunState.RUNNING

    run(body)


def test_the_next_migration_goes_by_renewed_certificates_and_leaves_no_key_behind(run: Callable[..., None]) -> None:
    async def body(lab: Lab) -> None:
        source = await lab.source()
        destination, uri = await lab.destination()
        assert await lab.migrate(source, uri, lab.tls("1", HOST)) is MigrationStatus.COMPLETED
        await loaded(destination)
        await destination.cont()
        source.kill()
        await source.wait_gone()
        # Back, to a node that was certified anew by an authority that was replaced as a whole.
        lab.authorities = Authorities.make()
        again = await lab.launch("a", Incoming(prefault=False))
        uri = await again.listen(lab.parameters(lab.tls("1", f"CN=2,O={INSTANCE}")))
        assert await lab.migrate(destination, uri, lab.tls("2", HOST)) is MigrationStatus.COMPLETED
        await loaded(again)
        for place in ("a", "b"):
            assert not lab.paths(place).migration_certificates(lab.vm_id).exists()

    run(body)


def test_memory_is_saved_to_a_file_by_a_qemu_that_has_received_over_tls(run: Callable[..., None]) -> None:
    async def body(lab: Lab) -> None:
        source = await lab.source()
        destination, uri = await lab.destination()
        assert await lab.migrate(source, uri, lab.tls("1", HOST)) is MigrationStatus.COMPLETED
        await loaded(destination)
        await destination.save(lab.root / "image")
        assert (lab.root / "image").read_bytes().startswith(_MAGIC)

    run(body)


@pytest.mark.skipif(not has_zstd(shutil.which("qemu-system-x86_64") or ""), reason="a QEMU without zstd")
def test_memory_is_compressed_and_not_for_longer_than_it_is_wanted(run: Callable[..., None]) -> None:
    """Once there and back: the QEMU that has received compressed sends as it is, and so clearly more."""

    async def body(lab: Lab) -> None:
        lab.fill = 64 << 20
        source, sent = await lab.source(), []
        log = lab.paths("a").serial_log(lab.vm_id)
        deadline = time.monotonic() + 60
        while not log.exists() or log.read_bytes().count(b"\n") < 3:  # it has filled its memory when it counts
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        lab.compressed = True
        there, uri = await lab.destination()
        assert await lab.migrate(source, uri, lab.tls("1", HOST)) is MigrationStatus.COMPLETED
        sent.append((await source.migration()).transferred)
        await loaded(there)
        await there.cont()
        source.kill()
        await source.wait_gone()
        lab.compressed = False
        back = await lab.launch("a", Incoming(prefault=False))
        uri = await back.listen(lab.parameters(lab.tls("1", f"CN=2,O={INSTANCE}")))
        assert await lab.migrate(there, uri, lab.tls("2", HOST)) is MigrationStatus.COMPLETED
        sent.append((await there.migration()).transferred)
        await loaded(back)
        assert sent[0] * 1.4 < sent[1], sent

    run(body)


@asynccontextmanager
async def mute() -> AsyncIterator[str]:
    """Somebody who lets connections come and never says a word."""
    with socket.create_server((HOST, 0)) as server:
        yield f"tcp:{HOST}:{server.getsockname()[1]}"


@pytest.mark.parametrize("channels", [0, 2])
def test_a_handshake_that_is_never_answered_is_given_up_and_the_guest_lives(
    run: Callable[..., None], channels: int
) -> None:
    """QEMU waits for the answer in its main loop, which then hears nothing: neither `migrate_cancel` nor `cont`."""

    async def body(lab: Lab) -> None:
        source = await lab.source()
        async with mute() as uri:
            await source.migrate(uri, lab.parameters(lab.tls("1", HOST)))
            with pytest.raises((TimeoutError, FaultError)):
                async with asyncio.timeout(1):
                    await over(source)
            await source.migrate_cancel()
            assert (await source.run_state()).vcpus_run
            await over(source)
        destination, uri = await lab.destination()
        assert await lab.migrate(source, uri, lab.tls("1", HOST)) is MigrationStatus.COMPLETED
        await loaded(destination)

    run(body, channels)


def test_a_daemon_that_finds_a_qemu_in_such_a_handshake_gets_it_back(run: Callable[..., None]) -> None:
    async def body(lab: Lab) -> None:
        source = await lab.source()
        async with mute() as uri:
            await source.migrate(uri, lab.parameters(lab.tls("1", HOST)))
            with pytest.raises((TimeoutError, FaultError)):
                async with asyncio.timeout(1):
                    await over(source)
            await source.release()
            found = await lab.hypervisor.adopt(lab.vm_id, lab.paths("a"))
            assert found is not None
            lab.instances[0] = found
            await over(found)
            assert (await found.run_state()).vcpus_run

    run(body)


async def over(source: Instance) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (sample := await source.migration()).status.is_final:
        assert time.monotonic() < deadline, sample
        await asyncio.sleep(0.005)
