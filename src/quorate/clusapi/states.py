"""States, flags and small enumerations of the objects of a cluster, with the numbers of ClusAPI.

A state is asked for, never stored: :func:`group_state` computes a group's state from its resources, and
:func:`resource_state_of_vm` a VM resource's state from its VM. Each class names the header enumeration whose numbers it
holds; members drop the prefix (``CLUSTER_ENUM_NODE`` is ``ClusterEnum.NODE``).

Source: Windows SDK headers clusapi.h, resapi.h; [MS-CMRP] 3.1.4.1.46; page virtual-machine and its property pages.
"""

from collections.abc import Iterable
from enum import IntEnum, IntFlag
from typing import Final, Self


class _State(IntEnum):
    """A state whose "unknown" is -1 in the header and 0xFFFFFFFF in a DWORD."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls(-1) if value == 0xFFFFFFFF else None

    @property
    def dword(self) -> int:
        """The state as the unsigned 32-bit number that the wire carries."""
        return self.value & 0xFFFFFFFF


# --- Nodes ---------------------------------------------------------------------------------------------------------


class NodeState(_State):
    """Whether a node takes part in the cluster (CLUSTER_NODE_STATE)."""

    UNKNOWN = -1  # the question failed
    UP = 0  # an active member
    DOWN = 1  # not an active member
    PAUSED = 2  # a member that takes no new groups; those it has stay unless drained
    JOINING = 3  # on its way in


class NodeStatus(IntFlag):
    """The node property StatusInformation (CLUSTER_NODE_STATUS)."""

    NORMAL = 0
    ISOLATED = 0x1  # lost contact; its VMs may go on for the resiliency period
    QUARANTINED = 0x2  # was isolated too often; may not rejoin for a while
    DRAIN_IN_PROGRESS = 0x4
    DRAIN_COMPLETED = 0x8
    DRAIN_FAILED = 0x10
    AVOID_PLACEMENT = 0x20  # chosen as a destination only when nothing else is left


class NodeDrainStatus(IntEnum):
    """The node property NodeDrainStatus."""

    NOT_INITIATED = 0
    IN_PROGRESS = 1
    COMPLETED = 2
    FAILED = 3


class NodeClusterState(IntEnum):
    """What GetNodeClusterState says about a machine (NODE_CLUSTER_STATE)."""

    NOT_INSTALLED = 0
    NOT_CONFIGURED = 1
    NOT_RUNNING = 3
    RUNNING = 19


class NodePauseFlags(IntFlag):
    """How to pause and drain a node (CLUSAPI_NODE_PAUSE_*)."""

    NONE = 0
    REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR = 0x1  # a group that cannot move gracefully stays where it is
    AVOID_PLACEMENT = 0x2
    RETRY_DRAIN_ON_FAILURE = 0x4


class NodeResumeFailbackType(IntEnum):
    """What happens to drained groups on resume (CLUSTER_NODE_RESUME_FAILBACK_TYPE)."""

    DO_NOT_FAIL_BACK = 0
    FAIL_BACK_IMMEDIATELY = 1
    FAIL_BACK_PER_POLICY = 2  # each group by its own AutoFailbackType and window


# --- Networks ------------------------------------------------------------------------------------------------------


class NetworkState(_State):
    """State of a network (CLUSTER_NETWORK_STATE)."""

    UNKNOWN = -1
    UNAVAILABLE = 0  # no active node has an interface on it
    DOWN = 1  # none of its interfaces reaches any other
    PARTITIONED = 2  # some of its interfaces do not reach each other
    UP = 3


class NetworkInterfaceState(_State):
    """State of a network interface (CLUSTER_NETINTERFACE_STATE)."""

    UNKNOWN = -1
    UNAVAILABLE = 0  # its node is not active
    FAILED = 1  # its link is down or it has no address
    UNREACHABLE = 2  # its link is up, and others do not reach it
    UP = 3


class NetworkRole(IntFlag):
    """What the cluster uses a network for (CLUSTER_NETWORK_ROLE)."""

    NONE = 0
    INTERNAL = 1  # between nodes only
    CLIENT_ACCESS = 2  # defined but unsupported alone
    INTERNAL_AND_CLIENT = 3


# --- Groups --------------------------------------------------------------------------------------------------------


class GroupState(_State):
    """State of a group, computed from its resources (CLUSTER_GROUP_STATE); see :func:`group_state`."""

    UNKNOWN = -1
    ONLINE = 0  # every resource is online
    OFFLINE = 1  # no resource is online, or the group is empty
    FAILED = 2  # at least one resource failed
    PARTIAL_ONLINE = 3  # some resources are online
    PENDING = 4  # at least one resource is on its way online or offline


class GroupStatus(IntFlag):
    """The group property StatusInformation, 64 bits (CLUSGRP_STATUS_*)."""

    NORMAL = 0
    LOCKED_MODE = 0x1  # a resource asked not to be disturbed
    PREEMPTED = 0x2  # taken offline for a group of higher priority
    WAITING_IN_QUEUE_FOR_MOVE = 0x4
    PHYSICAL_RESOURCES_LACKING = 0x8
    WAITING_TO_START = 0x10
    EMBEDDED_FAILURE = 0x20  # something inside the guest failed
    OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT = 0x40
    NETWORK_FAILURE = 0x80
    UNMONITORED = 0x100
    OS_HEARTBEAT = 0x200  # the guest's heartbeat is good
    APPLICATION_READY = 0x400
    OFFLINE_NOT_LOCAL_DISK_OWNER = 0x800
    WAITING_FOR_DEPENDENCIES = 0x1000


class GroupType(IntEnum):
    """The group property GroupType (CLUSGROUP_TYPE)."""

    CORE_CLUSTER = 1
    AVAILABLE_STORAGE = 2
    TEMPORARY = 3
    SHARED_VOLUME = 4
    STORAGE_POOL = 5
    FILE_SERVER = 100
    PRINT_SERVER = 101
    DHCP_SERVER = 102
    DTC = 103
    MSMQ = 104
    WINS = 105
    STANDALONE_DFS = 106
    GENERIC_APPLICATION = 107
    GENERIC_SERVICE = 108
    GENERIC_SCRIPT = 109
    ISNS_SERVER = 110
    VIRTUAL_MACHINE = 111
    TS_SESSION_BROKER = 112
    ISCSI_TARGET = 113
    SCALE_OUT_FILE_SERVER = 114
    VM_REPLICA_BROKER = 115
    TASK_SCHEDULER = 116
    CLUSTER_UPDATE_AGENT = 117
    SCALE_OUT_CLUSTER = 118
    STORAGE_REPLICA = 119
    VM_REPLICA_COORDINATOR = 120
    CROSS_CLUSTER_ORCHESTRATOR = 121
    INFRASTRUCTURE_FILE_SERVER = 122
    CORE_SDDC = 123
    UNKNOWN = 9999


class GroupPriority(IntEnum):
    """Usual values of the group property Priority; any DWORD between them is allowed too (CLUSTER_GROUP_PRIORITY)."""

    DISABLED = 0  # not started by the cluster
    LOW = 1000
    MEDIUM = 2000
    HIGH = 3000


class AutoFailbackType(IntEnum):
    """The group property AutoFailbackType (CLUSTER_GROUP_AUTOFAILBACK_TYPE)."""

    PREVENT_FAILBACK = 0
    ALLOW_FAILBACK = 1  # needs a list of preferred owners


class ColdStartSetting(IntEnum):
    """What happens to a group when the cluster forms (CLUS_GROUP_START_SETTING)."""

    ALWAYS = 0
    DO_NOT_START = 1
    ALLOWED = 2


class GroupOnlineFlags(IntFlag):
    """How to bring a group online (CLUSAPI_GROUP_ONLINE_*)."""

    NONE = 0
    IGNORE_RESOURCE_STATUS = 0x1  # even if a resource is locked
    SYNCHRONOUS = 0x2
    BEST_POSSIBLE_NODE = 0x4
    IGNORE_AFFINITY_RULE = 0x8


class GroupOfflineFlags(IntFlag):
    """How to take a group offline (CLUSAPI_GROUP_OFFLINE_*)."""

    NONE = 0
    IGNORE_RESOURCE_STATUS = 0x1


class GroupMoveFlags(IntFlag):
    """How to move a group (CLUSAPI_GROUP_MOVE_*)."""

    NONE = 0
    IGNORE_RESOURCE_STATUS = 0x1  # even if a resource is locked
    RETURN_TO_SOURCE_NODE_ON_ERROR = 0x2
    QUEUE_ENABLED = 0x4  # wait for room or a free migration slot instead of failing
    HIGH_PRIORITY_START = 0x8
    FAILBACK = 0x10  # reserved to the cluster itself
    IGNORE_AFFINITY_RULE = 0x20


LIVE_MIGRATION_MOVE_FLAGS: Final = (
    GroupMoveFlags.RETURN_TO_SOURCE_NODE_ON_ERROR | GroupMoveFlags.QUEUE_ENABLED | GroupMoveFlags.HIGH_PRIORITY_START
)  # what nf-clusapi-moveclustergroupex asks for


# --- Resources -----------------------------------------------------------------------------------------------------


class ResourceState(_State):
    """State of a resource (CLUSTER_RESOURCE_STATE)."""

    UNKNOWN = -1
    INHERITED = 0
    INITIALIZING = 1
    ONLINE = 2
    OFFLINE = 3
    FAILED = 4
    PENDING = 128  # the bit that the two below share, not a state by itself
    ONLINE_PENDING = 129
    OFFLINE_PENDING = 130

    @property
    def is_pending(self) -> bool:
        """Answer whether the resource is on its way online or offline."""
        return self > 0 and bool(self & 128)


class ResourceStatus(IntFlag):
    """The resource property StatusInformation, 64 bits (CLUSRES_STATUS_*)."""

    NORMAL = 0
    LOCKED_MODE = 0x1
    EMBEDDED_FAILURE = 0x2  # something inside the guest failed
    FAILED_DUE_TO_INSUFFICIENT_CPU = 0x4
    FAILED_DUE_TO_INSUFFICIENT_MEMORY = 0x8
    FAILED_DUE_TO_INSUFFICIENT_GENERIC_RESOURCES = 0x10
    NETWORK_FAILURE = 0x20
    UNMONITORED = 0x40
    OS_HEARTBEAT = 0x80
    APPLICATION_READY = 0x100
    OFFLINE_NOT_LOCAL_DISK_OWNER = 0x200


class RestartAction(IntEnum):
    """What happens when a resource fails (CLUSTER_RESOURCE_RESTART_ACTION)."""

    DONT_RESTART = 0
    RESTART_NO_NOTIFY = 1  # restart here; never fail the group over for it
    RESTART_NOTIFY = 2  # restart here; fail the group over when the threshold is passed


class ResourceMonitorState(IntEnum):
    """What a monitor process is doing (RESOURCE_MONITOR_STATE); for diagnosis."""

    INITIALIZING = 0
    IDLE = 1
    STARTING_RESOURCE = 2
    INITIALIZING_RESOURCE = 3
    ONLINE_RESOURCE = 4
    OFFLINE_RESOURCE = 5
    SHUTDOWN_RESOURCE = 6
    DELETING_RESOURCE = 7
    IS_ALIVE_POLL = 8
    LOOKS_ALIVE_POLL = 9
    ARBITRATE_RESOURCE = 10
    RELEASE_RESOURCE = 11
    RESOURCE_CONTROL = 12
    RESOURCE_TYPE_CONTROL = 13
    TERMINATE_RESOURCE = 14
    DEADLOCKED = 15


class EmbeddedFailureAction(IntEnum):
    """What happens when something inside a guest fails (CLUSTER_RESOURCE_EMBEDDED_FAILURE_ACTION)."""

    NONE = 0
    LOG_ONLY = 1
    RECOVER = 2


class ResourceOnlineFlags(IntFlag):
    """How to bring a resource online (CLUSAPI_RESOURCE_ONLINE_*)."""

    NONE = 0
    IGNORE_RESOURCE_STATUS = 0x1
    DO_NOT_UPDATE_PERSISTENT_STATE = 0x2
    NECESSARY_FOR_QUORUM = 0x4
    BEST_POSSIBLE_NODE = 0x8
    IGNORE_AFFINITY_RULE = 0x20


class ResourceOfflineFlags(IntFlag):
    """How to take a resource offline (CLUSAPI_RESOURCE_OFFLINE_*)."""

    NONE = 0
    IGNORE_RESOURCE_STATUS = 0x1
    FORCE_WITH_TERMINATION = 0x2
    DO_NOT_UPDATE_PERSISTENT_STATE = 0x4


class OfflineReason(IntFlag):
    """Why a resource goes offline (CLUSAPI_RESOURCE_OFFLINE_REASON_*)."""

    NONE = 0
    UNKNOWN = 0x1
    MOVING = 0x2
    USER_REQUESTED = 0x4
    BEING_DELETED = 0x8
    BEING_RESTARTED = 0x10
    PREEMPTED = 0x20
    SHUTTING_DOWN = 0x40


class StateChangeReason(IntEnum):
    """Why Offline or Terminate is about to be called (CLUSTER_RESOURCE_STATE_CHANGE_REASON)."""

    UNKNOWN = 0
    MOVE = 1
    FAILOVER = 2
    FAILED_MOVE = 3
    SHUTDOWN = 4
    RUNDOWN = 5


class ResourceClass(IntEnum):
    """Class of a resource type: first DWORD of GET_CLASS_INFO (CLUSTER_RESOURCE_CLASS)."""

    UNKNOWN = 0
    STORAGE = 1
    NETWORK = 2
    USER = 0x8000  # the first class of a vendor's own


class Characteristics(IntFlag):
    """What a resource (type) can do: the answer to GET_CHARACTERISTICS (CLUS_CHAR_*)."""

    NONE = 0
    QUORUM = 0x1
    DELETE_REQUIRES_ALL_NODES = 0x2
    LOCAL_QUORUM = 0x4
    LOCAL_QUORUM_DEBUG = 0x8
    REQUIRES_STATE_CHANGE_REASON = 0x10
    BROADCAST_DELETE = 0x20
    SINGLE_CLUSTER_INSTANCE = 0x40  # at most one instance in a cluster
    SINGLE_GROUP_INSTANCE = 0x80  # at most one instance in a group
    COEXIST_IN_SHARED_VOLUME_GROUP = 0x100
    PLACEMENT_DATA = 0x200
    MONITOR_DETACH = 0x400
    MONITOR_REATTACH = 0x800
    OPERATION_CONTEXT = 0x1000
    CLONES = 0x2000
    NOT_PREEMPTABLE = 0x4000
    NOTIFY_NEW_OWNER = 0x8000
    SUPPORTS_UNMONITORED_STATE = 0x10000
    INFRASTRUCTURE = 0x20000
    VETO_DRAIN = 0x40000
    DRAIN_LOCAL_OFFLINE = 0x80000


class ObjectFlags(IntFlag):
    """The answer to GET_FLAGS (CLUS_FLAG_*): low 16 bits the cluster's, high 16 bits the resource type's."""

    NONE = 0
    CORE = 0x1  # the cluster cannot do without this object


# --- Virtual machines ----------------------------------------------------------------------------------------------


class VmState(IntEnum):
    """The private property VmState: Hyper-V's Msvm_ComputerSystem.EnabledState (page virtual-machines-vmstate)."""

    UNKNOWN = 0  # the hypervisor could not be asked
    RUNNING = 2  # "Enabled": the only state in which a migration may start
    OFF = 3  # "Disabled"
    PAUSED = 32768
    SAVED = 32769  # "Suspended": memory in a file
    STARTING = 32770
    SAVING = 32773
    STOPPING = 32774
    PAUSING = 32776
    RESUMING = 32777


class MigrationState(IntEnum):
    """The private property MigrationState (page virtual-machines-migrationstate)."""

    NO_MIGRATION = 0
    SETUP = 1  # accepted; source and destination prepare
    DATA_TRANSFER = 2  # memory is being copied; the VM runs on the source
    MOVE = 3  # the group changes hands: no way back
    CANCELED = 4  # the last attempt was cancelled
    FAILURE = 5  # the last attempt failed; kept until reset or another start

    @property
    def is_under_way(self) -> bool:
        """Answer whether a migration is going on (1 to 3)."""
        return self.SETUP <= self <= self.MOVE

    @property
    def is_cancellable(self) -> bool:
        """Answer whether CANCEL_MIGRATION is still allowed (1 and 2)."""
        return self.SETUP <= self <= self.DATA_TRANSFER


class OfflineAction(IntEnum):
    """What taking a VM offline does to it: property OfflineAction, and input of SET_NEXT_OFFLINE_ACTION."""

    TURN_OFF = 0
    SAVE = 1  # the default
    SHUTDOWN = 2  # by the guest itself
    SHUTDOWN_FORCE = 3  # by the guest, not letting its programs object


class ShutdownAction(IntEnum):
    """What a VM's stop outside the cluster's control means (page virtual-machines-shutdownaction)."""

    OFFLINE = 0
    FAILED = 1  # the restart policy follows


class VmResdllContext(IntEnum):
    """How a group move or offline treats the VM: the DWORD per resource type name (VM_RESDLL_CONTEXT)."""

    TURN_OFF = 0
    SAVE = 1
    SHUTDOWN = 2
    SHUTDOWN_FORCE = 3
    LIVE_MIGRATION = 4


# --- Enumeration masks ---------------------------------------------------------------------------------------------


class ClusterEnum(IntFlag):
    """What ClusterOpenEnum lists (CLUSTER_ENUM_*)."""

    NODE = 0x1
    RESTYPE = 0x2
    RESOURCE = 0x4
    GROUP = 0x8
    NETWORK = 0x10
    NETINTERFACE = 0x20
    SHARED_VOLUME_GROUP = 0x20000000
    SHARED_VOLUME_RESOURCE = 0x40000000
    INTERNAL_NETWORK = 0x80000000
    ALL = 0x3F  # the header's ALL leaves the last three out


class NodeEnum(IntFlag):
    """What ClusterNodeOpenEnum lists (CLUSTER_NODE_ENUM_*)."""

    NETINTERFACES = 0x1
    GROUPS = 0x2
    PREFERRED_GROUPS = 0x4
    ALL = 0x3  # the header's ALL leaves the last one out


class GroupEnum(IntFlag):
    """What ClusterGroupOpenEnum lists (CLUSTER_GROUP_ENUM_*)."""

    CONTAINS = 0x1
    NODES = 0x2  # preferred owners, in order
    ALL = 0x3


class ResourceEnum(IntFlag):
    """What ClusterResourceOpenEnum lists (CLUSTER_RESOURCE_ENUM_*)."""

    DEPENDS = 0x1
    PROVIDES = 0x2
    NODES = 0x4  # possible owners
    ALL = 0x7


class ResourceTypeEnum(IntFlag):
    """What ClusterResourceTypeOpenEnum lists (CLUSTER_RESOURCE_TYPE_ENUM_*)."""

    NODES = 0x1
    RESOURCES = 0x2
    ALL = 0x3


class NetworkEnum(IntFlag):
    """What ClusterNetworkOpenEnum lists (CLUSTER_NETWORK_ENUM_*)."""

    NETINTERFACES = 0x1
    ALL = 0x1


# --- Computed states -----------------------------------------------------------------------------------------------


def group_state(resource_states: Iterable[ResourceState]) -> GroupState:
    """Compute a group's state from those of its resources; the first rule that fits wins ([MS-CMRP] 3.1.4.1.46)."""
    states = list(resource_states)
    online = states.count(ResourceState.ONLINE)
    if ResourceState.FAILED in states:
        return GroupState.FAILED
    if any(state.is_pending for state in states):
        return GroupState.PENDING
    if 0 < online < len(states):
        return GroupState.PARTIAL_ONLINE
    return GroupState.ONLINE if online else GroupState.OFFLINE


_RESOURCE_STATE_OF_VM: Final = {
    VmState.UNKNOWN: ResourceState.UNKNOWN,
    VmState.RUNNING: ResourceState.ONLINE,
    VmState.OFF: ResourceState.OFFLINE,
    VmState.PAUSED: ResourceState.ONLINE,
    VmState.SAVED: ResourceState.OFFLINE,
    VmState.STARTING: ResourceState.ONLINE_PENDING,
    VmState.SAVING: ResourceState.OFFLINE_PENDING,
    VmState.STOPPING: ResourceState.OFFLINE_PENDING,
    VmState.PAUSING: ResourceState.ONLINE,
    VmState.RESUMING: ResourceState.ONLINE,
}


def resource_state_of_vm(vm_state: VmState) -> ResourceState:
    """Tell which state the cluster shows for a VM resource whose VM is in ``vm_state`` (page virtual-machine).

    A paused VM is online for the cluster, yet may not migrate: START_MIGRATION wants VmState RUNNING, nothing else.
    """
    return _RESOURCE_STATE_OF_VM[vm_state]
