"""What the control functions share, (status, output, required), and what all changes do."""

from collections.abc import Callable

from quorate.client.capi.handles import (
    Handle,
    NodeHandle,
    answer_or,
    buffer,
    flags_of,
    host_of,
    status_of,
    text_of,
    valid,
)
from quorate.clusapi.errors import CallerError
from quorate.clusapi.operation_values import FieldValue
from quorate.clusapi.status import Status

ControlAnswer = tuple[int, bytes, int]


def control(
    open_handle: Callable[[], Handle],
    operation: str,
    inputs: Callable[[Handle], dict[str, FieldValue]],
    host_node: object,
    control_code: int,
    in_buffer: object,
    out_size: int,
) -> ControlAnswer:
    """Send a control code. ``required`` is the size of the output, also when it did not fit (status 234)."""

    def send() -> ControlAnswer:
        handle = open_handle()
        if not isinstance(control_code, int) or not 0 <= control_code <= 0xFFFFFFFF:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{control_code!r} is not a control code")
        values = handle.call(
            operation,
            **inputs(handle),
            host_node=host_of(host_node, control_code),
            control_code=int(control_code),
            in_buffer=buffer(in_buffer),
            out_size=out_size,
        )
        return values.number("status"), values.data("output"), values.number("required")

    return answer_or(send, lambda status: (status, b"", 0))


def change(
    open_handle: Callable[[], Handle], own: str, operation: str, nodes: dict[str, object], inputs: dict[str, object]
) -> int:
    """Carry out a change and give its status. ``own`` names the handle's input, ``nodes`` are handles of nodes."""

    def send() -> int:
        handle = open_handle()
        given: dict[str, FieldValue] = {own: handle.object_id()}
        given |= {name: valid(node, NodeHandle).object_id() for name, node in nodes.items()}
        if "flags" in inputs:
            given["flags"] = flags_of(inputs["flags"])
        if "in_buffer" in inputs:
            given["in_buffer"] = buffer(inputs["in_buffer"])
        given |= {name: text_of(inputs[name]) for name in ("name", "expression") if name in inputs}
        return handle.call(operation, **given).number("status")

    return status_of(send)
