"""Status codes: what every operation of the API returns.

A status is an unsigned 32-bit Win32 code. Zero is success; the cluster's own codes lie between 5000 and 5999. Names
keep Microsoft's spelling, since people search for them; the meanings are ours.

Source: Windows SDK header winerror.h.
"""

from enum import IntEnum
from typing import Self

S_OK = 0x00000000  # HRESULT: no failure
E_FAIL = 0x80004005  # HRESULT: unspecified failure; MigrationFailureReason of a migration that broke
E_BUSY = 0x800700AA  # HRESULT of ERROR_BUSY; MigrationFailureReason when another migration was in progress

_HRESULT_WIN32 = 0x80070000  # severity "failure", facility "Win32"
_U32_MAX = 0xFFFFFFFF


class Status(IntEnum):
    """One status code; ``meaning`` says in a few words what it tells.

    ``Status(number)`` never loses a number that came over the wire: an unknown unsigned 32-bit number gives a member
    outside the list, named ``STATUS_<number>`` and equal to its number. Anything wider is a ValueError.
    """

    _value_: int
    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Self:
        """Make the member for a line below: its number and its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not 0 <= value <= _U32_MAX:
            return None
        member = int.__new__(cls, value)
        member._value_ = value
        member._name_ = f"STATUS_{value}"
        member.meaning = _meaning_of_unlisted(value)
        return member

    def __reduce_ex__(self, protocol: object) -> tuple[type[Self], tuple[int]]:
        """Copy and pickle by number: early releases of Python 3.11 do it by name, which an unlisted member has not."""
        return type(self), (self._value_,)

    @property
    def is_listed(self) -> bool:
        """Answer whether the number is one of the codes below, not one that merely passed through."""
        return self._name_ in type(self).__members__

    ERROR_SUCCESS = 0, "success"
    ERROR_INVALID_FUNCTION = 1, "function or control code not supported"
    ERROR_FILE_NOT_FOUND = 2, "file, key, value or object not found"
    ERROR_PATH_NOT_FOUND = 3, "path not found"
    ERROR_ACCESS_DENIED = 5, "caller lacks the access right"
    ERROR_INVALID_HANDLE = 6, "invalid handle"
    ERROR_NOT_ENOUGH_MEMORY = 8, "not enough memory"
    ERROR_INVALID_DATA = 13, "data malformed or out of range"
    ERROR_OUTOFMEMORY = 14, "out of memory"
    ERROR_NOT_READY = 21, "device not ready"
    ERROR_GEN_FAILURE = 31, "device not functioning"
    ERROR_SHARING_VIOLATION = 32, "sharing violation"
    ERROR_NOT_SUPPORTED = 50, "request not supported"
    ERROR_SHARING_PAUSED = 70, "the server is paused or starting: it answers questions but changes nothing"
    ERROR_INVALID_PARAMETER = 87, "a parameter is wrong"
    ERROR_BROKEN_PIPE = 109, "pipe broken"
    ERROR_CALL_NOT_IMPLEMENTED = 120, "call not implemented"
    ERROR_INSUFFICIENT_BUFFER = 122, "supplied buffer too small"
    ERROR_INVALID_NAME = 123, "name syntax wrong"
    ERROR_DIR_NOT_EMPTY = 145, "directory not empty"
    ERROR_BAD_PATHNAME = 161, "bad path"
    ERROR_BUSY = 170, "requested object is in use"
    ERROR_ALREADY_EXISTS = 183, "object already exists"
    ERROR_FILENAME_EXCED_RANGE = 206, "name too long"
    ERROR_PIPE_NOT_CONNECTED = 233, "no process at pipe end"
    ERROR_MORE_DATA = 234, "the buffer is too small; retry with a bigger one"
    WAIT_TIMEOUT = 258, "the wait timed out"
    ERROR_NO_MORE_ITEMS = 259, "no more items in enumeration"
    ERROR_OPERATION_ABORTED = 995, "operation cancelled / aborted"
    ERROR_IO_INCOMPLETE = 996, "overlapped operation not complete"
    ERROR_IO_PENDING = 997, "accepted and in progress; watch the state"
    ERROR_NOACCESS = 998, "invalid memory access"
    ERROR_INVALID_FLAGS = 1004, "invalid flags"
    ERROR_NOT_REGISTRY_FILE = 1017, "not a registry file"
    ERROR_KEY_DELETED = 1018, "the registry key is marked for deletion"
    ERROR_DEPENDENT_SERVICES_RUNNING = 1051, "a dependent service or resource still runs"
    ERROR_SERVICE_REQUEST_TIMEOUT = 1053, "service did not respond in time"
    ERROR_SERVICE_ALREADY_RUNNING = 1056, "service already running"
    ERROR_SERVICE_DISABLED = 1058, "service disabled"
    ERROR_CIRCULAR_DEPENDENCY = 1059, "circular dependency"
    ERROR_SERVICE_DOES_NOT_EXIST = 1060, "service not installed"
    ERROR_SERVICE_CANNOT_ACCEPT_CTRL = 1061, "service cannot accept control now"
    ERROR_SERVICE_NOT_ACTIVE = 1062, "service not started"
    ERROR_DATABASE_DOES_NOT_EXIST = 1065, "database does not exist"
    ERROR_SERVICE_SPECIFIC_ERROR = 1066, "service-specific error"
    ERROR_SERVICE_DEPENDENCY_FAIL = 1068, "dependency failed to start"
    ERROR_SERVICE_MARKED_FOR_DELETE = 1072, "service marked for delete"
    ERROR_SERVICE_EXISTS = 1073, "service exists"
    ERROR_SHUTDOWN_IN_PROGRESS = 1115, "system shutdown in progress"
    ERROR_IO_DEVICE = 1117, "I/O device error"
    ERROR_NOT_FOUND = 1168, "element not found"
    ERROR_CANCELLED = 1223, "cancelled by user"
    ERROR_NETWORK_UNREACHABLE = 1231, "network unreachable"
    ERROR_HOST_UNREACHABLE = 1232, "host unreachable"
    ERROR_RETRY = 1237, "retry the operation"
    ERROR_INVALID_OWNER = 1307, "owner id not allowed"
    ERROR_PRIVILEGE_NOT_HELD = 1314, "a required privilege is not held"
    ERROR_PASSWORD_RESTRICTION = 1325, "the password does not meet the rules"
    ERROR_LOGON_FAILURE = 1326, "logon failure"
    ERROR_INTERNAL_ERROR = 1359, "internal error"
    ERROR_TIME_SKEW = 1398, "the clocks of two machines differ too much"
    ERROR_NO_SYSTEM_RESOURCES = 1450, "insufficient system resources"
    ERROR_TIMEOUT = 1460, "timeout"
    RPC_S_INVALID_BINDING = 1702, "invalid binding handle"
    RPC_S_NOT_LISTENING = 1715, "the RPC server is not listening"
    RPC_S_UNKNOWN_IF = 1717, "unknown RPC interface"
    RPC_S_SERVER_UNAVAILABLE = 1722, "RPC server unavailable: node down or service stopped"
    RPC_S_SERVER_TOO_BUSY = 1723, "RPC server too busy"
    RPC_S_CALL_FAILED = 1726, "RPC call failed"
    RPC_S_CALL_FAILED_DNE = 1727, "RPC call failed, did not execute"
    EPT_S_NOT_REGISTERED = 1753, "no such endpoint in the endpoint mapper: service not running"
    RPC_S_NO_CONTEXT_AVAILABLE = 1765, "no security context is available to impersonate the caller"
    RPC_X_BAD_STUB_DATA = 1783, "the RPC stub got bad data, such as no input where input is required"
    ERROR_INVALID_USER_BUFFER = 1784, "user buffer invalid for the operation"
    ERROR_ACCOUNT_EXPIRED = 1793, "account expired"
    RPC_S_CALL_CANCELLED = 1818, "RPC call cancelled"
    ERROR_WMI_GUID_NOT_FOUND = 4200, "GUID unknown to WMI provider"

    # The cluster range: 5001-5090 without 5055, and 5890-5999.
    ERROR_DEPENDENT_RESOURCE_EXISTS = 5001, "a dependent resource exists, so the resource cannot be removed/moved"
    ERROR_DEPENDENCY_NOT_FOUND = 5002, "the dependency asked for does not exist"
    ERROR_DEPENDENCY_ALREADY_EXISTS = 5003, "that dependency is already there"
    ERROR_RESOURCE_NOT_ONLINE = 5004, "resource is not online"
    ERROR_HOST_NODE_NOT_AVAILABLE = 5005, "no suitable (up) host node for the operation"
    ERROR_RESOURCE_NOT_AVAILABLE = 5006, "resource not available (e.g. being deleted)"
    ERROR_RESOURCE_NOT_FOUND = 5007, "resource not found"
    ERROR_SHUTDOWN_CLUSTER = 5008, "cluster is shutting down (request form)"
    ERROR_CANT_EVICT_ACTIVE_NODE = 5009, "node must be down before eviction, unless last node"
    ERROR_OBJECT_ALREADY_EXISTS = 5010, "object already exists"
    ERROR_OBJECT_IN_LIST = 5011, "object is already in the list"
    ERROR_GROUP_NOT_AVAILABLE = 5012, "group not available for new requests"
    ERROR_GROUP_NOT_FOUND = 5013, "group not found"
    ERROR_GROUP_NOT_ONLINE = 5014, "group is not online"
    ERROR_HOST_NODE_NOT_RESOURCE_OWNER = 5015, "the node addressed is not the resource's owner"
    ERROR_HOST_NODE_NOT_GROUP_OWNER = 5016, "the node addressed is not the group's owner"
    ERROR_RESMON_CREATE_FAILED = 5017, "resource monitor could not create the resource"
    ERROR_RESMON_ONLINE_FAILED = 5018, "resource monitor could not bring it online"
    ERROR_RESOURCE_ONLINE = 5019, "operation needs the resource offline but it is online"
    ERROR_QUORUM_RESOURCE = 5020, "not allowed on the quorum resource"
    ERROR_NOT_QUORUM_CAPABLE = 5021, "resource cannot be a quorum resource"
    ERROR_CLUSTER_SHUTTING_DOWN = 5022, "cluster software is shutting down"
    ERROR_INVALID_STATE = 5023, "the group, resource or VM is not in the right state for the request"
    ERROR_RESOURCE_PROPERTIES_STORED = 5024, "properties stored, effective next online"
    ERROR_NOT_QUORUM_CLASS = 5025, "resource is not of a class that can hold quorum"
    ERROR_CORE_RESOURCE = 5026, "core resource: cannot delete or similar"
    ERROR_QUORUM_RESOURCE_ONLINE_FAILED = 5027, "quorum resource failed to come online"
    ERROR_QUORUMLOG_OPEN_FAILED = 5028, "quorum log cannot be opened"
    ERROR_CLUSTERLOG_CORRUPT = 5029, "cluster log corrupt"
    ERROR_CLUSTERLOG_RECORD_EXCEEDS_MAXSIZE = 5030, "record exceeds cluster log maximum"
    ERROR_CLUSTERLOG_EXCEEDS_MAXSIZE = 5031, "cluster log at its maximum size"
    ERROR_CLUSTERLOG_CHKPOINT_NOT_FOUND = 5032, "no checkpoint in the cluster log"
    ERROR_CLUSTERLOG_NOT_ENOUGH_SPACE = 5033, "not enough disk space for the log"
    ERROR_QUORUM_OWNER_ALIVE = 5034, "current quorum owner is alive"
    ERROR_NETWORK_NOT_AVAILABLE = 5035, "no network available for use"
    ERROR_NODE_NOT_AVAILABLE = 5036, "node not available for the operation"
    ERROR_ALL_NODES_NOT_AVAILABLE = 5037, "all nodes must be up for this"
    ERROR_RESOURCE_FAILED = 5038, "resource failed"
    ERROR_CLUSTER_INVALID_NODE = 5039, "invalid node"
    ERROR_CLUSTER_NODE_EXISTS = 5040, "node already in the cluster"
    ERROR_CLUSTER_JOIN_IN_PROGRESS = 5041, "another join is running"
    ERROR_CLUSTER_NODE_NOT_FOUND = 5042, "node not found"
    ERROR_CLUSTER_LOCAL_NODE_NOT_FOUND = 5043, "local node information missing"
    ERROR_CLUSTER_NETWORK_EXISTS = 5044, "network already exists"
    ERROR_CLUSTER_NETWORK_NOT_FOUND = 5045, "network not found"
    ERROR_CLUSTER_NETINTERFACE_EXISTS = 5046, "interface already exists"
    ERROR_CLUSTER_NETINTERFACE_NOT_FOUND = 5047, "interface not found"
    ERROR_CLUSTER_INVALID_REQUEST = 5048, "request not valid for the object"
    ERROR_CLUSTER_INVALID_NETWORK_PROVIDER = 5049, "invalid network provider"
    ERROR_CLUSTER_NODE_DOWN = 5050, "node is down"
    ERROR_CLUSTER_NODE_UNREACHABLE = 5051, "node unreachable"
    ERROR_CLUSTER_NODE_NOT_MEMBER = 5052, "node is not a cluster member"
    ERROR_CLUSTER_JOIN_NOT_IN_PROGRESS = 5053, "no join in progress"
    ERROR_CLUSTER_INVALID_NETWORK = 5054, "invalid network"
    ERROR_CLUSTER_NODE_UP = 5056, "node is up (operation needs it down)"
    ERROR_CLUSTER_IPADDR_IN_USE = 5057, "cluster IP address already in use"
    ERROR_CLUSTER_NODE_NOT_PAUSED = 5058, "node is not paused"
    ERROR_CLUSTER_NO_SECURITY_CONTEXT = 5059, "no security context"
    ERROR_CLUSTER_NETWORK_NOT_INTERNAL = 5060, "network not set for internal use"
    ERROR_CLUSTER_NODE_ALREADY_UP = 5061, "node already up"
    ERROR_CLUSTER_NODE_ALREADY_DOWN = 5062, "node already down"
    ERROR_CLUSTER_NETWORK_ALREADY_ONLINE = 5063, "network already online"
    ERROR_CLUSTER_NETWORK_ALREADY_OFFLINE = 5064, "network already offline"
    ERROR_CLUSTER_NODE_ALREADY_MEMBER = 5065, "node already a member"
    ERROR_CLUSTER_LAST_INTERNAL_NETWORK = 5066, "last internal network cannot change role"
    ERROR_CLUSTER_NETWORK_HAS_DEPENDENTS = 5067, "network has dependent resources"
    ERROR_INVALID_OPERATION_ON_QUORUM = 5068, "not permitted on quorum resource"
    ERROR_DEPENDENCY_NOT_ALLOWED = 5069, "dependency not allowed (quorum/type rule)"
    ERROR_CLUSTER_NODE_PAUSED = 5070, "node is paused"
    ERROR_NODE_CANT_HOST_RESOURCE = 5071, "node cannot host the resource (not a possible owner / missing type)"
    ERROR_CLUSTER_NODE_NOT_READY = 5072, "node not ready"
    ERROR_CLUSTER_NODE_SHUTTING_DOWN = 5073, "node shutting down"
    ERROR_CLUSTER_JOIN_ABORTED = 5074, "join aborted"
    ERROR_CLUSTER_INCOMPATIBLE_VERSIONS = 5075, "incompatible versions between joining node and sponsor"
    ERROR_CLUSTER_MAXNUM_OF_RESOURCES_EXCEEDED = 5076, "resource count limit reached"
    ERROR_CLUSTER_SYSTEM_CONFIG_CHANGED = 5077, "configuration changed during join; retry"
    ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND = 5078, "resource type not found"
    ERROR_CLUSTER_RESTYPE_NOT_SUPPORTED = 5079, "resource type not supported by the node"
    ERROR_CLUSTER_RESNAME_NOT_FOUND = 5080, "resource name not found"
    ERROR_CLUSTER_NO_RPC_PACKAGES_REGISTERED = 5081, "no RPC packages registered"
    ERROR_CLUSTER_OWNER_NOT_IN_PREFLIST = 5082, "owner not in preferred list"
    ERROR_CLUSTER_DATABASE_SEQMISMATCH = 5083, "database sequence mismatch; node must rejoin"
    ERROR_RESMON_INVALID_STATE = 5084, "resource monitor not allowed in current state"
    ERROR_CLUSTER_GUM_NOT_LOCKER = 5085, "non-locker tried to take the update lock"
    ERROR_QUORUM_DISK_NOT_FOUND = 5086, "quorum disk not found"
    ERROR_DATABASE_BACKUP_CORRUPT = 5087, "database backup corrupt"
    ERROR_CLUSTER_NODE_ALREADY_HAS_DFS_ROOT = 5088, "node already has a DFS root"
    ERROR_RESOURCE_PROPERTY_UNCHANGEABLE = 5089, "property cannot be changed now"
    ERROR_NO_ADMIN_ACCESS_POINT = 5090, "no administrative access point"
    ERROR_CLUSTER_MEMBERSHIP_INVALID_STATE = 5890, "membership engine in invalid state"
    ERROR_CLUSTER_QUORUMLOG_NOT_FOUND = 5891, "quorum log not found"
    ERROR_CLUSTER_MEMBERSHIP_HALT = 5892, "membership halt"
    ERROR_CLUSTER_INSTANCE_ID_MISMATCH = 5893, "cluster instance id differs"
    ERROR_CLUSTER_NETWORK_NOT_FOUND_FOR_IP = 5894, "no network for that IP"
    ERROR_CLUSTER_PROPERTY_DATA_TYPE_MISMATCH = 5895, "property data type differs from expected"
    ERROR_CLUSTER_EVICT_WITHOUT_CLEANUP = 5896, "evicted but cleanup on the node did not run"
    ERROR_CLUSTER_PARAMETER_MISMATCH = 5897, "parameters do not match existing object"
    ERROR_NODE_CANNOT_BE_CLUSTERED = 5898, "node cannot be clustered"
    ERROR_CLUSTER_WRONG_OS_VERSION = 5899, "wrong OS version for the operation"
    ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME = 5900, "duplicate cluster name cannot be created"
    ERROR_CLUSCFG_ALREADY_COMMITTED = 5901, "cluster config already committed"
    ERROR_CLUSCFG_ROLLBACK_FAILED = 5902, "cluster config rollback failed"
    ERROR_CLUSCFG_SYSTEM_DISK_DRIVE_LETTER_CONFLICT = 5903, "drive-letter conflict with system disk"
    ERROR_CLUSTER_OLD_VERSION = 5904, "node runs an older version"
    ERROR_CLUSTER_MISMATCHED_COMPUTER_ACCT_NAME = 5905, "computer account name mismatch"
    ERROR_CLUSTER_NO_NET_ADAPTERS = 5906, "no network adapters"
    ERROR_CLUSTER_POISONED = 5907, "cluster process poisoned, must terminate"
    ERROR_CLUSTER_GROUP_MOVING = 5908, "group is moving, request refused"
    ERROR_CLUSTER_RESOURCE_TYPE_BUSY = 5909, "resource type busy"
    ERROR_RESOURCE_CALL_TIMED_OUT = 5910, "call into the resource DLL timed out"
    ERROR_INVALID_CLUSTER_IPV6_ADDRESS = 5911, "invalid IPv6 address"
    ERROR_CLUSTER_INTERNAL_INVALID_FUNCTION = 5912, "internal invalid function"
    ERROR_CLUSTER_PARAMETER_OUT_OF_BOUNDS = 5913, "parameter out of bounds"
    ERROR_CLUSTER_PARTIAL_SEND = 5914, "partial network send"
    ERROR_CLUSTER_REGISTRY_INVALID_FUNCTION = 5915, "registry function invalid"
    ERROR_CLUSTER_INVALID_STRING_TERMINATION = 5916, "string not terminated"
    ERROR_CLUSTER_INVALID_STRING_FORMAT = 5917, "string format invalid"
    ERROR_CLUSTER_DATABASE_TRANSACTION_IN_PROGRESS = 5918, "database transaction already running"
    ERROR_CLUSTER_DATABASE_TRANSACTION_NOT_IN_PROGRESS = 5919, "no database transaction running"
    ERROR_CLUSTER_NULL_DATA = 5920, "null data"
    ERROR_CLUSTER_PARTIAL_READ = 5921, "partial read"
    ERROR_CLUSTER_PARTIAL_WRITE = 5922, "partial write"
    ERROR_CLUSTER_CANT_DESERIALIZE_DATA = 5923, "cannot deserialize data"
    ERROR_DEPENDENT_RESOURCE_PROPERTY_CONFLICT = 5924, "dependency has a property in conflict"
    ERROR_CLUSTER_NO_QUORUM = 5925, "no quorum"
    ERROR_CLUSTER_INVALID_IPV6_NETWORK = 5926, "invalid IPv6 network"
    ERROR_CLUSTER_INVALID_IPV6_TUNNEL_NETWORK = 5927, "invalid IPv6 tunnel network"
    ERROR_QUORUM_NOT_ALLOWED_IN_THIS_GROUP = 5928, "quorum resource cannot be in this group"
    ERROR_DEPENDENCY_TREE_TOO_COMPLEX = 5929, "dependency tree too complex"
    ERROR_EXCEPTION_IN_RESOURCE_CALL = 5930, "exception thrown inside the resource call"
    ERROR_CLUSTER_RHS_FAILED_INITIALIZATION = 5931, "hosting subsystem failed to initialize"
    ERROR_CLUSTER_NOT_INSTALLED = 5932, "clustering not installed on node"
    ERROR_CLUSTER_RESOURCES_MUST_BE_ONLINE_ON_THE_SAME_NODE = 5933, "resources must be online on the same node"
    ERROR_CLUSTER_MAX_NODES_IN_CLUSTER = 5934, "maximum nodes reached"
    ERROR_CLUSTER_TOO_MANY_NODES = 5935, "too many nodes"
    ERROR_CLUSTER_OBJECT_ALREADY_USED = 5936, "object in use by the cluster already"
    ERROR_NONCORE_GROUPS_FOUND = 5937, "non-core groups present (blocks destroy)"
    ERROR_FILE_SHARE_RESOURCE_CONFLICT = 5938, "file share resource conflict"
    ERROR_CLUSTER_EVICT_INVALID_REQUEST = 5939, "evict request not valid"
    ERROR_CLUSTER_SINGLETON_RESOURCE = 5940, "only one instance per cluster allowed"
    ERROR_CLUSTER_GROUP_SINGLETON_RESOURCE = 5941, "only one instance per group allowed"
    ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED = 5942, "provider (depended-on) resource failed"
    ERROR_CLUSTER_RESOURCE_CONFIGURATION_ERROR = 5943, "resource configuration error (not retried elsewhere)"
    ERROR_CLUSTER_GROUP_BUSY = 5944, "group busy with another operation"
    ERROR_CLUSTER_NOT_SHARED_VOLUME = 5945, "not a cluster shared volume"
    ERROR_CLUSTER_INVALID_SECURITY_DESCRIPTOR = 5946, "bad cluster security descriptor"
    ERROR_CLUSTER_SHARED_VOLUMES_IN_USE = 5947, "shared volumes in use"
    ERROR_CLUSTER_USE_SHARED_VOLUMES_API = 5948, "use the shared-volume API instead"
    ERROR_CLUSTER_BACKUP_IN_PROGRESS = 5949, "backup in progress"
    ERROR_NON_CSV_PATH = 5950, "path is not on a CSV"
    ERROR_CSV_VOLUME_NOT_LOCAL = 5951, "CSV volume not local"
    ERROR_CLUSTER_WATCHDOG_TERMINATING = 5952, "cluster watchdog terminating"
    ERROR_CLUSTER_RESOURCE_VETOED_MOVE_INCOMPATIBLE_NODES = 5953, "a resource vetoed the move: nodes incompatible"
    ERROR_CLUSTER_INVALID_NODE_WEIGHT = 5954, "invalid node weight"
    ERROR_CLUSTER_RESOURCE_VETOED_CALL = 5955, "a resource vetoed the call"
    ERROR_RESMON_SYSTEM_RESOURCES_LACKING = 5956, "host lacks system resources for the resource"
    ERROR_CLUSTER_RESOURCE_VETOED_MOVE_NOT_ENOUGH_RESOURCES_ON_DESTINATION = (
        5957,
        "move vetoed: not enough resources on destination",
    )
    ERROR_CLUSTER_RESOURCE_VETOED_MOVE_NOT_ENOUGH_RESOURCES_ON_SOURCE = (
        5958,
        "move vetoed: not enough resources on source",
    )
    ERROR_CLUSTER_GROUP_QUEUED = 5959, "move request queued"
    ERROR_CLUSTER_RESOURCE_LOCKED_STATUS = 5960, "group has a resource in locked state; request refused"
    ERROR_CLUSTER_SHARED_VOLUME_FAILOVER_NOT_ALLOWED = 5961, "CSV failover not allowed"
    ERROR_CLUSTER_NODE_DRAIN_IN_PROGRESS = 5962, "node drain (evacuation) already in progress"
    ERROR_CLUSTER_NODE_EVACUATION_IN_PROGRESS = 5962, "node drain (evacuation) already in progress"  # [MS-CMRP] name
    ERROR_CLUSTER_DISK_NOT_CONNECTED = 5963, "disk not connected"
    ERROR_DISK_NOT_CSV_CAPABLE = 5964, "disk not CSV capable"
    ERROR_RESOURCE_NOT_IN_AVAILABLE_STORAGE = 5965, "resource not in available storage"
    ERROR_CLUSTER_SHARED_VOLUME_REDIRECTED = 5966, "CSV redirected"
    ERROR_CLUSTER_SHARED_VOLUME_NOT_REDIRECTED = 5967, "CSV not redirected"
    ERROR_CLUSTER_CANNOT_RETURN_PROPERTIES = 5968, "properties cannot be returned"
    ERROR_CLUSTER_RESOURCE_CONTAINS_UNSUPPORTED_DIFF_AREA_FOR_SHARED_VOLUMES = 5969, "unsupported diff area on CSV"
    ERROR_CLUSTER_RESOURCE_IS_IN_MAINTENANCE_MODE = 5970, "resource in maintenance mode"
    ERROR_CLUSTER_AFFINITY_CONFLICT = 5971, "anti-affinity / affinity conflict"
    ERROR_CLUSTER_RESOURCE_IS_REPLICA_VIRTUAL_MACHINE = 5972, "resource is a replica VM"
    ERROR_CLUSTER_UPGRADE_INCOMPATIBLE_VERSIONS = 5973, "upgrade: incompatible versions"
    ERROR_CLUSTER_UPGRADE_FIX_QUORUM_NOT_SUPPORTED = 5974, "upgrade: fix-quorum unsupported"
    ERROR_CLUSTER_UPGRADE_RESTART_REQUIRED = 5975, "upgrade: restart required"
    ERROR_CLUSTER_UPGRADE_IN_PROGRESS = 5976, "upgrade running"
    ERROR_CLUSTER_UPGRADE_INCOMPLETE = 5977, "upgrade incomplete"
    ERROR_CLUSTER_NODE_IN_GRACE_PERIOD = 5978, "node in grace period"
    ERROR_CLUSTER_CSV_IO_PAUSE_TIMEOUT = 5979, "CSV I/O pause timed out"
    ERROR_NODE_NOT_ACTIVE_CLUSTER_MEMBER = 5980, "node not an active member"
    ERROR_CLUSTER_RESOURCE_NOT_MONITORED = 5981, "resource not monitored"
    ERROR_CLUSTER_RESOURCE_DOES_NOT_SUPPORT_UNMONITORED = 5982, "resource cannot run unmonitored"
    ERROR_CLUSTER_RESOURCE_IS_REPLICATED = 5983, "resource is replicated"
    ERROR_CLUSTER_NODE_ISOLATED = 5984, "node isolated"
    ERROR_CLUSTER_NODE_QUARANTINED = 5985, "node quarantined"
    ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED = 5986, "conditional database update failed (condition not met)"
    ERROR_CLUSTER_SPACE_DEGRADED = 5987, "storage space degraded"
    ERROR_CLUSTER_TOKEN_DELEGATION_NOT_SUPPORTED = 5988, "token delegation unsupported"
    ERROR_CLUSTER_CSV_INVALID_HANDLE = 5989, "bad CSV handle"
    ERROR_CLUSTER_CSV_SUPPORTED_ONLY_ON_COORDINATOR = 5990, "only on CSV coordinator"
    ERROR_GROUPSET_NOT_AVAILABLE = 5991, "group set not available"
    ERROR_GROUPSET_NOT_FOUND = 5992, "group set not found"
    ERROR_GROUPSET_CANT_PROVIDE = 5993, "group set cannot be a provider (no provider set)"
    ERROR_CLUSTER_FAULT_DOMAIN_PARENT_NOT_FOUND = 5994, "fault-domain parent missing"
    ERROR_CLUSTER_FAULT_DOMAIN_INVALID_HIERARCHY = 5995, "fault-domain hierarchy invalid"
    ERROR_CLUSTER_FAULT_DOMAIN_FAILED_S2D_VALIDATION = 5996, "fault domain failed S2D validation"
    ERROR_CLUSTER_FAULT_DOMAIN_S2D_CONNECTIVITY_LOSS = 5997, "fault-domain S2D connectivity loss"
    ERROR_CLUSTER_INVALID_INFRASTRUCTURE_FILESERVER_NAME = 5998, "bad infrastructure file server name"
    ERROR_CLUSTERSET_MANAGEMENT_CLUSTER_UNREACHABLE = 5999, "management cluster of the cluster set unreachable"


def _meaning_of_unlisted(value: int) -> str:
    if value == E_FAIL:
        return "unspecified failure (HRESULT)"
    if value & 0xFFFF0000 == _HRESULT_WIN32:
        return f"{describe(value & 0xFFFF)} (as an HRESULT)"
    return "unknown status"


def describe(status: int) -> str:
    """Say in a few words what a status or HRESULT means.

    An unlisted number answers "unknown status", never an error.
    """
    return Status(status).meaning


def status_name(status: int) -> str:
    """Name a status in Microsoft's spelling, or ``STATUS_<number>`` when it is not listed."""
    return Status(status).name


def hresult_of(status: int) -> int:
    """Wrap a Win32 status as the HRESULT that properties such as MigrationFailureReason hold.

    Success stays 0, and what already is a failure HRESULT (bit 31 set) stays as it is. Raises ValueError for a number
    between, which no HRESULT of the Win32 facility can hold.
    """
    if status == Status.ERROR_SUCCESS or 0x80000000 <= status <= _U32_MAX:
        return int(status)
    if not 0 < status <= 0xFFFF:
        raise ValueError(f"{status} is not a Win32 status: it does not fit in 16 bits")
    return _HRESULT_WIN32 | int(status)
