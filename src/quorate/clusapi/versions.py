"""Functional levels: what the nodes of one cluster may rely on in each other.

A level is a small number that rises with every release which writes something that an older one could not read. A
program knows a range of levels; a cluster is at one level, which every node must know, and is raised to the highest
that all of them know by a person's word (`quorate cluster upgrade`). So nodes are upgraded one by one while all else
runs, and until the last is done nobody writes what it could not read.

=========  =======================================================
program    levels
=========  =======================================================
0.1        10: the first
=========  =======================================================

Level 10 is the first, since ClusAPI's clients take the level for the release of Windows that they speak with and ask
an older one for less (Windows Server 2016 is 9 to 10, clusapi.h's NT10_MAJOR_VERSION). Properties show a range of a
node as Windows does, the level in the high word and the build in the low one (NodeHighestVersion, NodeLowestVersion).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

FIRST_LEVEL: Final = 10
API_BUILD: Final = 14393
"""The low word of a node's versions: the build of the release that a client takes us for."""
UPGRADE_VERSION: Final = 1
"""ClusterUpgradeVersion: counts the changes within a level that need no other level."""


@dataclass(frozen=True, slots=True)
class LevelRange:
    """The functional levels that a program knows, both ends included."""

    lowest: int
    highest: int

    def __contains__(self, level: int) -> bool:
        return self.lowest <= level <= self.highest

    def __str__(self) -> str:
        return str(self.lowest) if self.lowest == self.highest else f"{self.lowest} to {self.highest}"

    @property
    def highest_version(self) -> int:
        """NodeHighestVersion."""
        return version_of(self.highest)

    @property
    def lowest_version(self) -> int:
        """NodeLowestVersion."""
        return version_of(self.lowest)

    @classmethod
    def of_versions(cls, lowest_version: int, highest_version: int) -> Self:
        """Read a node's two properties; 0, of a node that never said, is the first level."""
        return cls(lowest_version >> 16 or FIRST_LEVEL, highest_version >> 16 or FIRST_LEVEL)


def version_of(level: int) -> int:
    """A level as a node's version property shows it."""
    return level << 16 | API_BUILD


PROGRAM_LEVELS: Final = LevelRange(FIRST_LEVEL, 10)
"""The levels that this program knows."""

RECORD_VERSIONS: Final[Mapping[int, Mapping[str, int]]] = MappingProxyType(
    {
        10: MappingProxyType(
            {
                "schema": 1,
                "registry key": 1,
                "ownership": 1,
                "run state": 1,
                "lease": 1,
                "admission": 1,
                "node facts": 1,
                "name": 1,
                "counter": 1,
                "authority": 1,
                "store access": 1,
                "token": 1,
                "eviction": 1,
                "reach": 1,
                "announced": 1,
                "account": 1,
            }
        )
    }
)
"""In which version each kind of record is written at a level. Whoever changes a record adds a level here, and writes
the new version only in a cluster that is at that level (``ClusterInfo.level``)."""
