"""When to stop the source, and what to do with a guest that dirties memory faster than the link carries it.

QEMU is told never to stop the guest by itself, so the length of the gap is ours to choose: the guest is stopped when
what is left, divided by the bandwidth that was measured, fits the allowed gap. What is left is more than QEMU says: it
counts what it found dirty when the pass began, and the guest has gone on writing since.

Decided by what each pass achieved, never by wall time. A pass is fruitless when the look for dirty pages at its end
finds no less than nine tenths of what the best one before it left. Then the next rung is climbed, as far as the policy
goes (`policy.py`):

1. the allowed gap, which starts small, grows by half, up to the limit. Where even the best pass left more than the
   limit allows there is nothing to gain by steps: the rung is passed at once;
2. the processors are held back, in steps. QEMU does it when it next finds much dirty, so passes count from the
   first one on in which the throttle was in force; they may make the gap short again;
3. post-copy, where both sides were made ready for it;
4. a stop that is longer than the limit, where somebody has consented to that;
5. the end: the guest runs on here, at full speed, for QEMU takes its throttle off when a transfer ends.

Whatever the guest would feel for long (all but 1, and the later steps of 2) wants two fruitless passes in a row.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from quorate.clusapi.frozen import replace
from quorate.migration.policy import DEFAULT_POLICY, POLICIES, Policy

FIRST_ALLOWED_GAP: Final = 0.020
"""Seconds that the last transfer may take while passes still improve."""
HAND_OVER: Final = 0.080
"""Seconds that the guest stands besides: 11 to 32 ms were measured for ownership and for loading it, 59 ms for what
the sockets hold over 1 Gb/s (docs/simulator-agreement.md). The gap limit is kept with them."""
PASSES_BEFORE_STOP: Final = 2
"""How fast the guest dirties its memory is known from the second pass on."""
FRUITLESS_IN_ROW: Final = 2
"""Passes before anything is done that the guest would feel for long, or that cannot be taken back."""
THROTTLE_STEPS: Final = (60, 90)
"""Percent; after them the limit. A guest that writes its whole working set in each pass does not show how much faster
it writes, and each step takes QEMU one to four passes. Where post-copy may help, it is milder than more than these."""
THROTTLE_SECONDS: Final = 6.0
"""Of passes, in which QEMU should have taken up a throttle: on the second look that comes a second after another."""
THROTTLE_PASSES: Final = 3
THROTTLE_PASSES_MOST: Final = 100
SAMPLE_PAUSE: Final = 0.05
SAMPLE_PAUSE_NEAR: Final = 0.004
"""Seconds between two looks at the transfer: rare while much is left, dense when the stop is near."""
_IMPROVED: Final = 0.9
_EARLY_LOOK: Final = 4.0
"""Seconds: a QEMU that throttles (9.2 and later) looks again after five, however much of the pass is still to come."""


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
    throttle: int = 0
    """Percent of the time for which the processors are held back."""

    @property
    def left(self) -> int:
        """Give what would have to be sent if the guest were stopped now, with what QEMU has not seen yet."""
        return min(self.total, self.remaining + int(self.dirty_bytes_per_second * self.pass_seconds))

    @property
    def expected_gap(self) -> float:
        """Give the seconds that the rest would take if the guest were stopped now."""
        if self.left == 0:
            return 0.0
        return self.seconds_for(self.left)

    @property
    def gap_of_all(self) -> float:
        """Give the seconds that it would take to send again all that was ever sent: no gap is longer than that."""
        return self.seconds_for(self.transferred)

    def seconds_for(self, size: int) -> float:
        """Give the seconds that so many bytes take."""
        return size / self.bytes_per_second if self.bytes_per_second > 0 else float("inf")


class Verdict(Enum):
    """What the last sample means."""

    COPY_ON = "copy on"
    THROTTLE = "hold the processors back"
    """By `Convergence.throttle` percent from now on."""
    STOP = "stop the guest"
    POST_COPY = "switch to post-copy"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class _Pass:
    """A pass as it goes: from one look for dirty pages to the next, but for looks that come early."""

    began_with: int = 0
    remaining: int = 0
    """The least that was seen of what is known to be dirty."""
    seconds: float = 0.0
    """Since QEMU looked last."""
    seconds_before: float = 0.0
    """Of the part before an early look."""

    @classmethod
    def begin(cls, sample: Sample) -> "_Pass":
        return cls(sample.remaining, sample.remaining, sample.pass_seconds)

    def go_on(self, sample: Sample) -> "_Pass":
        return replace(self, remaining=min(self.remaining, sample.remaining), seconds=sample.pass_seconds)

    def goes_on_after(self, sample: Sample) -> bool:
        """Tell whether the look that has just been came early: then a pass has not shown yet what it achieves."""
        if self.seconds < _EARLY_LOOK or self.remaining <= self.began_with / 2:
            return False
        return (self.seconds_before + self.seconds) * sample.bytes_per_second < self.began_with * _IMPROVED

    def go_on_after_look(self, sample: Sample) -> "_Pass":
        before = self.seconds_before + self.seconds
        return replace(self, seconds_before=before, remaining=sample.remaining, seconds=sample.pass_seconds)


@dataclass(frozen=True, slots=True)
class Convergence:
    """What was learnt from the passes so far, and how far the ladder was climbed."""

    policy: Policy = DEFAULT_POLICY
    may_post_copy: bool = False
    """Both sides were made ready for post-copy before the first byte."""
    widest_gap: float = FIRST_ALLOWED_GAP
    """Seconds that the last transfer may take by now, if that is within the limit."""
    seen_pass: int = 0
    best_remaining: int | None = None
    """The least that any pass has left, under the throttle that is in force."""
    fruitless_passes: int = 0
    """In a row, with no wider gap to allow."""
    throttle: int = 0
    """Percent by which the processors are to be held back."""
    is_throttle_new: bool = False
    """The last sample has led to it."""
    waits_for_throttle: bool = False
    waited_passes: int = 0
    waited_seconds: float = 0.0
    _pass: _Pass = field(default_factory=_Pass)

    @property
    def gap_limit(self) -> float:
        """Seconds that the last transfer may take at most, so that the gap is within its limit."""
        limit = self.policy.gap_limit
        return max(min(limit, FIRST_ALLOWED_GAP), limit - HAND_OVER)

    @property
    def allowed_gap(self) -> float:
        """Seconds that the last transfer may take by now."""
        return min(self.widest_gap, self.gap_limit)

    @property
    def _throttle_most(self) -> int:
        most = self.policy.throttle_most
        return min(most, THROTTLE_STEPS[-1]) if self.may_post_copy else most

    def learn(self, sample: Sample) -> "Convergence":
        """Take in a sample: a fruitless pass leads to the next rung."""
        known = replace(self, is_throttle_new=False)
        if sample.passes <= self.seen_pass:
            return replace(known, _pass=self._pass.go_on(sample))
        ended = self._pass
        fresh = replace(known, seen_pass=sample.passes, _pass=_Pass.begin(sample))
        if self.waits_for_throttle:
            return fresh._wait_for_throttle(sample, ended)
        if ended.goes_on_after(sample):
            return replace(fresh, _pass=ended.go_on_after_look(sample))
        if sample.passes < PASSES_BEFORE_STOP:
            return fresh
        if self.best_remaining is None or sample.left < _IMPROVED * self.best_remaining:
            return replace(fresh, best_remaining=sample.left, fruitless_passes=0)
        return fresh._climb(sample)

    def _wait_for_throttle(self, sample: Sample, ended: _Pass) -> "Convergence":
        """Count passes again when the throttle is in force, or when QEMU has had every chance."""
        passes, seconds = self.waited_passes + 1, self.waited_seconds + ended.seconds
        in_vain = passes >= THROTTLE_PASSES and (seconds >= THROTTLE_SECONDS or passes >= THROTTLE_PASSES_MOST)
        if sample.throttle < self.throttle and not in_vain:
            return replace(self, waited_passes=passes, waited_seconds=seconds)
        return replace(
            self,
            waits_for_throttle=False,
            widest_gap=FIRST_ALLOWED_GAP,
            best_remaining=sample.left,
            fruitless_passes=0,
        )

    def _climb(self, sample: Sample) -> "Convergence":
        """A pass was fruitless."""
        assert self.best_remaining is not None, "it was compared with"
        if sample.seconds_for(self.best_remaining) <= self.gap_limit and self.allowed_gap < self.gap_limit:
            return replace(self, widest_gap=self.allowed_gap * 1.5, fruitless_passes=0)
        fruitless, most = self.fruitless_passes + 1, self._throttle_most
        at_limit = replace(self, widest_gap=self.gap_limit, fruitless_passes=fruitless)
        if self.throttle >= most or (not self.throttle and fruitless < FRUITLESS_IN_ROW):
            return at_limit
        return replace(
            at_limit,
            throttle=min(most, *(step for step in THROTTLE_STEPS if step > self.throttle), 100),
            is_throttle_new=True,
            waits_for_throttle=True,
            waited_passes=0,
            waited_seconds=0.0,
            fruitless_passes=0,
        )

    def judge(self, sample: Sample) -> Verdict:
        """Decide; `sample` has been learnt from."""
        if sample.passes < PASSES_BEFORE_STOP:
            return self._judge_unknown(sample)
        if sample.expected_gap <= self.allowed_gap:
            return Verdict.STOP
        if self.is_throttle_new:
            return Verdict.THROTTLE
        if self.fruitless_passes < FRUITLESS_IN_ROW:
            return Verdict.COPY_ON
        if self.may_post_copy:
            return Verdict.POST_COPY
        return Verdict.STOP if sample.expected_gap <= self.policy.pause_limit else Verdict.GIVE_UP

    def _judge_unknown(self, sample: Sample) -> Verdict:
        """The first pass: who has so little memory in use that all of it fits the gap need not wait for figures."""
        all_sent = sample.passes == 1 and sample.transferred > 0 and sample.remaining == 0
        return Verdict.STOP if all_sent and sample.gap_of_all <= self.allowed_gap else Verdict.COPY_ON

    def explain_failure(self, sample: Sample) -> str:
        """Say why the migration will not converge, with the figures, and which policy would move the guest."""
        gap, limit = sample.expected_gap, self.policy.gap_limit
        held = f"held back by {sample.throttle} %" if sample.throttle else "not held back"
        return (
            f"will not converge: the guest dirties {sample.dirty_bytes_per_second / 1e6:.0f} MB/s, "
            f"{sample.bytes_per_second / 1e6:.0f} MB/s get across, and after {sample.passes} passes, with its "
            f"processors {held}, the last transfer would still stop the guest for {gap * 1000:.0f} ms "
            f"(limit {limit * 1000:.0f} ms, policy {self.policy.name}); {self._remedy(gap)}"
        )

    def _remedy(self, gap: float) -> str:
        ways = []
        usual, forced = POLICIES["default"], POLICIES["must-move"]
        named = POLICIES.get(self.policy.name, self.policy)
        if self.policy.throttle_limit < named.throttle_limit:
            ways.append(f"a MigrationThrottleLimit above {self.policy.throttle_limit} could help")
        elif self.policy.throttle_limit < usual.throttle_limit:
            ways.append(f"policy {usual.name} may hold its processors back by {usual.throttle_limit} %")
        if self.policy.post_copy and not self.may_post_copy:
            ways.append("post-copy would move it (MigrationPostCopy, and a destination that can fetch pages)")
        if gap <= forced.pause_limit and self.policy.pause_limit < gap:
            ways.append(f"policy {forced.name} would stop it for {gap * 1000:.0f} ms rather than leave it here")
        ways.append("a faster link or less writing in the guest would do")
        return ", ".join(ways)


def pause_until_next(sample: Sample, allowed_gap: float) -> float:
    """Give the seconds until the next look; each costs the guest and the copy time that they need.

    It halves the way to the moment that may be the stop.
    """
    return min(SAMPLE_PAUSE, max(SAMPLE_PAUSE_NEAR, (sample.expected_gap - allowed_gap) / 2))
