"""What this node knows beforehand of how a virtual machine of it will move: measured when asked, remembered otherwise.

A dry run looks: how the guest writes (never while it is being moved), how much of its memory is in use, and what the
way to the other node carries. A real move waits for nothing of this: it is foretold from what was seen last and from
what earlier moves between the two nodes took, or not at all, and then it is said why.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_float, json_object
from quorate.clusapi.status import Status
from quorate.database.migration_history import PastMigration, Result
from quorate.engine.context import EngineContext
from quorate.engine.hosted import HostedVm
from quorate.engine.link_probe import FRESH, KnownSpeeds, Speed, try_speed
from quorate.engine.transports import MIB
from quorate.hypervisor.contract import Instance
from quorate.hypervisor.guest_model import FIRST_LOOK, GuestModel, TransferModel, socket_bytes
from quorate.migration.convergence import Convergence
from quorate.migration.forecast import (
    Case,
    Forecast,
    Inputs,
    Look,
    Outcome,
    Range,
    Writing,
    estimate_writing,
    foretell,
)
from quorate.migration.policy import DEFAULT_POLICY, Policy
from quorate.migration.transport import Transport

SHORT, LONGER, LONGEST = 0.2, 1.0, 3.0
"""Seconds of the looks at how a guest writes; the last only where the second has not told over how much it writes."""
_WRITES_LITTLE: Final = 0.03
"""A guest that writes less than this share of what the link carries need not be watched for longer."""
SEEN_LATELY: Final = 5.0
"""Seconds for which a look serves whoever asks again."""
_REMEMBERED: Final = 50
_CONNECT: Final = 1.0
_RECALL_AFTER: Final = 3.0
"""Seconds after a move: its destination has written what it knows by then."""

_log = structlog.get_logger("migration")


@dataclass(frozen=True, slots=True)
class Foretold:
    """A forecast and what it was made from; or why there is none."""

    forecast: Forecast | None
    known: JsonObject
    reason: str = ""

    def to_json(self) -> dict[str, JsonValue]:
        """Write it as every face shows it, and as it is kept with the move."""
        if self.forecast is None:
            return {"absent": self.reason}
        return {**self.forecast.to_json(), "known": self.known}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A move that may be: where to, how memory would be sent, and how much memory the guest has."""

    node: NodeId
    transport: Transport
    memory: int
    policy: Policy = DEFAULT_POLICY
    others: tuple[Policy, ...] = ()
    """Those that it might follow instead, with the virtual machine's own limits."""
    can_post_copy: bool = False
    """The cluster allows it, and both ends can."""

    @property
    def start(self) -> Convergence:
        """What its source would begin with."""
        return Convergence(self.policy, may_post_copy=self.can_post_copy and self.policy.post_copy)

    @property
    def mode(self) -> str:
        """How memory is copied, for people: as moves are remembered with."""
        return f"pre-copy, {self.transport.describe()}"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of a guest, and when (seconds of the monotonic clock)."""

    at: float
    in_use: int
    writing: Writing | None
    how: str
    """How the writing was found out, for people."""
    trouble: str = ""


class Foresight:
    """Foretells the moves of one node."""

    def __init__(self, context: EngineContext) -> None:
        """Know nothing yet."""
        self._context = context
        self.speeds = KnownSpeeds()
        """What the ways to the other nodes carry, as far as it was tried."""
        self._seen: dict[GroupId, _Seen] = {}
        self._past: tuple[PastMigration, ...] | None = None
        self._recalling = False
        self._looking = asyncio.Lock()
        """One dry run at a time: two would measure each other."""

    # --- looking -----------------------------------------------------------------------------------------------------

    async def look_and_foretell(
        self,
        vm: HostedVm,
        instance: Instance,
        move: Proposal,
        *,
        is_moved: Callable[[], str],
        is_loaded: Callable[[], str],
    ) -> Foretold:
        """Look at the guest and the way, and foretell; nothing is begun.

        ``is_moved`` says that the guest is being moved by now, ``is_loaded`` why the way must not be tried; empty: no.

        Raises:
            RefusalError: 5023, it is being moved by now.
            FaultError: its process does not answer.
        """
        async with self._looking:
            await self.recall()
            trouble = await self._try_way(move, is_loaded)
            seen = self._seen.get(vm.group)
            if seen is None or seen.writing is None or time.monotonic() - seen.at > SEEN_LATELY:
                seen = self._seen[vm.group] = await self._look(instance, self.speeds.of(move.node), is_moved)
            _require_not(is_moved)
        return await self._foretell(vm, move, trouble)

    async def _try_way(self, move: Proposal, is_loaded: Callable[[], str]) -> str:
        """Try what the way carries, unless that is known; answers why it could not be tried."""
        node = move.node
        if self.speeds.of(node, FRESH) is not None:
            return ""
        if sentence := is_loaded():
            return sentence
        try:
            sink = await self._context.peers.call(node, "sink", {"address": move.transport.address}, _CONNECT)
        except ClusterError as error:
            return error.sentence
        speed, trouble = await try_speed(sink)
        if speed is not None:
            self.speeds.learn(node, speed, between_machines="host" in sink)
        return trouble

    async def _look(self, instance: Instance, speed: Speed | None, is_moved: Callable[[], str]) -> _Seen:
        memory = await instance.memory_in_use()
        looks: list[Look] = []
        trouble = ""
        for seconds in (SHORT, LONGER, LONGEST):
            if seconds == LONGEST and not _needs_longest(looks, speed):
                break
            _require_not(is_moved)
            watched = await instance.memory_written(seconds)
            trouble = trouble or watched.trouble
            if not watched.trouble:
                looks.append(Look(watched.seconds, watched.written))
        how = f"watched for {sum(look.seconds for look in looks):.1f} s"
        writing = estimate_writing(looks, memory.in_use)
        return _Seen(time.monotonic(), memory.in_use, writing, how, trouble or memory.trouble)

    async def look_after_arrival(self, group: GroupId, instance: Instance) -> None:
        """Remember how much memory a guest has in use that has just arrived: its next move is foretold by it."""
        memory = await instance.memory_in_use()
        if not memory.trouble:
            self._seen[group] = _Seen(time.monotonic(), memory.in_use, None, "")

    # --- remembering -------------------------------------------------------------------------------------------------

    async def recall(self) -> None:
        """Read what the cluster remembers of moves; kept until the next time."""
        me = self._context.node_name
        try:
            self._past = await self._context.database.migrations.select(
                limit=_REMEMBERED * 4, fits=lambda one: one.left is not None and one.left.source == me
            )
        except ClusterError as error:
            _log.warning("earlier moves could not be read", sentence=error.sentence)

    async def recall_soon(self) -> None:
        """Read it again when the last move is surely written, but not after each of many."""
        if self._recalling:
            return
        self._recalling = True
        try:
            await asyncio.sleep(_RECALL_AFTER)
            await self.recall()
        finally:
            self._recalling = False

    def forget(self, group: GroupId) -> None:
        """A virtual machine is no more here."""
        self._seen.pop(group, None)

    def _past_to(self, node: NodeId) -> list[PastMigration]:
        name = self._context.name_of(node)
        return [one for one in self._past or () if one.left is not None and one.left.destination == name]

    # --- foretelling -------------------------------------------------------------------------------------------------

    async def foretell_move(self, vm: HostedVm, move: Proposal) -> Foretold:
        """Foretell a real move from what is known; it goes on meanwhile."""
        return await self._foretell(vm, move, "")

    async def _foretell(self, vm: HostedVm, move: Proposal, trouble: str) -> Foretold:
        seen, past = self._seen.get(vm.group), self._past_to(move.node)
        writing, how = _writing(vm, seen)
        link, tried = self._link(move.node, past)
        if link is not None and (limit := move.transport.max_bandwidth):
            tried += f", held to {limit / MIB:g} MiB/s" if link.high > limit else ""
            link = Range(min(limit, link.low), min(limit, link.likely), min(limit, link.high))
        lacking = [
            sentence
            for is_there, sentence in (
                (seen is not None and seen.in_use, "how much of its memory is in use"),
                (writing is not None, "how fast it writes its memory"),
                (link is not None, f"what the way to {self._context.name_of(move.node)} carries"),
            )
            if not is_there
        ]
        if lacking or seen is None or writing is None or link is None:
            reasons = [one for one in (trouble, "" if seen is None else seen.trouble) if one]
            because = f" ({'; '.join(reasons)})" if reasons else ""
            return Foretold(None, {}, f"it is not known {' and '.join(lacking)}{because}")
        outcomes = tuple(one for one in map(_outcome, past) if one is not None)
        inputs = Inputs(move.memory, seen.in_use, writing, link, outcomes)
        begin = partial(begin_copy, sockets=_sockets(move, tcp=self._context.migration_host is not None))
        forecast = await asyncio.to_thread(
            foretell, inputs, move.start, move.others, move.mode, begin, can_post_copy=move.can_post_copy
        )
        known: dict[str, JsonValue] = {
            "memory": move.memory,
            "in_use": seen.in_use,
            "dirty_bytes_per_second": writing.rate.to_json(0),
            "working_set": writing.working_set.to_json(0),
            "link_bytes_per_second": link.to_json(0),
            "past_moves": len(outcomes),
            "writing": how,
            "link": f"{tried} ({trouble})" if trouble else tried,
        }
        return Foretold(forecast, known)

    def _link(self, node: NodeId, past: list[PastMigration]) -> tuple[Range | None, str]:
        """Tell what gets across: as it was tried; where trying is slower than QEMU, as moves have found."""
        speed = self.speeds.of(node)
        rates = sorted(one.left.rate for one in past[-10:] if one.left is not None and one.left.rate > 0)
        if speed is not None and (speed.of_link or not rates):
            found = speed.bytes_per_second
            low, high = (0.95, 1.02) if speed.of_link else (0.3, 2.0)
            return Range(low * found, found, high * found), f"tried {time.monotonic() - speed.at:.0f} s ago"
        if rates:
            return Range(rates[0], rates[len(rates) // 2], rates[-1]), f"as in {len(rates)} moves before"
        return None, ""


def _writing(vm: HostedVm, seen: _Seen | None) -> tuple[Writing | None, str]:
    """Tell how a guest writes: as it was seen to, or as it did while it was copied last; and how that is known."""
    if seen is None:
        return None, ""
    if seen.writing is not None:
        return seen.writing, f"{seen.how}, {time.monotonic() - seen.at:.0f} s ago"
    last = vm.run.vm
    if last is None or not last.last_rate:
        return None, ""
    rate, in_use = float(last.last_dirty_rate), float(seen.in_use)
    return Writing(Range(0.7 * rate, rate, 1.3 * rate), Range(0.2 * in_use, in_use, in_use)), "as in its last move"


def _require_not(is_moved: Callable[[], str]) -> None:
    if sentence := is_moved():
        raise RefusalError(Status.ERROR_INVALID_STATE, sentence)


def _sockets(move: Proposal, *, tcp: bool) -> int:
    """Tell how many connections of a move hold bytes that have not arrived: those of one machine hold next to none."""
    return max(1, move.transport.channels) if tcp else 0


def begin_copy(case: Case, *, sockets: int) -> TransferModel:
    """Make the model of a copy, with what the sockets of so many TCP connections hold."""
    guest = GuestModel(case.memory, case.memory - case.in_use, case.working_set, case.written_per_second)
    return TransferModel.begin(
        guest, case.link, running=True, sockets=socket_bytes(case.link, sockets), first_look=FIRST_LOOK
    )


def _needs_longest(looks: list[Look], speed: Speed | None) -> bool:
    """Tell whether a guest that writes much has not come round yet."""
    if len(looks) < 2:
        return False
    first, second = (look.written / look.seconds for look in looks)
    return second >= 0.4 * first and second > (0.0 if speed is None else _WRITES_LITTLE * speed.bytes_per_second)


def _outcome(past: PastMigration) -> Outcome | None:
    """Give what a past move took, beside what was played of it; None where nothing was, or it did not arrive."""
    left = past.left
    if past.result != Result.MOVED or left is None or left.seconds is None or left.forecast is None:
        return None
    played = json_object(left.forecast, "played")
    seconds = json_float(played, "seconds")
    if not seconds:
        return None
    return Outcome(seconds, left.seconds, json_float(played, "gap_ms") / 1000, past.gap)
