"""Fencing: a dead node is switched off by its fence agents, which is a proof that nothing runs there any more (I4).

    idle -> asking leave --(given)--> powering off --(it is off)--> off
              ^   |                        |
              |   `-(over the budget)      `-(every agent failed)--> failed --(after a pause)--> asking leave
              |            |
              |            v
              `-- held <- looking --(it is off already)--> off

From everywhere back to idle when the node gives a sign of life: a proof is of one renewal of one lease, and of nothing
that comes later. The end of the lease proves the same without any agent; an agent is quicker where the lease is long,
and sure where the lease proves nothing. So an agent that fails costs nothing but the time it takes.

Leave is given by the budget (`fence_budget.py`). It is the switching off that does harm: whether a node over the budget
is off already is looked at all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from quorate.clusapi.frozen import replace
from quorate.clusapi.machine import Rule, Step, follow

RETRY_PAUSE: Final = 10.0
"""Seconds after which agents that failed are tried again, or a node over the budget is looked at again."""


class Phase(Enum):
    """Where the fencing of one node stands."""

    IDLE = "idle"
    """Nothing is asked of anybody."""
    ASKING_LEAVE = "asking leave"
    """The budget is asked whether the node may be switched off."""
    POWERING_OFF = "powering off"
    """An agent has been told to switch it off."""
    LOOKING = "looking"
    """Over the budget: an agent is asked whether the node is off already."""
    OFF = "off"
    """An agent says that it is off: it is fenced."""
    FAILED = "failed"
    """No agent could say so; the end of the lease decides, unless a later try succeeds."""
    HELD = "held"
    """Over the budget, and not off: it waits for a person's word or for the end of the period."""


# --- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Suspected:
    """The node is silent and has ``agents`` that could switch it off, in the order in which they are tried."""

    agents: int
    sentence: str


@dataclass(frozen=True, slots=True)
class LeaveGiven:
    """The budget has room; that is noted."""

    attempt: int


@dataclass(frozen=True, slots=True)
class LeaveRefused:
    """The budget has no room."""

    attempt: int
    sentence: str


@dataclass(frozen=True, slots=True)
class FoundOff:
    """An agent says that it is off; ``revision`` is that of the node's lease, read after that."""

    attempt: int
    revision: int
    sentence: str


@dataclass(frozen=True, slots=True)
class FoundOn:
    """An agent says that it is on."""

    attempt: int


@dataclass(frozen=True, slots=True)
class AgentFailed:
    """An agent did not do what it was asked, or cannot tell."""

    attempt: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Returned:
    """The node has renewed its lease, or begun another."""


Event: TypeAlias = Suspected | LeaveGiven | LeaveRefused | FoundOff | FoundOn | AgentFailed | Returned


# --- effects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskLeave:
    """Ask the budget, and note the node as switched off if it has room."""

    attempt: int


@dataclass(frozen=True, slots=True)
class PowerOff:
    """Have an agent switch the node off."""

    attempt: int
    agent: int


@dataclass(frozen=True, slots=True)
class LookAt:
    """Have an agent say whether the node is off."""

    attempt: int
    agent: int


class News(Enum):
    """What an effect `Tell` is about."""

    BEGUN = "begun"
    FENCED = "fenced"
    FAILED = "failed"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Tell:
    """Write an event."""

    news: News
    sentence: str


# --- the machine -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fence:
    """The fencing of one node."""

    name: str
    """The node's name, for people."""
    phase: Phase = Phase.IDLE
    since: float = 0.0
    attempt: int = 0
    """Answers carry it back; those of an earlier one are nothing."""
    agents: int = 0
    agent: int = 0
    """The one that is asked."""
    revision: int = 0
    """Of the node's lease when it was found to be off: a later one voids the proof."""
    sentence: str = ""
    """Why it stands where it does, for people."""
    told: str = ""
    """The last bad news that was told: a try that ends as the one before is not told again."""

    def step(self, event: Event, now: float) -> "_Step":
        """Take in an event at ``now``, in seconds of any steady clock."""
        return follow(TABLE, lambda fence: fence.phase, self, event, now)


_Step: TypeAlias = Step[Fence]


def _go(s: Fence, phase: Phase, now: float, *effects: object) -> _Step:
    return Step(replace(s, phase=phase, since=now), effects)


def _on_suspected(s: Fence, event: object, now: float) -> _Step:
    assert isinstance(event, Suspected)
    if event.agents == 0:
        return Step(replace(s, sentence=f"{s.name} has no fence agent: the end of its lease decides"))
    begun = replace(s, attempt=s.attempt + 1, agents=event.agents, agent=0, sentence=event.sentence)
    return _go(begun, Phase.ASKING_LEAVE, now, Tell(News.BEGUN, event.sentence), AskLeave(begun.attempt))


def _on_suspected_again(s: Fence, event: object, now: float) -> _Step:
    assert isinstance(event, Suspected)
    if now - s.since < RETRY_PAUSE or event.agents == 0:
        return Step(s)
    again = replace(s, attempt=s.attempt + 1, agents=event.agents, agent=0)
    return _go(again, Phase.ASKING_LEAVE, now, AskLeave(again.attempt))


def _on_leave_given(s: Fence, event: object, now: float) -> _Step:
    assert isinstance(event, LeaveGiven)
    if event.attempt != s.attempt:
        return Step(s)
    return _go(s, Phase.POWERING_OFF, now, PowerOff(s.attempt, s.agent))


def _on_leave_refused(s: Fence, event: object, now: float) -> _Step:
    assert isinstance(event, LeaveRefused)
    if event.attempt != s.attempt:
        return Step(s)
    return _go(replace(s, sentence=event.sentence), Phase.LOOKING, now, LookAt(s.attempt, s.agent))


def _on_found_off(s: Fence, event: object, now: float) -> _Step:
    assert isinstance(event, FoundOff)
    if event.attempt != s.attempt:
        return Step(s)
    sentence = f"{s.name} is fenced: {event.sentence}"
    fenced = replace(s, revision=event.revision, sentence=sentence)
    return _go(fenced, Phase.OFF, now, Tell(News.FENCED, sentence))


def _on_power_off_failed(s: Fence, event: object, now: float) -> _Step:
    """Try the next agent; when none is left the end of the lease decides, and all are tried again later."""
    assert isinstance(event, AgentFailed)
    if event.attempt != s.attempt:
        return Step(s)
    if s.agent + 1 < s.agents:
        other = replace(s, agent=s.agent + 1, sentence=event.sentence)
        return _go(other, Phase.POWERING_OFF, now, PowerOff(s.attempt, other.agent))
    sentence = f"{s.name} could not be switched off, and the end of its lease decides: {event.sentence}"
    return _end_badly(s, Phase.FAILED, News.FAILED, sentence, now)


def _on_look_failed(s: Fence, event: object, now: float) -> _Step:
    assert isinstance(event, AgentFailed)
    if event.attempt != s.attempt:
        return Step(s)
    if s.agent + 1 < s.agents:
        other = replace(s, agent=s.agent + 1)
        return _go(other, Phase.LOOKING, now, LookAt(s.attempt, other.agent))
    return _hold(s, f"and whether it is off cannot be told: {event.sentence}", now)


def _on_found_on(s: Fence, event: object, now: float) -> _Step:
    assert isinstance(event, FoundOn)
    return _hold(s, "and it is on", now) if event.attempt == s.attempt else Step(s)


def _hold(s: Fence, how: str, now: float) -> _Step:
    sentence = f"{s.sentence}; {how}. See whether it is off, and say so: quorate node confirm-off {s.name}"
    return _end_badly(s, Phase.HELD, News.HELD, sentence, now)


def _end_badly(s: Fence, phase: Phase, news: News, sentence: str, now: float) -> _Step:
    effects = () if sentence == s.told else (Tell(news, sentence),)
    return _go(replace(s, sentence=sentence, told=sentence), phase, now, *effects)


def _on_returned(s: Fence, event: object, now: float) -> _Step:
    return _go(Fence(s.name, attempt=s.attempt + 1), Phase.IDLE, now)


_P = Phase
_Rule: TypeAlias = Rule[Fence, Phase]


def _late(why: str) -> _Rule:
    return Rule(None, (), why)


_NO_LEAVE: Final[Mapping[type, _Rule]] = {
    LeaveGiven: _late("of an earlier attempt"),
    LeaveRefused: _late("of an earlier attempt"),
}
_NO_AGENT: Final[Mapping[type, _Rule]] = {
    FoundOff: _late("of an earlier attempt"),
    FoundOn: _late("of an earlier attempt"),
    AgentFailed: _late("of an earlier attempt"),
}
_BACK: Final[Mapping[type, _Rule]] = {Returned: Rule(_on_returned, (_P.IDLE,))}
_UNDER_WAY: Final[Mapping[type, _Rule]] = {Suspected: _late("under way already")}

TABLE: Final[Mapping[Phase, Mapping[type, _Rule]]] = {
    _P.IDLE: {
        **_NO_LEAVE,
        **_NO_AGENT,
        Suspected: Rule(_on_suspected, (_P.IDLE, _P.ASKING_LEAVE)),
        Returned: _late("nothing was begun"),
    },
    _P.ASKING_LEAVE: {
        **_NO_AGENT,
        **_UNDER_WAY,
        **_BACK,
        LeaveGiven: Rule(_on_leave_given, (_P.ASKING_LEAVE, _P.POWERING_OFF)),
        LeaveRefused: Rule(_on_leave_refused, (_P.ASKING_LEAVE, _P.LOOKING)),
    },
    _P.POWERING_OFF: {
        **_NO_LEAVE,
        **_UNDER_WAY,
        **_BACK,
        FoundOff: Rule(_on_found_off, (_P.POWERING_OFF, _P.OFF)),
        FoundOn: _late("of an earlier attempt"),
        AgentFailed: Rule(_on_power_off_failed, (_P.POWERING_OFF, _P.FAILED)),
    },
    _P.LOOKING: {
        **_NO_LEAVE,
        **_UNDER_WAY,
        **_BACK,
        FoundOff: Rule(_on_found_off, (_P.LOOKING, _P.OFF)),
        FoundOn: Rule(_on_found_on, (_P.LOOKING, _P.HELD)),
        AgentFailed: Rule(_on_look_failed, (_P.LOOKING, _P.HELD)),
    },
    _P.OFF: {**_NO_LEAVE, **_NO_AGENT, **_BACK, Suspected: _late("it is off")},
    _P.FAILED: {
        **_NO_LEAVE,
        **_NO_AGENT,
        **_BACK,
        Suspected: Rule(_on_suspected_again, (_P.FAILED, _P.ASKING_LEAVE)),
    },
    _P.HELD: {
        **_NO_LEAVE,
        **_NO_AGENT,
        **_BACK,
        Suspected: Rule(_on_suspected_again, (_P.HELD, _P.ASKING_LEAVE)),
    },
}
"""Every transition that there is."""
