"""When fence agents are asked at all, and how many nodes they may switch off.

Within a period no more than a share of the nodes is switched off without a person's word, so that an error of ours, of
the network or of the database never takes the whole cluster down.
"""

from dataclasses import dataclass
from typing import Final

from quorate.clusapi.identity import NodeId

DEFAULT_SHARE: Final = 50
"""FenceBudgetShare: percent of the cluster's nodes."""
DEFAULT_PERIOD: Final = 300
"""FenceBudgetPeriod: seconds."""


def asks_agents(silent: float, after: float, *, is_over: bool, may_end: bool) -> bool:
    """Tell whether the agents of a node are asked that has been ``silent`` for so many seconds.

    Not when its lease may be ended anyhow: that is proof enough, and switches nothing off. When its lease is over
    (``is_over``) and proves nothing, at once. Earlier only if the cluster wants it: ``after`` so many seconds, 0 for
    never (FenceAfter), as a daemon that is being restarted is silent too, and its virtual machines run on.
    """
    if may_end:
        return False
    return is_over or 0.0 < after <= silent


@dataclass(frozen=True, slots=True)
class Budget:
    """How many nodes may be switched off within a period: ``share`` percent of them, and one at least."""

    share: int = DEFAULT_SHARE
    period: float = DEFAULT_PERIOD

    def most(self, nodes: int) -> int:
        """How many of so many nodes."""
        return max(1, nodes * self.share // 100)


@dataclass(frozen=True, slots=True)
class PoweredOff:
    """A node was given to its agents, at a moment of the cluster's time in seconds."""

    node: NodeId
    at: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Whether a node may be switched off, and the history to note before it is."""

    given: bool
    sentence: str
    history: tuple[PoweredOff, ...]


def plan_leave(
    node: NodeId, name: str, history: tuple[PoweredOff, ...], nodes: int, budget: Budget, now: float
) -> Leave:
    """Ask the budget about a node at ``now``; one that was switched off within the period is not counted twice.

    A moment that lies ahead is counted as now: the cluster's time may be behind by what nobody has noted.
    """
    recent = tuple(entry for entry in history if now - entry.at < budget.period)
    others = {entry.node for entry in recent if entry.node != node}
    most = budget.most(nodes)
    if len(others) >= most:
        sentence = (
            f"{name} is not switched off: {len(others)} of {nodes} nodes were within {budget.period:.0f} s, and the "
            f"budget is {most} (FenceBudgetShare {budget.share} %)"
        )
        return Leave(False, sentence, recent)
    noted = (*(entry for entry in recent if entry.node != node), PoweredOff(node, now))
    return Leave(True, f"{name} is switched off, one of {most} within {budget.period:.0f} s", noted)
