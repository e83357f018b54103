"""Whether memory gets from one node to the other, and whether their clocks agree: measured by who sends it."""

from dataclasses import dataclass
from typing import Final

from quorate.clusapi.status import Status
from quorate.migration.migration_networks import LeftOut
from quorate.migration.rules import Finding

CLOCK_DOUBTFUL: Final = 1.0
"""Seconds by which clocks may differ before a guest is likely to notice that it woke up on another host."""


@dataclass(frozen=True, slots=True)
class PathSight:
    """What came of asking a node, and of a connection to where its QEMUs listen. Times in seconds."""

    node: str
    """Its name."""
    silence: str = ""
    """Why it did not answer; empty: it did."""
    answered_in: float = 0.0
    address: str = ""
    """Where memory would come in; empty: an older node does not say."""
    connected_in: float | None = None
    """How long a connection to there took; None: there was none."""
    trouble: str = ""
    """Why there was none."""
    clock_offset: float | None = None
    """By how much its clock is ahead of the source's; None: it did not say."""
    clock_doubt: float = 0.0
    network: str = ""
    """The name of the network that was tried last; empty: no network is known between the nodes."""
    host: str = ""
    """The node's address there."""
    failed: tuple[str, ...] = ()
    """What became of the networks that were tried before."""
    left_out: tuple[LeftOut, ...] = ()
    """Others that were not tried."""


def judge_answer(path: PathSight) -> Finding:
    """The node's daemon answers: 5050."""
    rule, name = "answers", path.node
    if not path.silence:
        return Finding.ok(rule, f"in {path.answered_in * 1000:.0f} ms")
    sentence = f"{name} does not answer: {path.silence}"
    remedy = f"look at the daemon of {name}, and at the network to it"
    return Finding.refuses(rule, "no answer", Status.ERROR_CLUSTER_NODE_DOWN, sentence, remedy)


def judge_path(path: PathSight) -> Finding:
    """A connection to where memory would come in succeeds: 5035."""
    rule, name = "migration network", path.node
    status, remedy = (
        Status.ERROR_NETWORK_NOT_AVAILABLE,
        "let packets of full size reach TCP ports above 1023 of the nodes",
    )
    if not path.address and path.left_out:
        sentence = f"no network may carry memory to {name}: {'; '.join(one.sentence for one in path.left_out)}"
        return Finding.refuses(rule, "none left", status, sentence, "; or ".join(one.remedy for one in path.left_out))
    if not path.address:
        return Finding.warns(rule, "not known", f"{name} does not say where memory of virtual machines comes in")
    where = f"{path.network}, {path.address}" if path.network else path.address
    failed = "; ".join(path.failed)
    if path.connected_in is None:
        others = f" (and before {failed})" if failed else ""
        sentence = f"memory does not get to {name} by {where}: {path.trouble}{others}"
        return Finding.refuses(rule, path.trouble, status, sentence, f"{remedy} on this network")
    measured = f"{where} in {path.connected_in * 1000:.1f} ms"
    if not failed:
        return Finding.ok(rule, measured)
    sentence = f"memory takes {path.network}, as it does not get to {name} by {failed}"
    return Finding.warns(rule, measured, sentence, f"{remedy} on that network")


def judge_clock(path: PathSight) -> Finding:
    """The clocks of both hosts agree, as a guest that keeps its time by the host's would notice."""
    rule, offset = "clock", path.clock_offset
    if offset is None:
        return Finding.warns(rule, "not known", f"{path.node} does not say what time it is")
    if abs(offset) - path.clock_doubt <= CLOCK_DOUBTFUL:
        return Finding.ok(rule, f"{offset:+.2f} s")
    way = "ahead of" if offset > 0 else "behind"
    sentence = f"the clock of {path.node} is {abs(offset):.1f} s {way} that of the source"
    return Finding.warns(rule, f"{offset:+.1f} s", sentence, "let chrony or systemd-timesyncd set the nodes' clocks")
