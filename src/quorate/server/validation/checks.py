"""Every check, in the order in which people read them."""

from collections.abc import Callable
from typing import Final

from quorate.server.validation import database, groups, networks, nodes, users
from quorate.server.validation.facts import Situation
from quorate.server.validation.findings import Finding

CHECKS: Final[tuple[Callable[[Situation], tuple[Finding, ...]], ...]] = (
    nodes.check_up,
    nodes.check_guards,
    database.check_database,
    database.check_members,
    nodes.check_leases,
    nodes.check_clocks,
    nodes.check_versions,
    nodes.check_certificates,
    users.check_users,
    nodes.check_fencing,
    networks.check_states,
    networks.check_number,
    groups.check_n_plus_one,
    groups.check_owners,
    groups.check_anti_affinity,
    groups.check_disks,
    nodes.check_hypervisors,
)


def run_checks(situation: Situation) -> tuple[Finding, ...]:
    """Every finding."""
    return tuple(finding for check in CHECKS for finding in check(situation))
