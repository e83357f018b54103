"""The cluster's queue of moves as the owner of groups meets it: who asks, who waits, and what has come to nothing.

The entries are records (`cluster/queue.py` says what they mean). What this node has written itself it knows before the
view shows it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.status import Status
from quorate.cluster.moves import Cause, Move, Stage
from quorate.cluster.placement import Room
from quorate.cluster.queue import may_begin
from quorate.database.move_records import MoveWrite, QueuedWrite
from quorate.database.records import RunState
from quorate.engine.context import EngineContext
from quorate.engine.hosted import OwnedGroup
from quorate.engine.pictures import PictureOf
from quorate.engine.queue_records import put_move, to_move
from quorate.engine.selection import Conflict

ATTEMPTS: Final = 5
"""How often a move is asked for anew whose place somebody else has taken at the same moment."""

_log = structlog.get_logger("queue")


@dataclass(frozen=True, slots=True)
class _Written:
    """What this node has written of an entry last; None: it has taken it off."""

    move: Move | None
    revision: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What is written of a virtual machine that asks for a move."""

    change: Callable[[RunState], RunState]
    events: Sequence[EventRecord]


class QueueLink:
    """The entries of this node's groups."""

    def __init__(self, context: EngineContext) -> None:
        """Know what the view shows."""
        self._context = context
        self._picture: PictureOf | None = None
        self._written: dict[GroupId, _Written] = {}
        self.carried: dict[GroupId, int] = {}
        """The revisions of the entries, begun ones, that this daemon has taken up: each is carried out once."""

    def bind(self, picture: PictureOf) -> None:
        """Know how placement sees the cluster; before anybody asks for a move."""
        self._picture = picture

    def find(self, group: GroupId) -> Move | None:
        """The entry of a group of this node; None where there is none, or it means nothing any more."""
        snapshot = self._context.view.snapshot
        written = self._written.get(group)
        if written is not None and written.revision > snapshot.revision:
            return written.move
        self._written.pop(group, None)
        found = snapshot.moves.get(group)
        if found is None or found.value.source != self._context.node:
            return None
        return to_move(group, found)

    def waiting(self, group: GroupId) -> Move | None:
        """The entry of a group that waits in the queue."""
        move = self.find(group)
        return move if move is not None and move.stage is Stage.WAITING else None

    def check_free(self, group: GroupId, name: str, status: Status) -> None:
        """Refuse to move a group that has an entry of its own. Raises RefusalError ``status``."""
        move = self.find(group)
        if move is None or (move.stage is Stage.BEGUN and self.carried.get(group) == move.revision):
            return  # what was carried out is over, or is seen to elsewhere
        doing = "waits in the queue of moves" if move.stage is Stage.WAITING else "is being moved"
        raise RefusalError(status, f"{name} {doing} already: wait for that, or cancel it")

    def conflict(self, group: GroupId, node: NodeId) -> Conflict:
        """Who on a node shares an anti-affinity class with a group, as placement sees it."""
        assert self._picture is not None, "the queue is bound before anything moves"
        picture = self._picture()
        found = picture.groups.get(group)
        if found is None or not found.classes or node not in picture.nodes:
            return Conflict()
        other = Room(picture).conflict(found, node)
        return Conflict("" if other is None else other.name, picture.settings.enforced_anti_affinity)

    # --- writes ----------------------------------------------------------------------------------------------------

    async def ask(self, owned: OwnedGroup, move: Move, shown: Callable[[Move], Shown]) -> Move:
        """Enter a move together with what its virtual machine shows, and give back what was written.

        It begins at once if there is a place and nobody is before it, else it waits. Raises RefusalError, or
        StoreUnavailable, and then nothing was begun.
        """
        assert self._picture is not None, "the queue is bound before anything moves"
        for attempt in range(ATTEMPTS):
            picture = self._picture()
            wanted = replace(move, asked_at=picture.clock)
            if attempt < ATTEMPTS - 1 and may_begin(picture, wanted):
                wanted = replace(wanted, stage=Stage.BEGUN, begun_at=picture.clock)
            begins = wanted.stage is Stage.BEGUN
            write = put_move(wanted, self._revision(move.group), picture.turn if begins else None)
            what = shown(wanted)
            outcome, revision = await owned.write_queued(what.change, write, what.events)
            if outcome is QueuedWrite.LANDED:
                written = replace(wanted, revision=revision)
                self._written[move.group] = _Written(written, revision)
                if begins:
                    self.carried[move.group] = revision
                return written
        raise RefusalError(Status.ERROR_RETRY, f"the queue of moves is changing too fast for {owned.name}: try again")

    async def take_off(self, move: Move) -> bool:
        """Take an entry off the queue; answers whether it stood as it was known. Raises StoreUnavailable."""
        return await self._write(move.group, None, move.revision)

    async def put(self, move: Move) -> bool:
        """Write an entry over what it was; answers whether that stood so. Raises StoreUnavailable."""
        return await self._write(move.group, move, move.revision)

    async def give_up(self, move: Move, sentence: str, *, is_final: bool = False) -> bool:
        """End an entry of which nothing came. Raises StoreUnavailable.

        What was asked for is taken off; the coordinator learns of what it keeps itself.
        """
        _log.info("a move came to nothing", group=move.group, cause=move.cause.value, sentence=sentence)
        if move.cause is Cause.ASKED:
            return await self.take_off(move)
        return await self.put(replace(move, stage=Stage.FAILED, sentence=sentence, is_final=is_final))

    async def _write(self, group: GroupId, move: Move | None, expected: int) -> bool:
        write = MoveWrite(group, None, expected) if move is None else put_move(move, expected)
        revision = await self._context.database.moves.commit((write,))
        if revision:
            written = None if move is None else replace(move, revision=revision)
            self._written[group] = _Written(written, revision)
        return revision > 0

    def _revision(self, group: GroupId) -> int:
        """The revision of a group's entry, whatever it is worth; 0: there is none."""
        known = self.find(group)
        if known is not None:
            return known.revision
        written = self._written.get(group)
        if written is not None and written.move is None:
            return 0
        found = self._context.view.snapshot.moves.get(group)
        return 0 if found is None else found.revision
