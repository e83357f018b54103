"""Checks of the groups: where they may run, whether they fit when a node is lost, and whether their disks follow."""

from collections.abc import Iterable
from itertools import combinations

from quorate.clusapi.identity import NodeId
from quorate.server.validation.facts import FileFact, GroupFact, MachineFact, Situation
from quorate.server.validation.findings import Finding, Verdict, count, listed, or_well


def check_n_plus_one(situation: Situation) -> tuple[Finding, ...]:
    """Whatever node is lost, all that runs there runs elsewhere."""
    rule = "loss of a node"
    if situation.losses is None:
        return ()
    found = []
    for loss in situation.losses:
        if not loss.is_survived:
            whole = loss.fits + len(loss.left)
            reasons = " ".join(sentence.rstrip(".") + "." for sentence in loss.left[:3])
            more = f" And {len(loss.left) - 3} more." if len(loss.left) > 3 else ""
            sentence = f"If {loss.name} were lost, {count(len(loss.left), 'group')} would not run: {reasons}{more}"
            remedy = "free or add memory on the other nodes, or widen possible owners"
            found.append(Finding(rule, Verdict.WARNING, f"{loss.fits} of {whole} fit", sentence, remedy))
    measured = f"{len(situation.losses)} planned"
    return or_well(found, rule, measured, "Whichever node is lost, everything that runs there fits elsewhere.")


def check_owners(situation: Situation) -> tuple[Finding, ...]:
    """Every group has a node where all of its resources may run, and prefers only such nodes."""
    rule = "possible owners"
    active = {node.id for node in situation.nodes if node.is_active}
    found = []
    for group in situation.groups:
        names = listed(situation.name_of(node) for node in sorted(group.possible))
        if not group.possible:
            sentence = f"{group.name} can run nowhere: its resources have no possible owner in common."
            remedy = "add possible owners to its resources"
            found.append(Finding(rule, Verdict.FAILED, "none", sentence, remedy))
        elif not group.possible & active:
            sentence = f"{group.name} can run nowhere at the moment: of its possible owners ({names}) none is up."
            found.append(Finding(rule, Verdict.FAILED, "none up", sentence, "start one of them, or add others"))
        elif group.wanted and len(group.possible) == 1 and len(situation.nodes) > 1:
            sentence = f"{group.name} may run on {names} only; if that is lost, it does not run."
            found.append(Finding(rule, Verdict.WARNING, "one", sentence, "add possible owners to its resources"))
        if stray := [node for node in group.preferred if node not in group.possible]:
            wished = listed(situation.name_of(node) for node in stray)
            sentence = f"{group.name} prefers {wished}, where it may not run."
            remedy = "make them possible owners, or take them off the list of preferred ones"
            found.append(Finding(rule, Verdict.WARNING, "preferred", sentence, remedy))
    return or_well(found, rule, count(len(situation.groups), "group"), "Every group has nodes where it may run.")


def check_anti_affinity(situation: Situation) -> tuple[Finding, ...]:
    """Groups of one anti-affinity class can be kept apart, and are."""
    rule = "anti-affinity"
    classes: dict[str, list[GroupFact]] = {}
    for group in situation.groups:
        for name in group.classes if group.wanted else ():
            classes.setdefault(name, []).append(group)
    active = {node.id for node in situation.nodes if node.is_active}
    found = []
    for name, members in sorted(classes.items()):
        places = {node for member in members for node in member.possible & active}
        if len(members) > len(places):
            verdict = Verdict.FAILED if situation.enforced_anti_affinity else Verdict.WARNING
            what = "one of them stays offline" if situation.enforced_anti_affinity else "two of them share a node"
            whom = listed(sorted(member.name for member in members))
            sentence = f"{whom} shall be apart ({name}), and may run on {count(len(places), 'node')}: {what}."
            remedy = "add nodes or possible owners, or take a group out of the class"
            found.append(Finding(rule, verdict, f"{len(members)} on {len(places)}", sentence, remedy))
            continue
        for one, other in combinations(members, 2):
            if one.owner is not None and one.owner == other.owner:
                where = situation.name_of(one.owner)
                sentence = f"{one.name} and {other.name} shall be apart ({name}), and both are on {where}."
                remedy = f"move one of them: quorate group move {other.name}"
                found.append(Finding(rule, Verdict.WARNING, where, sentence, remedy))
    return or_well(found, rule, f"{len(classes)} in use", "Groups that shall be apart are apart.")


def check_disks(situation: Situation) -> tuple[Finding, ...]:
    """A machine fails over only where its files are on storage that every possible owner sees."""
    rule = "shared storage"
    found = []
    for machine in situation.machines:
        if machine.unreadable:
            sentence = f"The definition of {machine.group.name} cannot be read: {machine.unreadable}."
            found.append(Finding(rule, Verdict.FAILED, "unreadable", sentence, "write it anew"))
        elif not situation.one_machine and (local := _local_files(situation, machine)):
            sentence = f"{machine.group.name} cannot fail over: {listed(local)} may be on one node only."
            remedy = "keep it on storage that every node sees, named in shared_storages of each node's configuration"
            found.append(Finding(rule, Verdict.WARNING, count(len(local), "file"), sentence, remedy))
    measured = count(len(situation.machines), "machine")
    why = "the nodes share one machine" if situation.one_machine else "every possible owner sees their files"
    return or_well(found, rule, measured, f"All machines can fail over: {why}.")


def _local_files(situation: Situation, machine: MachineFact) -> list[str]:
    owners = [node for node in situation.nodes if node.id in machine.group.possible and node.health is not None]
    return [_shown(file) for file in machine.files if not all(_is_shared(situation, node.id, file) for node in owners)]


def _shown(file: FileFact) -> str:
    return f"{file.path} of storage {file.storage}" if file.storage else str(file.path)


def _is_shared(situation: Situation, node: NodeId, file: FileFact) -> bool:
    """Whether a node says that the file is on a storage which every node sees."""
    health = next((one.health for one in situation.nodes if one.id == node), None)
    shared = () if health is None else tuple(storage for storage in health.storages if storage.shared)
    if file.storage:
        return any(storage.name == file.storage for storage in shared)
    return _below(file, (storage.path for storage in shared))


def _below(file: FileFact, directories: Iterable[str]) -> bool:
    return any(file.path.is_relative_to(directory) for directory in directories)
