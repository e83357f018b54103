"""Carries out the moves of this node's groups that have begun, and ends the entries of those that come to nothing.

A move that somebody asks for where there is a place begins with the request itself (`migrations.py`); all others begin
when the coordinator says so in their entry. Each is taken up once by one daemon. That a group has gone ends its entry:
the coordinator takes it off.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId
from quorate.cluster.moves import Cause, Move, Stage
from quorate.cluster.queue import Carry, belongs, plan_carry
from quorate.database.contract import StoreUnavailable
from quorate.engine.holdings import Holdings
from quorate.engine.hosted import HostedVm, OwnedGroup
from quorate.engine.moves import Moves
from quorate.engine.queue_records import to_drain, to_move
from quorate.engine.starts import Starts
from quorate.engine.supervised import spawn

AGAIN: Final = 0.25
"""Seconds after which is looked again at what has to wait for something that is being done here."""
LATER: Final = 1.0
"""Seconds between two tries to write what became of a move."""

_log = structlog.get_logger("queue")


@dataclass(frozen=True, slots=True)
class _Ended:
    """A move of which nothing came, and nobody knows yet."""

    move: Move
    sentence: str
    is_final: bool


class Errands:
    """The owner's part in the queue."""

    def __init__(self, holdings: Holdings, moves: Moves, starts: Starts) -> None:
        """Carry out nothing until `start`."""
        self._holdings = holdings
        self._context = holdings.context
        self._moves = moves
        self._starts = starts
        self._queue = holdings.migrations.queue
        self._changed = asyncio.Event()
        self._ended: dict[GroupId, _Ended] = {}
        self._carried_with: dict[GroupId, tuple[int | None, OwnedGroup]] = {}
        """The entries that were taken up, and what was here then."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        holdings.migrations.on_fruitless = self.on_fruitless

    def start(self) -> None:
        """Begin to look."""
        self._context.view.subscribe(lambda snapshot: self._changed.set())
        self._changed.set()
        self._task = asyncio.create_task(self._run(), name="errands")

    async def close(self) -> None:
        """Take up nothing more."""
        tasks = [task for task in (self._task, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look_again(self) -> None:
        """Look once more: something that the view does not show has changed."""
        self._changed.set()

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                if self.look():
                    asyncio.get_running_loop().call_later(AGAIN, self._changed.set)
            except Exception:  # noqa: BLE001 - the supervisor of errands: one move must not end it for all
                _log.exception("the errands broke; they are looked at again")
                asyncio.get_running_loop().call_later(LATER, self._changed.set)

    def look(self) -> bool:
        """Look at every entry of this node once; answers whether one of them waits for something done here."""
        snapshot, me = self._context.view.snapshot, self._context.node
        is_late = False
        self._carried_with = {id_: found for id_, found in self._carried_with.items() if id_ in snapshot.moves}
        for id_, found in snapshot.moves.items():
            record = found.value
            if record.source == me and record.stage == Stage.BEGUN.value and snapshot.owner_of(id_) == me:
                is_late |= self._look_at(to_move(id_, found))
        self._look_after_lost()
        return is_late

    def _look_at(self, move: Move) -> bool:
        group = move.group
        owned = self._holdings.find(group)
        is_here = owned is not None and group in self._holdings.attached
        if self._queue.carried.get(group) == move.revision:
            if owned is not None and is_here and self._has_come_back(move, owned) and group not in self._ended:
                # Before the coordinator took the entry off: nobody else would.
                self.on_fruitless(move, "it has been elsewhere meanwhile, and has come back", False)
            else:
                self._cancel_if_over(move)
            return False
        if owned is None or not is_here or not self._context.lease.is_held:
            return True
        vm = owned if isinstance(owned, HostedVm) else None
        carrying = plan_carry(move, None if vm is None else vm.state, is_busy=self._is_busy(owned))
        if carrying.carry is Carry.LATER:
            return True
        self._queue.carried[group] = move.revision
        self._carried_with[group] = move.revision, owned
        match carrying.carry:
            case Carry.LIVE:
                spawn(self._tasks, self._carry_live(owned, move), f"the migration of {owned.name}")
            case Carry.OFFLINE:
                spawn(self._tasks, self._carry_offline(owned, move), f"the move of {owned.name}")
            case Carry.FAIL:
                spawn(self._tasks, self._fail(owned, move, carrying.why), f"the end of the move of {owned.name}")
        return False

    def _has_come_back(self, move: Move, owned: OwnedGroup) -> bool:
        """Tell whether a group was elsewhere since its move was taken up, and is now taken on anew."""
        revision, before = self._carried_with.get(move.group, (None, owned))
        if revision != move.revision:
            self._carried_with[move.group] = move.revision, owned
            return False
        return owned is not before

    def _is_busy(self, owned: OwnedGroup) -> bool:
        group = owned.group
        if self._holdings.is_busy(group) or group in self._moves.moving or self._starts.is_coming(group):
            return True
        return isinstance(owned, HostedVm) and owned.lock.locked()

    def _cancel_if_over(self, move: Move) -> None:
        """Cancel what is under way for a drain, or for a return after one, that has been ended."""
        if not move.is_of_coordinator:
            return
        snapshot = self._context.view.snapshot
        drains = {
            node: to_drain(node, found) for node, found in snapshot.drains.items() if found.value.id == move.drain
        }
        if not belongs(drains, move):
            self._holdings.migrations.cancel_if_possible(move.group)

    def _look_after_lost(self) -> None:
        """A virtual machine that shows a move of which no entry is left was taken off by somebody else.

        Nothing is under way for it here: it was a machine's or a daemon's end that cut the move short.
        """
        for vm in self._holdings.migrations.all():
            waits = vm.migration_state.is_under_way and vm.group in self._holdings.attached
            if not waits or self._is_busy(vm) or self._queue.find(vm.group) is not None:
                continue
            if self._context.view.snapshot.revision < vm.ownership.revision:
                continue
            sentence = "it was taken off the queue of moves"
            spawn(self._tasks, self._show_failure(vm, sentence), f"the end of the move of {vm.name}")

    # --- carrying out ----------------------------------------------------------------------------------------------

    async def _carry_live(self, owned: OwnedGroup, move: Move) -> None:
        try:
            await self._holdings.migrations.carry(move)
        except ClusterError as error:
            await self._fail(owned, move, error.sentence)

    async def _carry_offline(self, owned: OwnedGroup, move: Move) -> None:
        try:
            await self._moves.carry(owned, move)
        except ClusterError as error:
            await self._fail(owned, move, error.sentence)

    async def _fail(self, owned: OwnedGroup, move: Move, sentence: str) -> None:
        if move.cause is Cause.ASKED and isinstance(owned, HostedVm):
            await self._show_failure(owned, sentence)
        self.on_fruitless(move, sentence, False)

    async def _show_failure(self, vm: HostedVm, sentence: str) -> None:
        try:
            await self._holdings.migrations.show_failure(vm, sentence)
        except ClusterError as error:
            _log.warning("the end of a move was not written", vm=vm.name, sentence=error.sentence)

    # --- what came to nothing --------------------------------------------------------------------------------------

    def on_fruitless(self, move: Move, sentence: str, is_final: bool) -> None:
        """End the entry of a move of which nothing came; ``is_final``: somebody has cancelled it."""
        self._ended[move.group] = _Ended(move, sentence, is_final)
        spawn(self._tasks, self._give_up(move.group), f"the end of the entry of {move.group}")

    async def _give_up(self, group: GroupId) -> None:
        while (ended := self._ended.get(group)) is not None:
            try:
                await self._queue.give_up(ended.move, ended.sentence, is_final=ended.is_final)
            except StoreUnavailable as error:
                _log.warning("the end of a move is written later", group=group, sentence=error.sentence)
                await asyncio.sleep(LATER)
                continue
            if self._ended.get(group) is ended:
                del self._ended[group]
