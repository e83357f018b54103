"""This node's network interfaces: found, written down, probed, and what comes out told to the others.

::

    kernel (rtnetlink) ──▶ adapters ──▶ plan_networks ──▶ database: Networks, NetworkInterfaces
                              │                               │
                              ▼                               ▼
                          link up?     Prober ◀── other nodes' interfaces
                              │           │  ▲
                              │       question answer   UDP, the number of the peers' port
                              ▼           ▼
                       private/reach/<node>, only when it changes

Nothing of this happens where the nodes reach each other through sockets in a directory: a pocket cluster's nodes share
one machine, and there is no network between them.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog

from quorate.clusapi.addresses import TCP, tcp_place
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import NetworkInterfaceId, NodeId
from quorate.clusapi.states import NetworkRole
from quorate.cluster.networks import FoundInterface
from quorate.cluster.probing import INTERVAL, Prober, Reached, Target
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.network_objects import InterfaceReach, NetworkInterfaceInfo, Reach
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.adapters import usable_adapters
from quorate.engine.netlink import Device, DeviceWatch, list_devices
from quorate.engine.network_picture import SeenCluster
from quorate.engine.network_registration import NetworkRegistration
from quorate.engine.probes import ProbeSockets

RESCAN: Final = 10.0
"""Seconds after which the devices are looked at even if the kernel has told of no change."""
GONE_AFTER: Final = 600.0
"""Seconds that an adapter may be away before its interface is removed: a driver that is loaded again, a reboot."""

_log = structlog.get_logger("networks")


class Networks:
    """Looks after one node's network interfaces from `start` to `close`."""

    def __init__(
        self,
        node: NodeId,
        database: ClusterDatabase,
        view: SeenCluster,
        peers_address: str,
        devices: Callable[[], Sequence[Device]] = list_devices,
    ) -> None:
        """``peers_address`` is where this node listens for others: over "unix:" there are no networks."""
        self._node = node
        self._view = view
        self._database = database
        self._devices = devices
        self._peers_address = peers_address
        self._registration = NetworkRegistration(node, database, view)
        self._prober = Prober()
        self._found: tuple[FoundInterface, ...] = ()
        self._links: Mapping[str, bool] = {}
        self._absent_since: dict[str, float] = {}
        self._looked = 0.0
        self._changed = True
        self._said: Reach | None = None
        self._work = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._watch: DeviceWatch | None = None
        self._sockets: ProbeSockets | None = None

    @property
    def left_alone(self) -> tuple[str, ...]:
        """Which adapters of this node are not used, and why."""
        return self._registration.left_alone

    def start(self) -> None:
        """Begin to look, to probe and to tell; nothing at all for a node that others reach through a socket file."""
        if not self._peers_address.startswith(TCP):
            return
        instance = uuid.UUID(self._view.snapshot.cluster.instance_id)
        self._sockets = ProbeSockets(self._node, instance, self._on_answer)
        try:
            self._watch = DeviceWatch(self._on_change)
        except ClusterError as error:  # then the devices are looked at every now and then
            _log.warning("changes of the network devices are seen late", sentence=error.sentence)
        self._tasks = (
            asyncio.create_task(self._keep(self._probe, "the networks could not be probed"), name="network probes"),
            asyncio.create_task(self._keep(self._write, "the networks could not be written"), name="network records"),
        )

    async def close(self) -> None:
        """Stop; what was written stays for the others to see until the node's lease ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._watch is not None:
            self._watch.close()
        if self._sockets is not None:
            self._sockets.close()

    async def _keep(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        while True:
            try:
                await work()
            except ClusterError as error:
                _log.warning(what, sentence=error.sentence)
            except Exception:  # noqa: BLE001 - the supervisor of the networks: nothing else depends on them
                _log.exception(what)
            await asyncio.sleep(INTERVAL)

    # --- Every second ----------------------------------------------------------------------------------------------

    async def _probe(self) -> None:
        """Look, ask, and judge what the last second brought."""
        assert self._sockets is not None
        now = time.monotonic()
        if self._changed or now - self._looked > RESCAN:
            self._look(now)
        port = self._port_of(self._view.snapshot, self._node)
        mine = [info for info in self._mine() if info.address and self._has_link(info)]
        targets = self._targets(mine)
        self._sockets.known_addresses = frozenset(
            address.partition("/")[0]
            for info in self._view.snapshot.network_interfaces.values()
            for address in info.addresses
        )
        await self._sockets.serve({info.id: (info.address, port) for info in mine if port is not None})
        self._prober.retarget(targets)
        for probe in self._prober.tick(now):
            target = probe.target
            self._sockets.ask(target.interface, (target.address, targets[target]), probe.sequence)
        if self._reach() != self._said:
            self._work.set()

    def _look(self, now: float) -> None:
        """Read the devices and their links."""
        self._changed, self._looked = False, now
        devices = self._devices()
        found = usable_adapters(devices)
        present = {device.name for device in devices}
        mine = {info.adapter for info in self._mine()}
        self._absent_since = {name: self._absent_since.get(name, now) for name in mine - present}
        self._links = {device.name: device.has_link for device in devices}
        if found != self._found or self._gone():
            self._work.set()
        self._found = found

    def _gone(self) -> list[str]:
        now = time.monotonic()
        return [adapter for adapter, since in self._absent_since.items() if now - since > GONE_AFTER]

    def _mine(self) -> list[NetworkInterfaceInfo]:
        return [info for info in self._view.snapshot.network_interfaces.values() if info.node == self._node]

    def _has_link(self, info: NetworkInterfaceInfo) -> bool:
        """Answer whether a cable is in and the address is there."""
        found = next((one for one in self._found if one.adapter == info.adapter), None)
        return self._links.get(info.adapter, False) and found is not None and info.address in _bare(found.addresses)

    def _targets(self, mine: Iterable[NetworkInterfaceInfo]) -> dict[Target, int]:
        """Whom to probe, and at which port: on every network that the cluster uses, the others' interfaces."""
        snapshot = self._view.snapshot
        ports = {node: self._port_of(snapshot, node) for node in snapshot.nodes}
        targets: dict[Target, int] = {}
        for info in mine:
            network = snapshot.networks.get(info.network)
            if network is None or network.role is NetworkRole.NONE:
                continue
            for other in snapshot.network_interfaces.values():
                port = ports.get(other.node)
                address = _same_version(info.address, other.addresses)
                if other.network == info.network and other.node != self._node and port and address:
                    targets[Target(info.id, other.node, address)] = port
        return targets

    def _port_of(self, snapshot: ClusterSnapshot, node: NodeId) -> int | None:
        facts = snapshot.facts.get(node)
        if facts is None or not facts.value.peers_address.startswith(TCP):
            return None
        return tcp_place(facts.value.peers_address).port

    def _on_change(self) -> None:
        self._changed = True

    def _on_answer(self, interface: NetworkInterfaceId, address: str, sequence: int) -> None:
        for target in self._prober.targets:
            if target.interface == interface and target.address == address:
                self._prober.answered(target, sequence)

    # --- What is written -------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write what has changed; a database that does not answer is asked again."""
        while True:
            try:
                async with asyncio.timeout(RESCAN):
                    await self._work.wait()
            except TimeoutError:
                pass  # what others have changed may concern our adapters too
            self._work.clear()
            if self._looked:
                await self._registration.register(self._found, self._gone())
                await self._tell()

    async def _tell(self) -> None:
        reach = self._reach()
        if reach != self._said and await self._database.networks.write_reach(self._node, reach):
            self._said = reach

    def _reach(self) -> Reach:
        """What this node has to say of its interfaces."""
        known = self._prober.reached()
        found = {}
        for info in self._mine():
            reached = known.get(info.id, Reached())
            found[info.id] = InterfaceReach(self._has_link(info), reached.reached, reached.missed)
        return Reach(found)


def _bare(addresses: Iterable[str]) -> set[str]:
    return {address.partition("/")[0] for address in addresses}


def _same_version(address: str, others: Iterable[str]) -> str | None:
    """The first of the others that is of the same IP version."""
    return next((other.partition("/")[0] for other in others if (":" in other) == (":" in address)), None)
