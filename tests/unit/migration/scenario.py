"""Scenarios: commands, a line of dashes, and what exactly comes out.

Each command does one thing to a migration from node 1 to node 2, driven fairly on a clock that nobody waits for:

    until source|destination PHASE     drive on until that side's brain is in that phase
    until record epoch N               drive on until the ownership record has this epoch
    until guest runs on node N         drive on until vCPUs run there
    wait SECONDS                       drive on for so long
    cancel                             CANCEL at the source (refused once the source is stopping)
    kill|freeze|thaw source|destination qemu|daemon
    restart source|destination daemon
    kill|reboot source|destination node
    lapse source|destination           the node's lease runs out
    cut|join peers|link                the way of messages, the way of memory
    silence|swallow|open database      answers nothing (writes may land later), lands and answers nothing, answers
    land                               the writes that had no answer land now
    fail transfer|load|launch|note     at once, or at the next try
    rest takes SECONDS                 from the stop until all of the memory is across
    load takes SECONDS                 the destination's QEMU is slow to load what came
    qemu stops by itself               the source's QEMU stops the guest by itself when little is left
    take over                          the coordinator starts the VM of a holder without a lease elsewhere

After the commands the world is driven until nothing is left to do, and nothing may be left over.
"""

import re
from dataclasses import dataclass, field

from tests.unit.migration.laws import Laws
from tests.unit.migration.world import ONE, TWO, Mig, Node, Qemu, Session, World, show_record

from quorate.clusapi.identity import NodeId
from quorate.migration import outgoing_events as e
from quorate.migration.outgoing import Outgoing

PATIENCE = 3000
_BRAIN = re.compile(r"(source|destination) s\d+: +(.*)")
_COMMAND = re.compile(r"qemu \w+: (migrate|stop|cont|cancel) in ")


def once(times: int = 1) -> "Once":
    return Once(times)


@dataclass
class Once:
    """True so many times."""

    left: int

    def __call__(self) -> bool:
        self.left -= 1
        return self.left >= 0


@dataclass
class Player:
    """Plays one scenario."""

    world: World = field(default_factory=World)
    states: list[int] = field(default_factory=list)
    stood_since: float | None = None
    longest: float = 0.0

    def __post_init__(self) -> None:
        Laws(self.world)
        self.world.watchers.append(self._watch)

    def _watch(self, node: Node, s: Session, what: str, thing: object) -> None:
        if isinstance(s.brain, Outgoing) and isinstance(thing, e.Finish):
            self.states.append(int(s.brain.migration_state))

    def play(self, commands: list[str]) -> list[str]:
        assert self.world.start_migration(ONE, TWO)
        for command in commands:
            self.world.say(f"> {command}")
            self.obey(command)
            self._look()
        self.world.say("> end")
        for _ in range(PATIENCE):
            if self.world.is_quiet() or not self.step():
                break
        self.world.run_until_quiet()
        self._look()
        self.world.check_end()
        return [*canonical(self.world.trace), *self.summary()]

    def step(self) -> bool:
        more = self.world.fair_step()
        self._look()
        return more

    def _look(self) -> None:
        world = self.world
        if world.running():
            if self.stood_since is not None:
                self.longest = max(self.longest, world.now - self.stood_since)
            self.stood_since = None
        elif self.stood_since is None:
            self.stood_since = world.now

    # --- commands --------------------------------------------------------------------------------------------------

    def node(self, side: str) -> Node:
        return self.world.nodes[{"source": ONE, "destination": TWO}[side]]

    def qemu(self, side: str) -> Qemu:
        alive = [q for q in self.node(side).qemus.values() if q.alive]
        assert len(alive) == 1, f"the {side} has {len(alive)} QEMUs"
        return alive[0]

    def obey(self, command: str) -> None:
        world = self.world
        match command.split():
            case ["until", "record", "epoch", epoch]:
                self.until(command, lambda: world.record.epoch >= int(epoch))
            case ["until", "guest", "runs", "on", "node", number]:
                self.until(command, lambda: any(q.node == NodeId(number) for q in world.running()))
            case ["until", side, *words]:
                self.until(command, lambda: self.phase(side) == " ".join(words))
            case ["wait", seconds]:
                end = world.now + float(seconds)
                world.later(float(seconds), "wait", lambda: None)
                self.until(command, lambda: world.now >= end)
            case ["cancel"]:
                if not world.cancel(self.node("source")):
                    world.say("cancel refused")
            case [verb, side, "qemu"]:
                {"kill": world.kill_qemu, "freeze": world.freeze_qemu, "thaw": world.thaw_qemu}[verb](self.qemu(side))
            case [verb, side, "daemon"]:
                {
                    "kill": world.kill_daemon,
                    "freeze": world.freeze_daemon,
                    "thaw": world.thaw_daemon,
                    "restart": world.restart_daemon,
                }[verb](self.node(side))
            case [verb, side, "node"]:
                {"kill": world.kill_node, "reboot": world.reboot_node}[verb](self.node(side))
            case ["lapse", side]:
                world.lapse(self.node(side))
            case _:
                self.obey_world(command)
        world.check()

    def obey_world(self, command: str) -> None:
        world = self.world
        match command.split():
            case ["cut" | "join" as verb, "peers"]:
                world.cut = verb == "cut"
            case ["cut" | "join" as verb, "link"]:
                world.link_cut = verb == "cut"
            case [verb, "database"]:
                world.database_silent, world.database_mute = verb == "silence", verb == "swallow"
                assert verb in ("silence", "swallow", "open"), command
            case ["land"]:
                while world.late:
                    world.land_late(0, answered=False)
            case ["fail", "transfer"]:
                world.fail_transfer(next(q for q in world.all_qemus() if q.mig is Mig.ACTIVE), "an I/O error")
            case ["fail", "load"]:
                world.load_fails = once()
            case ["rest", "takes", seconds]:
                world.rest_time = float(seconds)
            case ["load", "takes", seconds]:
                world.load_time = float(seconds)
            case ["fail", "launch"]:
                world.launch_fails = once()
            case ["fail", "note"]:
                world.note_fails = once()
            case ["qemu", "stops", "by", "itself"]:
                world.stops_by_itself = lambda: True
            case ["take", "over"]:
                assert world.take_over(), "nothing to take over"
            case _:
                raise AssertionError(f"no such command: {command}")

    def phase(self, side: str) -> str:
        node = self.node(side)
        s = node.out if side == "source" else node.inc
        return s.phase.value if s is not None else "ended"

    def until(self, command: str, reached: "object") -> None:
        assert callable(reached)
        for _ in range(PATIENCE):
            if reached():
                return
            assert self.step(), f"nothing more happens: {command}"
        raise AssertionError(f"never: {command}")

    # --- what came out ---------------------------------------------------------------------------------------------

    def summary(self) -> list[str]:
        world = self.world
        runs = ", ".join(f"{q.image} on node {q.node}" for q in world.running()) or "nothing"
        outcomes = "; ".join(f"{side.value} {outcome}" for _, side, _, outcome in world.outcomes) or "none"
        lines = [
            f"= runs: {runs}",
            f"= record: {show_record(world.record)}",
            f"= outcomes: {outcomes}",
            f"= MigrationState: {', '.join(map(str, self.states)) or 'as it was'}",
            f"= stood still: {self.longest * 1000:.0f} ms at most",
        ]
        return lines + [f"= cold start on node {node}: {why}" for node, why in world.cold_starts]


def canonical(trace: list[str]) -> list[str]:
    """Phase changes and effects, without times, ids of sessions, and what is only said again in the same phase."""
    lines: list[str] = []
    said: dict[str, set[str]] = {}
    for line in (entry[9:] for entry in trace):
        brain = _BRAIN.match(line)
        if brain is None:
            if not _COMMAND.match(line):
                lines.append(line)
            continue
        side, rest = brain.groups()
        if line.split(": ", 1)[1].startswith("    "):
            if rest != "AskSession" and rest not in said.setdefault(side, set()):
                said[side].add(rest)
                lines.append(f"    {side} ! {rest}")
        elif " -> " in rest:
            event, _, phases = rest.partition(" in ")
            said[side] = set()
            lines.append(f"{side}: {phases} ({event})")
        elif rest.startswith("recovered"):
            said[side] = set()
            lines.append(f"{side}: {rest}")
    return lines
