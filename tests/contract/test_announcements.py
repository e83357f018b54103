"""What the network is told of where a guest is, seen where a switch would see it: on the tap of its card."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.identity import ImageId, VmId
from quorate.engine.announcements import addresses_of, announce_until_seen
from quorate.hypervisor.contract import Fresh, Instance, LaunchRequest, VmPaths
from quorate.hypervisor.definition import BuiltinGuest, Nic, NicKind, VmDefinition, complete_definition
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings
from quorate.migration.announcing import Verdict

_ALL_FRAMES: Final = 0x0003  # ETH_P_ALL
_RARP: Final = 0x8035
_EVERYBODY: Final = b"\xff" * 6
_SOMEBODY: Final = bytes.fromhex("025100000001")
_ROUNDS: Final = 5
"""Frames of one announcement."""


def _make_tap(name: str) -> bool:
    made = subprocess.run(("ip", "tuntap", "add", "dev", name, "mode", "tap"), capture_output=True, check=False)
    return made.returncode == 0


@pytest.fixture
def tap() -> Iterator[str]:
    """A tap of this machine that is up, and gone afterwards."""
    name = f"qt{uuid.uuid4().hex[:8]}"
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("QEMU")
    if os.geteuid() != 0 or not shutil.which("ip") or not _make_tap(name):
        pytest.skip("nobody may make a tap here")
    try:
        subprocess.run(("ip", "link", "set", name, "up"), check=True)
        yield name
    finally:
        subprocess.run(("ip", "link", "del", name), check=True)


@pytest.fixture
def root() -> Iterator[Path]:
    """Short, since sockets lie below."""
    directory = Path(tempfile.mkdtemp(prefix="qa"))
    yield directory
    shutil.rmtree(directory)


class Network:
    """A machine that is announced, and an ear and a mouth at the other end of its card."""

    def __init__(self, instance: Instance, card: str, tap: str) -> None:
        self.instance, self.card = instance, card
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_FRAMES))
        self._wire.bind((tap, 0))
        self._wire.setblocking(False)
        self._address = bytes.fromhex(card.replace(":", ""))

    async def hear(self, rounds: int = _ROUNDS) -> None:
        """Wait for so many frames by which the card tells everybody where it is."""
        loop, heard = asyncio.get_running_loop(), 0
        while heard < rounds:
            frame = await asyncio.wait_for(loop.sock_recv(self._wire, 2048), PATIENCE)
            kind = int.from_bytes(frame[12:14])
            heard += (frame[:6], frame[6:12], kind) == (_EVERYBODY, self._address, _RARP)

    def send(self, to: bytes | None = None) -> None:
        """Send a frame to the card, as somebody does who knows where it is; or to another one."""
        self._wire.send((to or self._address) + _SOMEBODY + _RARP.to_bytes(2) + bytes(46))

    def close(self) -> None:
        self._wire.close()


def _with_network(tap: str, root: Path, body: Callable[[Network], Awaitable[None]]) -> None:
    async def main() -> None:
        hypervisor = QemuHypervisor(QemuSettings(cache=root / "kvm", environment={"QUORATE_ACCELERATOR": "tcg"}))
        vm_id, paths = VmId(str(uuid.uuid4())), VmPaths(root / "a", root / "a" / "run")
        paths.runtime.mkdir(parents=True)
        wanted = VmDefinition("web1", 64 << 20, guest=BuiltinGuest(), nics=(Nic(NicKind.TAP, tap),))
        definition = complete_definition(wanted, vm_id)
        (card,) = addresses_of(definition)
        request = LaunchRequest(
            vm_id, "web1", ImageId("a"), definition, await hypervisor.pin(definition), paths, Fresh()
        )
        instance = await hypervisor.launch(request)
        try:
            with closing(Network(instance, card, tap)) as network:
                await instance.cont()
                async with asyncio.timeout(PATIENCE):
                    await body(network)
        finally:
            instance.kill()
            await instance.wait_gone()

    asyncio.run(main())


def test_a_card_tells_the_network_where_it_is_whatever_its_guest_does(tap: str, root: Path) -> None:
    """The guest has no driver for it: it is QEMU that speaks, from the card's own address."""

    async def body(network: Network) -> None:
        await network.instance.announce()
        await network.hear()

    _with_network(tap, root, body)


def test_it_is_announced_until_somebody_sends_to_it(tap: str, root: Path) -> None:
    async def body(network: Network) -> None:
        told = asyncio.ensure_future(announce_until_seen(network.instance, "web1", {network.card}, lambda: True))
        await network.hear()  # the first one was lost, or nobody had anything to say
        network.send(_EVERYBODY)
        network.send(_SOMEBODY)
        await network.hear()
        assert not told.done(), "what goes to everybody, or to another one, reaches its old place as well"
        network.send()
        assert await told is Verdict.SEEN

    _with_network(tap, root, body)


def test_one_that_has_left_is_announced_no_more(tap: str, root: Path) -> None:
    async def body(network: Network) -> None:
        assert await announce_until_seen(network.instance, "web1", {network.card}, lambda: False) is None
        network.instance.kill()
        await network.instance.wait_gone()
        assert await announce_until_seen(network.instance, "web1", {network.card}, lambda: True) is None

    _with_network(tap, root, body)
