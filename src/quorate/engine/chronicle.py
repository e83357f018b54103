"""What this node remembers of the live migrations that it had a part in, and writes down when they are over.

Nobody waits for it: a migration is over whether it is written down or not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from quorate.clusapi.asking import ASKED_BY
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import SessionId
from quorate.clusapi.json_types import JsonObject
from quorate.cluster.moves import Cause, Move
from quorate.database.migration_history import Arrival, Departure, Result
from quorate.engine.context import EngineContext
from quorate.engine.incoming_session import IncomingSession
from quorate.engine.outgoing_session import OutgoingSession
from quorate.engine.session import (
    GUEST_RESUMED,
    GUEST_RUNNING,
    GUEST_STOPPED,
    HAND_OVER_ANSWERED,
    HAND_OVER_SENT,
    HAND_OVER_TOLD,
)
from quorate.engine.supervised import spawn
from quorate.migration.outgoing import Outcome, Phase

ATTEMPTS: Final = 5
LATER: Final = 1.0
"""Seconds between two attempts to write."""
_CAUSES: Final = {Cause.DRAIN: "a drain", Cause.RETURN: "the end of a drain", Cause.ASKED: ""}
_RESULTS: Final = {
    Outcome.DONE: Result.MOVED,
    Outcome.CANCELLED: Result.CANCELLED,
    Outcome.FAILED: Result.FAILED,
    Outcome.OVERTAKEN: Result.OVERTAKEN,
    Outcome.IMAGE_LOST: Result.LOST,
}

_log = structlog.get_logger("migration")


@dataclass(frozen=True, slots=True)
class _Begun:
    """A migration under way."""

    asked_by: str
    at: datetime
    since: float
    """Monotonic seconds."""


class Chronicle:
    """Writes down the migrations of one node."""

    def __init__(self, context: EngineContext) -> None:
        """Remember nothing."""
        self._context = context
        self._askers: dict[SessionId, str] = {}
        self._begun: dict[SessionId, _Begun] = {}
        self._foretold: dict[SessionId, JsonObject] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def asked(self, session: SessionId, move: Move | None = None) -> None:
        """Remember who wants a migration: who is just being served, or the cause of its entry in the queue."""
        known = self._askers.get(session, "") or ASKED_BY.get()
        self._askers[session] = known or ("" if move is None else _CAUSES[move.cause])

    def begun(self, session: SessionId) -> None:
        """Remember that it begins now."""
        self._begun[session] = _Begun(self._askers.pop(session, ""), datetime.now(UTC), self._context.now())

    def foretold(self, session: SessionId, forecast: JsonObject) -> None:
        """Remember what is foretold of a migration that goes on; of one that is over it is too late."""
        if session in self._begun:
            self._foretold[session] = forecast

    def dropped(self, session: SessionId) -> None:
        """Forget a migration that never begins."""
        self._askers.pop(session, None)

    def left(self, session: OutgoingSession) -> None:
        """Write down what the source knows of a migration that is over."""
        id_, departure = session.brain.session, self._departure(session)
        self._write(id_, lambda: self._context.database.migrations.add_departure(id_, departure))

    def arrived(self, session: IncomingSession, alive: float | None) -> None:
        """Write down what the destination knows of a guest that runs here now, and when it was seen to be ``alive``."""
        id_, brain, moments = session.brain.session, session.brain, session.moments
        running, told = moments.get(GUEST_RUNNING), moments.get(HAND_OVER_TOLD)
        arrival = Arrival(
            group=session.group,
            vm=session.name,
            source=self._context.name_of(brain.source),
            destination=self._context.node_name,
            ended=datetime.now(UTC),
            stood=None if running is None or told is None else max(0.0, running - told),
            alive=alive,
        )
        self._write(id_, lambda: self._context.database.migrations.add_arrival(id_, arrival))

    def _departure(self, session: OutgoingSession) -> Departure:
        brain, moments, now = session.brain, session.moments, self._context.now()
        begun = self._begun.pop(brain.session, None)
        forecast = self._foretold.pop(brain.session, None)
        over = moments.get(Phase.ENDING_IMAGE.value, now)
        assert brain.outcome is not None, "what is over has an outcome"
        return Departure(
            group=session.vm.group,
            vm=session.vm.name,
            source=self._context.node_name,
            destination=self._context.name_of(brain.destination),
            asked_by="" if begun is None else begun.asked_by,
            started=None if begun is None else begun.at,
            ended=datetime.now(UTC),
            seconds=None if begun is None else over - begun.since,
            stood=_stood(moments),
            transferred=brain.transferred,
            rate=round(session.vm.progress.rate),
            forecast=forecast if forecast is not None else {"absent": "it was over before anything was foretold"},
            passes=brain.convergence.seen_pass,
            policy=brain.convergence.policy.name,
            gap_limit=brain.convergence.policy.gap_limit,
            throttle=brain.convergence.throttle,
            mode=session.mode,
            result=_RESULTS[brain.outcome].value,
            sentence=brain.reason,
        )

    def _write(self, session: SessionId, write: Callable[[], Awaitable[None]]) -> None:
        spawn(self._tasks, self._try_to_write(session, write), f"the record of the migration {session}")

    async def _try_to_write(self, session: SessionId, write: Callable[[], Awaitable[None]]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await write()
                return
            except ClusterError as error:
                _log.warning("a migration was not written down", session=session, sentence=error.sentence)
            if attempt < ATTEMPTS:
                await asyncio.sleep(LATER)


def _stood(moments: dict[str, float]) -> float | None:
    """For how long the guest had stood when it was somebody else's, or ran here again; None if it was not measured.

    The word of the hand-over takes half as long as its answer took to come: so much of the gap nobody else measures.
    """
    stopped, sent, answered = moments.get(GUEST_STOPPED), moments.get(HAND_OVER_SENT), moments.get(HAND_OVER_ANSWERED)
    resumed = moments.get(GUEST_RESUMED)
    if stopped is None:
        return None
    if resumed is not None:
        return resumed - stopped
    return None if sent is None or answered is None else sent - stopped + (answered - sent) / 2
