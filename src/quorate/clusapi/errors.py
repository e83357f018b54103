"""What goes wrong, and whose turn it is to act.

::

    ClusterError            status + a sentence for people
    ├── CallerError         the caller's mistake: the same request will never succeed; change the request
    ├── RefusalError        the cluster's refusal: a sound request, but state or policy says no; change that, or wait
    └── FaultError          a fault: something broke or did not answer; repair it, or try another node

Every face (Python, shell, HTTP, MS-CMRP) carries the same status code, and the branch decides the shell's exit code.
"""

from quorate.clusapi.status import Status


class ClusterError(Exception):
    """An operation that did not succeed. Raise one of the three branches, catch this one.

    ``status`` is the code that the wire carries; ``sentence`` says to a person which rule spoke, what was measured and
    what would help.
    """

    def __init__(self, status: Status, sentence: str) -> None:
        """Keep the status and the sentence; ``args`` holds both, so that the error survives pickling."""
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.sentence} ({self.status.name}, {self.status.value})"


class CallerError(ClusterError):
    """The caller's mistake: malformed, unknown, not allowed to this caller. The same request will never succeed."""


class RefusalError(ClusterError):
    """The cluster's refusal: the request is sound, but a state, a policy or another operation stands against it."""


class FaultError(ClusterError):
    """A fault: a component, a machine or the connection failed. Nothing is wrong with the request."""


# Below 5000 a status is a fault unless it is named here; from 5000 on it is a refusal unless it is named here.
_CALLER = frozenset(
    {
        Status.ERROR_INVALID_FUNCTION,
        Status.ERROR_FILE_NOT_FOUND,
        Status.ERROR_PATH_NOT_FOUND,
        Status.ERROR_ACCESS_DENIED,
        Status.ERROR_INVALID_HANDLE,
        Status.ERROR_INVALID_DATA,
        Status.ERROR_NOT_SUPPORTED,
        Status.ERROR_INVALID_PARAMETER,
        Status.ERROR_CALL_NOT_IMPLEMENTED,
        Status.ERROR_INSUFFICIENT_BUFFER,
        Status.ERROR_INVALID_NAME,
        Status.ERROR_BAD_PATHNAME,
        Status.ERROR_ALREADY_EXISTS,
        Status.ERROR_FILENAME_EXCED_RANGE,
        Status.ERROR_MORE_DATA,
        Status.ERROR_NO_MORE_ITEMS,
        Status.ERROR_NOACCESS,
        Status.ERROR_INVALID_FLAGS,
        Status.ERROR_CIRCULAR_DEPENDENCY,
        Status.ERROR_NOT_FOUND,
        Status.ERROR_INVALID_OWNER,
        Status.ERROR_PRIVILEGE_NOT_HELD,
        Status.ERROR_LOGON_FAILURE,
        Status.RPC_X_BAD_STUB_DATA,
        Status.ERROR_INVALID_USER_BUFFER,
        Status.ERROR_ACCOUNT_EXPIRED,
        Status.ERROR_DEPENDENCY_NOT_FOUND,
        Status.ERROR_DEPENDENCY_ALREADY_EXISTS,
        Status.ERROR_RESOURCE_NOT_FOUND,
        Status.ERROR_OBJECT_ALREADY_EXISTS,
        Status.ERROR_OBJECT_IN_LIST,
        Status.ERROR_GROUP_NOT_FOUND,
        Status.ERROR_CLUSTER_INVALID_NODE,
        Status.ERROR_CLUSTER_NODE_EXISTS,
        Status.ERROR_CLUSTER_NODE_NOT_FOUND,
        Status.ERROR_CLUSTER_NETWORK_EXISTS,
        Status.ERROR_CLUSTER_NETWORK_NOT_FOUND,
        Status.ERROR_CLUSTER_NETINTERFACE_EXISTS,
        Status.ERROR_CLUSTER_NETINTERFACE_NOT_FOUND,
        Status.ERROR_CLUSTER_INVALID_REQUEST,
        Status.ERROR_CLUSTER_INVALID_NETWORK,
        Status.ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND,
        Status.ERROR_CLUSTER_RESNAME_NOT_FOUND,
        Status.ERROR_CLUSTER_PROPERTY_DATA_TYPE_MISMATCH,
        Status.ERROR_CLUSTER_PARAMETER_MISMATCH,
        Status.ERROR_INVALID_CLUSTER_IPV6_ADDRESS,
        Status.ERROR_CLUSTER_PARAMETER_OUT_OF_BOUNDS,
        Status.ERROR_CLUSTER_INVALID_STRING_TERMINATION,
        Status.ERROR_CLUSTER_INVALID_STRING_FORMAT,
        Status.ERROR_CLUSTER_NULL_DATA,
        Status.ERROR_CLUSTER_INVALID_IPV6_NETWORK,
        Status.ERROR_CLUSTER_INVALID_SECURITY_DESCRIPTOR,
        Status.ERROR_CLUSTER_INVALID_NODE_WEIGHT,
        Status.ERROR_GROUPSET_NOT_FOUND,
        Status.ERROR_CLUSTER_FAULT_DOMAIN_PARENT_NOT_FOUND,
    }
)
_REFUSAL_BELOW_5000 = frozenset(
    {
        Status.ERROR_SHARING_VIOLATION,
        Status.ERROR_SHARING_PAUSED,
        Status.ERROR_DIR_NOT_EMPTY,
        Status.ERROR_BUSY,
        Status.ERROR_OPERATION_ABORTED,
        Status.ERROR_IO_PENDING,
        Status.ERROR_KEY_DELETED,
        Status.ERROR_DEPENDENT_SERVICES_RUNNING,
        Status.ERROR_SERVICE_CANNOT_ACCEPT_CTRL,
        Status.ERROR_SERVICE_MARKED_FOR_DELETE,
        Status.ERROR_CANCELLED,
        Status.ERROR_RETRY,
        Status.ERROR_TIME_SKEW,
        Status.RPC_S_CALL_CANCELLED,
    }
)
_FAULT_FROM_5000 = frozenset(
    {
        Status.ERROR_RESMON_CREATE_FAILED,
        Status.ERROR_RESMON_ONLINE_FAILED,
        Status.ERROR_QUORUM_RESOURCE_ONLINE_FAILED,
        Status.ERROR_QUORUMLOG_OPEN_FAILED,
        Status.ERROR_CLUSTERLOG_CORRUPT,
        Status.ERROR_CLUSTERLOG_NOT_ENOUGH_SPACE,
        Status.ERROR_RESOURCE_FAILED,
        Status.ERROR_CLUSTER_NODE_UNREACHABLE,
        Status.ERROR_CLUSTER_JOIN_ABORTED,
        Status.ERROR_CLUSTER_DATABASE_SEQMISMATCH,
        Status.ERROR_DATABASE_BACKUP_CORRUPT,
        Status.ERROR_CLUSTER_MEMBERSHIP_INVALID_STATE,
        Status.ERROR_CLUSTER_MEMBERSHIP_HALT,
        Status.ERROR_CLUSCFG_ROLLBACK_FAILED,
        Status.ERROR_CLUSTER_POISONED,
        Status.ERROR_RESOURCE_CALL_TIMED_OUT,
        Status.ERROR_CLUSTER_INTERNAL_INVALID_FUNCTION,
        Status.ERROR_CLUSTER_PARTIAL_SEND,
        Status.ERROR_CLUSTER_PARTIAL_READ,
        Status.ERROR_CLUSTER_PARTIAL_WRITE,
        Status.ERROR_CLUSTER_CANT_DESERIALIZE_DATA,
        Status.ERROR_CLUSTER_NO_QUORUM,
        Status.ERROR_EXCEPTION_IN_RESOURCE_CALL,
        Status.ERROR_CLUSTER_RHS_FAILED_INITIALIZATION,
        Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED,
        Status.ERROR_CLUSTER_WATCHDOG_TERMINATING,
        Status.ERROR_CLUSTER_DISK_NOT_CONNECTED,
        Status.ERROR_CLUSTER_CSV_IO_PAUSE_TIMEOUT,
        Status.ERROR_CLUSTER_FAULT_DOMAIN_S2D_CONNECTIVITY_LOSS,
        Status.ERROR_CLUSTERSET_MANAGEMENT_CLUSTER_UNREACHABLE,
    }
)


def error_from_status(status: int, sentence: str) -> ClusterError:
    """Rebuild, on the right branch, the error whose status came over the wire.

    An unlisted number is a fault: nothing is known about it. Raises ValueError for ERROR_SUCCESS, which is no error,
    and for a number that is not an unsigned 32-bit integer.
    """
    code = Status(status)
    if code == Status.ERROR_SUCCESS:
        raise ValueError("ERROR_SUCCESS is not an error")
    if code in _CALLER:
        return CallerError(code, sentence)
    if code in _REFUSAL_BELOW_5000:
        return RefusalError(code, sentence)
    if code in _FAULT_FROM_5000 or not code.is_listed or code < 5000:
        return FaultError(code, sentence)
    return RefusalError(code, sentence)
