"""The states of networks and interfaces, computed from what every node says it reaches.

Each node probes the others' interfaces on every network and says which nodes answer on it (``reached``) and which do
not (``missed``); of a node in neither it has no opinion yet. Two interfaces do not reach each other when either side
says so.

=============  ========================================================================================
interface
=============  ========================================================================================
UNAVAILABLE    its node is not up
FAILED         its node is up, and its link is down or it has no address
UNREACHABLE    its link is up, and the others do not reach it
UP             it reaches every other one whose link is up (or there is no other)
=============  ========================================================================================

An interface that reaches nobody, where others reach each other, is the one to blame: it is UNREACHABLE and they are UP.
That differs from the header's words, by which it would be FAILED: a cable that is out and a path that is broken
are different errands at night.

=============  ========================================================================================
network
=============  ========================================================================================
UNAVAILABLE    no node with an interface on it is up
DOWN           none of its interfaces reaches any other, or no link is up
PARTITIONED    some of them do not reach each other
UP             all of them reach each other
=============  ========================================================================================
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from quorate.clusapi.identity import NetworkInterfaceId, NodeId
from quorate.clusapi.states import NetworkInterfaceState, NetworkState


@dataclass(frozen=True, slots=True)
class InterfaceReport:
    """One interface of one network, and what its node says about it."""

    id: NetworkInterfaceId
    node: NodeId
    node_name: str
    node_is_up: bool
    link: bool = True  # of a node that has not said yet: up
    reached: frozenset[NodeId] = frozenset()
    missed: frozenset[NodeId] = frozenset()


@dataclass(frozen=True, slots=True)
class InterfaceFinding:
    """An interface's state, and why, for people."""

    state: NetworkInterfaceState
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class NetworkFinding:
    """A network's state, why, and the states of its interfaces."""

    state: NetworkState
    sentence: str
    interfaces: Mapping[NetworkInterfaceId, InterfaceFinding]


def find_states(reports: Sequence[InterfaceReport]) -> NetworkFinding:
    """The state of one network and of every interface on it."""
    members = [report for report in reports if report.node_is_up and report.link]
    missing = _missing(members)
    blamed = _blamed(members, missing)
    interfaces = {report.id: _interface(report, missing, blamed) for report in reports}
    state, sentence = _network(reports, members, missing, blamed)
    return NetworkFinding(state, sentence, interfaces)


_Missing = Mapping[NodeId, frozenset[NodeId]]


def _missing(members: Sequence[InterfaceReport]) -> _Missing:
    """Of each member the others that it does not reach, or that do not reach it."""
    missing: dict[NodeId, set[NodeId]] = {member.node: set() for member in members}
    for one, other in combinations(members, 2):
        if other.node in one.missed or one.node in other.missed:
            missing[one.node].add(other.node)
            missing[other.node].add(one.node)
    return {node: frozenset(others) for node, others in missing.items()}


def _blamed(members: Sequence[InterfaceReport], missing: _Missing) -> frozenset[NodeId]:
    """The members that reach nobody, where others reach each other."""
    alone = {member.node for member in members if len(missing[member.node]) == len(members) - 1}
    return frozenset(alone) if len(members) - len(alone) >= 2 else frozenset()


def _interface(report: InterfaceReport, missing: _Missing, blamed: frozenset[NodeId]) -> InterfaceFinding:
    if not report.node_is_up:
        return InterfaceFinding(NetworkInterfaceState.UNAVAILABLE, f"{report.node_name} is not up")
    if not report.link:
        return InterfaceFinding(NetworkInterfaceState.FAILED, "its link is down or it has no address")
    if report.node in blamed:
        return InterfaceFinding(NetworkInterfaceState.UNREACHABLE, "its link is up, and nobody reaches it")
    if others := missing[report.node] - blamed:
        count = "one other node does" if len(others) == 1 else f"{len(others)} other nodes do"
        return InterfaceFinding(NetworkInterfaceState.UNREACHABLE, f"its link is up, and {count} not reach it")
    return InterfaceFinding(NetworkInterfaceState.UP)


def _network(
    reports: Sequence[InterfaceReport],
    members: Sequence[InterfaceReport],
    missing: _Missing,
    blamed: frozenset[NodeId],
) -> tuple[NetworkState, str]:
    active = [report for report in reports if report.node_is_up]
    if not active:
        return NetworkState.UNAVAILABLE, "no node with an interface on it is up"
    if not members:
        return NetworkState.DOWN, "no interface on it has a link"
    if len(members) > 1 and all(len(others) == len(members) - 1 for others in missing.values()):
        return NetworkState.DOWN, "none of its interfaces reaches any other"
    failed = [report.node_name for report in active if not report.link]
    cut = [member.node_name for member in members if member.node in blamed]
    pairs = [
        f"{one.node_name} and {other.node_name}"
        for one, other in combinations(members, 2)
        if other.node in missing[one.node] and not {one.node, other.node} & blamed
    ]
    reasons = [
        *([f"the link of {_listed(failed)} is down"] if failed else []),
        *([f"nobody reaches {_listed(cut)}"] if cut else []),
        *([f"{_listed(pairs)} do not reach each other"] if pairs else []),
    ]
    if (failed and len(active) > 1) or cut or pairs:
        return NetworkState.PARTITIONED, "; ".join(reasons)
    return NetworkState.UP, ""


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ordered[0] if len(ordered) == 1 else f"{', '.join(ordered[:-1])} and {ordered[-1]}"
