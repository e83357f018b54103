"""The hands of the brain that runs drains and the queue of moves (`cluster/movements.py`): transactions out."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.cluster import movements as brain
from quorate.cluster.coordinator_work import Looked, Outcome, WakeAt
from quorate.cluster.moves import Change, DropDrain, DropMove, PutDrain, PutMove
from quorate.database.move_records import MoveWrite
from quorate.database.moves import DrainWrite
from quorate.engine.context import EngineContext
from quorate.engine.guard_file import boottime
from quorate.engine.queue_records import put_drain, put_move
from quorate.engine.supervised import spawn

Answered = Callable[[Awaitable[int]], Awaitable[tuple[Outcome, int]]]
"""Tells what became of a write that answers the store's revision, 0 when it was refused."""

_log = structlog.get_logger("queue")


class Movements:
    """The coordinator's part in the moves of the cluster."""

    def __init__(self, context: EngineContext, answered: Answered, wake: Callable[[float], None]) -> None:
        """``wake`` has `look` called at a moment on CLOCK_BOOTTIME."""
        self._context = context
        self._answered = answered
        self._wake = wake
        self._brain = brain.Movements(context.node)
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Write nothing more; what is under way lands or does not."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look(self, event: Looked) -> None:
        """Look at the cluster."""
        self._post(event)

    def _post(self, event: brain.Event) -> None:
        step = self._brain.step(event, boottime())
        self._brain = step.state
        for effect in step.effects:
            match effect:
                case brain.Commit():
                    spawn(self._tasks, self._commit(effect), "a change of the queue of moves")
                case WakeAt(at):
                    self._wake(at)
                case _:
                    raise AssertionError(f"the brain of moves asks for {effect!r}, which has no hand")

    async def _commit(self, effect: brain.Commit) -> None:
        for change in effect.changes:
            _log.info("queue", sentence=_sentence(change), change=type(change).__name__)
        moves, drains = map(_move_write, effect.changes), map(_drain_write, effect.changes)
        writing = self._context.database.moves.commit(
            tuple(write for write in moves if write is not None),
            tuple(write for write in drains if write is not None),
            turn=effect.turn,
            events=tuple(self._event(change) for change in effect.changes if _is_told(change)),
        )
        outcome, revision = await self._answered(writing)
        self._post(brain.Answered(effect.number, outcome, revision))

    def _event(self, change: Change) -> EventRecord:
        node = _node(change)
        return EventRecord.of(
            EventKind.NODE_DRAIN,
            time=datetime.now(UTC),
            node=self._context.node,
            object_id=node,
            object_name=self._context.name_of(node),
            sentence=_sentence(change),
            actor=f"node {self._context.node}",
        )


def _move_write(change: Change) -> MoveWrite | None:
    match change:
        case PutMove(move, expected):
            return put_move(move, expected)
        case DropMove(group, expected):
            return MoveWrite(group, None, expected)
        case _:
            return None


def _drain_write(change: Change) -> DrainWrite | None:
    match change:
        case PutDrain(drain, expected):
            return put_drain(drain, expected)
        case DropDrain(node, expected):
            return DrainWrite(node, None, expected)
        case _:
            return None


def _node(change: Change) -> NodeId:
    match change:
        case PutDrain(drain):
            return drain.node
        case DropDrain(node):
            return node
        case _:
            raise AssertionError(f"{change!r} is about no node")


def _is_told(change: Change) -> bool:
    return isinstance(change, PutDrain | DropDrain) and bool(change.sentence)


def _sentence(change: Change) -> str:
    return change.move.sentence if isinstance(change, PutMove) else change.sentence
