"""People at a simulated cluster: what they ask for reaches a daemon, and is done, refused, or lost with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from quorate.clusapi.errors import ClusterError, FaultError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.states import GroupPriority, NodePauseFlags, NodeResumeFailbackType
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.member_records import EvictedNode
from quorate.database.values import RegistryValue
from quorate.engine.draining import Draining
from quorate.engine.evicting import Evicting
from quorate.simulator import steps as s
from quorate.simulator.holding import Held
from quorate.simulator.step_forms import words
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.engine.context import EngineContext
    from quorate.simulator.daemon import Daemon
    from quorate.simulator.world import World

_FAILBACK = {
    "none": NodeResumeFailbackType.DO_NOT_FAIL_BACK,
    "immediate": NodeResumeFailbackType.FAIL_BACK_IMMEDIATELY,
    "policy": NodeResumeFailbackType.FAIL_BACK_PER_POLICY,
}


def _no_events(sentence: str) -> Sequence[EventRecord]:
    """Events are written by nobody here: nothing is decided by them."""
    return ()


def _no_events_of(
    kind: EventKind, object_id: str, object_name: str, sentence: str, after: JsonValue = None, before: JsonValue = None
) -> Sequence[EventRecord]:
    return ()


_TODAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When nodes are evicted: nothing is decided by it."""
REPORT_DEADLINE: Final = 2.0
"""Seconds that a node has to say what runs on it."""


@dataclass(frozen=True, slots=True)
class _View:
    """What `Draining` asks of a view."""

    daemon: "Daemon"

    def node_state(self, node: NodeId) -> object:
        """State of a node."""
        return self.daemon.membership.node_state(node)


@dataclass(frozen=True, slots=True)
class _Context:
    """What `Draining` works with."""

    database: object
    view: _View


class People:
    """Those who type commands."""

    def __init__(self, world: "World") -> None:
        """Have asked for nothing."""
        self._world = world
        self.disappointed: set[GroupId] = set()
        """Groups whose start by hand has failed: nobody repeats it behind people's backs."""
        self.disabled = {world.group_called(vm.name) for vm in world.setup.vms if vm.priority == GroupPriority.DISABLED}
        """Groups that were of Priority 0 once: what did not start then is not started by another Priority either."""

    def ask(self, command: s.Command) -> None:
        """Ask for something, at the node that must do it."""
        world = self._world
        world.counts.commands += 1
        if world.trace.is_kept:
            world.trace.add(Kind.COMMAND, "", words(command))
        if isinstance(command, s.ConfirmOff):
            world.confirm_off(world.node_called(command.node))
            return
        daemon = self._daemon_for(command)
        if daemon is not None and isinstance(command, s.Admit):
            try:
                world.admit(command.node)
            except ClusterError as error:
                self._refused(command, error)
            return
        if daemon is None:
            self._refused(command, FaultError(Status.RPC_S_SERVER_UNAVAILABLE, "no daemon answers"))
            return

        def act() -> None:
            daemon.life.spawn(self._do(daemon, command), "a command")

        daemon.life.reach(act)

    def _daemon_for(self, command: s.Command) -> "Daemon | None":
        world = self._world
        if isinstance(command, s.Start | s.Stop | s.Migrate | s.Cancel | s.Move):
            record = world.laws.records.get(world.group_called(command.vm))
            node = None if record is None else world.machines.get(record.holder)
            daemon = None if node is None else node.daemon
            return daemon if daemon is not None and daemon.has_open_doors else None
        up = [machine.daemon for machine in world.machines.values() if machine.daemon is not None]
        ready = [daemon for daemon in up if daemon is not None and daemon.has_open_doors and daemon.life.is_running]
        return world.dice.choice(ready) if ready else None

    def _refused(self, command: s.Command, error: ClusterError) -> None:
        self._world.counts.refused += 1
        if self._world.trace.is_kept:
            self._world.trace.add(Kind.COMMAND, "", f"{words(command)}: refused: {error.sentence}")

    async def _do(self, daemon: "Daemon", command: s.Command) -> None:
        try:
            match command:
                case s.Pause() | s.Drain() | s.Resume():
                    await self._do_to_node(daemon, command)
                case s.Evict(name):
                    await self._evict(daemon, name)
                case s.SetCluster(name, value):
                    await daemon.database.set_values(keys.CLUSTER, {name: RegistryValue.dword(value)})
                case s.SetGroup(vm, name, value):
                    group = self._world.group_called(vm)
                    if name == "Priority" and value == GroupPriority.DISABLED:
                        self.disabled.add(group)
                    path = keys.group_path(group)
                    await daemon.database.set_values(path, {name: RegistryValue.dword(value)})
                case s.Start() | s.Stop() | s.Migrate() | s.Cancel() | s.Move():
                    await self._do_to_vm(daemon, command)
                case _:
                    raise AssertionError(f"nobody does {command!r}")
        except ClusterError as error:
            self._refused(command, error)

    async def _do_to_vm(self, daemon: "Daemon", command: s.Start | s.Stop | s.Migrate | s.Cancel | s.Move) -> None:
        held = self._held(daemon, self._world.group_called(command.vm))
        match command:
            case s.Start():
                self.disappointed.add(held.group)
                await daemon.owner.online(held, True)
                self.disappointed.discard(held.group)
            case s.Stop(_, how):
                await daemon.owner.offline(held, how, False)
            case s.Migrate(_, to):
                await daemon.migrations.start_migration(held, to)
            case s.Cancel():
                await daemon.migrations.cancel_migration(held)
            case s.Move(_, to):
                await daemon.moves.move(held, None if to is None else self._world.node_called(to))

    def _held(self, daemon: "Daemon", group: GroupId) -> Held:
        held = daemon.owner.held.get(group)
        if held is None or group not in daemon.owner.attached:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, "this node does not own the group")
        return held

    async def _evict(self, daemon: "Daemon", name: str) -> None:
        snapshot = await daemon.database.snapshot()

        async def qemus_of(node: NodeId) -> int | None:
            if node == daemon.node:
                return len(daemon.machine.qemus)
            try:
                return cast("int", await daemon.call(node, "processes", None, REPORT_DEADLINE))
            except ClusterError:
                return None

        state_of = daemon.membership.node_state
        evicting = Evicting(daemon.database, daemon.node, state_of, qemus_of, daemon.picture, _no_events_of)
        info = snapshot.node(self._world.node_called(name))
        await evicting.evict(snapshot, info, EvictedNode(name, _TODAY, "somebody"))
        self._world.counts.evictions += 1

    async def _do_to_node(self, daemon: "Daemon", command: s.Pause | s.Drain | s.Resume) -> None:
        context = cast("EngineContext", _Context(daemon.database, _View(daemon)))
        draining = Draining(context, daemon.clock.now)
        node = self._world.node_called(command.node)
        match command:
            case s.Pause():
                await draining.pause(node, _no_events)
            case s.Drain(_, to, remain, retry):
                flags = NodePauseFlags.NONE
                if remain:
                    flags |= NodePauseFlags.REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR
                if retry:
                    flags |= NodePauseFlags.RETRY_DRAIN_ON_FAILURE
                target = None if to is None else self._world.node_called(to)
                await draining.drain(node, target, flags, _no_events)
                self._world.counts.drains += 1
            case s.Resume(_, failback):
                await draining.resume(node, _FAILBACK[failback], _no_events)
