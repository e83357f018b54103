"""Which groups wait for which when the cluster starts them by itself ([object-model] "Group set").

::

    a group waits for   the groups of its own expression,
                        the sets that it depends on by itself,
                        the sets that its own set depends on
    a set is ready      when ReadyCount of its groups are online (all, unless the property says fewer),
                        and ReadyDelay seconds more have passed where ReadySetting is "delay"

Nothing is known here of heartbeats and applications within guests: the two settings that ask for them are taken as
"online". An empty set is ready.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from graphlib import CycleError, TopologicalSorter
from typing import Final

from quorate.clusapi.dependencies import NO_DEPENDENCY, Dependency, is_met, resources_of, restricted
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import GroupId, GroupSetId
from quorate.clusapi.status import Status

ALL_GROUPS: Final = 0xFFFFFFFF
"""ReadyCount: every group of the set."""


class ReadySetting(IntEnum):
    """The property ReadySetting of a group set (GROUPSET_READY_SETTING_…)."""

    DELAY = 1
    ONLINE = 2
    OS_HEARTBEAT = 3
    APPLICATION_READY = 4


@dataclass(frozen=True, slots=True)
class GroupSet:
    """A set with what decides when it is ready. ``needs`` names sets by id."""

    id: GroupSetId
    name: str
    groups: tuple[GroupId, ...] = ()
    needs: Dependency = NO_DEPENDENCY
    ready_setting: int = ReadySetting.ONLINE
    ready_delay: float = 0.0
    """Seconds."""
    ready_count: int = ALL_GROUPS

    def is_ready(self, is_online: Callable[[GroupId], bool]) -> bool:
        """Tell whether enough of its groups are online; a delay is for whoever asks to wait."""
        online = sum(map(is_online, self.groups))
        return online >= min(self.ready_count, len(self.groups))

    @property
    def delay(self) -> float:
        """Seconds that a set must have been ready."""
        return self.ready_delay if self.ready_setting == ReadySetting.DELAY else 0.0


@dataclass(frozen=True, slots=True)
class GroupNeeds:
    """What a group waits for by itself."""

    groups: Dependency = NO_DEPENDENCY
    sets: tuple[GroupSetId, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupOrder:
    """Everything that decides in which order groups start. ``names`` are those of groups, for people."""

    sets: Mapping[GroupSetId, GroupSet] = field(default_factory=dict)
    needs: Mapping[GroupId, GroupNeeds] = field(default_factory=dict)
    names: Mapping[GroupId, str] = field(default_factory=dict)

    def set_of(self, group: GroupId) -> GroupSet | None:
        """The set that a group is in."""
        return next((one for one in self.sets.values() if group in one.groups), None)

    def waits_for(
        self, group: GroupId, is_online: Callable[[GroupId], bool], is_set_ready: Callable[[GroupSet], bool]
    ) -> str:
        """Say what a group still has to wait for; empty when it may start.

        What is named and is not there any more asks nothing.
        """
        needs = self.needs.get(group, GroupNeeds())
        groups = restricted(needs.groups, lambda id_: GroupId(id_) in self.names)
        if not is_met(groups, lambda id_: is_online(GroupId(id_))):
            missing = [self.names[GroupId(id_)] for id_ in resources_of(groups) if not is_online(GroupId(id_))]
            return f"it waits for {_listed(missing)} to be online"
        own = self.set_of(group)
        by_set = NO_DEPENDENCY if own is None else restricted(own.needs, lambda id_: GroupSetId(id_) in self.sets)
        late = [self.sets[id_] for id_ in needs.sets if id_ in self.sets and not is_set_ready(self.sets[id_])]
        if not is_met(by_set, lambda id_: is_set_ready(self.sets[GroupSetId(id_)])):
            named = (self.sets[GroupSetId(id_)] for id_ in resources_of(by_set))
            late.extend(one for one in named if not is_set_ready(one) and one not in late)
        return f"it waits for the group set {_listed([one.name for one in late])} to be ready" if late else ""

    def check(self) -> None:
        """Refuse an order that leads in a circle. Raises CallerError 1059."""
        graph: dict[str, set[str]] = {}
        for one in self.sets.values():
            providers = set(resources_of(one.needs))
            graph[one.id] = {*one.groups}
            for group in one.groups:
                graph.setdefault(group, set()).update(providers)
            graph[one.id] |= providers  # an empty set takes part too
        for group, needs in self.needs.items():
            graph.setdefault(group, set()).update((*resources_of(needs.groups), *needs.sets))
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            names = dict(self.names) | {one.id: one.name for one in self.sets.values()}
            circle = " → ".join(f'"{names.get(id_, id_)}"' for id_ in reversed(error.args[1]))
            sentence = f"it would wait for itself: {circle}"
            raise CallerError(Status.ERROR_CIRCULAR_DEPENDENCY, sentence) from error


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
