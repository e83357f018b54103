"""Which network memory takes: MigrationNetworkOrder and MigrationExcludeNetworks of the type "Virtual Machine".

Both are ids of networks, separated by ';'; their names do as well. The networks that both nodes are on are tried in
that order, and the first on which a connection succeeds is taken; those that the order does not name follow by their
metric. One that is excluded is never used, also when no other is left. [virtual-machines-migrationnetworkorder]

A page on bandwidth says that the network of the cluster's own traffic comes last by default; we go by the metric
alone, as the page of the property does, so that what an administrator has set decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from quorate.clusapi.identity import NetworkId


@dataclass(frozen=True, slots=True)
class Passage:
    """A network that both nodes are on."""

    network: NetworkId
    name: str
    metric: int
    address: str
    """The destination's there."""
    is_used: bool = True
    """The cluster uses this network for anything at all (its Role is not 0)."""
    trouble: str = ""
    """What is known to be wrong with an end of it; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Passages:
    """The networks in the order in which they are tried, and a sentence for each that is not."""

    tried: tuple[Passage, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def none_may_be_used(self) -> bool:
        """Answer whether there are networks, and all of them are ruled out."""
        return bool(self.left_out) and not self.tried


def order_passages(passages: Iterable[Passage], order: str, excluded: str) -> Passages:
    """Put networks in the order in which they are tried; those in trouble come last, as they might work after all."""
    wanted, never = _listed(order), _listed(excluded)
    tried, left_out = [], []
    for passage in passages:
        if _place(passage, never) is not None:
            left_out.append(f"{passage.name} is excluded by MigrationExcludeNetworks")
        elif not passage.is_used and _place(passage, wanted) is None:
            left_out.append(f"{passage.name} is not used by the cluster: its Role is 0")
        else:
            tried.append(passage)

    def key(passage: Passage) -> tuple[bool, int, int, str]:
        place = _place(passage, wanted)
        return bool(passage.trouble), len(wanted) if place is None else place, passage.metric, passage.name

    return Passages(tuple(sorted(tried, key=key)), tuple(sorted(left_out)))


def _listed(text: str) -> list[str]:
    return [part.strip().casefold() for part in text.split(";") if part.strip()]


def _place(passage: Passage, listed: list[str]) -> int | None:
    names = (passage.network.casefold(), passage.name.casefold())
    return next((place for place, one in enumerate(listed) if one in names), None)
