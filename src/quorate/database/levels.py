"""Functional levels in the records of the cluster and its nodes (:mod:`quorate.clusapi.versions`)."""

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.status import Status
from quorate.clusapi.versions import FIRST_LEVEL, LevelRange
from quorate.database.plan import Values
from quorate.database.values import RegistryValue, RegistryValues

LEVEL = "ClusterFunctionalLevel"
HIGHEST = "NodeHighestVersion"
LOWEST = "NodeLowestVersion"


def level_of(cluster: RegistryValues) -> int:
    """The level of a cluster, from the values of its key; the first one where none was ever written."""
    return cluster.number(LEVEL) or FIRST_LEVEL


def levels_of(node: RegistryValues) -> LevelRange:
    """The levels that a node knows, from the values of its key."""
    return LevelRange.of_versions(node.number(LOWEST), node.number(HIGHEST))


def level_values(levels: LevelRange) -> Values:
    """The values of a node's key that say which levels it knows."""
    return {
        HIGHEST: RegistryValue.dword(levels.highest_version),
        LOWEST: RegistryValue.dword(levels.lowest_version),
    }


def check_level(levels: LevelRange, level: int, who: str) -> None:
    """Refuse a program that does not know the cluster's level.

    Raises RefusalError: ERROR_CLUSTER_OLD_VERSION when it is too old, ERROR_CLUSTER_INCOMPATIBLE_VERSIONS when too new.
    """
    if level > levels.highest:
        raise RefusalError(
            Status.ERROR_CLUSTER_OLD_VERSION,
            f"the cluster is at functional level {level}, {who} knows {levels}: install a newer Quorate on this node",
        )
    if level < levels.lowest:
        raise RefusalError(
            Status.ERROR_CLUSTER_INCOMPATIBLE_VERSIONS,
            f"the cluster is at functional level {level}, {who} knows {levels}: first upgrade every node to a release "
            'that knows both, then "quorate cluster upgrade"',
        )
