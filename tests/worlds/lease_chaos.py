"""Random faults thrown at a world of leases, decided by a seed; then everything is healed, and all must be well again.

A run is a mixture of faults, or a story: faults in an order that a rule is there for, at random moments. Both at once
often enough.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from tests.worlds.lease_world import Node, Violation, World

from quorate.cluster.lease_events import Terms

LENGTH = 30.0
"""Seconds for which faults are thrown."""
SLACK = 4.0
"""Seconds in which healed nodes have leases again, after a restart, a lost call, and a pause of their daemons."""
LONG, SHORT = 5.0, 2.0


class Chaos:
    """One run. ``story`` names a method of this class, "" none; None: whatever the seed says."""

    def __init__(self, seed: int, *, story: str | None = None, rng: random.Random | None = None) -> None:
        self.seed = seed
        self.rng = rng = rng or random.Random(seed)
        self.story = rng.choice(("", *STORIES)) if story is None else story
        self.world = World(seed, rng.choice((3, 3, 4)) if self.story else rng.choice((2, 3, 3, 4)), rng=rng)
        some = [name for name in FAULTS if rng.random() < 0.5] if not self.story or rng.random() < 0.2 else []
        self.faults = some if self.story else some or list(FAULTS)
        self.pace = rng.choice((0.7, 1.5, 3.0))
        if self.faults:
            self.world.loss = rng.choice((0.0, 0.0, 0.05, 0.3))
        self.world.slow_net = rng.random() < 0.3

    def run(self) -> World:
        """Throw faults, heal, and see whether all ends well."""
        world, rng = self.world, self.rng
        if self.story:
            getattr(self, self.story)()
        while world.now < LENGTH:
            world.run(min(LENGTH, world.now + (rng.expovariate(1 / self.pace) if self.faults else LENGTH)))
            if self.faults:
                name = rng.choice(self.faults)
                node = rng.choice(list(world.nodes.values()))
                duration = rng.choice((0.3, 1.0, 2.5, 4.0, 8.0, 15.0))
                world.say(f"---- {name}: node {node.id}, {duration:g} s")
                getattr(self, name)(node, duration)
        self.heal()
        return world

    def at(self, delay: float, act: Callable[[], object]) -> None:
        """Do something later, unless all is healed by then."""
        self.world.later(delay, lambda: None if self.world.healed else (act(), None)[1])

    def between(self, low: float, high: float) -> float:
        return low + self.rng.random() * (high - low)

    # --- faults ----------------------------------------------------------------------------------------------------

    def silence(self, node: Node, duration: float) -> None:
        mode = self.rng.choice(("silent", "mute", "slow", "silent"))
        self.quieten(node, mode, duration, watch=self.rng.random() < 0.3)

    def quieten(self, node: Node, mode: str, duration: float, *, watch: bool = False) -> None:
        self.world.say(f"node {node.id}: the database is {mode}{' but for its news' if watch else ''}")
        node.store, node.watch = mode, watch
        node.silences += 1
        nth = node.silences
        self.world.later(duration, lambda: self.speak(node) if node.silences == nth else None)

    def hush(self, node: Node, duration: float, *, after: float) -> None:
        """Let what a node writes land without an answer, and after a while nothing more."""
        self.quieten(node, "mute", duration, watch=True)
        self.at(after, lambda: setattr(node, "store", "lost" if node.store == "mute" else node.store))

    def speak(self, node: Node) -> None:
        node.store, node.watch = "ok", True
        if node.daemon is not None and node.daemon.view is not None:
            self.world.send_view(node.daemon)

    def silence_all(self, node: Node, duration: float) -> None:
        for other in self.world.nodes.values():
            self.silence(other, duration)

    def silence_all_but_one(self, node: Node, duration: float) -> None:
        for other in self.world.nodes.values():
            if other is not node:
                self.silence(other, duration)

    def deafen(self, node: Node, duration: float) -> None:
        node.watch = False
        self.world.later(duration, lambda: self.speak(node))

    def cut(self, node: Node, duration: float) -> None:
        pair = frozenset((node.id, self.rng.choice(list(self.world.nodes))))
        self.world.cuts.add(pair)
        self.world.later(duration, lambda: self.world.cuts.discard(pair))

    def isolate(self, node: Node, duration: float) -> None:
        self.silence(node, duration)
        for other in self.world.nodes:
            pair = frozenset((node.id, other))
            self.world.cuts.add(pair)
            self.world.later(duration, lambda pair=pair: self.world.cuts.discard(pair))  # type: ignore[misc]

    def kill(self, node: Node, duration: float) -> None:
        self.world.kill_daemon(node)
        self.world.later(self.rng.choice((0.1, 0.5, duration)), lambda: self.world.start_daemon(node))

    def pause(self, node: Node, duration: float) -> None:
        self.world.pause_daemon(node)
        self.world.later(duration, lambda: self.world.resume_daemon(node))

    def crash(self, node: Node, duration: float) -> None:
        if not any(other.on for other in self.world.nodes.values() if other is not node):
            return
        self.world.crash(node)
        node.doomed = self.rng.random() < 0.3 and not any(n.doomed for n in self.world.nodes.values())
        if not node.doomed:
            self.world.later(duration, lambda: self.world.boot(node))

    def admit(self, node: Node, duration: float) -> None:
        if len(self.world.nodes) < 5:
            self.world.admit()

    def terms(self, node: Node, duration: float) -> None:
        self.set_terms(self.rng.choice((SHORT, 3.0, 3.0, LONG)), self.rng.choice((0.0, 2.0, 4.0, 6.0)))

    def set_terms(self, duration: float, resilience: float) -> None:
        world = self.world
        world.say(f"leases of {duration:g} s, resilience of {resilience:g} s from now on")
        terms = Terms(1.0, duration, resilience)
        world.commit(replace(world.snap, revision=world.snap.revision + 1, terms=terms))

    def fence(self, node: Node, duration: float) -> None:
        """A fence agent has switched a machine off, and somebody is told so."""
        by = self.rng.choice(list(self.world.nodes.values()))
        daemon = by.daemon
        if by is node or daemon is None or by.paused or daemon.view is None or node.id not in daemon.view.leases:
            return
        self.world.crash(node)
        if self.world.judge(daemon, node.id, fenced=True).allowed and node.id not in daemon.busy:
            self.world.end(daemon, node.id, fenced=True)
        self.world.later(self.rng.choice((0.05, duration)), lambda: self.world.boot(node))

    # --- stories ---------------------------------------------------------------------------------------------------

    def roles(self) -> list[Node]:
        """The nodes in a random order, after a while in which all went well."""
        self.world.run(2.5 + self.rng.random())
        nodes = list(self.world.nodes.values())
        self.rng.shuffle(nodes)
        return nodes

    def come_back(self, node: Node) -> None:
        self.world.boot(node)
        self.world.start_daemon(node)

    def outage(self) -> None:
        """The database falls silent for all; one of them has it back before the others."""
        first, *others = self.roles()
        start = self.between(0.0, 0.8)
        for node in others:
            self.quieten(node, "silent", 25.0)
        self.at(start, lambda: self.quieten(first, "silent", self.between(1.5, 12.0)))

    def return_into_silence(self) -> None:
        """One is gone and ended; the others lose the database, and it comes back, restarted, and can write."""
        gone, *others = self.roles()
        self.world.crash(gone) if self.rng.random() < 0.7 else self.world.kill_daemon(gone)
        self.world.run(self.world.now + self.between(3.0, 6.0))
        for node in others:
            self.quieten(node, "silent", 25.0)
        self.at(self.between(0.2, 6.0), lambda: self.come_back(gone))

    def return_after_shortening(self) -> None:
        """The same, and the resilience was shortened just before, in renewals that nobody knows to have landed."""
        gone, *others = self.roles()
        self.set_terms(3.0, 6.0)
        self.world.crash(gone)
        self.world.run(self.world.now + self.between(4.0, 6.0))
        self.set_terms(3.0, 0.0)
        self.world.run(self.world.now + self.between(0.0, 0.5))
        for node in others:
            self.hush(node, 25.0, after=1.2)
        self.world.run(self.world.now + 1.3)
        for node in others:
            node.watch = False
        self.at(self.between(0.0, 3.0), lambda: self.come_back(gone))

    def admission_into_silence(self) -> None:
        """A node is admitted of which nobody hears."""
        for node in self.roles():
            self.quieten(node, "silent", 25.0)
        self.at(self.between(0.1, 4.0), self.world.admit)

    def admission_unseen(self) -> None:
        """A node hears no news while another one is admitted, and renews its lease all the same; then all is silent."""
        deaf, *others = self.roles()
        deaf.watch = False
        self.world.run(self.world.now + 0.5)
        self.world.admit()
        self.world.run(self.world.now + self.between(1.5, 2.5))
        for node in (deaf, *others):
            self.quieten(node, "silent", 25.0)

    def shortening(self) -> None:
        """A lease is shortened, and its holder is not told that the shorter one has landed."""
        holder, *_ = self.roles()
        self.set_terms(LONG, 4.0)
        self.world.run(self.world.now + self.between(1.5, 3.0))
        self.set_terms(SHORT, 4.0)
        self.at(self.between(0.0, 1.0), lambda: self.hush(holder, 8.0, after=1.0))

    def lengthening(self) -> None:
        """A lease is lengthened, and the longer one does not land."""
        holder, *_ = self.roles()
        self.set_terms(SHORT, 4.0)
        self.world.run(self.world.now + self.between(1.5, 3.0))
        self.set_terms(LONG, 4.0)
        self.at(self.between(0.0, 0.6), lambda: self.quieten(holder, "silent", 8.0, watch=True))

    def lengthening_with_a_late_write(self) -> None:
        """An earlier, shorter renewal lands after longer ones were answered."""
        holder, *_ = self.roles()
        self.set_terms(SHORT, 4.0)
        self.world.run(self.world.now + self.between(1.5, 3.0))
        self.world.lateness = 6.0
        self.quieten(holder, "silent", 1.2, watch=True)
        self.world.run(self.world.now + self.between(0.4, 1.0))
        self.set_terms(LONG, 4.0)
        self.world.run(self.world.now + self.between(1.5, 4.0))
        self.quieten(holder, "lost", 8.0, watch=True)

    def shortening_with_a_restart(self) -> None:
        """A daemon is restarted whose lease was long; the next one's is short, and it does not hear that it landed."""
        holder, *_ = self.roles()
        self.set_terms(LONG, 4.0)
        self.world.run(self.world.now + self.between(1.5, 3.0))
        self.set_terms(SHORT, 4.0)
        self.world.kill_daemon(holder)
        self.world.run(self.world.now + self.between(0.05, 0.5))
        self.world.start_daemon(holder)
        self.world.run(self.world.now + self.between(0.01, 0.03))
        self.hush(holder, 8.0, after=self.between(0.1, 1.0))

    def promiser_restarts(self) -> None:
        """Who has promised is restarted, and can write; leases are shortened before, or meanwhile."""
        promiser, *others = self.roles()
        self.set_terms(LONG, 4.0)
        self.world.run(self.world.now + self.between(1.5, 3.0))
        early = self.rng.random() < 0.5
        if early:
            self.set_terms(SHORT, 0.0)
        for node in (promiser, *others):
            self.hush(node, 20.0, after=1.2) if early else self.quieten(node, "lost", 20.0, watch=True)
        self.world.run(self.world.now + self.between(2.2, 3.8))
        self.world.kill_daemon(promiser)
        if not early:
            self.set_terms(SHORT, 0.0)
            for node in others:
                self.hush(node, 20.0, after=self.between(0.5, 1.5))
        self.world.run(self.world.now + self.between(0.0, 0.3))
        promiser.store = "ok"
        self.world.start_daemon(promiser)
        if early and self.rng.random() < 0.7:
            for node in others:
                self.pause(node, 10.0)

    def slow_answers(self) -> None:
        """The database answers a node later and later, and then no more."""
        slow, *_ = self.roles()
        self.quieten(slow, "slow", 3.0)
        self.at(self.between(1.0, 3.0), lambda: self.quieten(slow, "silent", 8.0))

    def usurper(self) -> None:
        """A node cannot write until its lease was ended; then it can, and the others cannot."""
        ended, *others = self.roles()
        self.quieten(ended, "silent", self.between(6.0, 12.0), watch=True)
        self.world.run(self.world.now + self.between(4.0, 6.0))
        for node in others:
            self.quieten(node, "silent", 25.0, watch=True)

    # --- healing ---------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End all faults; then every node has its lease, what is dead is ended, and every group runs once."""
        world = self.world
        world.say("---- healed")
        world.healed = True
        world.cuts.clear()
        world.loss, world.slow_net = 0.0, False
        for node in world.nodes.values():
            self.speak(node)
            world.resume_daemon(node)
            if not node.doomed:
                world.boot(node)
                world.start_daemon(node)
        dead = [node for node in world.nodes.values() if node.doomed and not node.on]
        longest = [record.duration + record.resilience for record, _ in world.snap.leases.values()]
        bound = max(*longest, world.snap.terms.duration + world.snap.terms.resilience) * 1.05 + 1.0 + SLACK
        if not world.run(world.now + bound, lambda: not self.missing(dead)):
            raise Violation(f"{bound:.1f} s after all faults were over: {self.missing(dead)}")

    def missing(self, dead: list[Node]) -> list[str]:
        """What is not well yet."""
        world = self.world
        out = []
        for node in world.nodes.values():
            daemon = node.daemon
            if node in dead:
                if node.id in world.snap.leases and not world.snap.leases[node.id][0].ended and self.endable(node):
                    out.append(f"the lease of node {node.id} is not ended")
            elif daemon is None or not daemon.holder.is_held(world.clock(node)):
                out.append(f"node {node.id} has no lease")
        for group, (holder, _) in world.snap.groups.items():
            if group not in world.nodes[holder].running and (world.nodes[holder] not in dead):
                out.append(f"{group} does not run on node {holder}")
            elif world.nodes[holder] in dead and holder in world.snap.leases and self.endable(world.nodes[holder]):
                out.append(f"{group} is still with node {holder}")
        return out

    def endable(self, dead: Node) -> bool:
        """Tell whether anybody may conclude from time alone that this node is dead: somebody it knew of."""
        snap = self.world.snap
        record = snap.leases[dead.id][0]
        others = [node for node in self.world.nodes.values() if node is not dead and not node.doomed]
        return record.ended or any(snap.admissions[node.id] <= record.seen for node in others)


FAULTS = (
    "silence", "silence_all", "silence_all_but_one", "deafen", "cut", "isolate", "kill", "pause", "crash", "admit",
    "terms", "fence",
)  # fmt: skip
STORIES = (
    "outage", "return_into_silence", "return_after_shortening", "admission_into_silence", "admission_unseen",
    "shortening", "lengthening", "lengthening_with_a_late_write", "shortening_with_a_restart", "promiser_restarts",
    "slow_answers", "usurper",
)  # fmt: skip
