"""A node's own check, right before anything takes memory here: a start, a restore, an arriving migration.

The coordinator plans with what the database shows; this node alone knows what it has promised at this moment. What all
its virtual machines commit together, those that are being started or received included, never exceeds what the node has
for them.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from quorate.clusapi.identity import GroupId
from quorate.cluster.memory import AUTOMATIC_RESERVE, explain_shortage, memory_for_vms
from quorate.engine.context import EngineContext
from quorate.migration.host_rules import NO_ROOM as NO_ROOM
from quorate.migration.host_rules import judge_room
from quorate.migration.rules import Finding, require


class Admission:
    """The memory of one node's virtual machines."""

    def __init__(
        self, context: EngineContext, configured: int | None, committed: Callable[[], Mapping[GroupId, int]]
    ) -> None:
        """``configured`` is what the configuration gives to VMs, in bytes; ``committed`` tells what those here take."""
        self._context = context
        self._configured = configured
        self._committed = committed
        self._reserved: dict[GroupId, int] = {}

    @property
    def configured(self) -> int | None:
        """What the node's configuration says, in bytes; None: the host's memory less the reserve."""
        return self._configured

    async def total(self) -> int:
        """Bytes that this node has for virtual machines."""
        if self._configured is not None:
            return self._configured
        reserved = self._context.view.snapshot.cluster.properties.number("RootMemoryReserved", AUTOMATIC_RESERVE)
        return memory_for_vms((await self._context.hypervisor.host_facts()).memory_total, None, reserved)

    def committed(self, without: GroupId | None = None) -> int:
        """Bytes that are promised on this node at this moment."""
        taken = {**self._committed()}
        for group, size in self._reserved.items():
            taken[group] = max(size, taken.get(group, 0))
        return sum(size for group, size in taken.items() if group != without)

    async def check(self, group: GroupId | None, name: str, needed: int) -> None:
        """Refuse a virtual machine that does not fit; what ``group`` takes already is not counted.

        Raises:
            RefusalError: 5957, with the figures.
        """
        require((await self.judge(group, name, needed),))

    async def judge(self, group: GroupId | None, name: str, needed: int) -> Finding:
        """Say whether a virtual machine fits, with the figures; what ``group`` takes already is not counted."""
        total = await self.total()
        committed = self.committed(without=group)
        shortage = explain_shortage(self._context.node_name, needed, committed, total)
        return judge_room(name, needed, committed, total, shortage)

    async def reserve(self, group: GroupId, name: str, needed: int) -> None:
        """Check, and keep the memory until `release`. Raises RefusalError 5957."""
        await self.check(group, name, needed)  # nothing may be awaited between the check's last line and the next
        self._reserved[group] = needed

    def release(self, group: GroupId) -> None:
        """Keep nothing more for a group: it runs, and counts by itself, or it does not come."""
        self._reserved.pop(group, None)

    @asynccontextmanager
    async def admitted(self, group: GroupId, name: str, needed: int) -> AsyncIterator[None]:
        """Have the memory reserved while a virtual machine is started. Raises RefusalError 5957."""
        await self.reserve(group, name, needed)
        try:
            yield
        finally:
            self.release(group)
