"""A simulated machine: its clock, its guard, what its disk remembers, and the processes on it.

The guard kills every QEMU of its node a little after the deadline that it was told, whatever became of the daemon. What
lies in the run directory (journals, the guard's file) is gone with the machine's power.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorate.clusapi.identity import GroupId, NodeId
from quorate.engine.journal import IncomingNote, OutgoingNote
from quorate.simulator.dice import Dice
from quorate.simulator.kernel import EPSILON, Act, Kernel, Timer
from quorate.simulator.setup import NodeSetup
from quorate.simulator.store import Way

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon
    from quorate.simulator.qemu import Qemu

LATENESS: Final = 0.1
"""Seconds by which a guard is late at most."""
STAND_IN: Final = (0.15, 0.25)
"""Seconds past the deadline at which a living daemon does what a guard has not done that is away."""
STAND_IN_LATENESS: Final = 0.3
"""Seconds by which what runs is late at most while the guard is away and the daemon lives."""
_STAND_IN_AGAIN: Final = 0.1


class Clock:
    """CLOCK_BOOTTIME and CLOCK_MONOTONIC of a machine; the same but for the time that it was suspended."""

    def __init__(self, kernel: Kernel, started: float, drift: float) -> None:
        """Show ``started`` seconds now and go faster by ``drift`` parts per million."""
        self._kernel = kernel
        self._true, self._shown = kernel.now, started
        self._rate = 1.0 + drift / 1e6
        self._slept = 0.0

    def boottime(self) -> float:
        """CLOCK_BOOTTIME."""
        return self._shown + (self._kernel.now - self._true) * self._rate

    def boottime_at(self, true: float) -> float:
        """CLOCK_BOOTTIME at a moment of true time, as it goes now."""
        return self._shown + (true - self._true) * self._rate

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC."""
        return self.boottime() - self._slept

    def true_at(self, boottime: float) -> float:
        """The moment of true time at which CLOCK_BOOTTIME shows this."""
        return self._true + (boottime - self._shown) / self._rate

    def seconds_until(self, boottime: float) -> float:
        """True seconds until CLOCK_BOOTTIME shows this."""
        return self.true_at(boottime) - self._kernel.now

    def drift(self, ppm: float) -> None:
        """Go faster or slower from now on."""
        self._true, self._shown, self._rate = self._kernel.now, self.boottime(), 1.0 + ppm / 1e6

    def sleep_over(self, true_seconds: float) -> None:
        """The machine was suspended for so long."""
        self._slept += true_seconds * self._rate

    def elapsing(self, true_seconds: float) -> float:
        """How far CLOCK_BOOTTIME goes in so much true time."""
        return true_seconds * self._rate


class Guard:
    """A node's guard, and the file that it shares with the daemon."""

    def __init__(self, machine: "Machine", dice: Dice) -> None:
        """Have been told nothing."""
        self._machine = machine
        self._draw = dice.draw
        self.deadline = 0.0
        """CLOCK_BOOTTIME; 0: none was told in this boot."""
        self.is_alive = True
        self.acts = True
        self.ends_standing = True
        self.on_deadline: Callable[[float], None] = lambda deadline: None
        self._timer: Timer | None = None
        self._second: Daemon | None = None
        """The daemon that lived when the deadline passed and no guard was there."""

    @property
    def lateness(self) -> float:
        """Seconds past the deadline by which what runs has surely ended; infinite while nobody is there to end it.

        That takes three faults at once: the lease is lost, the guard has just died, and the daemon is dead or frozen.
        Real machines have a watchdog against it, which the guard feeds.
        """
        if self.is_alive or not self.acts:
            return LATENESS
        daemon = self._machine.daemon
        is_watched = daemon is not None and daemon is self._second and daemon.life.is_running
        return STAND_IN_LATENESS if is_watched else math.inf

    def tell(self, deadline: float) -> None:
        """Let what runs here run until then, and no longer."""
        earlier = deadline < self.deadline
        self.deadline = deadline
        if self._timer is None or earlier:
            self.watch()
        self.on_deadline(deadline)

    def watch(self) -> None:
        """Look when the deadline has passed."""
        if self._timer is not None:
            self._timer.cancel()
        machine = self._machine
        due = machine.clock.true_at(self.deadline) + self._draw() * LATENESS
        self._timer = machine.kernel.at(max(due, machine.kernel.now), self._look, routine=True)

    def _look(self) -> None:
        self._timer = None
        machine = self._machine
        if not machine.is_on or machine.is_suspended:
            return
        if machine.clock.boottime() < self.deadline:
            self.watch()
        elif self.deadline > 0 and self.acts and not self.is_alive:
            self._second = machine.daemon
            late = STAND_IN[0] + self._draw() * (STAND_IN[1] - STAND_IN[0])
            due = machine.clock.true_at(self.deadline) + late
            self._timer = machine.kernel.at(max(due, machine.kernel.now), self._stand_in)
        elif self.deadline > 0 and self.acts:
            self._kill("the guard has ended it: the node's lease is over")

    def _stand_in(self) -> None:
        """The daemon ends what the guard has not: it looks ten times a second."""
        self._timer = None
        machine = self._machine
        if not machine.is_on or machine.is_suspended or machine.clock.boottime() < self.deadline:
            return
        if machine.daemon is not None and machine.daemon.life.is_running:
            self._kill("the daemon has ended it, as no guard has: the node's lease is over")
        elif machine.qemus and not self.is_alive:
            self._timer = machine.kernel.later(_STAND_IN_AGAIN, self._stand_in)

    def _kill(self, sentence: str) -> None:
        victims = tuple(qemu for qemu in self._machine.qemus if self.ends_standing or qemu.is_running)
        if victims:
            self._machine.on_guard_kill(len(victims))
        for qemu in victims:
            qemu.kill(sentence)

    def has_acted(self) -> bool:
        """Tell whether what ran by the deadline that it knows has surely ended."""
        machine = self._machine
        if not machine.is_on or self.deadline == 0.0:
            return True
        return machine.clock.seconds_until(self.deadline) + LATENESS <= EPSILON

    def die(self) -> None:
        """End, without a word to anybody."""
        self.is_alive = False

    def come_back(self) -> None:
        """Be started again: the first thing that it looks at is the deadline."""
        if not self.is_alive:
            self.is_alive = True
            if self.deadline > 0:
                self.watch()


class Machine:
    """A machine that is, or was, a node of the cluster."""

    def __init__(self, kernel: Kernel, node: NodeId, setup: NodeSetup, way: Way, dice: Dice) -> None:
        """Be on, without a daemon."""
        self.kernel = kernel
        self.node = node
        self.name = setup.name
        self.memory = setup.memory
        self.way = way
        self.dice = dice
        self.clock = Clock(kernel, setup.booted, setup.drift)
        self.drift = setup.drift
        self.guard = Guard(self, dice)
        self.on_guard_kill: Callable[[int], None] = lambda number: None
        self.is_on = True
        self.is_suspended = False
        self.is_doomed = False
        """It stays off when the world is healed."""
        self.has_left = False
        """Its daemon has learnt that it is a node no more, or it was switched off for good as one that was evicted."""
        self.daemon: Daemon | None = None
        self.qemus: dict[Qemu, None] = {}
        """The processes that live."""
        self.outgoing_notes: dict[GroupId, OutgoingNote] = {}
        self.incoming_notes: dict[GroupId, IncomingNote] = {}
        self.is_disk_full = False
        self.failing_launches = 0
        self.link_rate = setup.bandwidth
        self._suspended_at = 0.0
        self.on_wake: list[Act] = []
        """What is to be done when it is suspended no more."""

    # --- power -------------------------------------------------------------------------------------------------------

    def lose_power(self) -> None:
        """Everything on it is gone at once."""
        if self.daemon is not None:
            self.daemon.end()
            self.daemon = None
        for qemu in tuple(self.qemus):
            qemu.kill("its machine is off")
        self.is_on, self.is_suspended = False, False
        self.outgoing_notes.clear()
        self.incoming_notes.clear()
        self.guard.deadline, self.guard.is_alive = 0.0, True
        self.is_disk_full, self.failing_launches = False, 0
        self.on_wake.clear()

    def boot(self) -> None:
        """Be switched on."""
        self.is_on = True
        self.clock = Clock(self.kernel, 5.0, self.drift)

    def suspend(self) -> None:
        """Sleep: nothing here goes on."""
        self.is_suspended = True
        self._suspended_at = self.kernel.now
        for qemu in self.qemus:
            qemu.hold_still()
        if self.daemon is not None:
            self.daemon.life.stop()

    def wake(self) -> None:
        """Sleep no more. The clock has gone on."""
        if not self.is_suspended:
            return
        self.is_suspended = False
        self.clock.sleep_over(self.kernel.now - self._suspended_at)
        if self.guard.deadline > 0:
            self.guard.watch()
        for qemu in tuple(self.qemus):
            qemu.go_on()
        if self.daemon is not None and not self.daemon.is_paused:
            self.daemon.go_on()
        todo, self.on_wake = self.on_wake, []
        for act in todo:
            act()
