"""Coordinators that race over one store: a model of nodes, leases, ownership and gifts, driven by a seed.

Every node runs the real brain (`cluster/coordinator.py`) on pictures that may be old; what it decides reaches the store
late, twice over many others, or never, and its answers may be lost. Nodes are cut off, killed and started again at any
moment. The guard's word is kept: what runs on a node ends when its lease is over. The laws are checked at every step.
"""

import random
from dataclasses import dataclass, field, replace

from tests.unit.cluster.pictures import GIB

from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import NodeState, ResourceState
from quorate.cluster import coordinator_work as w
from quorate.cluster.coordinator import Coordinator
from quorate.cluster.failover import GiverWord
from quorate.cluster.picture import GroupPicture, LeaseView, NodePicture, Picture, Role, Settings

DURATION = 6
MARGIN = 1


@dataclass(frozen=True)
class LeaseRow:
    incarnation: str
    revision: int
    ended: bool = False


@dataclass(frozen=True)
class OwnerRow:
    holder: NodeId
    epoch: int
    revision: int
    giver: NodeId | None = None


@dataclass(frozen=True)
class Tables:
    """What the store holds at one revision."""

    revision: int = 0
    leases: dict[NodeId, LeaseRow] = field(default_factory=dict)
    owners: dict[GroupId, OwnerRow] = field(default_factory=dict)
    role: Role | None = None


@dataclass
class Gift:
    """A live migration away from a node, whose guest stands still."""

    to: NodeId
    epoch: int
    session: str
    """The incarnation of the receiver that it is meant for (R2)."""
    is_sent: bool = False


class Node:
    """A machine."""

    def __init__(self, world: "World", node: NodeId) -> None:
        self.world = world
        self.id = node
        self.is_on = True
        self.is_connected = True
        self.count = 0
        self.incarnation = ""
        self.valid_until = 0
        self.running: set[GroupId] = set()
        self.gifts: dict[GroupId, Gift] = {}
        self.told: dict[GroupId, tuple[int, str]] = {}
        """Groups that were given to this node by `yours`: the epoch, and the incarnation that was told."""
        self.seen: dict[NodeId, tuple[int, int]] = {}
        self.view = Tables()
        self.brain = Coordinator(node)
        self.outbox: list[w.Effect] = []

    @property
    def is_held(self) -> bool:
        return self.is_on and self.world.now < self.valid_until

    def restart(self) -> None:
        """A fresh daemon on a machine that was off."""
        self.is_on, self.is_connected = True, True
        self.brain, self.outbox, self.seen, self.gifts, self.told = Coordinator(self.id), [], {}, {}, {}
        self.incarnation = ""

    def begin_incarnation(self) -> None:
        self.count += 1
        self.incarnation = f"{self.id}.{self.count}"
        self.told = {}


class World:
    """The store, the nodes, the clock and the dice."""

    def __init__(self, seed: int, nodes: int = 4, groups: int = 5) -> None:
        self.dice = random.Random(seed)
        self.now = 100
        self.history: list[Tables] = [Tables()]
        self.nodes = {NodeId(str(number)): Node(self, NodeId(str(number))) for number in range(1, nodes + 1)}
        self.take_overs = 0
        ids = list(self.nodes)
        owners = {GroupId(f"g{number}"): OwnerRow(ids[number % nodes], 1, number + 1) for number in range(groups)}
        self.write(owners=owners)
        for node in self.nodes.values():
            self.renew(node)
            self.settle(node)

    @property
    def store(self) -> Tables:
        return self.history[-1]

    def write(
        self,
        leases: dict[NodeId, LeaseRow] | None = None,
        owners: dict[GroupId, OwnerRow] | None = None,
        role: Role | None = None,
    ) -> int:
        """One transaction that lands; gives the revision."""
        revision = self.store.revision + 1
        old = self.store
        self.history.append(
            Tables(
                revision,
                {**old.leases, **{node: replace(row, revision=revision) for node, row in (leases or {}).items()}},
                {**old.owners, **{id_: replace(row, revision=revision) for id_, row in (owners or {}).items()}},
                old.role if role is None else replace(role, revision=revision),
            )
        )
        return revision

    # --- what nodes do ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        self.now += 1
        for node in self.nodes.values():
            if not node.is_held:
                node.running.clear()  # the guard

    def renew(self, node: Node) -> None:
        if not (node.is_on and node.is_connected):
            return
        row = self.store.leases.get(node.id)
        lapsed = not node.is_held or row is None or row.ended
        if lapsed:
            node.running.clear()
            node.begin_incarnation()
        self.write(leases={node.id: LeaseRow(node.incarnation, 0)})
        node.valid_until = self.now + DURATION

    def settle(self, node: Node) -> None:
        """Start what is ours by a write of our own (R1), end what is not."""
        if not (node.is_connected and node.is_held):
            return
        for id_, row in self.store.owners.items():
            if row.holder != node.id:
                node.running.discard(id_)
            elif id_ not in node.running and id_ not in node.gifts and self._may_claim(node, id_, row):
                self.write(owners={id_: OwnerRow(node.id, row.epoch + 1, 0)})
                node.running.add(id_)

    def _may_claim(self, node: Node, group: GroupId, row: OwnerRow) -> bool:
        """Ours for good; or a gift whose session this incarnation of us does not know, or whose giver is gone."""
        if row.giver is None:
            return True
        giver = self.nodes[row.giver]
        gift = giver.gifts.get(group)
        is_asked = giver.is_on and giver.is_connected
        is_dead = self.store.leases[row.giver].ended
        return is_dead or (is_asked and gift is None) or (gift is not None and gift.session != node.incarnation)

    def see(self, node: Node) -> None:
        """Take in a newer state of the store, not always the newest."""
        if not node.is_connected:
            return
        newest = len(self.history) - 1
        known = node.view.revision
        node.view = self.history[self.dice.randint(min(known, newest), newest)]
        for other, row in node.view.leases.items():
            if node.seen.get(other, (0, 0))[0] != row.revision:
                node.seen[other] = (row.revision, self.now)

    def picture(self, node: Node) -> Picture:
        view = node.view
        return Picture(
            revision=view.revision,
            me=node.id,
            now=float(self.now),
            clock=float(self.now),
            settings=Settings(),
            nodes={id_: self._node_picture(node, id_) for id_ in self.nodes},
            groups={
                id_: GroupPicture(
                    id_, id_, row.holder, row.epoch, row.revision, row.giver, wanted=True, memory=GIB,
                    states=(ResourceState.ONLINE,),
                )
                for id_, row in view.owners.items()
            },
            role=view.role,
        )  # fmt: skip

    def _node_picture(self, node: Node, id_: NodeId) -> NodePicture:
        row = node.view.leases.get(id_)
        if row is None:
            return NodePicture(id_, f"node{id_}", NodeState.DOWN, memory=64 * GIB)
        over = node.seen[id_][1] + DURATION + MARGIN
        is_over = self.now >= over and id_ != node.id
        state = NodeState.DOWN if row.ended or is_over else NodeState.UP
        may_end = is_over and not row.ended
        lease = LeaseView(row.revision, row.incarnation, row.ended, may_end, float(over), "is silent")
        return NodePicture(id_, f"node{id_}", state, memory=64 * GIB, lease=lease)

    def look(self, node: Node) -> None:
        self.see(node)
        if node.is_connected and node.is_held:
            self.post(node, w.Looked(self.picture(node)))

    def post(self, node: Node, event: w.Event) -> None:
        step = node.brain.step(event, float(self.now))
        node.brain = step.state
        for effect in step.effects:
            assert not isinstance(effect, w.Looked)
            node.outbox.append(effect)  # type: ignore[arg-type]

    # --- what reaches the store --------------------------------------------------------------------------------------

    def deliver(self, node: Node) -> None:
        """Carry out one effect of a node, in any order; its answer may be lost, and so may be the effect itself."""
        if not node.outbox or not node.is_on:
            return
        effect = node.outbox.pop(self.dice.randrange(len(node.outbox)))
        if isinstance(effect, w.Say | w.WakeAt):
            return
        if isinstance(effect, w.Ask):
            self._ask(node, effect)
            return
        lost = not node.is_connected or self.dice.random() < 0.1
        revision = 0 if lost else self._transact(effect)
        if lost or self.dice.random() < 0.1:
            self.post(node, _answer(effect, w.Outcome.UNANSWERED, 0))
        else:
            self.post(node, _answer(effect, w.Outcome.LANDED if revision else w.Outcome.REFUSED, revision))

    def _transact(self, effect: w.Effect) -> int:
        """The transaction that the engine makes of an effect; 0: something stood elsewhere."""
        store = self.store
        match effect:
            case w.TakeRole(expected, role, ends, _):
                if (0 if store.role is None else store.role.revision) != expected:
                    return 0
                if ends is None:
                    return self.write(role=role)
                row = self._unended(ends)
                return 0 if row is None else self.write(leases={ends.node: replace(row, ended=True)}, role=role)
            case w.EndLease():
                row = self._unended(effect)
                return 0 if row is None else self.write(leases={effect.node: replace(row, ended=True)})
            case w.NoteRole(expected, role):
                stands = store.role is not None and store.role.revision == expected
                return self.write(role=role) if stands else 0
            case w.Take():
                return self._take(effect)
        raise AssertionError(effect)

    def _unended(self, end: w.EndLease) -> LeaseRow | None:
        row = self.store.leases[end.node]
        return row if row.revision == end.revision and not row.ended else None

    def _take(self, effect: w.Take) -> int:
        owner, lease = self.store.owners[effect.group], self.store.leases[effect.holder]
        if owner.revision != effect.revision or lease.revision != effect.lease_revision:
            return 0
        assert lease.ended, "taken over from a node whose lease has not ended (I4)"
        assert not any(effect.group in node.running for node in self.nodes.values()), "taken over while it runs"
        self.take_overs += 1
        return self.write(owners={effect.group: OwnerRow(effect.decision.destination, owner.epoch + 1, 0)})

    def _ask(self, node: Node, effect: w.Ask) -> None:
        question = effect.question
        giver = self.nodes[question.giver]
        word = GiverWord.WAIT
        if giver.is_on and giver.is_connected and node.is_connected and self.dice.random() < 0.9:
            gift = giver.gifts.get(question.group)
            if gift is None:
                word = GiverWord.GONE
            elif gift.epoch == question.epoch:
                word = GiverWord.SENT if gift.is_sent else GiverWord.NOT_SENT
        self.post(node, w.GiverAnswered(question.group, question.epoch, word))

    # --- live migrations ---------------------------------------------------------------------------------------------

    def give(self, node: Node) -> None:
        """Stop a guest and give it to another node (R4), with the memory kept."""
        others = [one for one in self.nodes.values() if one is not node and one.is_held and one.is_connected]
        mine = sorted(node.running)
        if not (node.is_connected and node.is_held and others and mine):
            return
        group, to = self.dice.choice(mine), self.dice.choice(others)
        row = self.store.owners[group]
        if row.holder != node.id or row.giver is not None:
            return
        node.running.discard(group)
        self.write(owners={group: OwnerRow(to.id, row.epoch + 1, 0, node.id)})
        node.gifts[group] = Gift(to.id, row.epoch + 1, to.incarnation)

    def go_on_giving(self, node: Node) -> None:
        """Send `yours`, hear it, mark, or take back: one of these for one gift."""
        for group, gift in sorted(node.gifts.items()):
            row = self.store.owners[group]
            if (row.epoch, row.giver) != (gift.epoch, node.id):
                if node.is_connected:
                    del node.gifts[group]  # the record has moved on
                continue
            to = self.nodes[gift.to]
            if gift.is_sent:
                reaches = node.is_connected and to.is_connected and to.is_held and to.incarnation == gift.session
                if reaches and group not in to.told and self.dice.random() < 0.5:
                    to.told[group] = (gift.epoch, to.incarnation)
                    to.running.add(group)  # R6: told for this session, under a lease unbroken since
            elif node.is_held and node.is_connected and self.dice.random() < 0.5:
                gift.is_sent = True
            elif node.is_held and node.is_connected and self.dice.random() < 0.3:
                self.write(owners={group: OwnerRow(node.id, row.epoch + 1, 0)})
                node.running.add(group)
                del node.gifts[group]

    def mark(self, node: Node) -> None:
        """Write that what was given runs here (R6), so that the giver may end its image."""
        for group, (epoch, incarnation) in sorted(node.told.items()):
            row = self.store.owners[group]
            if (row.holder, row.epoch) != (node.id, epoch):
                node.running.discard(group) if row.holder != node.id else None
                del node.told[group]
            elif node.is_connected and node.is_held and node.incarnation == incarnation:
                self.write(owners={group: OwnerRow(node.id, epoch + 1, 0)})
                del node.told[group]

    # --- chaos and its end -------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One thing happens somewhere."""
        node = self.dice.choice(list(self.nodes.values()))
        match self.dice.choices(range(10), (12, 14, 10, 16, 24, 4, 8, 6, 3, 1.2))[0]:
            case 0:
                self.tick()
            case 1:
                self.renew(node)
            case 2:
                self.settle(node)
            case 3:
                self.look(node)
            case 4:
                self.deliver(node)
            case 5:
                self.give(node)
            case 6:
                self.go_on_giving(node)
            case 7:
                self.mark(node)
            case 8:
                node.is_connected = self.dice.random() < 0.6
            case _:
                self._power(node)
        self.check()

    def _power(self, node: Node) -> None:
        if node.is_on and self.dice.random() < 0.6:
            node.is_on = False
            node.running.clear()
            node.gifts.clear()
        elif not node.is_on:
            node.restart()

    def check(self) -> None:
        """No group runs twice, and none where its lease is over."""
        for group in self.store.owners:
            places = [node.id for node in self.nodes.values() if group in node.running]
            assert len(places) <= 1, f"{group} runs on nodes {places}"
        for node in self.nodes.values():
            assert not node.running or node.is_held

    def calm_down(self, rounds: int = 60) -> None:
        """Nothing goes wrong any more: everything that is on does its work in turn."""
        for node in self.nodes.values():
            node.is_connected = node.is_on
        for _ in range(rounds):
            for node in self.nodes.values():
                self.renew(node)
                self.look(node)
                while node.outbox and node.is_on:
                    self.deliver(node)
                self.go_on_giving(node)
                self.mark(node)
                self.settle(node)
                self.check()
            self.tick()


def _answer(effect: w.Effect, outcome: w.Outcome, revision: int) -> w.Event:
    match effect:
        case w.TakeRole() | w.NoteRole():
            return w.RoleAnswered(outcome, revision)
        case w.EndLease(node):
            return w.LeaseAnswered(node, outcome)
        case w.Take():
            return w.TakeAnswered(effect.group, outcome, revision)
    raise AssertionError(effect)
