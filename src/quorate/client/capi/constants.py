"""Numbers of the header under the header's names; control codes are in :mod:`quorate.clusapi.control_codes`."""

from typing import Final

# CLUSTER_ENUM: what ClusterOpenEnum lists
CLUSTER_ENUM_NODE: Final = 0x1
CLUSTER_ENUM_RESTYPE: Final = 0x2
CLUSTER_ENUM_RESOURCE: Final = 0x4
CLUSTER_ENUM_GROUP: Final = 0x8
CLUSTER_ENUM_NETWORK: Final = 0x10
CLUSTER_ENUM_NETINTERFACE: Final = 0x20
CLUSTER_ENUM_SHARED_VOLUME_GROUP: Final = 0x20000000
CLUSTER_ENUM_SHARED_VOLUME_RESOURCE: Final = 0x40000000
CLUSTER_ENUM_INTERNAL_NETWORK: Final = 0x80000000
CLUSTER_ENUM_ALL: Final = 0x3F

# CLUSTER_NODE_ENUM
CLUSTER_NODE_ENUM_NETINTERFACES: Final = 0x1
CLUSTER_NODE_ENUM_GROUPS: Final = 0x2
CLUSTER_NODE_ENUM_PREFERRED_GROUPS: Final = 0x4
CLUSTER_NODE_ENUM_ALL: Final = 0x3

# CLUSTER_GROUP_ENUM
CLUSTER_GROUP_ENUM_CONTAINS: Final = 0x1
CLUSTER_GROUP_ENUM_NODES: Final = 0x2
CLUSTER_GROUP_ENUM_ALL: Final = 0x3

# CLUSTER_NETWORK_ENUM
CLUSTER_NETWORK_ENUM_NETINTERFACES: Final = 0x1
CLUSTER_NETWORK_ENUM_ALL: Final = 0x1

# CLUSTER_RESOURCE_ENUM
CLUSTER_RESOURCE_ENUM_DEPENDS: Final = 0x1
CLUSTER_RESOURCE_ENUM_PROVIDES: Final = 0x2
CLUSTER_RESOURCE_ENUM_NODES: Final = 0x4
CLUSTER_RESOURCE_ENUM_ALL: Final = 0x7

# CLUSTER_RESOURCE_TYPE_ENUM
CLUSTER_RESOURCE_TYPE_ENUM_NODES: Final = 0x1
CLUSTER_RESOURCE_TYPE_ENUM_RESOURCES: Final = 0x2
CLUSTER_RESOURCE_TYPE_ENUM_ALL: Final = 0x3

# CLUSTER_REG_COMMAND
CLUSREG_SET_VALUE: Final = 1
CLUSREG_CREATE_KEY: Final = 2
CLUSREG_DELETE_KEY: Final = 3
CLUSREG_DELETE_VALUE: Final = 4
CLUSREG_VALUE_DELETED: Final = 6
CLUSREG_READ_KEY: Final = 7
CLUSREG_READ_VALUE: Final = 8
CLUSREG_READ_ERROR: Final = 9
CLUSREG_CONDITION_EXISTS: Final = 11
CLUSREG_CONDITION_NOT_EXISTS: Final = 12
CLUSREG_CONDITION_IS_EQUAL: Final = 13
CLUSREG_CONDITION_IS_NOT_EQUAL: Final = 14
CLUSREG_CONDITION_IS_GREATER_THAN: Final = 15
CLUSREG_CONDITION_IS_LESS_THAN: Final = 16
CLUSREG_CONDITION_KEY_EXISTS: Final = 17
CLUSREG_CONDITION_KEY_NOT_EXISTS: Final = 18

# Rights on registry keys, and types of their values
KEY_READ: Final = 0x00020019
KEY_WRITE: Final = 0x00020006
KEY_ALL_ACCESS: Final = 0x000F003F
REG_SZ: Final = 1
REG_EXPAND_SZ: Final = 2
REG_BINARY: Final = 3
REG_DWORD: Final = 4
REG_MULTI_SZ: Final = 7
REG_QWORD: Final = 11

# CLUSTER_NODE_STATE
ClusterNodeStateUnknown: Final = -1
ClusterNodeUp: Final = 0
ClusterNodeDown: Final = 1
ClusterNodePaused: Final = 2
ClusterNodeJoining: Final = 3

# CLUSTER_GROUP_STATE
ClusterGroupStateUnknown: Final = -1
ClusterGroupOnline: Final = 0
ClusterGroupOffline: Final = 1
ClusterGroupFailed: Final = 2
ClusterGroupPartialOnline: Final = 3
ClusterGroupPending: Final = 4

# CLUSTER_RESOURCE_STATE
ClusterResourceStateUnknown: Final = -1
ClusterResourceInherited: Final = 0
ClusterResourceInitializing: Final = 1
ClusterResourceOnline: Final = 2
ClusterResourceOffline: Final = 3
ClusterResourceFailed: Final = 4
ClusterResourcePending: Final = 128
ClusterResourceOnlinePending: Final = 129
ClusterResourceOfflinePending: Final = 130

# CLUSTER_NETWORK_STATE
ClusterNetworkStateUnknown: Final = -1
ClusterNetworkUnavailable: Final = 0
ClusterNetworkDown: Final = 1
ClusterNetworkPartitioned: Final = 2
ClusterNetworkUp: Final = 3

# CLUSTER_NETINTERFACE_STATE
ClusterNetInterfaceStateUnknown: Final = -1
ClusterNetInterfaceUnavailable: Final = 0
ClusterNetInterfaceFailed: Final = 1
ClusterNetInterfaceUnreachable: Final = 2
ClusterNetInterfaceUp: Final = 3

# CLUSTER_NETWORK_ROLE
ClusterNetworkRoleNone: Final = 0
ClusterNetworkRoleInternalUse: Final = 1
ClusterNetworkRoleClientAccess: Final = 2
ClusterNetworkRoleInternalAndClient: Final = 3

# NODE_CLUSTER_STATE
ClusterStateNotInstalled: Final = 0
ClusterStateNotConfigured: Final = 1
ClusterStateNotRunning: Final = 3
ClusterStateRunning: Final = 19

# CLUSAPI_GROUP_MOVE
CLUSAPI_GROUP_MOVE_IGNORE_RESOURCE_STATUS: Final = 0x1
CLUSAPI_GROUP_MOVE_RETURN_TO_SOURCE_NODE_ON_ERROR: Final = 0x2
CLUSAPI_GROUP_MOVE_QUEUE_ENABLED: Final = 0x4
CLUSAPI_GROUP_MOVE_HIGH_PRIORITY_START: Final = 0x8

# CLUSTER_CREATE_GROUP: CLUSGROUP_TYPE
ClusGroupTypeVirtualMachine: Final = 111
ClusGroupTypeGenericScript: Final = 109
ClusGroupTypeUnknown: Final = 9999
