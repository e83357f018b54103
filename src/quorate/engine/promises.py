"""The hands of promises (R10): asks the other nodes while the database is silent, and answers those that ask.

The asking runs on the loop, on purpose: a daemon whose loop stands still asks nobody, and what runs here ends in time.
"""

import asyncio
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import NodeId
from quorate.cluster import promise as brain
from quorate.cluster.promise import Asker, Request
from quorate.engine.guard_file import boottime
from quorate.engine.lease import LeaseKeeper
from quorate.engine.membership import Membership
from quorate.engine.supervised import spawn
from quorate.engine.view import ClusterView
from quorate.peers.client import Peers
from quorate.peers.messages import PromiseAnswer, PromiseRequest

ASK_TIMEOUT: Final = 0.8
"""Seconds that a node has to answer: less than the delay between two rounds."""
SHORTEST: Final = 0.02
"""Seconds between two looks at least."""
AFTER_A_FAULT: Final = 0.5

_log = structlog.get_logger("promises")


class PromiseExchange:
    """Asks for promises, and answers."""

    def __init__(self, me: NodeId, view: ClusterView, lease: LeaseKeeper, membership: Membership, peers: Peers) -> None:
        """Ask for node ``me`` once started."""
        self._me = me
        self._view = view
        self._lease = lease
        self._membership = membership
        self._peers = peers
        self._asker = Asker()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look whether promises are needed, from now on."""
        self._look()

    async def close(self) -> None:
        """Ask nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()

    def on_request(self, message: PromiseRequest) -> PromiseAnswer:
        """Answer a node that asks for a promise."""
        answer = self._membership.answer(Request(message.node, message.incarnation, message.period))
        _log.info("asked for a promise", by=message.node, granted=answer.granted, sentence=answer.sentence)
        return PromiseAnswer(answer.granted, answer.sentence, answer.seconds)

    # --- asking ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Have the brain look whether a promise is needed; whatever breaks, it looks again."""
        self._look_at(boottime() + AFTER_A_FAULT)
        # The clock is read before the view is looked at: whoever the newest renewal says was seen is asked, too.
        now = boottime()
        holder = self._lease.holder()
        snapshot = self._view.snapshot
        others = frozenset(snapshot.nodes) - {self._me}
        look = brain.Look(
            since=None if holder.answered is None else holder.answered.at,
            deadline=holder.deadline,
            delay=holder.delay,
            period=holder.period,
            nodes=frozenset(node for node in others & snapshot.leases.keys() if not snapshot.leases[node].value.ended),
            configured=others,
        )
        self._post(look, now)

    def _post(self, event: brain.AskerEvent, now: float) -> None:
        step = self._asker.step(event, now)
        self._asker = step.state
        for effect in step.effects:
            match effect:
                case brain.Ask(round_, nodes, period):
                    for node in nodes:
                        spawn(self._tasks, self._ask(round_, node, period), f"asking node {node} for a promise")
                case brain.GoOn(sent, period, capped):
                    self._lease.promised(sent, period, capped=capped)
                case brain.LookAgain(at):
                    self._look_at(at)
                case brain.Say(sentence):
                    _log.warning(sentence)
                case _:
                    raise AssertionError(f"the asker's brain asks for {effect!r}, which has no hand")

    def _look_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(SHORTEST, at - boottime()), self._look)

    async def _ask(self, round_: int, node: NodeId, period: float) -> None:
        """Ask one node. However it goes, the brain hears of it: it waits for everybody."""
        event: brain.AskerEvent = brain.NotGranted(round_, node, "the question broke")
        try:
            message = PromiseRequest(self._me, self._lease.incarnation, period)
            answer = PromiseAnswer.from_json(
                await self._peers.call(node, "promise", message.to_json(), timeout=ASK_TIMEOUT)
            )
            granted = brain.Granted(round_, node)
            event = granted if answer.granted else brain.NotGranted(round_, node, answer.sentence)
        except ClusterError as error:
            event = brain.NotGranted(round_, node, error.sentence)
        finally:
            self._post(event, boottime())
