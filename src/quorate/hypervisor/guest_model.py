"""A pure model of a guest whose memory is being copied while it runs: passes, dirty rate, bandwidth.

Memory is counted, not held. In each pass what was dirty at its beginning is sent at the bandwidth, while the guest
dirties again at its rate, at most its working set. What the sockets take counts as sent at once, as it does for QEMU,
and holds the guest up at the end, when they must be empty. A pass lasts as long as sending does, or as long as reading
what is only zeros, whichever is longer. The model knows no clock: :meth:`TransferModel.advance` is told how much time
has passed. The fake driver and simulations share it; docs/simulator-agreement.md shows how near it comes to QEMU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quorate.clusapi.frozen import replace

LOOKING_SECONDS: Final = 0.0005
"""What looking for dirty pages takes: the shortest time that a pass can last while the guest runs."""
ZEROS_PER_SECOND: Final = 8e9
"""Bytes per second at which QEMU finds that pages are zero: as fast as memory is read (docs/benchmarks.md: memcpy)."""
LEAST_SECONDS: Final = 0.02
"""Of a pass, to say anything about the dirty rate: the same as in the driver."""
BETWEEN_THROTTLE_LOOKS: Final = 1.0
"""Seconds between two looks that count for QEMU's throttle; it obeys on every second one."""
CHANNELS: Final = 2
"""Connections of one transfer, as many as `engine/outgoing_migrations.py` asks for."""
SOCKET: Final = 3_500_000
"""Bytes that one connection takes before the link has carried them: 4 MiB is the third figure of Linux's tcp_wmem, and
five sixths of that were seen to be data."""
SOCKET_SECONDS: Final = 0.2
"""A slow link has smaller sockets: of so many seconds of what it carries, as was seen with 100 Mb/s."""
FIRST_LOOK: Final = 0.1
"""Seconds in which QEMU does not look for dirty pages at first, whatever is left (`hypervisor/qemu/migration.py`)."""


def socket_bytes(bandwidth: float, channels: int = CHANNELS) -> int:
    """Tell how many bytes the sockets of a transfer take before the link has carried them."""
    return min(channels * SOCKET, round(bandwidth * SOCKET_SECONDS))


@dataclass(frozen=True, slots=True)
class GuestModel:
    """A guest as a migration sees it."""

    memory: int
    zero: int = 0  # bytes of pages that are zero: sent for free
    dirty_bytes: int = 0  # its working set
    dirty_bytes_per_second: float = 0.0

    def dirtied(self, seconds: float) -> int:
        """Tell how many different bytes it dirties in so long a time."""
        return min(self.dirty_bytes, round(self.dirty_bytes_per_second * seconds))


@dataclass(frozen=True, slots=True)
class TransferModel:
    """A transfer of a guest's memory; immutable, each step gives the next."""

    guest: GuestModel
    bandwidth: float  # bytes per second
    running: bool = True  # whether the guest runs, and so dirties
    passes: int = 1
    remaining: int = 0  # bytes that no socket has taken
    transferred: int = 0  # bytes that the sockets have taken
    running_in_pass: float = 0.0  # seconds for which the guest ran since the pass began
    completed: bool = False
    sockets: int = 0  # bytes that the sockets take before the link has carried them
    in_sockets: int = 0  # bytes that they hold
    dirty_rate: float = 0.0  # bytes per second, as the last look found it: at most the working set in a pass
    first_look: float = LOOKING_SECONDS  # seconds that the first pass lasts at least
    throttle: int = 0  # percent of the time for which its processors are held back
    throttle_asked: int = 0
    throttle_looks: int = 0  # that have counted since QEMU obeyed last
    since_throttle_look: float = 0.0  # seconds

    @classmethod
    def begin(
        cls,
        guest: GuestModel,
        bandwidth: float,
        *,
        running: bool,
        sockets: int = 0,
        first_look: float = LOOKING_SECONDS,
    ) -> TransferModel:
        """Start the first pass: everything that is not zero."""
        rest = guest.memory - guest.zero
        return cls(guest, bandwidth, running=running, remaining=rest, sockets=sockets, first_look=first_look)

    @property
    def seconds_to_look(self) -> float:
        """Seconds until QEMU looks for dirty pages again, while the guest runs."""
        sending = max(0, self.remaining - self._room) / self.bandwidth
        return max(sending, self._shortest - self.running_in_pass)

    @property
    def seconds_to_end(self) -> float:
        """Seconds that the rest takes with the guest standing."""
        left = self.remaining + self.in_sockets + self.dirtied
        return left / self.bandwidth

    @property
    def dirtied(self) -> int:
        """Bytes that the guest has dirtied since the pass began: it writes in the time that it is not held back."""
        return _dirtied(self.guest, self.running_in_pass, self.throttle)

    @property
    def unread(self) -> int:
        """Bytes of zeros that QEMU has not seen to be zero: it counts them as remaining."""
        return max(0, self.guest.zero - round(self.running_in_pass * ZEROS_PER_SECOND)) if self.passes == 1 else 0

    @property
    def _room(self) -> int:
        """Bytes that the sockets take at once; they may hold more than they would take by now."""
        return max(0, self.sockets - self.in_sockets)

    @property
    def _shortest(self) -> float:
        """Seconds that this pass lasts at least while the guest runs."""
        return _shortest_pass(self.passes, self.first_look, self.guest)

    def advance(self, seconds: float) -> TransferModel:
        """Let time pass. While the guest runs the transfer never completes: passes follow each other."""
        course = _Course(self)
        course.run(seconds)
        return replace(
            self,
            passes=course.passes,
            remaining=course.remaining,
            transferred=course.transferred,
            running_in_pass=course.running_in_pass,
            completed=course.completed,
            in_sockets=course.in_sockets,
            dirty_rate=course.dirty_rate,
            throttle=course.throttle,
            throttle_looks=course.throttle_looks,
            since_throttle_look=course.since_throttle_look,
        )

    def hold_back(self, percent: int) -> TransferModel:
        """Ask for the processors to be held back by so much."""
        return replace(self, throttle_asked=percent)

    def stop_guest(self) -> TransferModel:
        """The guest stands: what is dirty now is the last that has to be sent."""
        return replace(self, running=False)

    def start_guest(self) -> TransferModel:
        """The guest runs again."""
        return replace(self, running=True)


def _shortest_pass(passes: int, first_look: float, guest: GuestModel) -> float:
    if passes > 1:
        return LOOKING_SECONDS
    return max(first_look, LOOKING_SECONDS + guest.zero / ZEROS_PER_SECOND)


def _dirtied(guest: GuestModel, seconds: float, throttle: int) -> int:
    return guest.dirtied(seconds * (100 - throttle) / 100)


class _Course:
    """A transfer while time passes: what changes is changed in place, as a second may have thousands of passes."""

    __slots__ = (
        "_bandwidth",
        "_guest",
        "_is_running",
        "_shortest",
        "_sockets",
        "_throttle_asked",
        "completed",
        "dirty_rate",
        "in_sockets",
        "passes",
        "remaining",
        "running_in_pass",
        "since_throttle_look",
        "throttle",
        "throttle_looks",
        "transferred",
    )

    def __init__(self, begin: TransferModel) -> None:
        self._guest = begin.guest
        self._bandwidth = begin.bandwidth
        self._is_running = begin.running
        self._sockets = begin.sockets
        self._shortest = _shortest_pass(begin.passes, begin.first_look, begin.guest)
        self.passes = begin.passes
        self.remaining = begin.remaining
        self.transferred = begin.transferred
        self.running_in_pass = begin.running_in_pass
        self.completed = begin.completed
        self.in_sockets = begin.in_sockets
        self.dirty_rate = begin.dirty_rate
        self._throttle_asked = begin.throttle_asked
        self.throttle = begin.throttle
        self.throttle_looks = begin.throttle_looks
        self.since_throttle_look = begin.since_throttle_look

    def run(self, seconds: float) -> None:
        """Let so much time pass, or less if the transfer completes before."""
        left, bandwidth = seconds, self._bandwidth
        while left > 0 and not self.completed:
            self._hand_over()
            if self.remaining:
                left = self._pass_time(self.remaining / bandwidth, left)
            elif self._is_running and self.running_in_pass < self._shortest:
                left = self._pass_time(self._shortest - self.running_in_pass, left)
            elif self._is_last:
                left = self._pass_time(self.in_sockets / bandwidth, left)
                self.completed = not self.in_sockets
            else:
                self._look()

    @property
    def _is_last(self) -> bool:
        """Tell whether the guest stands and nothing of it is left to be handed over."""
        return not self._is_running and not _dirtied(self._guest, self.running_in_pass, self.throttle)

    def _hand_over(self) -> None:
        """Let the sockets take what they have room for."""
        taken = min(self.remaining, max(0, self._sockets - self.in_sockets))
        self.remaining -= taken
        self.transferred += taken
        self.in_sockets += taken

    def _pass_time(self, needed: float, left: float) -> float:
        """Let the link carry for so long as is needed, or as there is time; give the time that is left."""
        spent = min(left, needed)
        carried = round(spent * self._bandwidth)
        if self.remaining:  # the sockets stay full
            sent = self.remaining if needed <= left else carried
            self.remaining -= sent
            self.transferred += sent
        else:
            is_all = needed <= left and self._is_last
            self.in_sockets -= self.in_sockets if is_all else min(self.in_sockets, carried)
        if self._is_running:
            self.running_in_pass += spent
        return left - spent

    def _look(self) -> None:
        """Look for what the guest has dirtied: that is the next pass."""
        seconds = self.running_in_pass
        dirty = _dirtied(self._guest, seconds, self.throttle)
        if seconds >= LEAST_SECONDS:
            self.dirty_rate = dirty / seconds
        self.passes += 1
        self.remaining = dirty
        self.running_in_pass = 0.0
        self._shortest = LOOKING_SECONDS
        if self._throttle_asked:
            self._throttle_after(seconds)

    def _throttle_after(self, seconds: float) -> None:
        """Do as QEMU does on every second look that comes a second or more after another."""
        self.since_throttle_look += seconds
        if self.since_throttle_look < BETWEEN_THROTTLE_LOOKS:
            return
        self.since_throttle_look = 0.0
        if self.throttle_looks == 0:
            self.throttle_looks = 1
        else:
            self.throttle_looks, self.throttle = 0, self._throttle_asked
