"""A simulated QEMU: what the real one was measured to do, and nothing more.

A guest that we stopped stays stopped when the transfer fails; one that QEMU stopped by itself runs again by itself. A
transfer completes only while the guest stands still. Commands are carried out in order, also those that a frozen QEMU
got from a daemon that is dead by now.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from quorate.clusapi.identity import GroupId, ImageId, VmId
from quorate.hypervisor.contract import (
    Exited,
    GuestShutdown,
    InstanceEvent,
    MigrationChanged,
    MigrationSample,
    MigrationStatus,
    Mute,
    PassStarted,
    RunState,
    Speaking,
)
from quorate.hypervisor.guest_model import GuestModel, TransferModel
from quorate.simulator.kernel import Act, Life
from quorate.simulator.links import Links, Transfer

if TYPE_CHECKING:
    from quorate.simulator.laws import Laws
    from quorate.simulator.machine import Machine

LATENCY: Final = 0.0004
"""Seconds for a command to QEMU, and for its answer."""
LOAD: Final = 0.005
"""Seconds from the last byte to a loaded guest."""
MUTE_AFTER: Final = 2.0
STAND: Final = 0.01
"""Seconds from the stop to the moment where QEMU stands before the switch to post-copy."""
SPIN: Final = 0.004
"""Seconds of a pass that has next to nothing to send: of such passes nobody is told, for they follow each other."""
DOWNTIME_LIMIT: Final = 0.3
"""Seconds of QEMU's own limit, as it is when nobody sets it."""


class Run(Enum):
    """What a QEMU does."""

    RUNNING = "running"
    PAUSED = "paused"
    FINISH = "finish-migrate"
    """QEMU stopped the running guest by itself: it runs again by itself if the transfer fails."""
    SERVING = "serving pages"
    """In post-copy: it never runs the guest again, and may have the only copy of a page."""
    POSTMIGRATE = "postmigrate"
    INMIGRATE = "inmigrate"
    LOADED = "loaded"
    SHUTDOWN = "shutdown"
    GONE = "gone"


_SEEN_AS: Final = {
    Run.RUNNING: RunState.RUNNING,
    Run.PAUSED: RunState.PAUSED,
    Run.FINISH: RunState.SAVING,
    Run.SERVING: RunState.SAVING,
    Run.POSTMIGRATE: RunState.POSTMIGRATE,
    Run.INMIGRATE: RunState.INMIGRATE,
    Run.LOADED: RunState.PAUSED,
    Run.SHUTDOWN: RunState.SHUTDOWN,
    Run.GONE: RunState.UNKNOWN,
}
_CAN_RUN: Final = frozenset({Run.PAUSED, Run.POSTMIGRATE, Run.LOADED})
Listener = Callable[[InstanceEvent], None]


class Qemu:
    """One process with one memory image."""

    def __init__(
        self, machine: "Machine", links: Links, laws: "Laws", group: GroupId, vm_id: VmId, image: ImageId, run: Run
    ) -> None:
        """Be started by a node's daemon."""
        self.machine = machine
        self.group = group
        self.vm_id = vm_id
        self.image = image
        self.run = run
        self.guest = GuestModel(0)
        self.is_frozen = False
        self.fails_to_load = False
        self.switches_over = False
        """It stops its guest by itself when the rest fits its own limit; ours are kept from it (ARCHITECTURE.md)."""
        self.transfer: Transfer | None = None
        self.status = MigrationStatus.NONE
        self.sentence = ""
        self.source: Qemu | None = None
        """Who sends to it."""
        self.has_all = False
        """Everything has come, loaded or not."""
        self.destination: Qemu | None = None
        """Whom it sends pages to, in post-copy."""
        self.pages_missing = False
        """Pages of its guest are at its source only."""
        self._may_switch = self._switches = False
        self._devices_sent = False
        self._rest: TransferModel | None = None
        self._sent_all = False
        self._links = links
        self._laws = laws
        self._commands: deque[Act] = deque()
        self._life: Life | None = None
        self._listeners: list[Listener] = []
        self._completion = 0
        machine.qemus[self] = None
        laws.on_qemu(self)

    # --- how it is ---------------------------------------------------------------------------------------------------

    @property
    def is_gone(self) -> bool:
        """Tell whether the process has ended."""
        return self.run is Run.GONE

    @property
    def is_running(self) -> bool:
        """Tell whether guest code is being executed at this moment."""
        return self.run is Run.RUNNING and not self.machine.is_suspended

    @property
    def is_still(self) -> bool:
        """Tell whether the process does nothing: frozen, or its host sleeps."""
        return self.is_frozen or self.machine.is_suspended

    @property
    def run_state(self) -> RunState:
        """What it answers when asked."""
        return _SEEN_AS[self.run]

    def sample(self) -> MigrationSample:
        """Look at the transfer."""
        transfer = self.transfer
        if transfer is None:
            return MigrationSample(self.status, sentence=self.sentence)
        transfer.advance()
        model = transfer.model
        if self.switches_over and self.run is Run.RUNNING and model.remaining < transfer.rate * DOWNTIME_LIMIT:
            self._stand(Run.FINISH)
        return MigrationSample(
            status=self.status,
            total=model.guest.memory,
            transferred=model.transferred,
            remaining=model.remaining + model.unread,
            dirty_bytes_per_second=model.dirty_rate if model.passes > 1 else 0.0,
            bytes_per_second=transfer.rate,
            passes=model.passes,
            pass_seconds=model.running_in_pass,
            throttle=model.throttle,
        )

    # --- who hears of it ---------------------------------------------------------------------------------------------

    def attach(self, life: Life) -> None:
        """Tell a daemon from now on what happens; an earlier one hears no more."""
        self._life = life
        self._listeners = []

    def listen(self, listener: Listener) -> Act:
        """Have the daemon that is attached hear of it; returns how to end that."""
        self._listeners.append(listener)

        def forget() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return forget

    def _emit(self, event: InstanceEvent) -> None:
        life = self._life
        if life is None or not life.is_alive or not self._listeners:
            return

        def deliver() -> None:
            if self._life is life:
                for listener in tuple(self._listeners):
                    listener(event)

        life.kernel.later(LATENCY, deliver, life)

    # --- commands ----------------------------------------------------------------------------------------------------

    def command(self, act: Act) -> None:
        """Have a command carried out: at once, or when it goes on."""
        if self.is_gone:
            return
        if self.is_still:
            self._commands.append(act)
        else:
            act()

    def freeze(self) -> None:
        """Answer nothing, copy nothing."""
        if self.is_gone or self.is_frozen:
            return
        self._hold_transfer()
        self.is_frozen = True
        life = self._life
        if life is not None:
            since = self.machine.kernel.now

            def notice() -> None:
                if self.is_frozen and not self.is_gone:
                    self._emit(Mute(since))

            life.kernel.later(MUTE_AFTER, notice)

    def thaw(self) -> None:
        """Answer and copy again."""
        if not self.is_frozen:
            return
        self._hold_transfer()
        self.is_frozen = False
        self._emit(Speaking())
        self._resume_work()

    def hold_still(self) -> None:
        """Its host goes to sleep."""
        self._hold_transfer()

    def go_on(self) -> None:
        """Its host has woken."""
        self._hold_transfer()
        self._laws.on_wake(self)
        if not self.is_frozen:
            self._resume_work()

    def _hold_transfer(self) -> None:
        for transfer in (self.transfer, None if self.source is None else self.source.transfer):
            if transfer is not None:
                transfer.advance()

    def _resume_work(self) -> None:
        while self._commands and not self.is_still and not self.is_gone:
            self._commands.popleft()()
        for qemu in (self, self.source):
            if qemu is not None:
                qemu.expect_completion()
        if self.has_all and self.run is Run.INMIGRATE:
            self._load_later()

    # --- the guest ---------------------------------------------------------------------------------------------------

    def cont(self) -> bool:
        """Start the vCPUs; answers whether they run."""
        if self.run is Run.RUNNING:
            return True
        if self.run not in _CAN_RUN or (self._sent_all and self.status is MigrationStatus.ACTIVE):
            return False
        self._become_running()
        return True

    def _become_running(self) -> None:
        self.run = Run.RUNNING
        if self.transfer is not None:
            self.transfer.set_running(True)
        self._laws.on_run(self)

    def stop(self) -> bool:
        """Stop the vCPUs; answers whether they stand for good."""
        if self.run is Run.FINISH:
            return False
        if self.run is Run.RUNNING:
            self._stand(Run.PAUSED)
        return True

    def _stand(self, run: Run) -> None:
        if self.transfer is not None:
            self.transfer.set_running(False)
        self.run = run
        self._laws.on_stand(self)
        self.expect_completion()

    def shut_down_guest(self) -> None:
        """The guest obeys its power button."""
        if self.run is Run.RUNNING:
            self._stand(Run.SHUTDOWN)
            self._emit(GuestShutdown(by_guest=True))

    def change_guest(self, guest: GuestModel) -> None:
        """The guest writes faster or slower from now on."""
        self.guest = guest
        if self.transfer is not None:
            self.transfer.change_guest(guest)

    # --- sending -----------------------------------------------------------------------------------------------------

    def send_to(self, destination: "Qemu | None", *, post_copy: bool = False) -> str:
        """Begin to send the memory; answers why not, or nothing."""
        if self.status in (MigrationStatus.SETUP, MigrationStatus.ACTIVE) or self.status.is_postcopy:
            return "there is a migration in progress"
        if destination is None or destination.run is not Run.INMIGRATE or destination.source is not None:
            self._fail("connection refused")
            return ""
        self._sent_all, self.sentence = False, ""
        self._may_switch, self._switches, self._devices_sent = post_copy, False, False
        self.status = MigrationStatus.ACTIVE
        destination.source = self
        destination.status = MigrationStatus.ACTIVE
        self.transfer = self._links.begin(self, destination, running=self.run is Run.RUNNING)
        self.expect_completion()
        return ""

    def throttle(self, percent: int) -> None:
        """Hold the guest back from one of the next looks on, for as long as the transfer lasts."""
        if self.transfer is not None:
            self.transfer.hold_back(percent)

    def expect_completion(self) -> None:
        """Come to the end when the guest stands and the rest is across; until then, to the next pass."""
        transfer = self.transfer
        self._completion += 1
        if transfer is None or self._sent_all or transfer.is_stuck or self.status is MigrationStatus.PRE_SWITCHOVER:
            return
        if self._switches and self.run is Run.PAUSED and self.status is MigrationStatus.ACTIVE:
            self.machine.kernel.later(STAND, lambda: self.command(self._stand_before_switch))
            return
        if self.status.is_postcopy and not self._devices_sent:
            return
        if self.run is Run.RUNNING:
            self._expect_pass(transfer)
            return
        nth = self._completion

        def look() -> None:
            if nth != self._completion or self.transfer is not transfer or self.is_gone:
                return
            transfer.advance()
            if transfer.model.completed:
                self._all_is_sent()
            else:
                self.expect_completion()

        transfer.advance()
        self.machine.kernel.later(transfer.seconds_left() + 1e-4, look)

    def _expect_pass(self, transfer: Transfer) -> None:
        """Tell when the next pass begins."""
        transfer.advance()
        nth, passes, seconds = self._completion, transfer.model.passes, transfer.model.seconds_to_look
        if seconds < SPIN and passes > 1:
            return

        def look() -> None:
            if nth != self._completion or self.transfer is not transfer or self.is_gone:
                return
            transfer.advance()
            if transfer.model.passes > passes:
                self._emit(PassStarted(transfer.model.passes))
            self.expect_completion()

        self.machine.kernel.later(seconds + 1e-4, look)

    def _all_is_sent(self) -> None:
        transfer = self.transfer
        assert transfer is not None, "something was sent"
        if self.status is MigrationStatus.POSTCOPY:
            self._complete_pages(transfer)
            return
        self._sent_all = True
        transfer.destination.receive_all()
        self.machine.kernel.later(LATENCY * 4, lambda: self.command(lambda: self._complete(transfer)))

    def _complete(self, transfer: Transfer) -> None:
        if self.transfer is not transfer or self.status is not MigrationStatus.ACTIVE:
            return
        self._end_transfer()
        if self.run in (Run.PAUSED, Run.FINISH):
            self.run = Run.POSTMIGRATE
        self._set_status(MigrationStatus.COMPLETED)

    def cancel(self) -> None:
        """Give the transfer up, if one is going on."""
        if self.status in (MigrationStatus.ACTIVE, MigrationStatus.PRE_SWITCHOVER):
            self._break(MigrationStatus.CANCELLED, "cancelled")

    def break_off(self, sentence: str) -> None:
        """The connection has broken."""
        if self.status in (MigrationStatus.ACTIVE, MigrationStatus.PRE_SWITCHOVER):
            self._break(MigrationStatus.FAILED, sentence)
        else:
            self._lose_connection()

    def _break(self, status: MigrationStatus, sentence: str) -> None:
        transfer = self.transfer
        self.sentence = sentence
        self._end_transfer()
        if transfer is not None and not self._sent_all:
            transfer.destination.lose_source()
        if self.run is Run.FINISH:
            self._become_running()
        self._set_status(status)

    def _fail(self, sentence: str) -> None:
        self.sentence = sentence
        self._set_status(MigrationStatus.FAILED)

    def _end_transfer(self) -> None:
        transfer, self.transfer = self.transfer, None
        self._completion += 1
        if transfer is not None:
            self._links.end(transfer)

    def _set_status(self, status: MigrationStatus) -> None:
        self.status = status
        self._emit(MigrationChanged(status, self.sentence if status is MigrationStatus.FAILED else ""))

    # --- receiving ---------------------------------------------------------------------------------------------------

    def receive_all(self) -> None:
        """The last byte has come."""
        self.has_all = True
        self._load_later()

    def _load_later(self) -> None:
        self.machine.kernel.later(LOAD, lambda: self.command(self._load))

    def _load(self) -> None:
        if self.run is not Run.INMIGRATE or not self.has_all:
            return
        self._take_guest(MigrationStatus.COMPLETED)

    def _take_guest(self, status: MigrationStatus) -> None:
        if self.fails_to_load:
            self._emit(MigrationChanged(MigrationStatus.FAILED, "error while loading state"))
            self.kill("it could not load the guest", code=1)
            return
        self.run = Run.LOADED
        self._set_status(status)

    # --- post-copy ---------------------------------------------------------------------------------------------------

    def begin_postcopy(self) -> bool:
        """Switch when the guest stands; answers whether it can."""
        self._switches = self._may_switch and self.status is MigrationStatus.ACTIVE
        return self._switches

    def _stand_before_switch(self) -> None:
        if self.status is MigrationStatus.ACTIVE and self.run is Run.PAUSED and self._switches:
            self._set_status(MigrationStatus.PRE_SWITCHOVER)

    def enter_postcopy(self) -> bool:
        """Send the devices' state: from here on only the destination can run the guest."""
        transfer = self.transfer
        if self.status is not MigrationStatus.PRE_SWITCHOVER or transfer is None:
            return False
        self.run, self.destination = Run.SERVING, transfer.destination
        self._set_status(MigrationStatus.POSTCOPY)
        self._send_devices(transfer)
        return True

    def _send_devices(self, transfer: Transfer) -> None:
        def arrive() -> None:
            if self.transfer is not transfer or self.is_gone:
                return
            if transfer.is_stuck:
                self._send_devices(transfer)
                return
            self._devices_sent = True
            transfer.destination.command(transfer.destination._take_devices)
            self.expect_completion()

        self.machine.kernel.later(LOAD, arrive)

    def _take_devices(self) -> None:
        if self.run is Run.INMIGRATE:
            self.pages_missing = True
            self._take_guest(MigrationStatus.POSTCOPY)

    def _complete_pages(self, transfer: Transfer) -> None:
        destination = transfer.destination
        destination.pages_missing = False
        self._end_transfer()
        self.run = Run.POSTMIGRATE
        destination._set_status(MigrationStatus.COMPLETED)
        self._set_status(MigrationStatus.COMPLETED)

    def pause_pages(self) -> bool:
        """Give the connection up; answers whether there was one to give up."""
        if self.status is MigrationStatus.POSTCOPY_PAUSED:
            return True
        if self.status is not MigrationStatus.POSTCOPY:
            return False
        sender = self if self.destination is not None else self.source
        transfer = None if sender is None else sender.transfer
        connected = transfer is not None and not transfer.is_stuck
        peer = self.destination if self.destination is not None else self.source
        self._lose_connection()
        if connected and peer is not None:
            peer.command(peer._lose_connection)
        return True

    def _lose_connection(self) -> None:
        """Keep what is here."""
        if self.status is not MigrationStatus.POSTCOPY or self.is_gone:
            return
        if self.run is Run.INMIGRATE or (self.destination is not None and not self._devices_sent):
            self._devices_sent = True  # nobody waits for them any more
        if self.transfer is not None:
            self.transfer.advance()
            self._rest = self.transfer.model
            if self.transfer.destination.run is Run.INMIGRATE:
                self.transfer.destination.lose_source()
            self._end_transfer()
        self._set_status(MigrationStatus.POSTCOPY_PAUSED)

    def resume_pages(self, destination: "Qemu | None") -> bool:
        """Go on over a new connection; answers whether that was to be tried."""
        if self.status is not MigrationStatus.POSTCOPY_PAUSED or self._rest is None:
            return False
        waits = destination is not None and destination.status is MigrationStatus.POSTCOPY_PAUSED
        if destination is None or destination is not self.destination or not waits or destination.is_still:
            return True
        if self._links.is_cut(self.machine.node, destination.machine.node):
            return True
        self.transfer = self._links.begin(self, destination, running=False)
        self.transfer.take_up(self._rest)
        for qemu in (self, destination):
            qemu._set_status(MigrationStatus.POSTCOPY)
        self.expect_completion()
        return True

    def lose_source(self) -> None:
        """The source is gone before all has come: say so and end, as QEMU does."""
        if self.run is Run.INMIGRATE and not self.has_all:
            self.command(self._end_without_source)

    def _end_without_source(self) -> None:
        if self.run is Run.INMIGRATE and not self.has_all:
            self.sentence = "the source is gone"
            self._set_status(MigrationStatus.FAILED)
            self.kill("the source is gone", code=1)

    # --- its end -----------------------------------------------------------------------------------------------------

    def kill(self, sentence: str, code: int = -9) -> None:
        """End at once."""
        if self.is_gone:
            return
        was_running = self.run is Run.RUNNING
        transfer = self.transfer
        peer = self.destination if self.status.is_postcopy else None
        connected = transfer is not None and not transfer.is_stuck
        self._end_transfer()
        self.run = Run.GONE
        self._commands.clear()
        self.machine.qemus.pop(self, None)
        if was_running:
            self._laws.on_stand(self)
        if transfer is not None and not self._sent_all:
            transfer.destination.lose_source()
        if peer is not None and connected:
            peer.command(peer._lose_connection)
        if self.source is not None and self.source.transfer is not None and not self.has_all:
            self.source.command(lambda: self._tell_source())
        self._emit(Exited(code, sentence))

    def _tell_source(self) -> None:
        if self.source is not None:
            self.source.break_off("the connection broke")
