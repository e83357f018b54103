"""Checks of the nodes themselves: up, clocks, leases, versions, guards, fencing, certificates, hypervisors."""

from datetime import timedelta
from typing import Final

from quorate.clusapi.states import NodeState, NodeStatus
from quorate.server.validation.facts import NodeFact, Situation
from quorate.server.validation.findings import Finding, Verdict, count, listed, or_well

CLOCK_WARNING: Final = 1.0
CLOCK_FAILED: Final = 30.0
EXPIRES_SOON: Final = timedelta(days=14)
LONG_LEASE: Final = 30.0

_STATE_REMEDY: Final = "start its daemon: systemctl start quorate-node there, or quorate up for a pocket cluster"


def check_up(situation: Situation) -> tuple[Finding, ...]:
    """Every node is up, and takes groups."""
    rule = "nodes up"
    found: list[Finding] = []
    for node in situation.nodes:
        if node.state is NodeState.PAUSED:
            sentence = f"{node.name} is paused and takes no groups, not even those of a node that dies."
            found.append(Finding(rule, Verdict.WARNING, "paused", sentence, f"quorate node resume {node.name}"))
        elif node.state is not NodeState.UP:
            word = node.state.name.lower()
            sentence = f"{node.name} is {word}; nothing runs there."
            found.append(Finding(rule, Verdict.FAILED, word, sentence, _STATE_REMEDY))
        elif node.health is None:
            sentence = f"{node.name} is up and does not answer {situation.this_node}."
            found.append(Finding(rule, Verdict.FAILED, "no answer", sentence, "look at its daemon's log"))
        if node.status & NodeStatus.ISOLATED:
            sentence = f"{node.name} is isolated: its virtual machines live on promises of the others."
            found.append(Finding(rule, Verdict.WARNING, "isolated", sentence, "look at its way to the database"))
        if node.status & NodeStatus.QUARANTINED:
            sentence = f"{node.name} is quarantined: it left too often, and takes no groups."
            remedy = f"find out why, then quorate node resume {node.name}"
            found.append(Finding(rule, Verdict.WARNING, "quarantined", sentence, remedy))
    up = sum(node.state is NodeState.UP for node in situation.nodes)
    return or_well(found, rule, f"{up} of {len(situation.nodes)}", "Every node is up and answers.")


def check_clocks(situation: Situation) -> tuple[Finding, ...]:
    """The nodes' clocks agree: events are sorted by them, certificates are valid by them."""
    rule, known = "clocks", [node for node in situation.nodes if node.health is not None]
    found = []
    for node in known:
        off = max(0.0, abs(node.clock_offset) - node.clock_doubt)
        if off > CLOCK_WARNING:
            verdict = Verdict.FAILED if off > CLOCK_FAILED else Verdict.WARNING
            way = "ahead of" if node.clock_offset > 0 else "behind"
            sentence = f"The clock of {node.name} is {off:.1f} s {way} that of {situation.this_node}."
            remedy = "let chrony or systemd-timesyncd set the clocks of all nodes"
            found.append(Finding(rule, verdict, f"{node.clock_offset:+.1f} s", sentence, remedy))
    widest = max((abs(node.clock_offset) for node in known), default=0.0)
    return or_well(found, rule, f"±{widest:.2f} s", "The clocks of all nodes that answer agree.")


def check_leases(situation: Situation) -> tuple[Finding, ...]:
    """Leases are as long as the cluster's properties say, and no longer than anybody wants to wait."""
    rule = "leases"
    found = [
        Finding(
            rule,
            Verdict.WARNING,
            f"{node.lease_duration:g} s",
            f"The lease of {node.name} lasts {node.lease_duration:g} s, the cluster's properties say "
            f"{situation.lease:g} s; its daemon began before they were changed.",
            f"restart the daemon of {node.name}: its virtual machines go on",
        )
        for node in situation.nodes
        if node.is_active and node.lease_duration is not None and abs(node.lease_duration - situation.lease) > 0.001
    ]
    if situation.lease > LONG_LEASE:
        sentence = f"A dead node's virtual machines start elsewhere after {situation.lease:g} s at the earliest."
        remedy = "lower SameSubnetDelay or SameSubnetThreshold: quorate cluster set SameSubnetThreshold=5"
        found.append(Finding(rule, Verdict.WARNING, f"{situation.lease:g} s", sentence, remedy))
    return or_well(found, rule, f"{situation.lease:g} s", "A node counts as dead when its lease has ended.")


def check_versions(situation: Situation) -> tuple[Finding, ...]:
    """Every node runs the same program."""
    rule = "versions"
    by_version: dict[str, list[str]] = {}
    for node in situation.nodes:
        if node.health is not None:
            by_version.setdefault(node.health.version, []).append(node.name)
    shown = ", ".join(sorted(by_version)) or "unknown"
    found = []
    if len(by_version) > 1:
        who = "; ".join(f"{listed(names)} run {version}" for version, names in sorted(by_version.items()))
        remedy = "upgrade the others, then quorate cluster upgrade"
        found.append(Finding(rule, Verdict.WARNING, shown, f"The nodes run different versions: {who}.", remedy))
    return or_well(found, rule, shown, f"Every node runs the same version, at functional level {situation.level}.")


def check_guards(situation: Situation) -> tuple[Finding, ...]:
    """Each node has a live guard: without one nothing may start there, and nothing ends what outlives a lease."""
    rule = "guards"
    asked = [node for node in situation.nodes if node.health is not None and node.health.guard is not None]
    found = [
        Finding(
            rule,
            Verdict.FAILED,
            "not live",
            f"{node.name} has no live guard; no virtual machine can start there.",
            "it is started again within a second; if it is not, look at the daemon's log or quorate-guard.service",
        )
        for node in asked
        if node.health is not None and not node.health.guard
    ]
    return or_well(found, rule, f"{len(asked)} live", "Each guard ends its node's machines when the lease is over.")


def check_fencing(situation: Situation) -> tuple[Finding, ...]:
    """Fence agents are optional; half of them is a surprise waiting to happen."""
    rule = "fencing"
    agents = {agent for node in situation.nodes for agent in node.fence_agents}
    without = [node.name for node in situation.nodes if not node.fence_agents]
    if not agents:
        sentence = "No fence agents: a dead node's machines start elsewhere when its lease has ended, which is proof."
        return (Finding(rule, Verdict.OK, "by lease", sentence),)
    if without:
        measured = f"{len(situation.nodes) - len(without)} of {len(situation.nodes)}"
        sentence = f"{listed(without)} cannot be fenced, though others can; there only the lease's end is proof."
        remedy = "give every node a fence agent, or none"
        return (Finding(rule, Verdict.WARNING, measured, sentence, remedy),)
    sentence = "Every node can be fenced, which shortens the wait for the end of its lease."
    return (Finding(rule, Verdict.OK, listed(sorted(agents)), sentence),)


def check_certificates(situation: Situation) -> tuple[Finding, ...]:
    """Certificates are renewed by the daemons themselves; one that is not tells of trouble in time."""
    rule = "certificates"
    dated = [
        (node, node.health.certificate_expires)
        for node in situation.nodes
        if node.health is not None and node.health.certificate_expires is not None
    ]
    if not dated:
        return (Finding(rule, Verdict.OK, "none", "The nodes reach each other on this machine, without certificates."),)
    found = []
    for node, expires in dated:
        left = expires - situation.now
        if left < EXPIRES_SOON:
            verdict = Verdict.FAILED if left <= timedelta(0) else Verdict.WARNING
            tense = "expired" if verdict is Verdict.FAILED else "expires"
            sentence = f"The certificate of {node.name} {tense} on {expires:%Y-%m-%d}, and was not renewed."
            remedy = f"look at the daemon's log of {node.name}: it should have renewed it by itself"
            found.append(Finding(rule, verdict, count(left.days, "day"), sentence, remedy))
    first = min(expires for _, expires in dated) - situation.now
    return or_well(found, rule, f"{count(first.days, 'day')} left", "The daemons renew their certificates in time.")


def check_hypervisors(situation: Situation) -> tuple[Finding, ...]:
    """A VM can live-migrate between any two nodes only where their hypervisors are alike."""
    rule = "hypervisors"
    active = [node for node in situation.nodes if node.is_active and node.hypervisor]
    found = []
    for key, means in (
        ("accelerator", "a machine that was started with one cannot move to a node with another"),
        ("version", "a machine may not move from a newer QEMU to an older one"),
        ("cpu_model", "a machine starts with the model of its first node, which the others may lack"),
    ):
        kinds: dict[str, list[NodeFact]] = {}
        for node in active:
            kinds.setdefault(node.hypervisor.get(key, ""), []).append(node)
        if len(kinds) > 1:
            what = key.replace("_", " ")
            who = "; ".join(f"{listed(n.name for n in nodes)}: {kind}" for kind, nodes in sorted(kinds.items()))
            sentence = f"The nodes differ in their {what} ({who}); {means}."
            remedy = "bring the nodes to one version of QEMU and one kind of CPU, or restrict possible owners"
            found.append(Finding(rule, Verdict.WARNING, what, sentence, remedy))
    shown = sorted({f"{n.hypervisor.get('version', '')} {n.hypervisor.get('accelerator', '')}".strip() for n in active})
    return or_well(found, rule, listed(shown) or "unknown", "The hypervisors of all nodes are alike.")
