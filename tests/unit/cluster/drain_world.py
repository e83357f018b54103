"""A cluster of records for the brain of moves: what it writes lands, is refused or is lost; owners carry moves out."""

from collections.abc import Iterable
from dataclasses import replace

from tests.unit.cluster.pictures import OFFLINE, picture, role
from tests.unit.cluster.pictures import node as make_node

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import NodePauseFlags, NodeResumeFailbackType, NodeState, VmState
from quorate.cluster.coordinator_work import Looked, Outcome, WakeAt
from quorate.cluster.movements import Answered, Commit, Movements
from quorate.cluster.moves import Cause, Drain, DrainStage, DropDrain, DropMove, Limits, Move, PutDrain, PutMove, Stage
from quorate.cluster.picture import GroupPicture, NodePicture, Settings
from quorate.cluster.placement import Room, choose
from quorate.cluster.queue import Carry, plan_carry, why_void

REMAIN = NodePauseFlags.REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR


class DrainWorld:
    """Nodes, groups and their records; node 1 coordinates."""

    def __init__(
        self, nodes: Iterable[NodePicture], groups: Iterable[GroupPicture], limits: Limits | None = None
    ) -> None:
        self.revision = 100
        self.picture = picture(nodes, groups, revision=100, role=role(1), settings=Settings(limits=limits or Limits()))
        self.brain = Movements(NodeId("1"))
        self.woken_at: float | None = None
        self.written: list[str] = []
        self.most = 0
        self.free = {one.id: Room(self.picture).free(one) for one in self.picture.nodes.values()}
        """What the nodes had left in the beginning: who had promised too much then may go on with that."""
        self._carried: set[tuple[GroupId, int]] = set()

    # --- what people and faults do ---------------------------------------------------------------------------------

    def drain(self, number: int, flags: NodePauseFlags = REMAIN, target: int | None = None) -> None:
        id_ = NodeId(str(number))
        self.set_node(replace(self.picture.nodes[id_], state=NodeState.PAUSED))
        drain = Drain(
            id_,
            f"drain{self.revision}",
            self.picture.clock,
            target=None if target is None else NodeId(str(target)),
            flags=flags,
            total=len(self.picture.owned_by(id_)),
            revision=self._next(),
        )
        self._set(drains={**self.picture.drains, id_: drain})

    def resume(self, number: int, failback: NodeResumeFailbackType) -> None:
        id_ = NodeId(str(number))
        self.set_node(replace(self.picture.nodes[id_], state=NodeState.UP))
        drains = dict(self.picture.drains)
        drain = drains.pop(id_, None)
        if drain is not None and failback is not NodeResumeFailbackType.DO_NOT_FAIL_BACK:
            drains[id_] = replace(
                drain, stage=DrainStage.RETURNING, failback=failback, troubles={}, revision=self._next()
            )
        self._set(drains=drains)

    def kill(self, number: int) -> None:
        """A node dies, and what it had is taken over where there is room."""
        id_ = NodeId(str(number))
        fallen = make_node(number, state=NodeState.DOWN)
        assert fallen.lease is not None
        self.set_node(
            replace(self.picture.nodes[id_], state=NodeState.DOWN, lease=replace(fallen.lease, is_ended=True))
        )
        for group in self.picture.owned_by(id_):
            choice = choose(self.picture, Room(self.picture), group, without=frozenset({id_}))
            heir = choice.node or choice.keeper
            if heir is not None:
                self.set_group(replace(group, owner=heir, giver=None, status=choice.status, states=group.states))

    def change_coordinator(self) -> None:
        """The brain's memory is gone; what it has sent may yet have landed."""
        self.brain = Movements(NodeId("1"))

    def set_node(self, node: NodePicture) -> None:
        self._set(nodes={**self.picture.nodes, node.id: node})

    def set_group(self, group: GroupPicture) -> None:
        self._set(groups={**self.picture.groups, group.id: group})

    # --- time ------------------------------------------------------------------------------------------------------

    def look(self, outcome: Outcome = Outcome.LANDED, *, lands: bool = True) -> bool:
        """Let the coordinator look once; answers whether it wrote. ``lands``: also what nobody answers."""
        step = self.brain.step(Looked(self.picture), self.picture.now)
        self.brain = step.state
        commit = next((effect for effect in step.effects if isinstance(effect, Commit)), None)
        wakes = [effect.at for effect in step.effects if isinstance(effect, WakeAt)]
        self.woken_at = min(wakes, default=None)
        if commit is None:
            return False
        landed = outcome is not Outcome.REFUSED and lands and self._apply(commit)
        told = outcome if landed or outcome is Outcome.UNANSWERED else Outcome.REFUSED
        self.brain = self.brain.step(Answered(commit.number, told, self.revision), self.picture.now).state
        self.check()
        return True

    def carry(self, move: Move, *, succeeds: bool, sentence: str = "it failed") -> None:
        """Its owner carries a move out."""
        group = self.picture.groups[move.group]
        if (move.group, move.revision) in self._carried or why_void(self.picture, move):
            return
        state = VmState.RUNNING if group.runs and group.memory else None
        decision = plan_carry(move, state, is_busy=False)
        assert decision.carry in (Carry.LIVE, Carry.OFFLINE)
        self._carried.add((move.group, move.revision))
        assert move.destination is not None
        taker = self.picture.nodes[move.destination]
        if succeeds and taker.state is NodeState.UP:
            drained = move.drain if move.cause is Cause.DRAIN else ""
            states = OFFLINE if move.status else group.states
            self.set_group(replace(group, owner=move.destination, status=move.status, states=states, drained=drained))
        elif move.is_of_coordinator:
            failed = replace(move, stage=Stage.FAILED, sentence=sentence, revision=self._next())
            self._set(moves={**self.picture.moves, move.group: failed})
        else:
            self._set(moves={id_: one for id_, one in self.picture.moves.items() if id_ != move.group})
        self.check()

    def begun(self) -> list[Move]:
        """The moves that owners have to carry out, or are carrying out."""
        return [
            move
            for move in self.picture.moves.values()
            if move.stage is Stage.BEGUN and (move.group, move.revision) not in self._carried
        ]

    def pass_time(self, seconds: float) -> None:
        self.picture = replace(self.picture, now=self.picture.now + seconds, clock=self.picture.clock + seconds)

    def settle(self, rounds: int = 2000) -> None:
        """Let everything succeed from now on until nothing is left to do."""
        for _ in range(rounds):
            wrote = self.look()
            begun = self.begun()
            for move in begun:
                self.carry(move, succeeds=True)
            if not wrote and not begun:
                if self.woken_at is None or self.woken_at <= self.picture.now:
                    return
                self.pass_time(self.woken_at - self.picture.now)
        raise AssertionError("it never comes to rest")

    # --- what must hold --------------------------------------------------------------------------------------------

    def check(self) -> None:
        limits = self.picture.settings.limits
        live: dict[NodeId, int] = {}
        for move in self.picture.moves.values():
            if move.stage is not Stage.BEGUN or why_void(self.picture, move) or not move.is_live:
                continue
            for end in (move.source, move.destination):
                assert end is not None
                live[end] = live.get(end, 0) + 1
        self.most = max(self.most, *live.values(), 0)
        assert self.most <= limits.per_node, f"{live} moves at a time"
        room = Room(self.picture)
        for node in self.picture.nodes.values():
            least = min(0, self.free.get(node.id, 0))
            assert room.free(node) >= least, f"{node.name} has promised {-room.free(node)} bytes that it has not"

    def _apply(self, commit: Commit) -> bool:
        moves, drains = dict(self.picture.moves), dict(self.picture.drains)
        if commit.turn is not None and commit.turn != self.picture.turn:
            return False
        revision = self.revision + 1
        for change in commit.changes:
            match change:
                case PutMove(move, expected):
                    if _revision(moves.get(move.group)) != expected:
                        return False
                    moves[move.group] = replace(move, revision=revision)
                case DropMove(group, expected):
                    if _revision(moves.pop(group, None)) != expected:
                        return False
                case PutDrain(drain, expected):
                    if _revision(drains.get(drain.node)) != expected:
                        return False
                    drains[drain.node] = replace(drain, revision=revision)
                case DropDrain(node, expected):
                    if _revision(drains.pop(node, None)) != expected:
                        return False
            self.written.append(change.move.sentence if isinstance(change, PutMove) else change.sentence)
        self._next()
        self._set(moves=moves, drains=drains, turn=self.picture.turn if commit.turn is None else revision)
        return True

    def _next(self) -> int:
        self.revision += 1
        self.picture = replace(self.picture, revision=self.revision)
        return self.revision

    def _set(self, **parts: object) -> None:
        self.picture = replace(self.picture, **parts)  # type: ignore[arg-type]
        self._next()


def _revision(found: Move | Drain | None) -> int:
    return 0 if found is None else found.revision
