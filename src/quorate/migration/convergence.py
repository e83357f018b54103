"""When to stop the source: decided by what each pass achieved, never by wall time.

QEMU is told never to stop the guest by itself, so the length of the gap is ours to choose: the guest is stopped when
what is left, divided by the bandwidth that was measured, fits the allowed gap. What is left is more than QEMU says: it
counts what it found dirty when the pass began, and the guest has gone on writing since. The allowed gap starts small
and grows while passes stop making progress, up to the VM's limit; past that the guest dirties memory faster than the
link carries it.
"""

from dataclasses import dataclass, replace
from enum import Enum

FIRST_ALLOWED_GAP = 0.020
"""Seconds that the last transfer may take while passes still improve."""
LAST_ALLOWED_GAP = 0.300
"""Seconds beyond which we would rather say that the migration does not converge."""
PASSES_BEFORE_STOP = 2
"""How fast the guest dirties its memory is known from the second pass on."""
PASSES_WITHOUT_PROGRESS = 12
"""At the widest allowed gap, so many passes in a row must have failed to shrink what is left before we give up."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What QEMU said of a running transfer. Sizes in bytes, rates in bytes per second."""

    total: int
    transferred: int
    remaining: int
    bytes_per_second: float
    dirty_bytes_per_second: float
    passes: int
    pass_seconds: float = 0.0
    """Since QEMU last looked for dirty pages."""

    @property
    def left(self) -> int:
        """Give what would have to be sent if the guest were stopped now, with what QEMU has not seen yet."""
        return min(self.total, self.remaining + int(self.dirty_bytes_per_second * self.pass_seconds))

    @property
    def expected_gap(self) -> float:
        """Give the seconds that the rest would take if the guest were stopped now."""
        if self.left == 0:
            return 0.0
        return self._seconds_for(self.left)

    @property
    def gap_of_all(self) -> float:
        """Give the seconds that it would take to send again all that was ever sent: no gap is longer than that."""
        return self._seconds_for(self.transferred)

    def _seconds_for(self, size: int) -> float:
        return size / self.bytes_per_second if self.bytes_per_second > 0 else float("inf")


class Verdict(Enum):
    """What the last sample means."""

    COPY_ON = "copy on"
    STOP = "stop the guest"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Convergence:
    """What was learnt from the passes so far."""

    allowed_gap: float = FIRST_ALLOWED_GAP
    gap_limit: float = LAST_ALLOWED_GAP
    seen_pass: int = 0
    best_remaining: int | None = None
    """The least that was left in the course of any earlier pass."""
    lowest_in_pass: int | None = None
    fruitless_passes: int = 0

    def learn(self, sample: Sample) -> "Convergence":
        """Take in a sample: a pass that did not get below the best of the earlier ones widens the allowed gap."""
        if sample.passes <= self.seen_pass:
            lowest = sample.left if self.lowest_in_pass is None else min(self.lowest_in_pass, sample.left)
            return replace(self, lowest_in_pass=lowest)
        fresh = replace(self, seen_pass=sample.passes, lowest_in_pass=sample.left)
        if self.lowest_in_pass is None or sample.passes <= PASSES_BEFORE_STOP:
            return fresh
        if self.best_remaining is None or self.lowest_in_pass < 0.9 * self.best_remaining:
            return replace(fresh, best_remaining=self.lowest_in_pass, fruitless_passes=0)
        return replace(
            fresh,
            allowed_gap=min(self.gap_limit, self.allowed_gap * 1.5),
            fruitless_passes=self.fruitless_passes + 1 if self.allowed_gap >= self.gap_limit else 0,
        )

    def judge(self, sample: Sample) -> Verdict:
        """Decide; `sample` has been learnt from."""
        if sample.passes < PASSES_BEFORE_STOP:
            return self._judge_unknown(sample)
        if sample.expected_gap <= self.allowed_gap:
            return Verdict.STOP
        return Verdict.GIVE_UP if self.fruitless_passes >= PASSES_WITHOUT_PROGRESS else Verdict.COPY_ON

    def _judge_unknown(self, sample: Sample) -> Verdict:
        """The first pass: who has so little memory in use that all of it fits the gap need not wait for figures."""
        all_sent = sample.passes == 1 and sample.transferred > 0 and sample.remaining == 0
        return Verdict.STOP if all_sent and sample.gap_of_all <= self.allowed_gap else Verdict.COPY_ON

    def explain_failure(self, sample: Sample) -> str:
        """Say why the migration will not converge, with the figures."""
        return (
            f"will not converge: the guest dirties {sample.dirty_bytes_per_second / 1e6:.0f} MB/s, "
            f"{sample.bytes_per_second / 1e6:.0f} MB/s get across, and after {sample.passes} passes the last transfer "
            f"would still stop the guest for {sample.expected_gap * 1000:.0f} ms (limit {self.gap_limit * 1000:.0f} ms)"
        )
