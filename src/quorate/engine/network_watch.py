"""Tells of networks and interfaces that change their state. Works on one node at a time, the coordinator.

What was told last is a record (`database.network_objects.Announced`), written in the transaction of the events: so a
change is told once, also when the coordinator changes. An interface whose node goes down or comes back is no news of
its own, since the node's state is told; what is remembered is its last state while its node was up.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NetworkId, NetworkInterfaceId, NodeId
from quorate.clusapi.states import NetworkInterfaceState, NetworkState
from quorate.cluster.network_states import NetworkFinding
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.network_objects import Announced
from quorate.database.records import Versioned
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.network_picture import SeenCluster, network_findings

LOOK_EVERY: Final = 1.0

_Id = TypeVar("_Id", NetworkId, NetworkInterfaceId)
_log = structlog.get_logger("networks")


class NetworkWatch:
    """Compares the networks' states with what was told of last, from `start` to `close`."""

    def __init__(
        self, node: NodeId, database: ClusterDatabase, view: SeenCluster, is_coordinator: Callable[[], bool]
    ) -> None:
        """Tell only while ``is_coordinator`` says so."""
        self._node = node
        self._database = database
        self._view = view
        self._is_coordinator = is_coordinator
        self._told: Versioned[Announced] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run(), name="network watch")

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                if not self._is_coordinator():
                    self._told = None  # another one tells meanwhile
                elif self._view.snapshot.networks:
                    await self.look()
            except ClusterError as error:
                _log.warning("the networks' states could not be told", sentence=error.sentence)
            except Exception:  # noqa: BLE001 - the supervisor of the watch
                _log.exception("the networks' states could not be told")
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Look once, and tell what has changed. Raises StoreUnavailable."""
        snapshot = self._view.snapshot
        findings = network_findings(snapshot, self._view.node_state)
        if self._told is None:
            self._told = await self._database.networks.announced()
        after = _states(self._told.value, snapshot, findings)
        if after == self._told.value:
            return
        events = self._events(self._told.value, after, snapshot, findings)
        await self._database.networks.announce(self._told, after, events)
        self._told = None  # read it again, whoever was quicker

    def _events(
        self,
        before: Announced,
        after: Announced,
        snapshot: ClusterSnapshot,
        findings: Mapping[NetworkId, NetworkFinding],
    ) -> tuple[EventRecord, ...]:
        interfaces = {id_: found for network in findings.values() for id_, found in network.interfaces.items()}
        events = []
        for id_, state in after.interfaces.items():
            old = before.interfaces.get(id_, int(NetworkInterfaceState.UP))
            if state != old:
                name, new = snapshot.network_interfaces[id_].name, NetworkInterfaceState(state)
                sentence = _sentence(f'"{name}" is {_word(new)}', interfaces[id_].sentence)
                was = NetworkInterfaceState(old)
                events.append(self._event(EventKind.NETINTERFACE_STATE, id_, name, sentence, was.name, new.name))
        for network_id, state in after.networks.items():
            old = before.networks.get(network_id, int(NetworkState.UP))
            if state != old:
                name, now = snapshot.networks[network_id].name, NetworkState(state)
                sentence = _sentence(f'network "{name}" is {_word(now)}', findings[network_id].sentence)
                events.append(
                    self._event(EventKind.NETWORK_STATE, network_id, name, sentence, NetworkState(old).name, now.name)
                )
        return tuple(events)

    def _event(self, kind: EventKind, id_: str, name: str, sentence: str, before: str, after: str) -> EventRecord:
        return EventRecord.of(
            kind,
            time=datetime.now(UTC),
            node=self._node,
            object_id=id_,
            object_name=name,
            sentence=sentence,
            before={"state": before},
            after={"state": after},
            actor=f"node {self._node}",
        )


def _states(told: Announced, snapshot: ClusterSnapshot, findings: Mapping[NetworkId, NetworkFinding]) -> Announced:
    """What will have been told: of each object that there is, its state; not of those that were up all the time."""
    networks = {id_: int(found.state) for id_, found in findings.items()}
    interfaces = {id_: int(one.state) for found in findings.values() for id_, one in found.interfaces.items()}
    return replace(
        told,
        networks=_known(told.networks, networks, int(NetworkState.UP), int(NetworkState.UNAVAILABLE)),
        interfaces=_known(
            told.interfaces, interfaces, int(NetworkInterfaceState.UP), int(NetworkInterfaceState.UNAVAILABLE)
        ),
    )


def _known(told: Mapping[_Id, int], found: Mapping[_Id, int], up: int, unavailable: int) -> dict[_Id, int]:
    states: dict[_Id, int] = {}
    for id_, state in found.items():
        if state != unavailable:
            if state != up or id_ in told:
                states[id_] = state
        elif id_ in told:
            states[id_] = told[id_]
    return states


def _sentence(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


def _word(state: NetworkState | NetworkInterfaceState) -> str:
    return "up again" if state.name == "UP" else state.name.lower()
