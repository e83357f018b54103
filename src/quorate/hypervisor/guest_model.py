"""A pure model of a guest whose memory is being copied while it runs: passes, dirty rate, bandwidth.

Memory is counted, not held. In each pass what was dirty at its beginning is sent at the bandwidth, while the guest
dirties again at its rate, at most its working set. The model knows no clock: :meth:`TransferModel.advance` is told how
much time has passed. The fake driver and simulations share it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

LOOKING_SECONDS: Final = 0.0005
"""What looking for dirty pages takes: the shortest time that a pass can last while the guest runs."""


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
    remaining: int = 0
    transferred: int = 0
    running_in_pass: float = 0.0  # seconds for which the guest ran since the pass began
    completed: bool = False

    @classmethod
    def begin(cls, guest: GuestModel, bandwidth: float, *, running: bool) -> TransferModel:
        """Start the first pass: everything that is not zero."""
        return cls(guest, bandwidth, running=running, remaining=guest.memory - guest.zero)

    def advance(self, seconds: float) -> TransferModel:
        """Let time pass. While the guest runs the transfer never completes: passes follow each other."""
        state, left = self, seconds
        while left > 0 and not state.completed:
            if state.remaining:
                state, left = state._send(left)
            elif state.running and state.running_in_pass < LOOKING_SECONDS:
                spent = min(left, LOOKING_SECONDS - state.running_in_pass)
                state, left = replace(state, running_in_pass=state.running_in_pass + spent), left - spent
            else:
                state = state._look()
        return state

    def _send(self, seconds: float) -> tuple[TransferModel, float]:
        """Send for so long, or until nothing is left of this pass; give the time that is left."""
        needed = self.remaining / self.bandwidth
        spent = min(seconds, needed)
        sent = self.remaining if needed <= seconds else round(spent * self.bandwidth)
        state = replace(
            self,
            remaining=self.remaining - sent,
            transferred=self.transferred + sent,
            running_in_pass=self.running_in_pass + (spent if self.running else 0.0),
        )
        return state, seconds - spent

    def _look(self) -> TransferModel:
        """Look for what the guest has dirtied: that is the next pass, or the end if it stands and there is nothing."""
        dirty = self.guest.dirtied(self.running_in_pass)
        if not dirty and not self.running:
            return replace(self, completed=True)
        return replace(self, passes=self.passes + 1, remaining=dirty, running_in_pass=0.0)

    def stop_guest(self) -> TransferModel:
        """The guest stands: what is dirty now is the last that has to be sent."""
        return replace(self, running=False)

    def start_guest(self) -> TransferModel:
        """The guest runs again."""
        return replace(self, running=True)
