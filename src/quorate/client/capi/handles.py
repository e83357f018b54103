"""Handles, and what the functions make of errors: a handle names an object by its id and knows what it may be used for.

A handle that is closed, or of another kind than a function needs, is ERROR_INVALID_HANDLE (6).
"""

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.status import Status

CLUSAPI_NO_ACCESS: Final = 0x0
CLUSAPI_READ_ACCESS: Final = 0x1
CLUSAPI_CHANGE_ACCESS: Final = 0x2
CLUSAPI_ALL_ACCESS: Final = 0x3
GENERIC_READ: Final = 0x80000000
GENERIC_ALL: Final = 0x10000000
MAXIMUM_ALLOWED: Final = 0x02000000
_FULL_BITS: Final = CLUSAPI_CHANGE_ACCESS | GENERIC_ALL | MAXIMUM_ALLOWED
_ANY_BITS: Final = _FULL_BITS | CLUSAPI_READ_ACCESS | GENERIC_READ

T = TypeVar("T")
_last_error = threading.local()


class Handle:
    """What Open… functions return. Only the functions look inside; ``granted_access`` tells what it may be used for."""

    kind = "handle"

    def __init__(self, client: BlockingClient, id_: str, name: str, *, full_access: bool) -> None:
        """Handles are made by Open… and Create… functions."""
        self._client = client
        self._id = id_
        self._name = name
        self._full_access = full_access
        self._open = True

    @property
    def granted_access(self) -> int:
        """CLUSAPI_ALL_ACCESS or CLUSAPI_READ_ACCESS."""
        return CLUSAPI_ALL_ACCESS if self._full_access else CLUSAPI_READ_ACCESS

    def __repr__(self) -> str:
        return f"<{self.kind} {self._name!r}{'' if self._open else ', closed'}>"

    # What the functions of this package use:

    def object_id(self) -> str:
        """The id of the object."""
        return self._id

    def is_open(self) -> bool:
        """Answer whether it may still be used."""
        return self._open

    def has_full_access(self) -> bool:
        """Answer whether changes may be asked for through it."""
        return self._full_access

    def client(self) -> BlockingClient:
        """The connection."""
        return self._client

    def close(self) -> None:
        """End its use."""
        self._open = False

    def call(self, operation: str, /, **inputs: FieldValue) -> Values:
        """Carry out an operation with this handle's access."""
        return self._client.call(operation, full_access=self._full_access, **inputs)


class ClusterHandle(Handle):
    """HCLUSTER."""

    kind = "HCLUSTER"


class NodeHandle(Handle):
    """HNODE."""

    kind = "HNODE"


class GroupHandle(Handle):
    """HGROUP."""

    kind = "HGROUP"


class GroupSetHandle(Handle):
    """HGROUPSET."""

    kind = "HGROUPSET"


class ResourceHandle(Handle):
    """HRESOURCE."""

    kind = "HRESOURCE"


class NetworkHandle(Handle):
    """HNETWORK."""

    kind = "HNETWORK"


class NetInterfaceHandle(Handle):
    """HNETINTERFACE."""

    kind = "HNETINTERFACE"


HandleKind = TypeVar("HandleKind", bound=Handle)


def valid(handle: object, kind: type[HandleKind]) -> HandleKind:
    """Check a handle. Raises CallerError 6."""
    if not isinstance(handle, kind):
        raise CallerError(Status.ERROR_INVALID_HANDLE, f"{handle!r} is not a handle of kind {kind.kind}")
    if not handle.is_open():
        raise CallerError(Status.ERROR_INVALID_HANDLE, f"{handle!r} was closed")
    return handle


def close(handle: object, kind: type[HandleKind]) -> bool:
    """Close a handle; False (and last error 6) when there is nothing to close."""
    try:
        valid(handle, kind).close()
    except ClusterError as error:
        set_last_error(error.status)
        return False
    return True


def wants_full_access(desired_access: int) -> bool:
    """Read an access mask. Raises CallerError 87 for bits that mean nothing, 5 for no access at all."""
    if not isinstance(desired_access, int) or desired_access & ~_ANY_BITS:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"desired access {desired_access!r} is not an access mask")
    if desired_access == CLUSAPI_NO_ACCESS:
        raise CallerError(Status.ERROR_ACCESS_DENIED, "a handle without any access cannot be opened")
    return bool(desired_access & _FULL_BITS)


def status_of(action: Callable[[], int]) -> int:
    """Do something and return its status; an error is the status that it carries."""
    try:
        status = action()
    except ClusterError as error:
        status = int(error.status)
    set_last_error(status)
    return status


def answer_or(action: Callable[[], T], otherwise: Callable[[int], T]) -> T:
    """Do something and return its answer; of an error, what ``otherwise`` makes of its status."""
    try:
        answer = action()
    except ClusterError as error:
        set_last_error(error.status)
        return otherwise(int(error.status))
    set_last_error(0)
    return answer


def set_last_error(status: int) -> None:
    """Keep the thread's last error."""
    _last_error.status = int(status)


def last_error() -> int:
    """The status of this thread's last call."""
    status: int = getattr(_last_error, "status", 0)
    return status


def buffer(data: object) -> bytes | None:
    """An input buffer: NULL or bytes. Raises CallerError 87 for anything else."""
    if data is None or isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    raise CallerError(Status.ERROR_INVALID_PARAMETER, f"an input buffer is bytes or None, not {type(data).__name__}")


def host_of(node: object, control_code: int) -> str | None:
    """The id of the node to address; full access is needed on its handle as well as on the object's."""
    if node is None:
        return None
    host = valid(node, NodeHandle)
    if control_code & 0x00400000 and not host.has_full_access():
        raise CallerError(Status.ERROR_ACCESS_DENIED, f"{host!r} has read access only, the code modifies")
    return host.object_id()


def text_of(text: object) -> str:
    """A text. Raises CallerError 87 for anything else."""
    if isinstance(text, str):
        return text
    raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{text!r} is not a text")


def flags_of(flags: object) -> int:
    """Flags: an unsigned 32-bit number. Raises CallerError 87 for anything else."""
    if isinstance(flags, int) and 0 <= flags <= 0xFFFFFFFF:
        return int(flags)
    raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{flags!r} are not flags")
