"""Finding out where a virtual machine may go: the facts for the rules of `migration`, and what the nodes say of it."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.host_sight import GuestSight
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject, json_float, json_int, json_object, json_objects
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.clusapi.status import Status
from quorate.database.snapshot import ClusterSnapshot, NodeInfo
from quorate.engine.context import EngineContext
from quorate.engine.passages import passages_to
from quorate.engine.path_probe import come_in, shown
from quorate.engine.transports import way_to, wishes_of
from quorate.migration.migration_networks import Passages
from quorate.migration.path_rules import PathSight, judge_answer, judge_clock, judge_path
from quorate.migration.preflight import Assessment, Candidate, choose_destination, find_destination, judge_node
from quorate.migration.rules import Finding, first_refusal, require
from quorate.migration.transport import Way, judge_encryption, judge_post_copy
from quorate.peers.client import PeerUnreachable
from quorate.peers.messages import Assess

ANSWER_DEADLINE = 1.0
"""Seconds that a node has to say whether it could run a VM; one that is silent longer is not up."""
_OUT_OF_REACH: Final = (NodeState.DOWN, NodeState.JOINING, NodeState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Question:
    """What the other nodes are asked about."""

    definition: JsonObject
    pinned: JsonObject
    guest: GuestSight


@dataclass(frozen=True, slots=True)
class Conflict:
    """Who on a node shares an anti-affinity class with a group, and whether the cluster enforces those."""

    name: str = ""
    enforced: bool = False


ConflictOn = Callable[[GroupId, NodeId], Conflict]


@dataclass(frozen=True, slots=True)
class Judged:
    """A node, and how every rule stands for it."""

    candidate: Candidate
    findings: tuple[Finding, ...]
    memory_free: int = 0
    """Bytes."""
    way: Way | None = None
    """How memory would get there; None: it was not asked."""

    def assessment(self) -> Assessment:
        """Give the node's word as the choice among nodes takes it."""
        refusal = first_refusal(self.findings)
        return Assessment(self.candidate.node, None if refusal is None else refusal.error(), self.memory_free)


def was_started(snapshot: ClusterSnapshot, group: GroupId) -> bool:
    """Tell whether a VM was ever started, so that what its guest sees is pinned."""
    configuration = snapshot.vm_configuration(group)
    return configuration is not None and bool(configuration.parameters.text("Pinned"))


def describe(snapshot: ClusterSnapshot, group: GroupId) -> tuple[JsonObject, JsonObject]:
    """Give a VM's definition and what was pinned at its first start."""
    configuration = snapshot.vm_configuration(group)
    if configuration is None or not configuration.parameters.text("Pinned"):
        raise RefusalError(Status.ERROR_INVALID_STATE, "the virtual machine was never started")
    return json.loads(configuration.parameters.text("Definition")), json.loads(configuration.parameters.text("Pinned"))


class Selection:
    """Asks the nodes about one virtual machine of this one."""

    def __init__(
        self,
        context: EngineContext,
        snapshot: ClusterSnapshot,
        group: GroupId,
        question: Question | None,
        conflict_on: ConflictOn,
    ) -> None:
        """Ask nobody yet; without a question nobody is: a VM that was never started has been given nothing."""
        self._context = context
        self._snapshot = snapshot
        self._group = group
        self._question = question
        self._conflict_on = conflict_on

    async def choose(self, wanted: str | None) -> Judged:
        """Give the node to move to: the one that was named, or the best.

        Raises:
            ClusterError: by the first rule that refuses; 5957 or 5071 if none of the others is possible.
        """
        if wanted is not None:
            judged = await self.judge(self.find(wanted), thorough=False)
            require(judged.findings)
            return judged
        answers = await asyncio.gather(*(self.judge(one, thorough=False) for one in self.others()))
        chosen = choose_destination(tuple(judged.assessment() for judged in answers))
        return next(judged for judged in answers if judged.candidate.node == chosen)

    def find(self, wanted: str) -> Candidate:
        """Find the node that was named. Raises CallerError 5042, 87."""
        node = next((n for n in self._snapshot.nodes.values() if n.name.casefold() == wanted.casefold()), None)
        return find_destination(self._context.node, None if node is None else self._candidate(node), wanted)

    def others(self) -> tuple[Candidate, ...]:
        """Every node but this one."""
        return tuple(self._candidate(n) for n in self._snapshot.nodes.values() if n.id != self._context.node)

    async def judge(self, candidate: Candidate, *, thorough: bool) -> Judged:
        """Find out how every rule stands for a node; one that is ruled out already is asked only if ``thorough``."""
        findings = judge_node(candidate)
        if candidate.state in _OUT_OF_REACH:
            sentence = f"{candidate.name} is {candidate.state.name.lower()}: what it has could not be measured"
            return Judged(candidate, (*findings, Finding.warns("host", "not asked", sentence)))
        if self._question is None:
            sentence = "it was never started: what its guest will be given is decided at its first start"
            return Judged(candidate, (*findings, Finding.warns("host", "not asked", sentence)))
        if not thorough and first_refusal(findings) is not None:
            return Judged(candidate, findings)
        path, answer = await self._ask(candidate, self._question)
        answered = judge_answer(path)
        if isinstance(answer, ClusterError):
            own = Finding.refuses("host", "refused", answer.status, answer.sentence, "").said_by(candidate.name)
            return Judged(candidate, (*findings, own if not path.silence else answered))
        hosts = tuple(Finding.from_json(found).said_by(candidate.name) for found in json_objects(answer, "findings"))
        way = way_to(self._context, candidate.node, json_object(answer, "offer"), path)
        way = replace(way, huge_page=self._question.guest.huge_page)
        wishes = wishes_of(self._snapshot)
        post_copy = (judge_post_copy(wishes, way),) if wishes.post_copy else ()
        ways = (judge_path(path), judge_encryption(wishes, way), *post_copy, judge_clock(path))
        return Judged(candidate, (*findings, answered, *hosts, *ways), json_int(answer, "memory_free"), way)

    def _candidate(self, node: NodeInfo) -> Candidate:
        context, resources = self._context, self._snapshot.resources_of(self._group)
        state, conflict = context.view.node_state(node.id), self._conflict_on(self._group, node.id)
        return Candidate(
            node=node.id,
            name=node.name,
            state=NodeState.PAUSED if state is NodeState.UP and node.paused else state,
            isolated=bool(node.status & NodeStatus.ISOLATED),
            quarantined=bool(node.status & NodeStatus.QUARANTINED),
            possible_owner=all(node.id in r.possible_owners for r in resources),
            draining=bool(node.status & NodeStatus.DRAIN_IN_PROGRESS),
            conflict=conflict.name,
            enforced=conflict.enforced,
        )

    async def _ask(self, candidate: Candidate, question: Question) -> tuple[PathSight, JsonObject | ClusterError]:
        """Ask a node, and try the way to it."""
        passages = passages_to(self._context.view, self._snapshot, self._context.node, candidate.node)
        asked = Assess(
            question.definition,
            question.pinned,
            question.guest.to_json(),
            explain=True,
            addresses=tuple(passage.address for passage in passages.tried),
        )
        began, since = datetime.now(UTC).timestamp(), time.monotonic()
        try:
            answer = await self._context.peers.call(candidate.node, "assess", asked.to_json(), ANSWER_DEADLINE)
        except PeerUnreachable as error:
            return PathSight(candidate.name, silence=error.sentence), error
        except ClusterError as error:
            return PathSight(candidate.name), error
        took = time.monotonic() - since
        told = json_float(answer, "time")
        path = replace(
            await _try_ways(candidate.name, passages, json_objects(answer, "doors"), json_object(answer, "door")),
            answered_in=took,
            clock_offset=told - (began + took / 2) if told else None,
            clock_doubt=took / 2,
        )
        return path, answer


async def _try_ways(name: str, passages: Passages, doors: Sequence[JsonObject], usual: JsonObject) -> PathSight:
    """Try one network after the other until a connection succeeds; ``usual`` is where the node's QEMUs listen else."""
    if not doors:  # a socket of this machine, an older node, or no networks that are known
        if passages.none_may_be_used and "path" not in usual:
            return PathSight(name, left_out=passages.left_out)
        connected, trouble = await come_in(usual) if usual else (None, "")
        return PathSight(name, address=shown(usual), connected_in=connected, trouble=trouble)
    failed: list[str] = []
    for passage, door in zip(passages.tried, doors, strict=False):
        connected, trouble = await come_in(door)
        sight = PathSight(
            node=name,
            address=shown(door) or passage.address,
            network=passage.name,
            host=passage.address,
            connected_in=connected,
            trouble=trouble,
            failed=tuple(failed),
            left_out=passages.left_out,
        )
        if connected is not None:
            return sight
        failed.append(f"{passage.name} ({passage.address}): {trouble}")
    return sight
