"""Plots that aim at what the rules of leases and hand-overs were made for. Every fourth random history is made of them.

A plot of `Mood.HAND_OVER` moves a virtual machine and lets its faults fall upon the two nodes between which it moves;
one of `Mood.SILENCE` takes the database from some of the nodes, in the ways that leases and promises have to outlive.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, TypeAlias

from quorate.migration import incoming, outgoing
from quorate.simulator import steps as s
from quorate.simulator.dice import Dice
from quorate.simulator.plots import Author
from quorate.simulator.setup import Setup

_Side: TypeAlias = Literal["source", "destination"]
_PAUSES: Final = (0.5, 1.5, 2.5, 4.0, 8.0, 14.0)
_SOURCE: Final = tuple(
    phase.value
    for phase in outgoing.Phase
    if phase not in (outgoing.Phase.QUEUED, outgoing.Phase.PREPARING, outgoing.Phase.ENDED)
)
_DESTINATION: Final = tuple(phase.value for phase in incoming.Phase if phase is not incoming.Phase.PREPARING)
_STANDING: Final = ("stopping", "giving", "given", "settling", "telling", "taking back")
_ARRIVED: Final = ("loaded", "told", "claiming", "starting", "marking")
"""Where a guest stands still, or has just gone on."""
_SHORT_LEASE: Final = 3
"""SameSubnetThreshold for plots that have to wait for the end of leases."""


class Mood(Enum):
    """What the plots of a history are about."""

    ANY = "any"
    """Everything (`plots.py`)."""
    HAND_OVER = "hand-over"
    SILENCE = "silence"

    @classmethod
    def of(cls, seed: int) -> "Mood":
        """Give the mood of a seed's history."""
        return {3: cls.HAND_OVER, 7: cls.SILENCE}.get(seed % 8, cls.ANY)


class AimedAuthor(Author):
    """Writes episodes in a mood."""

    def __init__(self, dice: Dice, setup: Setup, mood: Mood) -> None:
        """Know where everything is in the beginning."""
        super().__init__(dice, setup)
        self._mood = mood
        self._where = {vm.name: vm.on for vm in setup.vms}
        """Where a virtual machine is if everything goes as it was asked for."""
        self._delay = setup.properties.get("SameSubnetDelay", 1000) / 1000

    def _plots(self) -> tuple[tuple[Callable[[], None], float], ...]:
        if self._mood is Mood.HAND_OVER:
            return (
                (self._between_two, 7.0),
                (self._lost_gift, 2.0),
                (self._by_file, 1.5),
                (self._crossing, 1.5),
                (self._source_dies_after, 1.5),
                (self._destination_dies, 1.0),
                (self._destination_fails, 1.0),
                (self._given_up_unheard, 0.7),
                (self._both_ways, 1.0),
            )
        return (
            (self._one_stays_silent, 1.5),
            (self._brief_silence, 2.5),
            (self._somebody_returns, 3.0),
            (self._longer_lease, 1.0),
            (self._shorter_lease, 1.0),
            (self._slow_answers, 1.0),
            (self._late_take_over, 2.0),
            (self._outage, 1.0),
        )

    # --- hand-overs --------------------------------------------------------------------------------------------------

    def _pair(self) -> tuple[str, str, str]:
        """Choose a virtual machine, where it probably is, and where it is to go."""
        vm = self._vm()
        here = self._where[vm]
        return vm, here, self._dice.choice(self._others(here))

    def _at_phase(self, vm: str, phase: str, after: float, action: s.Action, side: _Side = "source") -> None:
        """Let something happen so many seconds after a side of a migration has entered a phase."""
        self._steps.append(s.Step(s.On(vm, phase, side, after), action))

    def _go(self, at: float, vm: str, to: str) -> None:
        self._command_at(at, s.Migrate(vm, to))
        self._where[vm] = to

    def _between_two(self) -> None:
        """Several moves one after the other, each with faults at its two ends, most of them at a phase."""
        dice, at = self._dice, self._begin
        self._command_at(at - 10.0, s.SetCluster("SameSubnetThreshold", dice.choice((_SHORT_LEASE, _SHORT_LEASE, 8))))
        for _ in range(2 + dice.below(2)):
            vm, here, there = self._pair()
            self._go(at, vm, there)
            side: _Side = "source" if dice.chance(0.6) else "destination"
            if dice.chance(0.7):
                phase = dice.choice(_STANDING if side == "source" else _ARRIVED)
            else:
                phase = dice.choice(_SOURCE if side == "source" else _DESTINATION)
            for _ in range(1 + dice.below(3)):
                fault = self._fault_of_pair(vm, here, there)
                if dice.chance(0.75):
                    self._when(vm, side, phase, fault)
                else:
                    self._fault_at(at + dice.between(0.0, 6.0), fault)
            at += dice.between(18.0, 30.0)

    def _fault_of_pair(self, vm: str, here: str, there: str) -> s.Fault:
        dice = self._dice
        node = dice.choice((here, here, there, there, self._node()))
        pause = dice.choice(_PAUSES)
        mode: s.DatabaseMode = dice.choice(("lost", "silent", "silent", "mute", "slow"))
        network: s.Network = dice.choice(("cluster", "cluster", "migration", "all"))
        makers: tuple[tuple[Callable[[], s.Fault], float], ...] = (
            (lambda: s.KillDaemon(node, dice.choice((0.2, 0.2, 1.0, 3.0, 8.0))), 5.0),
            (lambda: s.PauseDaemon(node, pause), 5.0),
            (lambda: s.Database(mode, (node,) if dice.chance(0.8) else (), pause), 6.0),
            (lambda: s.Cut(network, here, there, dice.chance(0.3), pause), 4.0),
            (lambda: s.PowerOff(node, self._off_for(node)), 3.0),
            (lambda: s.Suspend(node, pause), 1.5),
            (lambda: s.FreezeQemu(vm, node, pause), 2.0),
            (lambda: s.KillQemu(vm, node), 2.0),
            (lambda: s.FailLoad(vm), 1.5),
            (lambda: s.KillGuard(node), 0.5),
        )
        return dice.weighted(makers)()

    def _lost_gift(self) -> None:
        """The write that gives a virtual machine away has no answer, and may land late; its source may restart."""
        dice, at = self._dice, self._begin
        self._command_at(at - 10.0, s.SetCluster("SameSubnetThreshold", 8))
        for _ in range(2):
            vm, here, there = self._pair()
            self._go(at, vm, there)
            silence = dice.choice((0.5, 1.5, 7.0))
            self._at_phase(vm, "giving", 0.0, s.Database("silent", (here,), silence))
            if silence < 7.0 and dice.chance(0.5):
                back = dice.choice((0.2, 1.0))
                self._at_phase(vm, "giving", 0.05 * dice.draw(), s.KillDaemon(here, back))
            at += 30.0

    def _by_file(self) -> None:
        """Virtual machines that are saved and given away, or only saved, while the database or a daemon is gone."""
        dice, at = self._dice, self._begin
        for _ in range(2):
            vm, here, there = self._pair()
            self._command_at(at, s.SetGroup(vm, "Priority", 1000))
            self._command_at(at + 1.0, s.Move(vm, there) if dice.chance(0.8) else s.Stop(vm, "save"))
            mode: s.DatabaseMode = dice.choice(("silent", "silent", "mute"))
            self._fault_at(at + 1.0 + dice.between(0.0, 1.5), s.Database(mode, (here,), dice.choice((1.0, 2.5, 4.0))))
            if dice.chance(0.4):
                self._fault_at(at + 1.0 + dice.between(0.0, 2.0), s.KillDaemon(here, dice.choice((0.2, 1.0))))
            at += 25.0

    def _crossing(self) -> None:
        """Several moves to one node at once, on a network that loses, doubles and delays what is said."""
        dice, at = self._dice, self._begin
        self._command_at(at - 1.0, s.SetCluster("MaximumParallelMigrations", 4))
        self._fault_at(at, s.Foul(dice.choice((0.02, 0.2)), 0.4, 0.5, 12.0))
        there = self._node()
        for vm in dice.some(self._vms, 3):
            if self._where[vm] != there:
                self._go(at + dice.between(0.0, 1.0), vm, there)
        self._command_at(at + 20.0, s.SetCluster("MaximumParallelMigrations", dice.choice((1, 2))))

    def _source_dies_after(self) -> None:
        """A hand-over is broken off and the guest runs on at its source, unheard by the destination; then that dies."""
        dice = self._dice
        vm, here, there = self._pair()
        self._command_at(self._begin - 10.0, s.SetCluster("SameSubnetThreshold", 5))
        self._go(self._begin, vm, there)
        self._at_phase(vm, "giving", 0.0, s.Database("silent", (here,), 2.5))
        self._at_phase(vm, dice.choice(("giving", "settling")), 0.0, s.Cut("cluster", here, there, False, 14.0))
        self._at_phase(vm, "resuming", dice.between(0.0, 3.0), s.PowerOff(here, 30.0))
        self._where[vm] = there

    def _destination_dies(self) -> None:
        """A destination is lost just when it is told, mostly for good."""
        dice = self._dice
        vm, here, there = self._pair()
        self._go(self._begin, vm, there)
        may_stay_off = there in self._doomed or len(self._doomed) < len(self._nodes) - 2
        off = 30.0
        if may_stay_off and dice.chance(0.7):
            self._doomed.add(there)
        phase = dice.choice(("given", "noting yours", "telling", "telling"))
        lost = s.PowerOff(there, None if there in self._doomed else off)
        if dice.chance(0.5):
            self._at_phase(vm, "giving", 0.0, s.Cut("cluster", here, there, False, 4.0))
        self._at_phase(vm, phase, 0.01 * dice.draw(), lost)

    def _destination_fails(self) -> None:
        """A destination cannot load its guest, unheard; or it loses it, perhaps with its daemon, just when it runs."""
        dice, at = self._dice, self._begin
        for _ in range(2):
            vm, here, there = self._pair()
            if dice.chance(0.5):
                self._fault_at(at - 0.01, s.FailLoad(vm))
                self._go(at, vm, there)
                self._at_phase(vm, "giving", 0.0, s.Cut("cluster", here, there, False, dice.choice((1.5, 5.0))))
            else:
                self._go(at, vm, there)
                phase = dice.choice(("starting", "marking"))
                late = 0.004 * dice.draw()
                if dice.chance(0.5):
                    self._at_phase(vm, phase, late, s.KillDaemon(there, 1.0), "destination")
                    late += 0.5
                self._at_phase(vm, phase, late, s.KillQemu(vm, there), "destination")
            at += 25.0

    def _given_up_unheard(self) -> None:
        """A migration is cancelled while nothing that its source says is heard; the source's daemon is restarted."""
        dice = self._dice
        vm, here, there = self._pair()
        self._go(self._begin, vm, there)
        self._at_phase(vm, "transfer", 0.0, s.Cut("cluster", here, there, False, 14.0))
        self._at_phase(vm, "transfer", 0.01 * dice.draw(), s.Cancel(vm))
        self._at_phase(vm, "transfer", dice.between(0.5, 3.0), s.KillDaemon(here, 1.0))
        self._where[vm] = here

    def _both_ways(self) -> None:
        """One virtual machine is asked to two places in one moment."""
        dice = self._dice
        for _ in range(2):
            vm, here, there = self._pair()
            at = self._moment(5.0)
            self._go(at, vm, there)
            for _ in range(2):
                self._command_at(
                    at + dice.choice((0.05, 0.4, 1.0)) * dice.draw(), s.Migrate(vm, dice.choice(self._others(here)))
                )

    # --- silence -----------------------------------------------------------------------------------------------------

    def _short_leases(self, resilience: int) -> float:
        """Have leases of a few seconds in good time, and give the moment at which the plot begins."""
        at = self._begin
        self._command_at(at - 20.0, s.SetCluster("SameSubnetThreshold", _SHORT_LEASE))
        self._command_at(at - 20.0, s.SetCluster("ResiliencyDefaultPeriod", resilience))
        return at

    def _one_stays_silent(self) -> None:
        """All lose the database and live by promises; then all but one have it again."""
        dice, at = self._dice, self._begin
        one, outage = self._node(), dice.choice((4.0, 8.0, 14.0, 25.0))
        self._fault_at(at, s.Database(dice.choice(("lost", "silent")), (), outage))
        longer = dice.between(2.0, 16.0)
        self._fault_at(at + dice.between(0.0, 1.0), s.Cut("storage", one, None, False, outage + longer))
        if dice.chance(0.5):
            self._fault_at(at + dice.between(0.0, outage), s.Foul(0.0, 0.1, 0.5, outage))
        if dice.chance(0.3):
            self._fault_at(at + dice.between(0.0, outage), s.KillDaemon(self._node(), 1.0))

    def _somebody_returns(self) -> None:
        """A node is lost and given up; when it comes back all others have lost the database, and it has not."""
        dice = self._dice
        at = self._short_leases(dice.choice((5, 5, 15)))
        back, away = self._node(), dice.between(9.0, 14.0)
        kind = dice.below(3)
        if kind == 0:
            self._fault_at(at, s.PowerOff(back, away))
        elif kind == 1:
            self._fault_at(at, s.KillDaemon(back, away))
        else:
            self._fault_at(at, s.Cut("storage", back, None, False, away))
        others = tuple(self._others(back))
        silence = dice.choice((12.0, 25.0, 40.0))
        self._fault_at(at + dice.between(8.0, away), s.Database(dice.choice(("lost", "silent")), others, silence))

    def _longer_lease(self) -> None:
        """Leases are lengthened, and the longer one of a node does not land."""
        dice, at = self._dice, self._begin
        one = self._node()
        self._command_at(at - 25.0, s.SetCluster("SameSubnetThreshold", _SHORT_LEASE))
        self._command_at(at, s.SetCluster("SameSubnetThreshold", 10))
        self._fault_at(at + dice.between(0.0, 2.0), s.Cut("storage", one, None, False, 14.0))

    def _shorter_lease(self) -> None:
        """Leases are shortened; the shorter one of a node lands, and it does not hear so."""
        dice, at = self._dice, self._begin
        one = self._node()
        self._command_at(at - 25.0, s.SetCluster("SameSubnetThreshold", 10))
        self._command_at(at, s.SetCluster("SameSubnetThreshold", _SHORT_LEASE))
        mute = at + dice.between(0.0, 2.0)
        self._fault_at(mute, s.Database("mute", (one,), 16.0))
        self._fault_at(mute + dice.between(0.5, 3.0), s.Cut("storage", one, None, False, 16.0))

    def _slow_answers(self) -> None:
        """The database answers a node slowly, and then no more."""
        dice, at = self._dice, self._begin
        self._short_leases(dice.choice((5, 15)))
        for _ in range(2):
            one = self._node()
            self._fault_at(at, s.Database("slow", (one,), 6.0))
            self._fault_at(at + dice.between(1.0, 5.0), s.Cut("storage", one, None, False, 12.0))
            at += 40.0

    def _brief_silence(self) -> None:
        """One has lost the database; for less than a lease the others lose it too, and promise to take nothing over."""
        dice, at = self._dice, self._begin
        self._command_at(at - 25.0, s.SetCluster("SameSubnetThreshold", 8))
        one = self._node()
        self._fault_at(at, s.Cut("storage", one, None, False, 30.0))
        others = tuple(self._others(one))
        mode: s.DatabaseMode = dice.choice(("lost", "lost", "mute"))
        silence = self._delay * dice.between(3.0, 7.0)
        self._fault_at(at + self._delay * dice.between(0.0, 5.0), s.Database(mode, others, silence))
        if dice.chance(0.5):
            self._fault_at(at, s.Foul(0.0, 0.1, 0.5, 20.0))

    def _late_take_over(self) -> None:
        """A node's lease is ended while it is just coming back, and the database is slow, or hears of it late."""
        dice = self._dice
        at = self._short_leases(15)
        lease = _SHORT_LEASE * self._delay
        away = dice.choice((lease + dice.between(-0.5, 2.0), 30.0))
        one = self._node()
        self._fault_at(at, s.KillDaemon(one, away) if dice.chance(0.6) else s.PowerOff(one, away))
        self._fault_at(at + lease - 0.5, s.Database("slow", (), 6.0))
        if dice.chance(0.7):
            self._fault_at(at + lease + dice.between(0.5, 3.5), s.Database("silent", (), dice.choice((0.3, 1.0, 2.5))))
