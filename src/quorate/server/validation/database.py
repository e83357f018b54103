"""Checks of the cluster database: it answers, its members are there, and it is not running full."""

from typing import Final

from quorate.cluster.retention import StoreFacts, find_alarms
from quorate.server.validation.facts import Situation
from quorate.server.validation.findings import Finding, Verdict, count, listed, or_well

_RULE: Final = "database"


def check_database(situation: Situation) -> tuple[Finding, ...]:
    """The database answers and has room."""
    status = situation.store
    if status is None:
        sentence = f"The cluster database does not answer: {situation.store_trouble}."
        remedy = "bring a majority of its members back; running machines go on as long as the nodes promise each other"
        return (Finding(_RULE, Verdict.FAILED, "no answer", sentence, remedy),)
    facts = StoreFacts(status.size_bytes, status.in_use_bytes, status.quota_bytes, status.alarms)
    found = [
        Finding(
            _RULE,
            Verdict.FAILED if alarm.is_felt else Verdict.WARNING,
            _size(status.size_bytes),
            f"{alarm.sentence[0].upper()}{alarm.sentence[1:]}.",
            "etcdctl defrag on each member, then etcdctl alarm disarm",
        )
        for alarm in find_alarms(facts)
    ]
    quota = "" if status.quota_bytes is None else f" of {_size(status.quota_bytes)}"
    return or_well(found, _RULE, f"{_size(status.size_bytes)}{quota}", "The cluster database answers and has room.")


def check_members(situation: Situation) -> tuple[Finding, ...]:
    """As many members as can lose one."""
    rule = "database members"
    if situation.store is None:
        return ()
    members = situation.store.members
    if not members:
        sentence = "The database is a file of this machine."
        if situation.one_machine:
            return (Finding(rule, Verdict.OK, "a file", sentence),)
        remedy = "make the cluster with --etcd"
        return (Finding(rule, Verdict.FAILED, "a file", f"{sentence} Nodes on other machines cannot use it.", remedy),)
    sick = [member for member in members if not member.is_healthy]
    healthy = f"{len(members) - len(sick)} of {len(members)}"
    found = [
        Finding(
            rule,
            Verdict.WARNING,
            healthy,
            f"The database member {member.name} ({member.address}) is not healthy: {member.sentence}.",
            "bring it back: the loss of a majority freezes every decision",
        )
        for member in sick
    ]
    if not any(member.is_leader for member in members):
        sentence = "The members have no leader; nothing can be written."
        found.append(Finding(rule, Verdict.FAILED, healthy, sentence, "bring a majority of the members back"))
    if len(members) < 3:
        sentence = f"The database has {count(len(members), 'member')}; the loss of one stops every decision."
        found.append(Finding(rule, Verdict.WARNING, str(len(members)), sentence, "run three members of etcd"))
    leader = listed(member.name for member in members if member.is_leader)
    return or_well(found, rule, healthy, f"Every member is healthy; {leader} leads.")


def _size(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
