"""The common properties of clusters.

What the page does not give as a number, and stands here: AutoBalancerLevel (1 to 3, 1), AutoBalancerMode (0 to 2, 2),
ClusterLogLevel (3), CrossSiteDelay and CrossSiteThreshold (limits of CrossSubnet…; 1000 ms, 20), PlacementOptions (no
bit set), MaximumParallelMigrations (1 or more, 1), FailoverMoveMigrationType (0), and 0 or nothing for the others.
AdminAccessPoint is 0: no name is registered anywhere. QuarantineDuration is 7200, as the page of Get-Cluster has it;
0, the default of this page, quarantines nobody. EventRetentionDays and EventRetentionCount are our own: events are
deleted when they are older, or more. So are FenceBudgetShare (percent of the nodes) and FenceBudgetPeriod (seconds):
within the period no more nodes are switched off by fence agents; and FenceAfter: seconds of silence after which the
agents of a node are asked before its lease is over, 0 for never. So are MigrationEncryption (memory that leaves the
machine: 0 never, 1 encrypted where both ends can, 2 encrypted or not moved at all), MigrationCompression (0 never, 1
where the link is slower than the processors compress, 2 wherever both ends can), and MigrationBandwidthLimit (MiB/s
for one migration, 0 for none); MigrationPolicy (the name of a policy of `migration/policy.py`) and MigrationPostCopy
(0 never, 1 where the policy allows it: such a migration goes over one connection).
"""

from collections.abc import Collection
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.migration_input import MOST_BANDWIDTH
from quorate.clusapi.property_lists import PropertyFormat
from quorate.clusapi.status import Status
from quorate.clusapi.versions import FIRST_LEVEL, UPGRADE_VERSION
from quorate.cluster.fence_budget import DEFAULT_PERIOD, DEFAULT_SHARE
from quorate.hosting.contract import Parameters
from quorate.hosting.property_table import DWORD_MAX, PropertyDefinition, PropertyTable
from quorate.migration.policy import DEFAULT_POLICY, POLICIES, POLICY_PROPERTY
from quorate.migration.transport import BANDWIDTH_PROPERTY

_SZ: Final = PropertyFormat.SZ
_DWORD: Final = PropertyFormat.DWORD
_MULTI_SZ: Final = PropertyFormat.MULTI_SZ
_ULARGE: Final = PropertyFormat.ULARGE_INTEGER
_BINARY: Final = PropertyFormat.BINARY

CLUSTER_COMMON: Final = PropertyTable(
    (
        PropertyDefinition("AddEvictDelay", _DWORD, 60, maximum=600),
        PropertyDefinition("AdminAccessPoint", _DWORD, 0, maximum=3, read_only=True),
        PropertyDefinition("AdminExtensions", _MULTI_SZ, ()),
        PropertyDefinition("AutoBalancerLevel", _DWORD, 1, minimum=1, maximum=3),
        PropertyDefinition("AutoBalancerMode", _DWORD, 2, maximum=2),
        PropertyDefinition("BackupInProgress", _DWORD, 0, maximum=1),
        PropertyDefinition("BlockCacheSize", _DWORD, 0),
        PropertyDefinition("ClusSvcHangTimeout", _DWORD, 60, minimum=6, read_only=True),
        PropertyDefinition("ClusSvcHeartbeatTimeout", _DWORD, 60, minimum=6),
        PropertyDefinition("ClusSvcRegroupOpeningTimeout", _DWORD, 5, minimum=1, maximum=20, read_only=True),
        PropertyDefinition("ClusSvcRegroupPruningTimeout", _DWORD, 5, minimum=1, maximum=30, read_only=True),
        PropertyDefinition("ClusSvcRegroupStageTimeout", _DWORD, 5, minimum=2, maximum=30, read_only=True),
        PropertyDefinition("ClusSvcRegroupTickInMilliseconds", _DWORD, 300, minimum=50, maximum=1000, read_only=True),
        PropertyDefinition("ClusterEnforcedAntiAffinity", _DWORD, 0, maximum=1),
        PropertyDefinition("ClusterFunctionalLevel", _DWORD, FIRST_LEVEL, read_only=True),
        PropertyDefinition("ClusterGroupWaitDelay", _DWORD, 120, maximum=3600),
        PropertyDefinition("ClusterLogLevel", _DWORD, 3, maximum=5),
        PropertyDefinition("ClusterLogSize", _DWORD, 300, minimum=8, maximum=1024),
        PropertyDefinition("ClusterUpgradeVersion", _DWORD, UPGRADE_VERSION),
        PropertyDefinition("CrossSiteDelay", _DWORD, 1000, minimum=250, maximum=4000),
        PropertyDefinition("CrossSiteThreshold", _DWORD, 20, minimum=3, maximum=120),
        PropertyDefinition("CrossSubnetDelay", _DWORD, 1000, minimum=250, maximum=4000),
        PropertyDefinition("CrossSubnetThreshold", _DWORD, 5, minimum=3, maximum=120),
        PropertyDefinition("DatabaseReadWriteMode", _DWORD, 0, maximum=2),
        PropertyDefinition("DefaultNetworkRole", _DWORD, 3, maximum=3),
        PropertyDefinition("Description", _SZ, ""),
        PropertyDefinition("DisableGroupPreferredOwnerRandomization", _DWORD, 0, maximum=1),
        PropertyDefinition("DrainOnShutdown", _DWORD, 1, maximum=1),
        PropertyDefinition("DumpPolicy", _ULARGE, 0),
        PropertyDefinition("DynamicQuorum", _DWORD, 1, maximum=1),
        PropertyDefinition("EnableEventDeltaGeneration", _DWORD, 1, maximum=1),
        PropertyDefinition("EnableEventLogReplication", _DWORD, 1, maximum=1),
        PropertyDefinition("EnableResourceDllDeadlockDetection", _DWORD, 0, maximum=1),
        PropertyDefinition("EnableSharedVolumes", _DWORD, 1, maximum=1, read_only=True),
        PropertyDefinition("EventRetentionCount", _DWORD, 100_000, minimum=1000, maximum=1_000_000),
        PropertyDefinition("EventRetentionDays", _DWORD, 30, minimum=1, maximum=3650),
        PropertyDefinition("FailoverMoveMigrationType", _DWORD, 0),
        PropertyDefinition("FenceAfter", _DWORD, 0, maximum=86_400),
        PropertyDefinition("FenceBudgetPeriod", _DWORD, DEFAULT_PERIOD, minimum=1, maximum=86_400),
        PropertyDefinition("FenceBudgetShare", _DWORD, DEFAULT_SHARE, minimum=1, maximum=100),
        PropertyDefinition("FixQuorum", _DWORD, 0, maximum=1, read_only=True),
        PropertyDefinition("GroupDependencyTimeout", _DWORD, 600),
        PropertyDefinition("HangRecoveryAction", _DWORD, 6, maximum=6),
        PropertyDefinition("IgnorePersistentStateOnStartup", _DWORD, 0, maximum=1),
        PropertyDefinition("LogResourceControls", _DWORD, 0, maximum=1),
        PropertyDefinition("MaximumParallelMigrations", _DWORD, 1, minimum=1),
        PropertyDefinition("MaximumParallelMigrationsPerLink", _DWORD, 0),  # between two nodes; 0: no limit of its own
        PropertyDefinition("MessageBufferLength", _DWORD, 50, minimum=1, maximum=1000),
        PropertyDefinition(BANDWIDTH_PROPERTY, _DWORD, 0, maximum=MOST_BANDWIDTH),  # MiB/s of one migration; 0: none
        PropertyDefinition("MigrationCompression", _DWORD, 1, maximum=2),  # 0 never, 1 where it is faster, 2 always
        PropertyDefinition("MigrationEncryption", _DWORD, 1, maximum=2),  # 0 never, 1 where possible, 2 always
        PropertyDefinition("MigrationPostCopy", _DWORD, 0, maximum=1),  # 0 never, 1 where the policy allows it
        PropertyDefinition(POLICY_PROPERTY, _SZ, DEFAULT_POLICY.name, choices=tuple(POLICIES)),
        PropertyDefinition("MinimumNeverPreemptPriority", _DWORD, 3000, maximum=4999),
        PropertyDefinition("MinimumPreemptorPriority", _DWORD, 1, maximum=4999),
        PropertyDefinition("NetftIPSecEnabled", _DWORD, 1, maximum=1),
        PropertyDefinition("PlacementOptions", _DWORD, 0, maximum=0x3FF),
        PropertyDefinition("PlumbAllCrossSubnetRoutes", _DWORD, 0, maximum=2),
        PropertyDefinition("PreferredSite", _SZ, ""),
        PropertyDefinition("PreventQuorum", _DWORD, 0, maximum=1, read_only=True),
        PropertyDefinition("QuarantineDuration", _DWORD, 7200),
        PropertyDefinition("QuarantineThreshold", _DWORD, 3),
        PropertyDefinition("QuorumArbitrationTimeMax", _DWORD, 20, minimum=1, maximum=3600),
        PropertyDefinition("QuorumArbitrationTimeMin", _DWORD, 7, minimum=1, maximum=3600),
        PropertyDefinition("RequestReplyTimeout", _DWORD, 60, minimum=5, maximum=1440),
        PropertyDefinition("ResiliencyDefaultPeriod", _DWORD, 240),
        PropertyDefinition("ResiliencyLevel", _DWORD, 1, minimum=1, maximum=2),
        PropertyDefinition("ResourceDllDeadlockPeriod", _DWORD, 1800, minimum=180),
        PropertyDefinition("ResourceDllDeadlockThreshold", _DWORD, 3),
        PropertyDefinition("ResourceDllDeadlockTimeout", _DWORD, 240, minimum=180),
        PropertyDefinition("RootMemoryReserved", _DWORD, DWORD_MAX, minimum=64),
        PropertyDefinition("RouteHistoryLength", _DWORD, 10, maximum=40),
        PropertyDefinition("S2DBusTypes", _DWORD, 0),
        PropertyDefinition("S2DCacheBehavior", _ULARGE, 0, maximum=4),
        PropertyDefinition("S2DCacheDesiredState", _DWORD, 2, maximum=2),
        PropertyDefinition("S2DCacheFlashReservePercent", _DWORD, 0, maximum=100),
        PropertyDefinition("S2DCacheMetadataReserveBytes", _ULARGE, 34_359_738_368, maximum=4_398_046_511_104),
        PropertyDefinition("S2DCachePageSizeKBytes", _DWORD, 0),
        PropertyDefinition("S2DEnabled", _DWORD, 0, maximum=1),
        PropertyDefinition("S2DIOLatencyThreshold", _DWORD, 10_000, minimum=50, maximum=20_000),
        PropertyDefinition("S2DOptimizations", _DWORD, 0),
        PropertyDefinition("SameSubnetDelay", _DWORD, 1000, minimum=250, maximum=2000),
        PropertyDefinition("SameSubnetThreshold", _DWORD, 5, minimum=3, maximum=120),
        PropertyDefinition("Security Descriptor", _BINARY, b""),
        PropertyDefinition("SecurityLevel", _DWORD, 1, maximum=2, read_only=True),
        PropertyDefinition("SetSMBBandwidthLimit", _DWORD, 1),
        PropertyDefinition("SetSMBBandwidthLimitFactor", _DWORD, 2500),
        PropertyDefinition("SharedVolumeBlockCacheSizeInMB", _DWORD, 0),
        PropertyDefinition("SharedVolumeCompatibleFilters", _MULTI_SZ, ()),
        PropertyDefinition("SharedVolumeIncompatibleFilters", _MULTI_SZ, ()),
        PropertyDefinition("SharedVolumeSecurityDescriptor", _BINARY, b""),
        PropertyDefinition("SharedVolumesRoot", _SZ, "", read_only=True),
        PropertyDefinition("ShutdownTimeoutInMinutes", _DWORD, 20, maximum=1440),
        PropertyDefinition("UseClientAccessNetworksForSharedVolumes", _DWORD, 0, maximum=2),
        PropertyDefinition("UseNetftForSharedVolumes", _DWORD, 1, maximum=1),
        PropertyDefinition("WitnessDatabaseWriteTimeout", _DWORD, 300, minimum=1, maximum=86_400),
        PropertyDefinition("WitnessDynamicWeight", _DWORD, 0, maximum=1),
        PropertyDefinition("WitnessRestartInterval", _DWORD, 15, minimum=5, maximum=1440),
    ),
    closed=True,
)


def check_lease(changes: Collection[str], values: Parameters, shortest: float) -> None:
    """Refuse changes after which leases were too short for the cluster database. Raises CallerError 87."""
    if not {"SameSubnetDelay", "SameSubnetThreshold"}.intersection(changes):
        return
    duration = CLUSTER_COMMON.number(values, "SameSubnetDelay") * CLUSTER_COMMON.number(values, "SameSubnetThreshold")
    if duration < shortest * 1000:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, explain_short_lease(duration / 1000, shortest))


def explain_short_lease(duration: float, shortest: float) -> str:
    """Say why leases must not be so short where the cluster database is in etcd. Seconds."""
    return (
        f"a lease of {duration:g} s (SameSubnetDelay times SameSubnetThreshold) is too short for a cluster database in"
        f" etcd, which may be silent for 2.5 s while it elects a leader: it must have {shortest:g} s at least"
    )
