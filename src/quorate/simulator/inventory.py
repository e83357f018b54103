"""A real cluster as it is at present, and the beginning of a simulated one that is like it.

What the cluster has measured (rates of past migrations) is taken from it; what it does not know is assumed, and every
assumption is said. Sizes are bytes, rates bytes per second.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from quorate.clusapi.json_types import (
    JsonObject,
    json_flag,
    json_float,
    json_int,
    json_object,
    json_objects,
    json_text,
    json_texts,
)
from quorate.clusapi.states import GroupStatus, NodeState, NodeStatus, VmResdllContext
from quorate.cluster.picture import PARKED
from quorate.simulator.setup import GIGABIT, NodeSetup, Setup, VmSetup

ASSUMED_LINK: Final = GIGABIT
"""Where no migration has been measured: 1 Gb/s."""
ASSUMED_DIRTY: Final = 25e6
"""Where a guest was never migrated: it writes so fast, a fifth of what a link of 1 Gb/s carries."""
NAMED: Final = 5
"""So many names stand in one sentence."""

_KEEPS_AWAY: Final = NodeStatus.ISOLATED | NodeStatus.QUARANTINED | NodeStatus.DRAIN_IN_PROGRESS


@dataclass(frozen=True, slots=True)
class NodeFact:
    """A node of the real cluster."""

    name: str
    state: NodeState
    status: NodeStatus
    memory: int | None
    """For virtual machines; None: it has not said."""

    @property
    def is_there(self) -> bool:
        """Tell whether it is a member at this moment."""
        return self.state in (NodeState.UP, NodeState.PAUSED)

    @property
    def takes_groups(self) -> bool:
        """Tell whether anything may be placed on it."""
        return self.state is NodeState.UP and not self.status & _KEEPS_AWAY

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one of GetInventory's nodes."""
        memory = None if value.get("memory") is None else json_int(value, "memory")
        state = NodeState[json_text(value, "state_name")]
        return cls(json_text(value, "name"), state, NodeStatus(json_int(value, "status")), memory)


@dataclass(frozen=True, slots=True)
class GroupFact:
    """A group of the real cluster."""

    id: str
    name: str
    node: str
    memory: int = 0
    is_vm: bool = True
    wanted: bool = True
    runs: bool = True
    priority: int = 2000
    possible: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    failback: bool = False
    locked: bool = False
    move_type: int = int(VmResdllContext.LIVE_MIGRATION)
    status: GroupStatus = GroupStatus.NORMAL
    sentence: str = ""
    rate: float | None = None
    """What got across in its last migration; None: not measured."""
    dirty_rate: float | None = None
    """What its guest dirtied meanwhile."""

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one of GetInventory's groups."""
        return cls(
            id=json_text(value, "id"),
            name=json_text(value, "name"),
            node=json_text(value, "node"),
            memory=json_int(value, "memory"),
            is_vm=json_flag(value, "is_vm"),
            wanted=json_flag(value, "wanted"),
            runs=json_flag(value, "runs"),
            priority=json_int(value, "priority"),
            possible=tuple(json_texts(value, "possible")),
            preferred=tuple(json_texts(value, "preferred")),
            classes=tuple(json_texts(value, "classes")),
            failback=json_flag(value, "failback"),
            locked=json_flag(value, "locked"),
            move_type=json_int(value, "move_type"),
            status=GroupStatus(json_int(value, "status")),
            sentence=json_text(value, "sentence"),
            rate=None if value.get("rate") is None else json_float(value, "rate"),
            dirty_rate=None if value.get("dirty_rate") is None else json_float(value, "dirty_rate"),
        )


@dataclass(frozen=True, slots=True)
class Inventory:
    """A real cluster at one moment."""

    nodes: tuple[NodeFact, ...]
    groups: tuple[GroupFact, ...]
    properties: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read what GetInventory answers."""
        properties = json_object(value, "properties")
        return cls(
            nodes=tuple(map(NodeFact.from_json, json_objects(value, "nodes"))),
            groups=tuple(map(GroupFact.from_json, json_objects(value, "groups"))),
            properties={name: json_int(properties, name) for name in properties},
        )

    def node(self, name: str) -> NodeFact | None:
        """Find a node, whatever the case of its name."""
        return next((node for node in self.nodes if node.name.casefold() == name.casefold()), None)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a person says of rates; it wins over what was measured."""

    link: float | None = None
    """Of each node's link in the migration network."""
    dirty: float | None = None
    """Of every guest that is not named."""
    dirty_of: Mapping[str, float] = field(default_factory=dict)
    """Of guests by name, folded."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """The beginning of a simulated cluster that is like a real one."""

    setup: Setup
    paused: tuple[str, ...]
    """Nodes that take nothing: they are paused before the rehearsal begins."""
    assumed: tuple[str, ...]
    """What it rests upon, in sentences."""
    left_out: tuple[str, ...]
    """What is otherwise in the real cluster, in sentences."""


def seed_setup(inventory: Inventory, assumptions: Assumptions = Assumptions()) -> Seeded:
    """Make a setup of an inventory."""
    there = tuple(node for node in inventory.nodes if node.is_there)
    names = {node.name for node in there}
    machines = [group for group in inventory.groups if group.is_vm and group.memory]
    placed = [group for group in machines if group.node in names]
    link, said_of_link = _link(machines, assumptions)
    dirty, said_of_dirty = _dirty(placed, assumptions)
    taken: Counter[str] = Counter()
    for group in placed:
        taken[group.node] += group.memory if group.runs else 0
    nodes = tuple(NodeSetup(node.name, _memory(node, taken), bandwidth=link) for node in there)
    owners = _Owners(names)
    vms = tuple(_vm(group, owners, dirty[group.id]) for group in sorted(placed, key=lambda group: group.id))
    return Seeded(
        Setup(nodes, vms, dict(inventory.properties), is_up=True),
        tuple(node.name for node in there if not node.takes_groups),
        (said_of_link, *said_of_dirty),
        tuple(_left_out(inventory, names, placed, taken)),
    )


class _Owners:
    """The nodes that take part, among those that are named; most groups name the same ones."""

    def __init__(self, there: set[str]) -> None:
        self._there = there
        self._known: dict[tuple[str, ...], tuple[tuple[str, ...], bool]] = {}

    def of(self, named: tuple[str, ...]) -> tuple[str, ...]:
        """Those of them that take part."""
        return self._find(named)[0]

    def possible(self, named: tuple[str, ...]) -> tuple[str, ...] | None:
        """Those that may own a group; None: all that take part."""
        found, is_everybody = self._find(named)
        return None if is_everybody else found

    def _find(self, named: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
        known = self._known.get(named)
        if known is None:
            found = tuple(name for name in named if name in self._there)
            known = self._known[named] = (found, set(found) == self._there)
        return known


def _vm(group: GroupFact, owners: _Owners, dirty: float) -> VmSetup:
    return VmSetup(
        name=group.name,
        on=group.node,
        memory=group.memory,
        dirty=dirty,
        working_set=group.memory,
        online=group.runs,
        priority=group.priority,
        possible=owners.possible(group.possible),
        preferred=owners.of(group.preferred),
        classes=group.classes,
        failback=group.failback,
        locked=group.locked,
        move_type=group.move_type,
    )


def _memory(node: NodeFact, taken: Mapping[str, int]) -> int:
    """What it has, and no less than what runs there already."""
    return max(node.memory or 0, taken.get(node.name, 0))


def _link(machines: list[GroupFact], assumptions: Assumptions) -> tuple[float, str]:
    if assumptions.link is not None:
        return assumptions.link, f"links carry {rate_words(assumptions.link)}, as --link says"
    measured = [group.rate for group in machines if group.rate]
    if measured:
        best = max(measured)
        return best, f"links carry {rate_words(best)}, the most that a past migration got across"
    sentence = f"links carry {rate_words(ASSUMED_LINK)}: no migration was measured yet (--link RATE says otherwise)"
    return ASSUMED_LINK, sentence


def _dirty(placed: list[GroupFact], assumptions: Assumptions) -> tuple[dict[str, float], list[str]]:
    """How fast each guest writes, by its group's id."""
    found: dict[str, float] = {}
    said: list[str] = []
    measured: list[str] = []
    unknown: list[str] = []
    for group in placed:
        own = assumptions.dirty_of.get(group.name.casefold(), assumptions.dirty)
        if own is not None:
            found[group.id] = own
        elif group.dirty_rate is not None:
            found[group.id] = group.dirty_rate
            measured.append(f"{group.name} {rate_words(group.dirty_rate)}")
        else:
            found[group.id] = ASSUMED_DIRTY
            if group.runs:
                unknown.append(group.name)
    if assumptions.dirty is not None or assumptions.dirty_of:
        said.append("guests dirty their memory as fast as --dirty says")
    if measured:
        said.append(f"guests dirty their memory as in their last migrations: {listed(measured)}")
    if unknown:
        said.append(
            f"{listed(unknown)} dirty {rate_words(ASSUMED_DIRTY)} each: no migration of theirs was measured "
            "(--dirty RATE or --dirty VM=RATE says otherwise)"
        )
    if placed:
        said.append("all memory of a guest is in use and has to be copied")
    return found, said


def _left_out(inventory: Inventory, there: set[str], placed: list[GroupFact], taken: Mapping[str, int]) -> list[str]:
    out = [
        f"{node.name} is {node.state.name.lower()} and takes no part, nor does what it owns"
        for node in inventory.nodes
        if not node.is_there
    ]
    out += [
        f"{node.name} has not said how much memory it has for virtual machines, so that nothing goes there"
        for node in inventory.nodes
        if node.is_there and node.memory is None
    ]
    out += [
        f"{node.name} has more memory promised than it has"
        for node in inventory.nodes
        if node.name in there and node.memory is not None and _memory(node, taken) > node.memory
    ]
    others = [group.name for group in inventory.groups if not (group.is_vm and group.memory) and group.runs]
    if others:
        out.append(f"{listed(others)}: groups without a virtual machine are not rehearsed")
    still = [group.name for group in placed if not group.runs and (group.wanted or group.status & PARKED)]
    if still:
        out.append(f"{listed(still)}: wanted online and not running now, rehearsed as stopped")
    return out


def listed(names: list[str]) -> str:
    """Name some, and say how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def rate_words(rate: float) -> str:
    """Say a rate as people do: 118 MB/s."""
    return f"{rate / 1e9:.2f} GB/s" if rate >= 1e9 else f"{rate / 1e6:.{0 if rate >= 1e7 else 1}f} MB/s"
