"""Pictures for the tests of the brains: nodes and groups by short names."""

from collections.abc import Iterable
from dataclasses import replace

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import GroupStatus, NodeState, NodeStatus, ResourceState
from quorate.cluster.picture import (
    AS_MANY_AS_OTHER_NODES,
    NO_HOUR,
    Failover,
    GroupPicture,
    LeaseView,
    NodePicture,
    Picture,
    Role,
    Settings,
)

GIB = 1 << 30
ONLINE = (ResourceState.ONLINE, ResourceState.ONLINE)
OFFLINE = (ResourceState.OFFLINE, ResourceState.OFFLINE)
FAILED = (ResourceState.ONLINE, ResourceState.FAILED)


def node(
    number: int,
    *,
    state: NodeState = NodeState.UP,
    status: NodeStatus = NodeStatus.NORMAL,
    memory: int | None = 16,
    lease: int | None = None,
    incarnation: str = "",
    may_end: bool = False,
    again_at: float | None = None,
) -> NodePicture:
    """A node with ``memory`` GiB for virtual machines, and a lease that goes on."""
    return NodePicture(
        id=NodeId(str(number)),
        name=f"node{number}",
        state=state,
        status=status,
        memory=None if memory is None else memory * GIB,
        lease=LeaseView(
            revision=number if lease is None else lease,
            incarnation=incarnation or f"i{number}",
            may_end=may_end,
            again_at=again_at,
            sentence="its lease is over" if may_end else "its lease goes on",
        ),
    )


def dead(number: int, *, restored: bool = False, **more: object) -> NodePicture:
    """A node whose lease is over as a fact of the database, or that has not been up since that was restored."""
    living = node(number, state=NodeState.DOWN, **more)  # type: ignore[arg-type]
    assert living.lease is not None
    return replace(living, lease=replace(living.lease, is_ended=True, is_restored=restored))


def vm(
    name: str,
    owner: int,
    *,
    memory: float = 4,
    wanted: bool = True,
    states: tuple[ResourceState, ...] = ONLINE,
    priority: int = 2000,
    possible: Iterable[int] | None = None,
    preferred: Iterable[int] = (),
    classes: Iterable[str] = (),
    giver: int | None = None,
    epoch: int = 1,
    revision: int = 10,
    failovers: tuple[Failover, ...] = (),
    threshold: int = AS_MANY_AS_OTHER_NODES,
    period: int = 6,
    failed_at: float | None = None,
    status: GroupStatus = GroupStatus.NORMAL,
    away: bool = False,
    failback: bool = False,
    window: tuple[int, int] = (NO_HOUR, NO_HOUR),
    locked: bool = False,
    group_type: int = 111,
) -> GroupPicture:
    """A virtual machine with ``memory`` GiB, wanted online and running unless it is said otherwise."""
    return GroupPicture(
        id=GroupId(name),
        name=name,
        owner=NodeId(str(owner)),
        epoch=epoch,
        revision=revision,
        giver=None if giver is None else NodeId(str(giver)),
        group_type=group_type,
        priority=priority,
        wanted=wanted,
        states=states,
        memory=int(memory * GIB),
        possible=None if possible is None else frozenset(NodeId(str(one)) for one in possible),
        preferred=tuple(NodeId(str(one)) for one in preferred),
        classes=frozenset(classes),
        failovers=failovers,
        failover_threshold=threshold,
        failover_period=period,
        failed_at=failed_at,
        status=status,
        away=away,
        failback=failback,
        failback_window=window,
        locked=locked,
    )


def picture(
    nodes: Iterable[NodePicture],
    groups: Iterable[GroupPicture] = (),
    *,
    me: int = 1,
    revision: int = 100,
    now: float = 1000.0,
    clock: float = 50_000.0,
    settings: Settings | None = None,
    role: Role | None = None,
) -> Picture:
    """The cluster, as node ``me`` sees it."""
    return Picture(
        revision=revision,
        me=NodeId(str(me)),
        now=now,
        clock=clock,
        settings=settings or Settings(),
        nodes={one.id: one for one in nodes},
        groups={one.id: one for one in groups},
        role=role,
    )


def role(number: int, *, incarnation: str = "", revision: int = 5, clock: float = 50_000.0, **more: object) -> Role:
    """The record of a coordinator."""
    return Role(NodeId(str(number)), incarnation or f"i{number}", revision, clock, **more)  # type: ignore[arg-type]
