"""What the control functions share: (status, output, required)."""

from collections.abc import Callable

from quorate.client.capi.handles import Handle, answer_or, buffer, host_of
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
