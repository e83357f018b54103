"""The resource types that live in monitor processes, as the host sees them."""

from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting import monitor_messages as messages
from quorate.hosting.contract import ControlAnswer, Parameters
from quorate.hosting.monitor_pool import MonitorPool
from quorate.hosting.resource_type import Lost, OfflineRequest, OpenedResource, ReportStatus, ResourceType, TypeTraits


class MonitoredType(ResourceType):
    """One type whose entry points are called in monitor processes."""

    def __init__(self, name: str, pool: MonitorPool) -> None:
        """Take the name of the type, whether there is one or not (5078 when it is called), and the node's monitors."""
        self._name = name
        self._pool = pool

    @property
    def name(self) -> str:
        """The name of the type."""
        return self._name

    @property
    def traits(self) -> TypeTraits:
        """The usual times; such a type is polled."""
        return TypeTraits()

    async def open(self, resource: OpenedResource, lost: Lost) -> None:
        """Take the resource; it is opened in its monitor when it is called the first time."""
        self._pool.add(resource, lost)

    async def prepare(self, resource: OpenedResource, limit: float, *, patient: bool) -> None:
        """Start the monitor, and open the resource there, if need be."""
        await self._pool.prepare(resource, limit, patient=patient)

    async def close(self, resource_id: ResourceId) -> None:
        """Close it in its monitor; that may go on for a moment after the return."""
        self._pool.remove(resource_id)

    async def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Call online in the monitor."""
        monitor = self._pool.holder(resource_id)
        arguments = {"parameters": messages.pack_parameters(parameters)}
        return messages.status_of(await monitor.call(self._name, "online", resource_id, arguments, report))

    async def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Call offline in the monitor."""
        monitor = self._pool.holder(resource_id)
        arguments = {"request": messages.pack_offline_request(request)}
        return messages.status_of(await monitor.call(self._name, "offline", resource_id, arguments, report))

    async def terminate(self, resource_id: ResourceId) -> None:
        """Call terminate in the monitor."""
        monitor = self._pool.holder(resource_id)
        monitor.forget_reports(resource_id)
        await monitor.call(self._name, "terminate", resource_id, {})

    async def looks_alive(self, resource_id: ResourceId) -> bool:
        """Call looks_alive in the monitor."""
        return await self._pool.holder(resource_id).call(self._name, "looks_alive", resource_id, {}) is True

    async def is_alive(self, resource_id: ResourceId) -> bool:
        """Call is_alive in the monitor."""
        return await self._pool.holder(resource_id).call(self._name, "is_alive", resource_id, {}) is True

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Call resource_control in the monitor."""
        monitor = self._pool.holder(resource_id)
        arguments = _control(code, data, parameters)
        return messages.parse_answer(await monitor.call(self._name, "resource_control", resource_id, arguments))

    async def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Call resource_type_control in the monitor for such calls."""
        monitor = await self._pool.for_type(self._name)
        arguments = _control(code, data, parameters)
        return messages.parse_answer(await monitor.call(self._name, "resource_type_control", None, arguments))

    def state_after_stop(self, parameters: Parameters) -> ResourceState:
        """Nobody can tell from outside: failed."""
        return ResourceState.FAILED

    async def on_deadlock(self, resource_id: ResourceId | None, sentence: str) -> None:
        """Kill the monitor in which the call hangs."""
        self._pool.on_deadlock(resource_id, self._name, sentence)


def _control(code: int, data: bytes | None, parameters: Parameters) -> messages.Message:
    return {
        "code": code,
        "data": messages.pack_data(data),
        "parameters": messages.pack_parameters(parameters),
    }
