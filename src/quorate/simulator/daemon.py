"""One life of a node's daemon in a simulated world: it builds and wires its parts, as `service/node.py` does."""

from typing import TYPE_CHECKING, Any, Final, cast

from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.identity import GroupId, ImageId, NodeId, VmId
from quorate.clusapi.status import Status
from quorate.cluster import promise
from quorate.cluster.picture import Picture
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.pictures import Pictures
from quorate.simulator.coordination import ClusterClock, Coordination
from quorate.simulator.instance import Instance
from quorate.simulator.kernel import Future, Life
from quorate.simulator.membership import Keeper, Membership, PromiseExchange
from quorate.simulator.moving import Errands, Migrations, Moves
from quorate.simulator.news import CalmView
from quorate.simulator.outgoing import OfSession, Prepare
from quorate.simulator.owner import Owner, Starts
from quorate.simulator.policy import Failures, Upkeep
from quorate.simulator.qemu import Qemu, Run
from quorate.simulator.recovery import recover
from quorate.simulator.store import NodeStore
from quorate.simulator.trace import Kind
from quorate.simulator.view import View

if TYPE_CHECKING:
    from quorate.engine.cluster_clock import ClusterClock as EngineClock
    from quorate.engine.view import ClusterView
    from quorate.simulator.machine import Machine
    from quorate.simulator.world import World

RETRY: Final = 0.5
"""Seconds after which a daemon that finds no database tries again."""
WRITE_TIMEOUT: Final = 3.0
"""Seconds after which a write counts as unanswered."""
LAUNCH: Final = (0.05, 0.25)
"""Seconds that a QEMU takes to start."""


class Database(ClusterDatabase):
    """Production's database on a simulated store; the whole cluster is read at the price of a question."""

    def __init__(self, store: NodeStore) -> None:
        """Work on this store."""
        super().__init__(store)
        self._node_store = store

    async def snapshot(self) -> ClusterSnapshot:
        """The cluster as it is now. Raises StoreUnavailable."""
        return await self._node_store.head()


class Daemon:
    """A daemon, from its start to its death."""

    def __init__(self, world: "World", machine: "Machine") -> None:
        """Start: nothing is there yet but the wish to read the database."""
        self.world = world
        self.machine = machine
        self.node: NodeId = machine.node
        self.node_name = machine.name
        self.life = Life(world.kernel)
        self.life.on_error = self._on_error
        self.is_paused = False
        self.has_open_doors = False
        self.has_started = False
        self._store = NodeStore(world.store, machine.way, self.life, WRITE_TIMEOUT)
        self.database = Database(self._store)
        self.life.spawn(self._start(), "the start of a daemon")

    # --- start and end -----------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        while True:
            try:
                head = await self._store.head()
                break
            except ClusterError:
                await self.life.sleep(RETRY)
        if self.node not in head.nodes:
            self.life.kernel.soon(self._leave)
            return
        self.view = self._new_view()
        self.view.subscribe(self._watch_for_eviction)
        self.world.add_view(self.machine, self.view)
        self.keeper = Keeper(self, self.world.new_base(self.node))
        is_held = self.life.future()
        self.keeper.on_held = lambda: is_held.set((True,))
        self.keeper.start()
        await is_held
        self._wire()
        self.membership.start()
        self.promises.start()
        await recover(self)
        self.has_started = True
        self.owner.start()
        self.view.subscribe(self._on_view)
        self.view.cares = self._cares
        self.has_open_doors = True
        self.keeper.joined()
        self.coordination.start()
        self._after_view()
        self.say(Kind.NODE, "is up")

    def _new_view(self) -> View:
        world, clock = self.world, self.machine.clock.boottime_at
        if world.is_calm:
            return CalmView(world.kernel, self.life, world.store, self.machine.way, clock, world.news)
        return View(world.kernel, self.life, world.store, self.machine.way, clock)

    def _wire(self) -> None:
        self.membership = Membership(self)
        self.promises = PromiseExchange(self)
        self.clock = ClusterClock(self)
        self._pictures = Pictures(
            self.node,
            cast("ClusterView", self.view),
            self.membership,
            cast("EngineClock", self.clock),
            is_fenced=self.world.is_confirmed_off,
            now=self.machine.clock.boottime,
            groups=self.world.group_pictures,
            steady=self.membership.steady if self.world.is_calm else lambda: None,
        )
        self.owner = Owner(self)
        self.starts = Starts(self)
        self.moves = Moves(self)
        self.failures = Failures(self)
        self.upkeep = Upkeep(self)
        self.migrations = Migrations(self)
        self.errands = Errands(self)
        self.coordination = Coordination(self)
        self.owner.on_lost = self.failures.on_lost

    def _on_view(self) -> None:
        touched = self.view.take_touched()
        self.owner.on_view(touched)
        self.migrations.on_view(self.view.snapshot, touched)
        self.coordination.on_view(of_groups_alone=self.view.take_is_of_groups())
        self._after_view()

    def _cares(self, groups: tuple[GroupId, ...]) -> bool:
        """Tell whether this daemon has anything to do with groups that have changed."""
        if self.coordination.decides or self.upkeep.waits:
            return True
        held, records, incoming = self.owner.held, self.world.laws.records, self.migrations.incoming
        for group in groups:
            record = records.get(group)
            if group in held or group in self.migrations.outgoing:
                return True
            if record is not None and record.holder == self.node:
                return True
            if incoming and any(session.group == group for session in incoming.values()):
                return True
        return False

    def _after_view(self) -> None:
        self.errands.look()
        self.upkeep.look_soon()

    def end(self) -> None:
        """Be killed."""
        self.life.end()

    def _watch_for_eviction(self) -> None:
        if self.node not in self.view.snapshot.nodes:
            self.life.kernel.soon(self._leave)

    def _leave(self) -> None:
        """End, and be started no more: the cluster has this node no more. What runs here yet is left to the guard."""
        self.say(Kind.NODE, "is a node of the cluster no more")
        self.world.drop_view(self.machine)
        self.machine.has_left, self.machine.daemon = True, None
        self.end()

    def go_on(self) -> None:
        """Stand still no more."""
        if hasattr(self, "view"):
            self.view.slept()
        self.life.go_on()

    # --- what its parts ask ------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """The cluster as its brains see it."""
        return self._pictures.current()

    def call(self, node: NodeId, kind: str, message: object, timeout: float) -> "Future[Any]":
        """Ask another node's daemon."""
        return self.world.network.call(self.life, self.node, node, kind, message, timeout)

    async def launch(
        self, group: GroupId, vm_id: VmId, image: ImageId, run: Run, *, restored: bool = False
    ) -> Instance:
        """Start a QEMU. Raises RefusalError 5023, FaultError."""
        machine, world = self.machine, self.world
        if any(qemu.group == group for qemu in machine.qemus):
            raise RefusalError(Status.ERROR_INVALID_STATE, "an instance of this virtual machine runs here already")
        await self.life.sleep(machine.dice.between(*LAUNCH))
        if machine.failing_launches > 0:
            machine.failing_launches -= 1
            raise FaultError(Status.ERROR_GEN_FAILURE, "QEMU did not start")
        qemu = Qemu(machine, world.links, world.laws, group, vm_id, image, run)
        world.fit_out(qemu)
        instance = Instance(self, qemu)
        if restored:
            await self.life.sleep(world.disk_seconds(qemu.guest))
        return instance

    def say(self, kind: Kind, what: str) -> None:
        """Tell the trace."""
        self.world.trace.add(kind, self.machine.name, what)

    def _on_error(self, what: str, error: ClusterError) -> None:
        self.say(Kind.SAY, f"{what} came to nothing: {error.sentence}")

    # --- what others ask ---------------------------------------------------------------------------------------------

    def on_peer(self, kind: str, sender: NodeId, message: object) -> object:
        """Answer another node's daemon. Raises ClusterError."""
        match kind:
            case "promise":
                assert isinstance(message, promise.Request), "so it is asked"
                return self.membership.answer(message)
            case "giver":
                group, epoch = cast("tuple[GroupId, int]", message)
                return self.migrations.on_giver(group, epoch)
            case "processes":
                return len(self.machine.qemus)
            case "assess":
                return self.migrations.on_assess(cast("int", message))
            case "prepare":
                assert isinstance(message, Prepare), "so it is asked"
                self.migrations.on_prepare(message)
                return None
            case "session" | "prepared" | "failed" | "abandon" | "yours" | "recover" | "pages paused":
                assert isinstance(message, OfSession), "so it is said"
                return self.migrations.on_message(kind, message)
            case _:
                raise CallerError(Status.ERROR_INVALID_FUNCTION, f"nobody answers {kind!r}")
