"""What goes wrong below a remote call.

::

    NdrError           bytes (or values) that do not follow their declaration
    ProtocolError      bytes that are no PDU, or a PDU that may not come now
    SecurityError      a fragment whose signature does not fit
    LogonRefused       who asks is not let in
    ConnectionLost     nobody listens, or the other side went away
    RpcFault           the other side's own word that it did not do the call, or could not; a handler raises it too

Each of them is on the branch of the common tree that says whose turn it is to act.
"""

from enum import IntEnum

from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.status import Status


class FaultCode(IntEnum):
    """The status codes of fault PDUs that both kinds of clients understand.

    Source: C706 appendix E, [MS-RPCE] 2.2.2.5; the small numbers are Win32 codes.
    """

    ACCESS_DENIED = 5
    BAD_STUB_DATA = 0x6F7
    SECURITY_PACKAGE_ERROR = 0x721
    COMM_FAILURE = 0x1C010001
    OPERATION_RANGE = 0x1C010002
    UNKNOWN_INTERFACE = 0x1C010003
    PROTOCOL_ERROR = 0x1C01000B
    SERVER_TOO_BUSY = 0x1C010014
    CANCELLED = 0x1C00000D
    UNSPECIFIED = 0x1C000012
    CONTEXT_MISMATCH = 0x1C00001A
    OUT_OF_MEMORY = 0x1C00001B


_WIN32 = {
    FaultCode.COMM_FAILURE: 1726,  # RPC_S_CALL_FAILED
    FaultCode.OPERATION_RANGE: 1745,  # RPC_S_PROCNUM_OUT_OF_RANGE
    FaultCode.UNKNOWN_INTERFACE: 1717,  # RPC_S_UNKNOWN_IF
    FaultCode.PROTOCOL_ERROR: 1728,  # RPC_S_PROTOCOL_ERROR
    FaultCode.SERVER_TOO_BUSY: 1723,  # RPC_S_SERVER_TOO_BUSY
    FaultCode.CANCELLED: 1818,  # RPC_S_CALL_CANCELLED
    FaultCode.UNSPECIFIED: 1726,
    FaultCode.CONTEXT_MISMATCH: 1775,  # RPC_X_SS_CONTEXT_MISMATCH
    FaultCode.OUT_OF_MEMORY: 14,  # ERROR_OUTOFMEMORY
}


def _status_of(code: int) -> Status:
    number = _WIN32.get(FaultCode(code)) if code in set(FaultCode) else None
    if number is None:
        number = code if 0 < code < 0x10000 else 1726
    return Status(number)


class NdrError(CallerError):
    """Bytes that are not what their declaration says, at byte ``offset``; or values that do not fit it (offset -1)."""

    def __init__(self, reason: str, offset: int = -1) -> None:
        where = f" at byte {offset}" if offset >= 0 else ""
        super().__init__(Status.RPC_X_BAD_STUB_DATA, f"the call's data is malformed{where}: {reason}")
        self.args = (reason, offset)
        self.reason = reason
        self.offset = offset


class ProtocolError(FaultError):
    """Bytes that are no PDU, or a PDU that may not come at this point; the connection is of no use any more."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.RPC_S_CALL_FAILED, sentence)
        self.args = (sentence,)


class SecurityError(FaultError):
    """A fragment that is not from whom it should be, or not as it was sent; the connection is of no use any more."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.RPC_S_CALL_FAILED, sentence)
        self.args = (sentence,)


class LogonRefused(CallerError):
    """The logon did not succeed; ``sentence`` may say more in this process than the other side is told."""

    def __init__(self, sentence: str, user: str = "") -> None:
        super().__init__(Status.ERROR_LOGON_FAILURE, sentence)
        self.args = (sentence, user)
        self.user = user


class ConnectionLost(FaultError):
    """Nobody listens there, or the other side went away: it is not known whether it did what it was asked to."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Status.RPC_S_SERVER_UNAVAILABLE, sentence)
        self.args = (sentence,)


class RpcFault(FaultError):
    """A fault PDU: ``code`` is its status, a :class:`FaultCode` or any other 32-bit number."""

    def __init__(self, code: int, sentence: str = "") -> None:
        name = FaultCode(code).name if code in set(FaultCode) else "unknown"
        super().__init__(_status_of(code), sentence or f"the call ended in a fault: {name} ({code:#x})")
        self.args = (code, sentence)
        self.code = code
