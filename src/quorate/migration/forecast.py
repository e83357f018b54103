"""How a live migration will go, said before its first byte: seconds, gap, passes and bytes, or why it will not end.

No formula foretells: the decisions of `migration.convergence`, the very ones that the move will be led by, are played
on a model of the copy with what is known of the guest and the link. Each figure is played three times, with the best,
the likely and the worst of what is known; what the last moves between the two nodes took more, or less, than was
foretold of them corrects it. Sizes are bytes, times seconds, rates bytes per second.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import log
from typing import Final, Protocol, Self

from quorate.clusapi.frozen import replace
from quorate.clusapi.json_types import JsonValue
from quorate.migration.convergence import Convergence, Sample, Verdict, pause_until_next
from quorate.migration.policy import Policy

START_SECONDS: Final = 0.25
"""From the request until a destination's QEMU listens, as long as no move between the two nodes has told."""
END_SECONDS: Final = 0.03
"""From the running guest at the destination until the source knows."""
HAND_OVER: Final = 0.015
"""Of the gap: everything but the bytes. Stop, ownership, loading, `cont`."""
LEAST_PAST: Final = 3
"""Past moves that it takes to correct by them."""
MOST_PAST: Final = 10
PATIENCE: Final = 4 * 3600.0
"""A move that would take longer than that is one that does not end."""
TOTAL_SPREAD: Final = 0.2
"""The range of a total of which no past move tells, as a share of it."""
GAP_SPREAD: Final = 0.3
LEAST_TOTAL_SPREAD: Final = 0.2
LEAST_GAP_SPREAD: Final = 0.015
_BENT: Final = 0.85
"""A guest that wrote less than this share of what its rate would make may have come round: it has a working set."""
_NOTHING: Final = 1 << 18
"""Bytes about which no look can tell."""
_NEAR_THE_END: Final = 0.05
"""Seconds of a pass over which the play does not leap."""
POST_COPY_HAND_OVER: Final = 0.03
"""Of the gap of a move by post-copy, besides what the sockets hold: 15 to 70 ms were seen in all."""
_SOON: Final = 0.0005
"""Until the source hears that a pass begins, and has looked."""


# --- what is known ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """A figure that is not known exactly."""

    low: float
    likely: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Self:
        """Make one without doubt."""
        return cls(value, value, value)

    def to_json(self, digits: int) -> dict[str, JsonValue]:
        """Write it, rounded."""
        return {"low": round(self.low, digits), "likely": round(self.likely, digits), "high": round(self.high, digits)}


@dataclass(frozen=True, slots=True)
class Look:
    """How many different bytes a guest was seen to write within so long a time."""

    seconds: float
    written: int


@dataclass(frozen=True, slots=True)
class Writing:
    """How a guest writes its memory: at what rate, and over how much of it."""

    rate: Range
    working_set: Range


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a past move between the two nodes took, and what the play alone had said; a gap may not be measured."""

    played_seconds: float
    seconds: float
    played_gap: float
    gap: float | None


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that goes into a forecast."""

    memory: int
    in_use: int
    """Bytes that are not all zero: what the first pass has to send."""
    writing: Writing
    link: Range
    """What gets across."""
    past: tuple[Outcome, ...] = ()
    """Of this pair of nodes, oldest first."""
    start: float = START_SECONDS
    """Until the destination's QEMU listens, its memory touched where that is done before."""


def estimate_writing(looks: Sequence[Look], in_use: int) -> Writing | None:
    """Tell how a guest writes from looks of different lengths; None without any.

    Within a look it writes at its rate, until it has come round to pages that it has written already: from then on a
    look tells over how much memory it writes. Where that bend is, is what fits the looks best.
    """
    ordered = sorted((look for look in looks if look.seconds > 0), key=lambda look: look.seconds)
    if not ordered:
        return None
    bends = [_bend(ordered, number) for number in range(1, len(ordered) + 1)]
    rate, working_set = min((bend for bend in bends if bend is not None), key=lambda bend: bend.misfit).found
    longest = ordered[-1]
    noise = 0.1 * rate + (1 << 20) / longest.seconds  # QEMU tells whole MiB per second, by a sample of the pages
    around = Range(max(0.0, rate - noise), rate, rate + noise)
    if working_set is None:
        return Writing(around, Range(min(in_use, longest.written), in_use, in_use))
    return Writing(around, Range(0.85 * working_set, working_set, max(working_set, min(in_use, 1.15 * working_set))))


@dataclass(frozen=True, slots=True)
class _Bend:
    """A rate and a working set (None: it has not come round), and how badly they fit the looks."""

    found: tuple[float, float | None]
    misfit: float


def _bend(looks: Sequence[Look], first_round: int) -> _Bend | None:
    """Suppose that the guest has come round in this look and all longer ones; None where that cannot be."""
    before, after = looks[:first_round], looks[first_round:]
    rate = _middle(before, lambda look: look.written / look.seconds)
    if not after:
        return _Bend((rate, None), _misfit(before, lambda look: rate * look.seconds))
    working_set = _middle(after, lambda look: look.written)
    if working_set >= _BENT * rate * after[0].seconds:
        return None
    return _Bend(
        (rate, working_set),
        _misfit(before, lambda look: rate * look.seconds) + _misfit(after, lambda _: working_set),
    )


def _middle(looks: Sequence[Look], value: Callable[[Look], float]) -> float:
    weights = [_weight(look) for look in looks]
    return sum(weight * value(look) for weight, look in zip(weights, looks, strict=True)) / sum(weights)


def _misfit(looks: Sequence[Look], expected: Callable[[Look], float]) -> float:
    return sum(_weight(look) * log((look.written + _NOTHING) / (expected(look) + _NOTHING)) ** 2 for look in looks)


def _weight(look: Look) -> float:
    """A short look sees few pages."""
    return min(1.0, look.seconds**2)


# --- what is foretold ------------------------------------------------------------------------------------------------


class Word(StrEnum):
    """Whether it will end."""

    CONVERGES = "converges"
    MAY_NOT = "may not converge"
    """It would not with the worst of what is known."""
    WILL_NOT = "will not converge"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is foretold of a move. Of one that will not converge: until it is given up, with no gap."""

    word: Word
    policy: str
    mode: str
    total: Range
    gap: Range
    passes: Range
    transferred: Range
    sentence: str = ""
    """Why it will not converge, or may not."""
    would: tuple[str, ...] = ()
    """The other policies under which it would."""
    throttle: int = 0
    """Percent of their time for which the guest's processors would be held back in the end."""
    played_seconds: float = 0.0
    """What the play alone says, without what past moves have taught."""
    played_gap: float = 0.0

    def to_json(self) -> dict[str, JsonValue]:
        """Write it as every face shows it, and as it is kept with the move."""
        gap = Range(*(1000 * value for value in (self.gap.low, self.gap.likely, self.gap.high)))
        return {
            "verdict": str(self.word),
            "policy": self.policy,
            "mode": self.mode,
            "seconds": self.total.to_json(3),
            "gap_ms": gap.to_json(1),
            "passes": self.passes.to_json(0),
            "bytes": self.transferred.to_json(0),
            "sentence": self.sentence,
            "would": list(self.would),
            "throttle": self.throttle,
            "played": {"seconds": round(self.played_seconds, 4), "gap_ms": round(1000 * self.played_gap, 2)},
        }


# --- the play --------------------------------------------------------------------------------------------------------


class Copy(Protocol):
    """A model of a copy under way (`hypervisor.guest_model.TransferModel`): the brain brings none of its own."""

    @property
    def passes(self) -> int:
        """The pass that goes on, from 1."""
        ...

    @property
    def remaining(self) -> int:
        """Bytes of it that are not handed over."""
        ...

    @property
    def unread(self) -> int:
        """Bytes of zeros that count as remaining."""
        ...

    @property
    def transferred(self) -> int:
        """Bytes that were handed over."""
        ...

    @property
    def dirty_rate(self) -> float:
        """What the guest wrote per second, as the last pass showed."""
        ...

    @property
    def running_in_pass(self) -> float:
        """Seconds since the pass began."""
        ...

    @property
    def throttle(self) -> int:
        """Percent of their time for which the processors are held back."""
        ...

    @property
    def dirtied(self) -> int:
        """Bytes that the guest has written since the pass began."""
        ...

    @property
    def seconds_to_look(self) -> float:
        """Seconds until the next pass."""
        ...

    @property
    def seconds_to_end(self) -> float:
        """Seconds that the rest takes with the guest standing."""
        ...

    def advance(self, seconds: float) -> Self:
        """Let time pass."""
        ...

    def hold_back(self, percent: int) -> Self:
        """Ask for the processors to be held back."""
        ...

    def stop_guest(self) -> Self:
        """The guest stands from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """One supposition about a guest and a link."""

    memory: int
    in_use: int
    written_per_second: float
    working_set: int
    link: float


class BeginCopy(Protocol):
    """Makes the model of a copy."""

    def __call__(self, case: Case) -> Copy:
        """Begin its first pass."""
        ...


@dataclass(frozen=True, slots=True)
class _Played:
    """What came of playing a case. ``failure`` says why it was given up."""

    seconds: float
    gap: float
    passes: int
    transferred: int
    failure: str = ""
    throttle: int = 0
    is_post_copy: bool = False


def _play(case: Case, start: Convergence, begin: BeginCopy) -> _Played:
    copy, convergence, elapsed = begin(case), start, 0.0
    while elapsed < PATIENCE:
        sample = _sample(copy, case)
        convergence = convergence.learn(sample)
        match convergence.judge(sample):
            case Verdict.STOP:
                copy = copy.stop_guest()
                gap, sent = copy.seconds_to_end, copy.transferred + copy.remaining + copy.dirtied
                return _Played(elapsed + gap, gap, copy.passes, sent, throttle=copy.throttle)
            case Verdict.POST_COPY:
                return _play_post_copy(copy, case, elapsed)
            case Verdict.GIVE_UP:
                why = convergence.explain_failure(sample)
                return _Played(elapsed, 0.0, copy.passes, copy.transferred, why, copy.throttle)
            case Verdict.THROTTLE:
                copy = copy.hold_back(convergence.throttle)
            case Verdict.COPY_ON:
                pass
        pause = _until_next_look(copy, sample, convergence.allowed_gap)
        copy, elapsed = copy.advance(pause), elapsed + pause
    why = f"will not converge: it would be copied for longer than {PATIENCE / 3600:.0f} hours"
    return _Played(elapsed, 0.0, copy.passes, copy.transferred, why)


def _play_post_copy(copy: Copy, case: Case, elapsed: float) -> _Played:
    """The guest goes on at the destination, and what is not there comes after it: the gap depends on neither."""
    standing = copy.stop_guest()
    rest = copy.remaining + copy.dirtied
    held = max(0.0, standing.seconds_to_end - rest / case.link)
    seconds = elapsed + standing.seconds_to_end
    gap = max(0.0, POST_COPY_HAND_OVER - HAND_OVER) + held
    return _Played(seconds, gap, copy.passes, copy.transferred + rest, throttle=copy.throttle, is_post_copy=True)


def _sample(copy: Copy, case: Case) -> Sample:
    return Sample(
        total=case.memory,
        transferred=copy.transferred,
        remaining=copy.remaining + copy.unread,
        bytes_per_second=case.link,
        dirty_bytes_per_second=copy.dirty_rate if copy.passes > 1 else 0.0,
        passes=copy.passes,
        pass_seconds=copy.running_in_pass,
        throttle=copy.throttle,
    )


def _until_next_look(copy: Copy, sample: Sample, allowed_gap: float) -> float:
    """Leap to where something may be decided: half the way to a gap that is allowed, and each pass's end."""
    to_pass = copy.seconds_to_look + _SOON
    halfway = (sample.expected_gap - allowed_gap) / 2
    leap = min(halfway, to_pass - _NEAR_THE_END)
    return min(to_pass, max(pause_until_next(sample, allowed_gap), leap))


# --- all of it -------------------------------------------------------------------------------------------------------


def foretell(
    inputs: Inputs,
    start: Convergence,
    others: Iterable[Policy],
    mode: str,
    begin: BeginCopy,
    *,
    can_post_copy: bool = False,
) -> Forecast:
    """Foretell a move as its source would begin it; where it would not end, name ``others`` under which it would.

    ``can_post_copy`` tells whether those may use post-copy that allow it.
    """
    policy = start.policy.name
    best, likely, worst = (_play(_case(inputs, luck), start, begin) for luck in (1, 0, -1))
    if likely.failure:
        starts = [
            replace(start, policy=other, may_post_copy=can_post_copy and other.post_copy)
            for other in others
            if other.name != policy
        ]
        would = tuple(one.policy.name for one in starts if not _play(_case(inputs, 0), one, begin).failure)
        return _refused(inputs, policy, mode, likely, best, worst, would)
    seconds = [inputs.start + one.seconds + HAND_OVER + END_SECONDS for one in (best, likely, worst)]
    gaps = [one.gap + HAND_OVER for one in (best, likely, worst)]
    past = inputs.past[-MOST_PAST:]
    total_errors = [_scaled(o.seconds - o.played_seconds, o.played_seconds, seconds[1]) for o in past]
    gap_errors = [_scaled(o.gap - o.played_gap, o.played_gap, gaps[1]) for o in past if o.gap is not None]
    made = (best, likely, worst) if not worst.failure else (best, likely, likely)
    return Forecast(
        word=Word.MAY_NOT if worst.failure else Word.CONVERGES,
        policy=policy,
        mode=f"{mode}, then post-copy" if likely.is_post_copy else mode,
        total=_corrected(_sorted(seconds), total_errors, TOTAL_SPREAD, LEAST_TOTAL_SPREAD),
        gap=_corrected(
            _sorted(gaps if not worst.failure else [*gaps[:2], gaps[1]]), gap_errors, GAP_SPREAD, LEAST_GAP_SPREAD
        ),
        passes=_sorted([float(one.passes) for one in made]),
        transferred=_sorted([float(one.transferred) for one in made]),
        sentence=f"it may not converge: {_bare(worst.failure)}" if worst.failure else "",
        throttle=likely.throttle,
        played_seconds=seconds[1],
        played_gap=gaps[1],
    )


def _case(inputs: Inputs, luck: int) -> Case:
    """Suppose the likely (0), the best (1) or the worst (-1) of what is known."""
    writing, link = inputs.writing, inputs.link

    def pick(known: Range, *, more_is_better: bool = False) -> float:
        if not luck:
            return known.likely
        return known.high if (luck > 0) == more_is_better else known.low

    return Case(
        memory=inputs.memory,
        in_use=min(inputs.memory, inputs.in_use),
        written_per_second=pick(writing.rate),
        working_set=int(min(inputs.in_use, pick(writing.working_set))),
        link=max(1.0, pick(link, more_is_better=True)),
    )


def _refused(
    inputs: Inputs, policy: str, mode: str, likely: _Played, best: _Played, worst: _Played, would: tuple[str, ...]
) -> Forecast:
    seconds = [inputs.start + one.seconds for one in (best, likely, worst)]
    others = f"; it would under {' and '.join(would)}" if would else ""
    return Forecast(
        word=Word.WILL_NOT,
        policy=policy,
        mode=mode,
        total=_sorted(seconds),
        gap=Range.exactly(0.0),
        passes=_sorted([float(one.passes) for one in (best, likely, worst)]),
        transferred=_sorted([float(one.transferred) for one in (best, likely, worst)]),
        sentence=f"it will not converge under the policy {policy}, because {_bare(likely.failure)}{others}",
        would=would,
        played_seconds=seconds[1],
    )


def _bare(failure: str) -> str:
    """Give the reason without the verdict that goes before it."""
    return failure.removeprefix("will not converge: ")


def _sorted(values: Sequence[float]) -> Range:
    return Range(min(values), values[1], max(values))


def _scaled(error: float, then: float, now: float) -> float:
    """Take an error of a longer move for as much smaller as this one is shorter."""
    return error * min(1.0, now / then) if then > 0 else error


def _corrected(played: Range, errors: Sequence[float], share: float, least: float) -> Range:
    """Shift by what past moves took more than was played, and widen by how much they differed among themselves."""
    if len(errors) < LEAST_PAST:
        spread = max(least, share * played.likely)
        return Range(
            max(0.0, min(played.low, played.likely - spread)), played.likely, max(played.high, played.likely + spread)
        )
    ordered = sorted(errors)
    shift = ordered[len(ordered) // 2]
    apart = sorted(abs(error - shift) for error in errors)
    spread = max(least / 2, apart[(len(apart) * 4) // 5])
    likely = max(0.0, played.likely + shift)
    low, high = likely - (played.likely - played.low), likely + (played.high - played.likely)
    return replace(played, low=max(0.0, min(low, likely - spread)), likely=likely, high=max(high, likely + spread))
