"""Which network memory takes: MigrationNetworkOrder and MigrationExcludeNetworks of the type "Virtual Machine".

Both are ids of networks, separated by ';'; their names do as well. The networks that both nodes are on are tried in
that order, and the first on which a connection succeeds is taken; those that the order does not name follow by their
metric. One that is excluded is never used, also when no other is left. [virtual-machines-migrationnetworkorder]

A page on bandwidth says that the network of the cluster's own traffic comes last by default; we go by the metric
alone, as the page of the property does, so that what an administrator has set decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NetworkId
from quorate.clusapi.status import Status

ORDER_PROPERTY: Final = "MigrationNetworkOrder"
EXCLUDE_PROPERTY: Final = "MigrationExcludeNetworks"


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
class LeftOut:
    """A network that is not tried: why not, and what would let it be."""

    sentence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Passages:
    """The networks in the order in which they are tried, and those that are not."""

    tried: tuple[Passage, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def none_may_be_used(self) -> bool:
        """Answer whether there are networks, and all of them are ruled out."""
        return bool(self.left_out) and not self.tried


def order_passages(passages: Iterable[Passage], order: str, excluded: str) -> Passages:
    """Put networks in the order in which they are tried; those in trouble come last, as they might work after all."""
    wanted, never = _listed(order), _listed(excluded)
    tried, left_out = [], []
    for passage in passages:
        name = passage.name
        is_unused = not passage.is_used and _place(passage, wanted) is None
        if _place(passage, never) is not None:
            besides = f", and {_use(name)}" if is_unused else ""
            remedy = f"take {name} out of MigrationExcludeNetworks{besides}"
            left_out.append(LeftOut(f"{name} is excluded by MigrationExcludeNetworks", remedy))
        elif is_unused:
            why = "is not used by the cluster, as its Role is 0, and MigrationNetworkOrder does not name it"
            left_out.append(LeftOut(f"{name} {why}", _use(name)))
        else:
            tried.append(passage)

    def key(passage: Passage) -> tuple[bool, int, int, str]:
        place = _place(passage, wanted)
        return bool(passage.trouble), len(wanted) if place is None else place, passage.metric, passage.name

    return Passages(tuple(sorted(tried, key=key)), tuple(sorted(left_out, key=lambda one: one.sentence)))


def check_networks(name: str, text: str, known: Mapping[NetworkId, str]) -> None:
    """Refuse a list of networks, to be set as property ``name``, that has one which there is not.

    A misspelt network would be excluded by nothing, and memory would take it. ``known`` are their names by their ids.

    Raises:
        CallerError: 87, with the names that there are.
    """
    there = {word.casefold() for pair in known.items() for word in pair}
    unknown = [part.strip() for part in text.split(";") if part.strip() and part.strip().casefold() not in there]
    if unknown:
        are = f"they are {', '.join(sorted(known.values()))}" if known else "none is known"
        sentence = f"{name} names {' and '.join(map(repr, unknown))}, and there is no such network; {are}"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)


def _use(name: str) -> str:
    return f'name {name} in MigrationNetworkOrder, or quorate network set "{name}" Role=1'


def _listed(text: str) -> list[str]:
    return [part.strip().casefold() for part in text.split(";") if part.strip()]


def _place(passage: Passage, listed: list[str]) -> int | None:
    names = (passage.network.casefold(), passage.name.casefold())
    return next((place for place, one in enumerate(listed) if one in names), None)
