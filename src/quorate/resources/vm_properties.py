"""The private properties of the two virtual machine types, as tables, and of the types themselves.

Source: the pages virtual-machines-<property> and virtual-machine-configurations-<property>. Where a page is a stub, or
a choice of ours is behind a number, the row says so.
"""

from typing import Final

from quorate.clusapi.migration_input import MOST_BANDWIDTH
from quorate.clusapi.property_lists import PropertyFormat
from quorate.clusapi.states import MigrationState, OfflineAction, ShutdownAction, VmResdllContext
from quorate.hosting.property_table import DWORD_MAX, PropertyDefinition, PropertyTable
from quorate.migration.migration_networks import EXCLUDE_PROPERTY, ORDER_PROPERTY
from quorate.migration.policy import (
    ANY_THROTTLE,
    GAP_PROPERTY,
    LONGEST_GAP_MS,
    POLICIES,
    POLICY_PROPERTY,
    THROTTLE_PROPERTY,
)
from quorate.migration.transport import BANDWIDTH_PROPERTY

_SZ: Final = PropertyFormat.SZ
_DWORD: Final = PropertyFormat.DWORD
_MULTI_SZ: Final = PropertyFormat.MULTI_SZ

VM_STATE: Final = "VmState"
MIGRATION_STATE: Final = "MigrationState"
MIGRATION_PROGRESS: Final = "MigrationProgress"
MIGRATION_FAILURE_REASON: Final = "MigrationFailureReason"
OFFLINE_ACTION: Final = "OfflineAction"
SHUTDOWN_ACTION: Final = "ShutdownAction"
VM_ID: Final = "VmId"
FOLLOW_CLUSTER_RULE: Final = DWORD_MAX
"""DefaultMoveType: as the group's priority and MoveTypeThreshold say."""

VIRTUAL_MACHINE: Final = PropertyTable(
    (
        PropertyDefinition("CheckApplicationHealth", _DWORD, 0, maximum=1),  # page is a stub
        PropertyDefinition("CheckHeartbeat", _DWORD, 0, maximum=1),
        PropertyDefinition(
            "DefaultMoveType",  # page is a stub
            _DWORD,
            FOLLOW_CLUSTER_RULE,
            maximum=VmResdllContext.LIVE_MIGRATION,
            also=frozenset({FOLLOW_CLUSTER_RULE}),
        ),
        PropertyDefinition(BANDWIDTH_PROPERTY, _DWORD, 0, maximum=MOST_BANDWIDTH),  # ours: MiB/s, 0 none of its own
        PropertyDefinition(MIGRATION_FAILURE_REASON, _DWORD, 0, read_only=True),
        PropertyDefinition(GAP_PROPERTY, _DWORD, 0, maximum=LONGEST_GAP_MS),  # ours: milliseconds, 0 as the policy says
        PropertyDefinition(POLICY_PROPERTY, _SZ, "", choices=("", *POLICIES)),  # ours: empty as the cluster says
        PropertyDefinition(MIGRATION_PROGRESS, _DWORD, 0, maximum=100, read_only=True),
        PropertyDefinition(MIGRATION_STATE, _DWORD, 0, maximum=MigrationState.FAILURE),
        PropertyDefinition(THROTTLE_PROPERTY, _DWORD, ANY_THROTTLE, maximum=ANY_THROTTLE),  # ours: percent
        PropertyDefinition(OFFLINE_ACTION, _DWORD, int(OfflineAction.SAVE), maximum=OfflineAction.SHUTDOWN_FORCE),
        PropertyDefinition(SHUTDOWN_ACTION, _DWORD, 0, maximum=ShutdownAction.FAILED),
        PropertyDefinition("StartMemory", _DWORD, 1, when_online=True),
        PropertyDefinition("VirtualNumaCount", _DWORD, 1, minimum=1, maximum=64, when_online=True),
        PropertyDefinition(VM_ID, _SZ, ""),
        PropertyDefinition(VM_STATE, _DWORD, 0, maximum=65536, read_only=True),
    )
)

VIRTUAL_MACHINE_CONFIGURATION: Final = PropertyTable(
    (
        PropertyDefinition("Definition", _SZ, "", read_only=True),  # ours: changed where it can be validated
        PropertyDefinition("DependsOnSharedVolumes", _MULTI_SZ, (), when_online=True),
        PropertyDefinition(VM_ID, _SZ, ""),
        PropertyDefinition("VmPhysicalDisks", _SZ, "", read_only=True),
        PropertyDefinition("VmStoreRootPath", _SZ, "", when_online=True),
        PropertyDefinition("VmSwitchPorts", _SZ, "", read_only=True),
    )
)

VIRTUAL_MACHINE_TYPE: Final = PropertyTable(
    (
        PropertyDefinition(EXCLUDE_PROPERTY, _SZ, ""),  # network ids, separated by ';'
        PropertyDefinition(ORDER_PROPERTY, _SZ, ""),  # network ids, separated by ';'
        PropertyDefinition("MoveTypeThreshold", _DWORD, 2000),  # at or above this priority moves are live
    )
)

NETWORK_LISTS: Final = (EXCLUDE_PROPERTY, ORDER_PROPERTY)
"""Properties of the type "Virtual Machine" that may only name networks that there are."""

VIRTUAL_MACHINE_CONFIGURATION_TYPE: Final = PropertyTable(())
