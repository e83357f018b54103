"""Drives a world at random: anything may happen next, and faults are thrown in between."""

import random
from collections.abc import Callable

from tests.unit.migration.laws import Laws
from tests.unit.migration.world import ONE, TWO, Item, Mig, Node, Qemu, Run, World

from quorate.clusapi.identity import NodeId
from quorate.migration import outgoing_events as e
from quorate.migration.outgoing import Outgoing

FAULTS = (
    "kill qemu", "freeze qemu", "thaw qemu", "kill daemon", "restart daemon", "freeze daemon", "thaw daemon", "lapse",
    "kill node", "reboot node", "cut", "heal", "cut link", "heal link", "lose", "duplicate", "silence", "speech",
    "lose write", "land late", "drop late", "fail transfer", "cancel", "unreachable", "another", "take over",
    "mute", "unmute",
)  # fmt: skip
UNDOES = {
    "thaw qemu": "freeze qemu", "restart daemon": "kill daemon", "thaw daemon": "freeze daemon", "heal": "cut",
    "heal link": "cut link", "speech": "silence", "land late": "lose write", "reboot node": "kill node",
    "unmute": "mute",
}  # fmt: skip


class Chaos:
    """One run: a world, its laws, and a seed that decides everything."""

    def __init__(
        self,
        seed: int,
        *,
        faults: frozenset[str] | None = None,
        rate: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.seed = seed
        self.rng = rng = rng or random.Random(seed)
        self.world = World(guard=rng.random() < 0.8)
        self.laws = Laws(self.world)
        if faults is None:
            share = rng.choice((0.1, 0.2, 0.4, 0.8))
            some = {f for f in FAULTS if f not in UNDOES and rng.random() < share}
            faults = frozenset(some | {f for f, of in UNDOES.items() if of in some})
        self.faults = faults
        self.rate = rng.choice((0.02, 0.06, 0.15, 0.3)) if rate is None else rate
        self.haste = rng.choice((0.0, 0.02, 0.1))
        for name in ("note_fails", "load_fails", "launch_fails", "stops_by_itself"):
            p = rng.choice((0.0, 0.0, 0.3)) if faults else 0.0
            setattr(self.world, name, lambda p=p: rng.random() < p)

    def run(self, steps: int = 250) -> World:
        """Throw faults for so many steps, then heal and see where it ends."""
        world, rng = self.world, self.rng
        assert world.start_migration(ONE, TWO)
        steps = rng.randint(5, steps)
        for _ in range(steps):
            if self.faults and rng.random() < self.rate:
                self.fault(rng.choice(sorted(self.faults)))
                world.check()
                continue
            enabled = world.enabled()
            if not enabled:
                if not self.faults:
                    break
                self.fault(rng.choice(sorted(self.faults)))
                continue
            world.take(self.pick(enabled))
            if not self.faults and world.is_quiet():
                break
        world.say("---- healed")
        world.heal()
        world.run_until_quiet()
        world.check_end()
        return world

    def pick(self, enabled: list[Item]) -> Item:
        """Mostly what is due, in any order; now and then anything."""
        first = min(item.due for item in enabled)
        if self.faults and self.rng.random() < self.haste:
            return self.rng.choice(enabled)
        window = 0.003 if not self.faults else self.rng.choice((0.0, 0.003, 0.05, 0.5))
        return self.rng.choice([item for item in enabled if item.due <= first + window])

    def fault(self, name: str) -> None:
        """One fault, if there is anything that it can hit."""
        world, rng = self.world, self.rng
        node = world.nodes[rng.choice((ONE, TWO))]
        alive = world.alive_qemus()
        q = rng.choice(alive) if alive else None
        actions: dict[str, Callable[[], object]] = {
            "cut": lambda: setattr(world, "cut", True),
            "heal": lambda: setattr(world, "cut", False),
            "cut link": lambda: setattr(world, "link_cut", True),
            "heal link": lambda: setattr(world, "link_cut", False),
            "silence": lambda: setattr(world, "database_silent", True),
            "speech": lambda: setattr(world, "database_silent", False),
            "mute": lambda: setattr(world, "database_mute", True),
            "unmute": lambda: setattr(world, "database_mute", False),
            "lose": lambda: self.lose(("message", "answer")),
            "lose write": lambda: self.lose(("write",)),
            "duplicate": self.duplicate,
            "land late": self.land_late,
            "drop late": lambda: world.late and world.late.pop(rng.randrange(len(world.late))),
            "cancel": lambda: world.cancel(node),
            "another": lambda: self.another(),
            "take over": world.take_over,
        }
        if name in actions:
            actions[name]()
        elif name.endswith("qemu") or name == "fail transfer":
            if q is not None:
                self.hit_qemu(name, q)
        else:
            self.hit_node(name, node)

    def lose(self, kinds: tuple[str, ...]) -> None:
        items = [item for item in self.world.pool if item.kind in kinds and item.lost is not None]
        if items:
            item = self.rng.choice(items)
            self.world.pool.remove(item)
            self.world.say(f"lost: {item.kind} {item.label}")
            assert item.lost is not None
            item.lost()

    def land_late(self) -> None:
        if self.world.late:
            self.world.land_late(self.rng.randrange(len(self.world.late)), answered=self.rng.random() < 0.5)

    def duplicate(self) -> None:
        items = [item for item in self.world.pool if item.kind == "message"]
        if items:
            item = self.rng.choice(items)
            delay = self.rng.choice((0.0, 0.1, 3.0))
            self.world.later(delay, item.kind, item.act, item.blocked, lambda: None, item.label)

    def another(self) -> None:
        holder = self.world.record.holder
        if holder in (ONE, TWO) and self.world.sessions < 4:
            self.world.start_migration(holder, NodeId("2") if holder == ONE else ONE)

    def hit_qemu(self, name: str, q: Qemu) -> None:
        world = self.world
        match name:
            case "kill qemu":
                world.kill_qemu(q)
            case "freeze qemu" if not q.frozen:
                world.freeze_qemu(q)
            case "thaw qemu" if q.frozen:
                world.thaw_qemu(q)
            case "fail transfer" if q.mig is Mig.ACTIVE and not q.frozen:
                world.fail_transfer(q, "an error")
            case _:
                pass

    def hit_node(self, name: str, node: Node) -> None:
        world = self.world
        match name:
            case "kill daemon" if node.alive:
                world.kill_daemon(node)
            case "restart daemon" if node.up and not node.alive:
                world.restart_daemon(node)
            case "freeze daemon" if node.acts:
                world.freeze_daemon(node)
            case "thaw daemon" if node.frozen:
                world.thaw_daemon(node)
            case "lapse" if node.up:
                world.lapse(node)
            case "kill node" if node.up and self.rng.random() < 0.3:
                world.kill_node(node)
            case "reboot node" if not node.up:
                world.reboot_node(node)
            case "unreachable" if node.acts and node.out is not None and isinstance(node.out.brain, Outgoing):
                world.post(node, node.out, e.DestinationFailed("the destination's daemon is out of reach"))
            case _:
                pass


__all__ = ["FAULTS", "Chaos", "Run"]
