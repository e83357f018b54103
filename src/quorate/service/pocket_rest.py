"""Virtual machines of a pocket cluster that is taken down: asked to go off until they are, or nobody can ask them.

A request may be lost: a virtual machine that changes hands is owned by nobody who would listen, and one that is being
migrated refuses. So each that is on is asked again and again. Nodes that do not answer have some time to come back;
then what runs there is given up, since only they could save it, and their guards end it anyhow.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.client.address import NodeAddress, node_addresses
from quorate.client.asynchronous import AsyncClient
from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.json_types import JsonObject, json_int, json_objects, json_text
from quorate.clusapi.states import ResourceOfflineFlags, VmState
from quorate.clusapi.status import Status
from quorate.service.pocket_files import configured
from quorate.service.pocket_processes import qemu_processes

STOP_TIMEOUT: Final = 240.0
"""Seconds that virtual machines have to go off: as long as the slowest way, a guest's own shutdown, may take."""
SILENCE: Final = 15.0
"""Seconds that a node has to answer: its daemon may have died, and the keeper starts it again within five."""
ANSWER: Final = 4.0
"""Seconds for one answer; a node waits two for what others report."""
REPEAT: Final = 1.0
"""Seconds after which a virtual machine is asked again to go off."""
_LOOK: Final = 0.1
_QEMU_PATIENCE: Final = 5.0
_FIRST_WORDS: Final = 2.0
"""Seconds after which people are told what is waited for."""
_OFF: Final = (VmState.OFF, VmState.SAVED)

Tell = Callable[[str], None]
"""Says a sentence to people while they wait."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The cluster at one look."""

    client: AsyncClient | None
    """A way to a node that answers."""
    on: tuple[JsonObject, ...] = ()
    """The virtual machines that are not off, on nodes that answer."""
    silent: tuple[str, ...] = ()
    """The nodes that do not answer and have virtual machines that may be on."""


async def rest(directory: Path, tell: Tell) -> None:
    """Have every virtual machine go off as its OfflineAction says. What is wanted online stays wanted.

    Raises:
        FaultError: 1460, one did not go off although its node answers.
    """
    began = heard = time.monotonic()
    asking = _Asking()
    words = _Words(tell, began)
    while True:
        seen = await _look(directory)
        now = time.monotonic()
        heard = now if not seen.silent else heard
        if not seen.on and not seen.silent:
            return await _wait_for_processes(directory)
        if not seen.on and now - heard > SILENCE:
            return tell(f"no answer from {', '.join(seen.silent)} for {SILENCE:.0f} s: what runs there cannot be saved")
        if now - began > STOP_TIMEOUT:
            raise FaultError(
                Status.ERROR_TIMEOUT,
                f"not every virtual machine went off within {STOP_TIMEOUT:.0f} s; nothing was ended: "
                + asking.describe(seen),
            )
        await asking.ask(seen, now)
        words.say(f"waiting for {asking.describe(seen)}", now)
        await asyncio.sleep(_LOOK)


async def _wait_for_processes(directory: Path) -> None:
    """Wait until the QEMUs have ended of virtual machines that are off."""
    deadline = time.monotonic() + _QEMU_PATIENCE
    while qemu_processes(configured(directory)) and time.monotonic() < deadline:  # noqa: ASYNC110 - other processes
        await asyncio.sleep(_LOOK)


async def _look(directory: Path) -> _Seen:
    for address in _addresses(directory):
        client = AsyncClient((address,))
        try:
            async with asyncio.timeout(ANSWER):
                nodes = json_objects((await client.call("ListNodes")).as_json(), "nodes")
                machines = json_objects((await client.call("ListVirtualMachines")).as_json(), "virtual_machines")
        except (ClusterError, TimeoutError):
            continue
        answering = {json_text(node, "name") for node in nodes if json_int(node, "daemon_pid")}
        on = [vm for vm in machines if json_int(vm, "vm_state") not in _OFF]
        return _Seen(
            client,
            tuple(vm for vm in on if json_text(vm, "node") in answering),
            tuple(sorted({json_text(vm, "node") for vm in on} - answering)),
        )
    running = {f"node {qemu.node}" for qemu in qemu_processes(configured(directory))}
    return _Seen(None, silent=tuple(sorted(running)))


def _addresses(directory: Path) -> tuple[NodeAddress, ...]:
    try:
        return node_addresses(str(directory))
    except ClusterError:  # cluster.json is damaged: nobody can be asked
        return ()


class _Asking:
    """Who was asked to go off, when, and what was said against it."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}
        self._refusals: dict[str, str] = {}

    async def ask(self, seen: _Seen, now: float) -> None:
        if seen.client is None:
            return
        due = [vm for vm in seen.on if now - self._asked.get(json_text(vm, "name"), -REPEAT) >= REPEAT]
        await asyncio.gather(*(self._ask_one(seen.client, vm, now) for vm in due))

    async def _ask_one(self, client: AsyncClient, vm: JsonObject, now: float) -> None:
        name, resource = json_text(vm, "name"), json_text(vm, "vm_resource")
        self._asked[name] = now
        self._refusals.pop(name, None)
        try:
            async with asyncio.timeout(ANSWER):
                flags = int(ResourceOfflineFlags.DO_NOT_UPDATE_PERSISTENT_STATE)
                await client.call("OfflineResource", resource=resource, flags=flags)
        except ClusterError as error:
            self._refusals[name] = error.sentence
        except TimeoutError:
            self._refusals[name] = "no answer"

    def describe(self, seen: _Seen) -> str:
        """Say what is waited for: "web1 (saving), node2"."""
        machines = [f"{(name := json_text(vm, 'name'))} ({self._why(name, vm)})" for vm in seen.on]
        return ", ".join([*machines, *(f"{node} (no answer)" for node in seen.silent)])

    def _why(self, name: str, vm: JsonObject) -> str:
        return self._refusals.get(name) or json_text(vm, "vm_state_name").replace("_", " ").lower()


class _Words:
    """Tells people what is waited for: once it takes long, and when it is something else."""

    def __init__(self, tell: Tell, began: float) -> None:
        self._tell = tell
        self._began = began
        self._said = ""

    def say(self, sentence: str, now: float) -> None:
        if now - self._began > _FIRST_WORDS and sentence != self._said:
            self._said = sentence
            self._tell(sentence)
