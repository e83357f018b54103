"""The groups that a simulated daemon owns: taken on when the record names its node, let go when it names another.

As `engine/groups.py`, `virtual_machines.py`, `power.py` and `starts.py` are in production. Here a group's resources
always come and go together.
"""

from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final

from quorate.clusapi.errors import ClusterError, FaultError, RefusalError
from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import GroupPriority, ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.cluster.memory import explain_shortage
from quorate.cluster.picture import PARKED
from quorate.cluster.start_order import Waiting, plan_starts
from quorate.database.contract import StoreUnavailable
from quorate.database.records import RunState
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.admission import NO_ROOM
from quorate.hypervisor import contract as hv
from quorate.simulator.holding import Held
from quorate.simulator.instance import Instance, let_run, wait_for_guard
from quorate.simulator.kernel import Timer
from quorate.simulator.qemu import Run
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon

AGAIN: Final = 1.0
"""Seconds after which a start is tried again that the database did not let begin."""
LANDING_PAUSE: Final = 0.5
SHUTDOWN_TIMEOUT: Final = 120.0
"""Seconds that a guest has for its own shutdown."""


class Cause(Enum):
    """Why the cluster starts a group."""

    ARRIVAL = "it has arrived from another node"
    BOOT = "it is wanted online, and this node has come up"
    RETRY = "it is tried once more after RetryPeriodOnFailure"
    ROOM = "this node has the room for it now"


class Admission:
    """The memory of one node's virtual machines: what they commit together never exceeds what the node has."""

    def __init__(self, daemon: "Daemon") -> None:
        """Have promised nothing."""
        self._daemon = daemon
        self._reserved: dict[GroupId, int] = {}

    def check(self, group: GroupId | None, needed: int) -> None:
        """Refuse a virtual machine that does not fit. Raises RefusalError 5957."""
        world = self._daemon.world
        taken = {
            held.group: world.memory_of(held.group)
            for held in self._daemon.owner.held.values()
            if held.instance is not None
        }
        for id_, size in self._reserved.items():
            taken[id_] = max(size, taken.get(id_, 0))
        committed = sum(size for id_, size in taken.items() if id_ != group)
        total = self._daemon.machine.memory
        if committed + needed > total:
            raise RefusalError(NO_ROOM, explain_shortage(self._daemon.machine.name, needed, committed, total))

    def reserve(self, group: GroupId) -> None:
        """Check, and keep the memory until `release`. Raises RefusalError 5957."""
        needed = self._daemon.world.memory_of(group)
        self.check(group, needed)
        self._reserved[group] = needed

    def release(self, group: GroupId) -> None:
        """Keep nothing more for a group."""
        self._reserved.pop(group, None)


class Owner:
    """The groups of one daemon."""

    def __init__(self, daemon: "Daemon") -> None:
        """Own nothing until `start`."""
        self.daemon = daemon
        self.held: dict[GroupId, Held] = {}
        self.attached: set[GroupId] = set()
        self.recovering: set[GroupId] = set()
        self.admission = Admission(daemon)
        self.lost_with_lease: set[GroupId] = set()
        self.lost_at_boot: set[GroupId] = set()
        self.on_lost: Callable[[Held, str, bool], None] = lambda held, sentence, by_guest: None
        """Called when a VM is gone that nobody here has stopped; the last argument: its guest shut itself down."""
        self._shut_down_by_guest: set[GroupId] = set()
        self._is_first_look = True
        self._settling: set[GroupId] = set()

    def start(self) -> None:
        """Begin to follow the records."""
        self._settle(None)
        self._is_first_look = False

    def on_view(self, touched: set[GroupId] | None) -> None:
        """Bring in line what has changed; None: all of it."""
        self._settle(touched)

    def look_again(self, group: GroupId) -> None:
        """Bring one group in line, once what goes on now is over."""
        if group not in self._settling:
            self._settling.add(group)

            def look() -> None:
                self._settling.discard(group)
                if self.daemon.has_started:
                    self._settle({group})

            self.daemon.life.kernel.soon(lambda: self.daemon.life.reach(look))

    def is_busy(self, group: GroupId) -> bool:
        """Tell whether a migration, or the recovery of one, has the say over a group."""
        migrations = self.daemon.migrations
        arriving = any(session.group == group for session in migrations.incoming.values())
        return arriving or group in migrations.outgoing or group in self.recovering

    # --- following the records ---------------------------------------------------------------------------------------

    def _settle(self, touched: set[GroupId] | None) -> None:
        snapshot, me = self.daemon.view.snapshot, self.daemon.node
        if touched is None:
            mine = self.daemon.world.holders.groups_of(me, snapshot.ownership)
            touched = {*mine, *self.held}
        for group in sorted(touched):
            record = snapshot.ownership.get(group)
            if record is not None and record.value.holder == me:
                self._settle_ours(snapshot, group)
            elif group in self.held:
                self._settle_others(snapshot, group)

    def _settle_others(self, snapshot: ClusterSnapshot, group: GroupId) -> None:
        if group not in self.daemon.migrations.outgoing and not self._is_older(snapshot, group):
            self.let_go(group)

    def _settle_ours(self, snapshot: ClusterSnapshot, group: GroupId) -> None:
        if self.is_busy(group):
            return
        if self._has_come_back(snapshot, group):
            self.let_go(group)
        if group not in self.attached and not self._is_older(snapshot, group):
            self._take_on(snapshot, group)

    def _has_come_back(self, snapshot: ClusterSnapshot, group: GroupId) -> bool:
        held, record = self.held.get(group), snapshot.ownership.get(group)
        if held is None or record is None or self._is_older(snapshot, group):
            return False
        return record.value.epoch > held.ownership.value.epoch + 1

    def _is_older(self, snapshot: ClusterSnapshot, group: GroupId) -> bool:
        held = self.held.get(group)
        return held is not None and snapshot.revision < held.ownership.revision

    def _take_on(self, snapshot: ClusterSnapshot, group: GroupId) -> None:
        held = self.held.get(group)
        if held is None:
            ownership, run = snapshot.ownership[group], snapshot.run.get(group)
            if run is None:
                return
            resource = snapshot.vm_resource(group)
            vm_id = None if resource is None else resource.vm_id
            held = self.held[group] = Held(self.daemon, group, vm_id, ownership, run.value)
        self.attached.add(group)
        self._after_arrival(held)

    def _after_arrival(self, held: Held) -> None:
        """A group that is ours since now: report what is lost, start what is wanted and does not run."""
        cause = Cause.BOOT if self._is_first_look else Cause.ARRIVAL
        if held.vm_id is None:
            return
        if held.instance is not None:
            self.show_that_it_runs(held)
            return
        state = held.resource_state
        if state.is_pending:
            state = ResourceState.OFFLINE
            self.daemon.life.spawn(held.set_states(state), f"the state of {held.name}")
        if state is ResourceState.ONLINE:
            self.lost_at_boot.add(held.group)
            self.report_lost(held, "it was not there when the daemon looked")
            return
        if held.state not in (VmState.OFF, VmState.SAVED):
            left = VmState.OFF if held.run.vm is None or held.run.vm.saved_image is None else VmState.SAVED
            self.daemon.life.spawn(held.set_state(left), f"the state of {held.name}")
        stands_still = held.run.failover.failed_at is not None or held.run.status_information & int(PARKED)
        if held.run.persistent_state and not stands_still:
            self.daemon.starts.want(held.group, cause)

    def show_that_it_runs(self, held: Held) -> None:
        """Write that a group is online whose VM runs, whatever an earlier owner was about to do with it."""
        if held.resource_state is not ResourceState.ONLINE:
            self.daemon.life.spawn(held.set_states(ResourceState.ONLINE), f"the state of {held.name}")

    def hand_over(self, group: GroupId) -> None:
        """Have a group no more whose VM lives elsewhere, though its QEMU here still sends pages to it."""
        held = self.held.pop(group, None)
        self.attached.discard(group)
        if held is not None:
            held.is_let_go = True

    def let_go(self, group: GroupId) -> None:
        """Have nothing more to do with a group."""
        held = self.held.pop(group, None)
        self.attached.discard(group)
        if held is not None:
            held.is_let_go = True
            self.daemon.errands.forget(held)
        if held is not None and held.instance is not None:
            held.instance.kill()  # the record names another node: whatever this is, it may not run (I2)
            held.instance = None
        self._shut_down_by_guest.discard(group)
        self.lost_with_lease.discard(group)

    def own(self, held: Held) -> None:
        """Own a group that was recovered or has arrived."""
        self.held[held.group] = held
        if held.instance is not None:
            self.watch(held, held.instance)

    # --- watching QEMUs ----------------------------------------------------------------------------------------------

    def watch(self, held: Held, instance: Instance) -> None:
        """Hear what becomes of a VM's QEMU."""
        held.incarnation = self.daemon.keeper.incarnation

        def on_event(event: hv.InstanceEvent) -> None:
            match event:
                case hv.GuestShutdown(by_guest=True) if not held.is_stopping:
                    self._shut_down_by_guest.add(held.group)
                    instance.kill()
                case hv.Exited(_, sentence) if held.instance is instance:
                    held.exited = sentence
                    if not (held.is_stopping or held.is_moving_live or held.lock.is_locked):
                        self.report_lost(held, sentence)
                case _:
                    pass

        instance.subscribe(on_event)

    def mark_shut_down_by_guest(self, group: GroupId) -> None:
        """Remember that a guest shut itself down while no daemon was there to see it."""
        self._shut_down_by_guest.add(group)

    def see_to_exited(self, held: Held) -> None:
        """Draw the consequences of a QEMU that ended while something was done to its VM."""
        if held.exited and held.instance is not None and not held.is_moving_live and not held.is_stopping:
            self.report_lost(held, held.exited)

    def report_lost(self, held: Held, sentence: str) -> None:
        """Write that a VM is off, and have its resource fail."""
        held.instance, held.exited = None, ""
        keeper = self.daemon.keeper
        if held.incarnation and not (keeper.is_held and keeper.incarnation == held.incarnation):
            self.lost_with_lease.add(held.group)
        by_guest = held.group in self._shut_down_by_guest
        self._shut_down_by_guest.discard(held.group)
        self.daemon.say(Kind.NODE, f"{held.name} is gone: {sentence}")
        self.daemon.life.spawn(self._write_lost(held, sentence, by_guest), f"the loss of {held.name}")

    async def _write_lost(self, held: Held, sentence: str, by_guest: bool) -> None:
        with suppress(RefusalError):  # its new owner writes its states
            await held.set_state(VmState.OFF, sentence)
        if self.held.get(held.group) is not held or held.group not in self.attached:
            return
        await held.set_states(
            ResourceState.OFFLINE if by_guest else ResourceState.FAILED, wanted=False if by_guest else None
        )
        self.on_lost(held, sentence, by_guest)

    # --- online and offline ------------------------------------------------------------------------------------------

    async def online(self, held: Held, wanted: bool | None) -> None:
        """Bring a group online. Raises ClusterError: it has failed, with the reason."""
        if held.resource_state is ResourceState.ONLINE or held.vm_id is None:
            return
        if held.resource_state.is_pending:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{held.name} is on its way")
        counts, laws = self.daemon.world.counts, self.daemon.world.laws
        is_cold = wanted is None and held.vm.saved_image is None and held.group in laws.have_run
        await held.set_states(ResourceState.ONLINE_PENDING, wanted)
        try:
            async with held.lock:
                if held.instance is None:
                    await self._start(held)
        except ClusterError:
            await held.set_states(ResourceState.FAILED)
            raise
        counts.cold_starts += is_cold
        await held.set_states(ResourceState.ONLINE)
        self.see_to_exited(held)

    async def _start(self, held: Held) -> None:
        self.admission.reserve(held.group)
        try:
            await self._start_admitted(held)
        finally:
            self.admission.release(held.group)

    async def _start_admitted(self, held: Held) -> None:
        """Restore the saved image, if there is one, else start from the disks."""
        daemon = self.daemon
        saved = held.vm.saved_image
        stands = saved is not None and held.vm.paused
        image = saved if saved is not None else daemon.world.new_image()
        await wait_for_guard(daemon)
        incarnation = daemon.keeper.incarnation
        before = held.state
        await held.keep(image, lambda run: _starting(run))
        assert held.vm_id is not None, "only a virtual machine starts"
        try:
            held.exited = ""
            held.instance = await daemon.launch(held.group, held.vm_id, image, Run.PAUSED, restored=saved is not None)
            self.watch(held, held.instance)
            held.check_ours()
            if saved is not None:
                state = VmState.PAUSED if stands else VmState.STARTING
                await self._land(held, lambda: held.set_saved(state, None, None))
            if not stands:
                await let_run(daemon, held.instance, incarnation, new=True)
        except ClusterError:
            await self._on_start_failed(held, before, saved)
            raise
        daemon.world.counts.starts += 1
        if not stands:
            await held.set_state(VmState.RUNNING)

    async def _on_start_failed(self, held: Held, before: VmState, saved: object) -> None:
        ran = held.instance is not None and not await _stands(held.instance)
        await self._discard(held)
        if saved is not None and not ran and held.vm.saved_image is None:
            image = held.ownership.value.image
            await held.set_saved(before, image, f"saved/{image}")
        else:
            await held.set_state(VmState.OFF if ran else before)

    async def _land(self, held: Held, write: Callable[[], object]) -> None:
        while True:
            try:
                await write()  # type: ignore[misc]
                return
            except StoreUnavailable:
                await self.daemon.life.sleep(LANDING_PAUSE)

    async def offline(self, held: Held, how: str, wanted: bool | None) -> None:
        """Take a group offline. Raises ClusterError: it is not."""
        if held.vm_id is None:
            return
        if held.resource_state is ResourceState.ONLINE_PENDING:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{held.name} is on its way online")
        while True:
            while not await self.daemon.migrations.end_migration(held):
                pass
            async with held.lock:
                if held.group in self.daemon.migrations.outgoing:
                    continue  # one has begun while somebody else had the lock
                held.check_ours()
                await self._offline_locked(held, how, wanted)
                return

    async def _offline_locked(self, held: Held, how: str, wanted: bool | None) -> None:
        if held.instance is None:
            await held.set_states(ResourceState.OFFLINE, wanted)
            return
        await held.set_states(ResourceState.OFFLINE_PENDING, wanted)
        held.check_ours()
        if held.instance is None:  # it has ended while that was written
            await held.set_states(ResourceState.OFFLINE)
            return
        held.is_stopping = True
        try:
            await self._take_off(held, held.instance, how)
        except ClusterError:
            held.is_stopping = False
            await held.set_states(ResourceState.ONLINE)
            self.see_to_exited(held)
            raise
        held.is_stopping = False
        await held.set_states(ResourceState.OFFLINE)

    async def _take_off(self, held: Held, instance: Instance, how: str) -> None:
        match how:
            case "save":
                await self._save(held, instance)
            case "turn off":
                await self._discard(held)
                await held.set_state(VmState.OFF)
            case _:
                await self._shut_down(held, instance)

    async def _save(self, held: Held, instance: Instance) -> None:
        was_running = held.state is VmState.RUNNING
        await held.set_state(VmState.SAVING)
        try:
            await instance.stop()
            await instance.save()
        except ClusterError:
            await self._go_on_unsaved(held, instance, was_running)
            raise
        image = instance.image
        await self._land(held, lambda: held.set_saved(VmState.SAVED, image, f"saved/{image}"))
        await self._discard(held)

    async def _go_on_unsaved(self, held: Held, instance: Instance, was_running: bool) -> None:
        if not was_running:
            await held.set_state(VmState.PAUSED)
            return
        try:
            await held.run_on(instance)
        except ClusterError as error:
            await held.set_state(VmState.PAUSED, f"it stands until it is resumed: {error.sentence}")
            return
        await held.set_state(VmState.RUNNING)

    async def _shut_down(self, held: Held, instance: Instance) -> None:
        await held.set_state(VmState.STOPPING)
        obeyed = self.daemon.life.future()
        forget = instance.subscribe(
            lambda event: obeyed.set((True,)) if isinstance(event, hv.GuestShutdown | hv.Exited) else None
        )
        try:
            await instance.shut_down_guest()
            done = await self.daemon.life.within(SHUTDOWN_TIMEOUT, obeyed)
        except ClusterError:
            await held.set_state(VmState.RUNNING, "did not shut down")
            raise
        finally:
            forget()
        if done is None:
            await held.set_state(VmState.RUNNING, "did not shut down in time")
            raise FaultError(Status.ERROR_TIMEOUT, f"the guest of {held.name} did not shut down")
        await self._discard(held)
        await held.set_state(VmState.OFF)

    async def _discard(self, held: Held) -> None:
        if held.instance is not None:
            instance, held.instance = held.instance, None
            held.exited = ""
            instance.kill()
            await instance.wait_gone()


def _starting(run: RunState) -> RunState:
    return run if run.vm is None else replace(run, vm=replace(run.vm, vm_state=int(VmState.STARTING)))


async def _stands(instance: Instance) -> bool:
    try:
        return await instance.run_state() is hv.RunState.PAUSED
    except ClusterError:
        return False


class Starts:
    """The starts of one node that nobody asked for by hand."""

    def __init__(self, daemon: "Daemon") -> None:
        """Start nothing until it is wanted."""
        self._daemon = daemon
        self._waiting: dict[GroupId, tuple[Waiting, Cause]] = {}
        self._running: dict[GroupId, Cause] = {}
        self._come_anew: set[GroupId] = set()
        """Arrived once more while a start of theirs was under way that had begun before they left."""
        self._timer: Timer | None = None

    def is_coming(self, group: GroupId) -> bool:
        """Tell whether a group waits for its start, or is being started."""
        return group in self._waiting or group in self._running

    def want(self, group: GroupId, cause: Cause) -> None:
        """Start a group that is wanted online, unless its own properties speak against that."""
        if cause is Cause.ARRIVAL and group in self._running:
            self._come_anew.add(group)
            return
        info = self._daemon.view.snapshot.groups.get(group)
        if info is not None and info.properties.number("Priority", GroupPriority.MEDIUM) != GroupPriority.DISABLED:
            self.request(group, cause)

    def request(self, group: GroupId, cause: Cause) -> None:
        """Start a group as soon as it is its turn."""
        info = self._daemon.view.snapshot.groups.get(group)
        if info is None or self.is_coming(group):
            return
        values = info.properties
        waiting = Waiting(
            group,
            info.name,
            values.number("Priority", GroupPriority.MEDIUM),
            self._daemon.machine.clock.monotonic(),
            values.number("GroupStartDelay") / 1000,
        )
        self._waiting[group] = (waiting, cause)
        life = self._daemon.life
        life.kernel.soon(lambda: life.reach(self._pump))

    def _pump(self) -> None:
        now = self._daemon.machine.clock.monotonic()
        plan = plan_starts([one for one, _ in self._waiting.values()], len(self._running), now)
        for group in plan.begin:
            waiting, cause = self._waiting.pop(group)
            self._running[group] = cause
            self._daemon.life.spawn(self._start(group, cause), f"the start of {waiting.name}")
        if self._timer is not None:
            self._timer.cancel()
        if plan.again_at is not None:
            self._timer = self._daemon.life.later(plan.again_at - now, self._pump)

    async def _start(self, group: GroupId, cause: Cause) -> None:
        owner = self._daemon.owner
        held = owner.held.get(group)
        error: ClusterError | None = None
        try:
            if held is not None and held.run.persistent_state and not owner.is_busy(group):
                await owner.online(held, None)
        except ClusterError as caught:
            error = caught
        finally:
            self._running.pop(group, None)
        if group in self._come_anew:
            self._come_anew.discard(group)
            self.want(group, Cause.ARRIVAL)
        elif error is not None and held is not None:
            self._daemon.failures.on_failed(held, error.status, error.sentence, cause)
        self._pump()
