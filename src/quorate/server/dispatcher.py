"""One door for every call: access check, then the place where it runs, then the handler or the other node."""

from dataclasses import replace
from typing import Final

from quorate.clusapi.asking import ASKED_BY
from quorate.clusapi.errors import CallerError, ClusterError, RefusalError, error_from_status
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_flag, json_int, json_object, json_text
from quorate.clusapi.operation_types import Access, Operation, Place
from quorate.clusapi.operation_values import (
    Values,
    inputs_from_json,
    inputs_to_json,
    outputs_from_json,
    outputs_to_json,
)
from quorate.clusapi.operations import OPERATIONS, needs_full_access
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.server import lookup, routing
from quorate.server.call import Call
from quorate.server.handlers import HANDLERS
from quorate.server.services import CallContext, NodeServices

_OWNERSHIP_MOVED: Final = frozenset({Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER, Status.ERROR_HOST_NODE_NOT_GROUP_OWNER})
_ANSWERS_WITHOUT_OWNER: Final = frozenset({"GetGroupState", "GetResourceState", "GetMigrationProgress"})
_ATTEMPTS: Final = 3  # a group that changes hands while a request is under way is followed so often


class Dispatcher:
    """Answers operations for one node."""

    def __init__(self, services: NodeServices) -> None:
        """Serve the node that ``services`` stands for."""
        self._services = services

    async def call(self, name: str, inputs: Values, context: CallContext) -> Values:
        """Carry out an operation, here or where it belongs. Raises ClusterError for what does not succeed."""
        operation = operation_named(name)
        check_access(operation, inputs, context)
        ASKED_BY.set(context.actor)
        for attempt in range(_ATTEMPTS):
            try:
                return await self._carry_out(operation, inputs, context)
            except RefusalError as refusal:
                lost = refusal.status in _OWNERSHIP_MOVED and "host_node" not in inputs and not context.forwarded
                if not lost or attempt + 1 == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def serve_forwarded(self, name: str, request: JsonObject) -> JsonObject:
        """Answer what another node forwarded; errors are part of the answer, so that any transport carries them."""
        caller = json_object(request, "context")
        context = CallContext(
            actor=json_text(caller, "actor"),
            full_access=json_flag(caller, "full_access"),
            operation_id=json_text(caller, "operation_id"),
            forwarded=True,
        )
        try:
            operation = operation_named(name)
            inputs = inputs_from_json(operation, json_object(request, "inputs"))
            return {"outputs": outputs_to_json(operation, await self.call(name, inputs, context))}
        except ClusterError as error:
            return {"error": {"status": int(error.status), "sentence": error.sentence}}

    async def _carry_out(self, operation: Operation, inputs: Values, context: CallContext) -> Values:
        services = self._services
        silent = services.silent_view() if operation.access is Access.READ else None
        snapshot = await services.database.snapshot() if silent is None else silent.snapshot
        node_id = routing.route(operation, inputs, snapshot)
        if node_id is None or node_id == services.node_id:
            owned = operation.place in (Place.GROUP_OWNER, Place.RESOURCE_OWNER)
            if owned and not await services.wait_attached(routing.group_of(operation, inputs, snapshot).id):
                raise routing.not_the_owner(operation, inputs, await services.database.snapshot(), services.node_id)
            return await self._run(Call(services, context, inputs, snapshot, self._call_again(context)), operation)
        if context.forwarded:
            raise routing.not_the_owner(operation, inputs, snapshot, services.node_id)
        if services.node_state(node_id) is NodeState.DOWN:
            if operation.name in _ANSWERS_WITHOUT_OWNER:
                call = Call(services, context, inputs, snapshot, self._call_again(context), owner_is_down=True)
                return await self._run(call, operation)
            raise RefusalError(
                Status.ERROR_CLUSTER_NODE_DOWN,
                f"{lookup.node_name(snapshot, node_id)}, which would have to do this, is down; bring it back first",
            )
        return await self._forward(node_id, operation, inputs, context)

    async def _forward(self, node_id: NodeId, operation: Operation, inputs: Values, context: CallContext) -> Values:
        request: dict[str, JsonValue] = {
            "inputs": inputs_to_json(operation, inputs),
            "context": context.to_json(),
        }
        answer = await self._services.forward(node_id, operation.name, request)
        if "error" in answer:
            error = json_object(answer, "error")
            raise error_from_status(json_int(error, "status", 1), json_text(error, "sentence"))
        return outputs_from_json(operation, json_object(answer, "outputs"))

    async def _run(self, call: Call, operation: Operation) -> Values:
        return await HANDLERS[operation.name](call)

    def _call_again(self, context: CallContext) -> "_Again":
        return _Again(self, context)


class _Again:
    """Lets a handler ask for another operation on the caller's behalf, possibly on another node."""

    def __init__(self, dispatcher: Dispatcher, context: CallContext) -> None:
        self._dispatcher = dispatcher
        self._context = replace(context, forwarded=False)

    async def __call__(self, name: str, inputs: Values) -> Values:
        return await self._dispatcher.call(name, inputs, self._context)


def operation_named(name: str) -> Operation:
    """Find an operation; CallerError 120."""
    operation = OPERATIONS.get(name)
    if operation is None:
        raise CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, f'there is no operation "{name}"')
    return operation


def check_access(operation: Operation, inputs: Values, context: CallContext) -> None:
    """Refuse with 5 what the caller may not do."""
    code = inputs.optional_number("control_code") if operation.input("control_code") else None
    if needs_full_access(operation, code) and not context.full_access:
        what = operation.name if code is None else f"{operation.name} with code 0x{code:08X}, which modifies,"
        raise CallerError(
            Status.ERROR_ACCESS_DENIED, f"{what} needs full access; this caller or handle has read access only"
        )
