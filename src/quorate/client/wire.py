"""HTTP as this client speaks it, without any socket: requests to bytes, answers from bytes.

Requests are HTTP/1.0, one connection each: an answer then ends with its connection, streams included, and a connection
over a unix socket costs less than keeping one alive would save.
"""

import json
from collections.abc import Iterator
from typing import Final

from quorate.clusapi.errors import CallerError, ClusterError, FaultError, error_from_status
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_text
from quorate.clusapi.operation_types import Access, Operation
from quorate.clusapi.operation_values import Values, inputs_to_json, outputs_from_json
from quorate.clusapi.status import Status

HEAD_END: Final = b"\r\n\r\n"


class NotTrusted(OSError):
    """One side of a TLS connection does not believe the other: nothing was asked, nothing was done."""

    @property
    def sentence(self) -> str:
        """What is wrong, for people."""
        return str(self.args[0])


def call_request(operation: Operation, inputs: Values, *, full_access: bool) -> bytes:
    """The request of an operation. Raises CallerError for inputs that the table does not know."""
    body = json.dumps(inputs_to_json(operation, inputs)).encode()
    access = "full" if full_access else "read"
    return (
        f"POST /v1/{operation.name} HTTP/1.0\r\nhost: quorate\r\nquorate-access: {access}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def stream_request(target: str) -> bytes:
    """The request of an event stream; ``target`` is its path with query, already quoted."""
    return f"GET {target} HTTP/1.0\r\nhost: quorate\r\naccept: text/event-stream\r\n\r\n".encode()


def call_answer(operation: Operation, data: bytes) -> Values:
    """Read the whole answer to an operation. Raises the ClusterError that it tells, or FaultError 1726 for nonsense."""
    head, end, body = data.partition(HEAD_END)
    if not end:
        raise broken("the connection ended before the answer")
    code = head_status(head)
    value = _json(body)
    if code != 200:
        raise error_of(value)
    return outputs_from_json(operation, value)


def head_status(head: bytes) -> int:
    """The status code of an answer's head."""
    parts = head.split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise broken("the answer is not HTTP")
    return int(parts[1])


def error_of(value: JsonValue) -> ClusterError:
    """The error that a body tells."""
    if isinstance(value, dict) and (status := json_int(value, "status")):
        return error_from_status(status, json_text(value, "sentence"))
    return broken("the node answered with an error that says nothing")


def stream_error(body: bytes) -> ClusterError:
    """The error of a stream that did not begin."""
    return error_of(_json(body))


class StreamReader:
    """Takes the lines of an event stream and gives its parts: (kind, object)."""

    def __init__(self) -> None:
        """Begin between two parts."""
        self._kind = "message"
        self._data: list[str] = []

    def feed(self, line: bytes) -> Iterator[tuple[str, JsonObject]]:
        """Take one line without its end; gives a part when the line ends one."""
        name, _, value = line.decode().partition(":")
        if name == "event":
            self._kind = value.strip()
        elif name == "data":
            self._data.append(value.removeprefix(" "))
        elif not line and self._data:
            kind, text = self._kind, "\n".join(self._data)
            self._kind, self._data = "message", []
            part = _json(text.encode())
            if isinstance(part, dict):
                yield kind, part


def can_be_repeated(operation: Operation) -> bool:
    """Answer whether asking another node is safe after a connection broke: reading is, changing may have happened."""
    return operation.access is Access.READ


def broken(sentence: str) -> FaultError:
    """The error of a call whose outcome is not known."""
    return FaultError(Status.RPC_S_CALL_FAILED, sentence)


def failed(last: OSError | None, sentence: str) -> ClusterError:
    """The error of a call that no node took: 1326 when the last of them and we do not believe each other."""
    if isinstance(last, NotTrusted):
        return CallerError(Status.ERROR_LOGON_FAILURE, last.sentence)
    return unreachable(sentence)


def unreachable(sentence: str) -> FaultError:
    """The error of a call that reached nobody."""
    return FaultError(Status.RPC_S_SERVER_UNAVAILABLE, sentence)


def _json(body: bytes) -> JsonValue:
    try:
        value: JsonValue = json.loads(body)
    except ValueError as error:
        raise broken("the node's answer is not JSON") from error
    return value
