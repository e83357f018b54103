"""The laws of DESIGN.md §4, watched in what really happens: processes, records and guards, never what brains say.

- I1, I2: at most one copy of a virtual machine runs, on the node and with the image that the record names, and not past
  the deadline that its guard knows by more than the guard may be late.
- I3: when the record leaves a node, nothing of the virtual machine runs there.
- I4: whoever ends a lease, or takes a group, finds the guard of that node to have acted.
- I5: an image is worth nothing once the guest has run on from it elsewhere, or from something newer. A giver's image
  is not ended by its own node while the record names it.
- Post-copy: while the destination that the record names lives and misses pages, no daemon ends the source that has
  them; and while that source lives, no daemon gives the destination up for the lack of them.
- Every write of ownership raises the epoch by one. A deadline is never in the future while the lease is ended.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quorate.clusapi.identity import GroupId, ImageId, NodeId
from quorate.database import keys
from quorate.database.contract import Change
from quorate.database.records import Ownership
from quorate.simulator.kernel import EPSILON, Kernel
from quorate.simulator.machine import LATENESS, Machine
from quorate.simulator.qemu import Qemu, Run
from quorate.simulator.store import lease_of
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.trace import Trace

_COMPLETE: Final = frozenset({Run.PAUSED, Run.FINISH, Run.SERVING, Run.POSTMIGRATE, Run.LOADED, Run.SHUTDOWN})


@dataclass(frozen=True, slots=True)
class Violation:
    """A law was broken."""

    at: float
    law: str
    """I1 to I5, epoch, liveness, or brain: one of them met what it does not know."""
    sentence: str
    event: int
    """How many events had happened."""

    def __str__(self) -> str:
        return f"{self.law} at {self.at:.3f} s: {self.sentence}"


class Broken(Exception):
    """Ends a world whose laws were broken."""

    def __init__(self, violation: Violation) -> None:
        """Say how."""
        super().__init__(str(violation))
        self.violation = violation


class Laws:
    """Watches one world."""

    def __init__(
        self, kernel: Kernel, machines: dict[NodeId, Machine], name_of: Callable[[GroupId], str], trace: "Trace"
    ) -> None:
        """Know nothing has happened yet."""
        self._kernel = kernel
        self._machines = machines
        self._name_of = name_of
        self._trace = trace
        self.records: dict[GroupId, Ownership] = {}
        self.running: dict[GroupId, dict[Qemu, None]] = {}
        self.have_run: set[GroupId] = set()
        self.on_guest: Callable[[Qemu, bool], None] = lambda qemu, runs: None
        """Called when the virtual CPUs of a guest have started, or stand."""
        self._images: dict[GroupId, dict[Qemu, None]] = {}
        self._stale: set[ImageId] = set()
        self._older: set[Qemu] = set()
        """What a saved image was restored into, and another one of the same image has run."""
        self._saved: dict[GroupId, set[ImageId]] = {}
        self._ended: set[NodeId] = set()
        self._excused: dict[Qemu, float] = {}

    def broken(self, law: str, sentence: str) -> Broken:
        """Make the violation of a law."""
        return Broken(Violation(self._kernel.now, law, sentence, self._kernel.events))

    # --- what runs ---------------------------------------------------------------------------------------------------

    def on_qemu(self, qemu: Qemu) -> None:
        """A process was started."""
        self._images.setdefault(qemu.group, {})[qemu] = None

    def on_saved(self, group: GroupId, image: ImageId) -> None:
        """An image was written to a file."""
        self._saved.setdefault(group, set()).add(image)
        if self._trace.is_kept:
            self._trace.add(Kind.QEMU, "", f"{self._name_of(group)} is saved (image {image})")

    def on_run(self, qemu: Qemu) -> None:
        """Virtual CPUs have started."""
        group = qemu.group
        running = self.running.setdefault(group, {})
        if running and not self._is_excused(qemu):
            other = next(iter(running))
            self._check_excuse(other, f"{self._where(qemu)} starts while {self._where(other)} runs")
        running[qemu] = None
        self.have_run.add(group)
        self._check_record(qemu)
        self._check_deadline(qemu)
        self._tell(qemu, "runs")
        if qemu.image in self._stale or qemu in self._older:
            if not self._is_excused(qemu):
                raise self.broken("I5", f"{self._where(qemu)} runs an image that is older than its disks")
            self.on_guest(qemu, True)  # for the tenth of a second that its guard has: nothing is older than this
            return
        images = self._images[group]
        for other in tuple(images):
            if other.is_gone:
                del images[other]
                self._older.discard(other)
            elif other is not qemu and (other.run in _COMPLETE or other.has_all):
                if other.image == qemu.image:
                    self._older.add(other)
                else:
                    self._stale.add(other.image)
        for image in self._saved.pop(group, set()):
            if image != qemu.image:
                self._stale.add(image)
        self.on_guest(qemu, True)

    def on_stand(self, qemu: Qemu) -> None:
        """Virtual CPUs stand, or their process is gone."""
        running = self.running.get(qemu.group)
        if running is not None:
            running.pop(qemu, None)
        self._excused.pop(qemu, None)
        self._tell(qemu, "has ended" if qemu.is_gone else "stands")
        self.on_guest(qemu, False)

    def on_ended_by_hand(self, qemu: Qemu) -> None:
        """A daemon ends a process: never a giver's image before the record has moved on."""
        record = self.records.get(qemu.group)
        if record is None or qemu.is_gone:
            return
        peer = qemu.destination
        serves = qemu.run is Run.SERVING and peer is not None and peer.pages_missing and not peer.is_gone
        if serves and peer is not None and (record.holder, record.image) == (peer.machine.node, peer.image):
            raise self.broken("I5", f"{self._where(qemu)} is ended, and {self._where(peer)} misses pages of it")
        if record.holder == qemu.machine.node:
            return
        if (record.giver, record.giver_image) == (qemu.machine.node, qemu.image):
            raise self.broken("I5", f"{self._where(qemu)} is ended, and the record still names it as its giver's image")

    def on_given_up(self, qemu: Qemu) -> None:
        """A daemon gives a guest up because pages of it will not come."""
        source = qemu.source
        if qemu.is_gone or not qemu.pages_missing or source is None or source.is_gone:
            return
        if source.run is Run.SERVING and source.destination is qemu:
            raise self.broken("I5", f"{self._where(qemu)} is given up, and {self._where(source)} has its pages")

    def on_wake(self, qemu: Qemu) -> None:
        """A host has slept, and runs on before its guard can have looked: nothing short of fencing can prevent it.

        So does a `cont` that has reached QEMU before, and that it carries out now.
        """
        self._excused[qemu] = self._kernel.now + LATENESS
        self._kernel.later(LATENESS + EPSILON, lambda: self._check_later(qemu))

    def _check_later(self, qemu: Qemu) -> None:
        if qemu.is_running:
            self._check_record(qemu)
            self._check_deadline(qemu)

    def check_deadlines(self, machine: Machine) -> None:
        """Its deadline has passed by more than a guard may be late: nothing runs there."""
        for qemu in machine.qemus:
            if qemu.is_running:
                self._check_deadline(qemu)

    def _check_deadline(self, qemu: Qemu) -> None:
        machine = qemu.machine
        over = -machine.clock.seconds_until(machine.guard.deadline)
        if over > machine.guard.lateness + EPSILON:
            self._check_excuse(qemu, f"{self._where(qemu)} runs {over:.3f} s past the deadline of its node")

    def _check_record(self, qemu: Qemu) -> None:
        record = self.records.get(qemu.group)
        if record is None or (record.holder, record.image) != (qemu.machine.node, qemu.image):
            says = "there is no record" if record is None else f"the record names {self._name(record)}"
            self._check_excuse(qemu, f"{self._where(qemu)} runs, and {says}")

    def _check_excuse(self, qemu: Qemu, sentence: str) -> None:
        if not self._is_excused(qemu) and qemu.is_running and not self._is_unwatched(qemu.machine):
            raise self.broken("I2", sentence)

    def _is_excused(self, qemu: Qemu) -> bool:
        return self._excused.get(qemu, 0.0) >= self._kernel.now

    def _is_unwatched(self, machine: Machine) -> bool:
        """Nobody is there to keep a deadline that has passed: neither guard nor daemon, only a watchdog would be."""
        guard = machine.guard
        return guard.lateness == math.inf and machine.clock.seconds_until(guard.deadline) < 0

    def take_record(self, key: str, value: bytes) -> None:
        """Know a record of ownership that was there from the beginning."""
        self.records[GroupId(key.removeprefix(keys.OWNERSHIP))] = Ownership.decode(value)

    # --- what is written ---------------------------------------------------------------------------------------------

    def on_change(self, change: Change) -> None:
        """A record of ownership or a lease has changed."""
        if change.key.startswith(keys.LEASES):
            self._on_lease(NodeId(change.key.removeprefix(keys.LEASES)), change.value)
        elif change.value is not None:
            self._on_record(GroupId(change.key.removeprefix(keys.OWNERSHIP)), Ownership.decode(change.value))

    def _on_record(self, group: GroupId, record: Ownership) -> None:
        old = self.records.get(group)
        self.records[group] = record
        if self._trace.is_kept:
            self._trace.add(Kind.RECORD, "", f"the record of {self._name_of(group)} names {self._name(record)}")
        if old is None:
            return
        if record.epoch != old.epoch + 1:
            raise self.broken("epoch", f"{self._name_of(group)} goes from epoch {old.epoch} to {record.epoch}")
        for qemu in tuple(self.running.get(group, ())):
            if (record.holder, record.image) != (qemu.machine.node, qemu.image):
                self._check_excuse(qemu, f"{self._where(qemu)} runs, and the record passes to {self._name(record)}")

    def _on_lease(self, node: NodeId, value: bytes | None) -> None:
        if value is None or not lease_of(value).ended:
            self._ended.discard(node)
            return
        if node in self._ended:
            return
        self._ended.add(node)
        machine = self._machines.get(node)
        if machine is not None and not machine.guard.has_acted():
            left = machine.clock.seconds_until(machine.guard.deadline)
            raise self.broken(
                "I4", f"the lease of {machine.name} is ended, and its guard acts on a deadline {left:.3f} s away"
            )

    def on_deadline(self, machine: Machine, deadline: float) -> None:
        """A daemon has told its guard a deadline."""
        if machine.node in self._ended and deadline > machine.clock.boottime() + EPSILON:
            raise self.broken("I4", f"{machine.name} goes on until {deadline:.3f} though its lease is ended")

    def _tell(self, qemu: Qemu, what: str) -> None:
        if self._trace.is_kept:
            self._trace.add(Kind.QEMU, qemu.machine.name, f"{self._name_of(qemu.group)} {what} (image {qemu.image})")

    def _where(self, qemu: Qemu) -> str:
        return f"{self._name_of(qemu.group)} on {qemu.machine.name} (image {qemu.image})"

    def _name(self, record: Ownership) -> str:
        machine = self._machines.get(record.holder)
        name = f"node {record.holder}" if machine is None else machine.name
        image = "no image" if record.image is None else f"image {record.image}"
        return f"{name} with {image} at epoch {record.epoch}"
