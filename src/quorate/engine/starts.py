"""Brings groups online that the cluster wants online: by Priority, so many at a time (`cluster/start_order.py`).

A group that depends on others or on group sets waits until they are ready, or for GroupDependencyTimeout.
"""

import asyncio
from dataclasses import replace
from enum import Enum
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import ColdStartSetting, GroupPriority, ResourceOnlineFlags
from quorate.cluster.start_order import Waiting, plan_starts
from quorate.database.snapshot import GroupInfo
from quorate.engine.cluster_clock import ClusterClock
from quorate.engine.group_order import ProviderWatch
from quorate.engine.holdings import Holdings
from quorate.engine.supervised import spawn

DO_NOT_UPDATE: Final = int(ResourceOnlineFlags.DO_NOT_UPDATE_PERSISTENT_STATE)
SLOT_TIME: Final = 10.0
"""Seconds after which a start that is not over holds up no other any more; it goes on."""
AGAIN: Final = 1.0
"""Seconds after which a start is tried again that the database did not let begin."""

_log = structlog.get_logger("groups")


class Cause(Enum):
    """Why the cluster starts a group."""

    ARRIVAL = "it has arrived from another node"
    BOOT = "it is wanted online, and this node has come up"
    RETRY = "it is tried once more after RetryPeriodOnFailure"
    ROOM = "this node has the room for it now"


class Starts:
    """The starts of one node that nobody asked for by hand."""

    def __init__(self, holdings: Holdings, clock: ClusterClock) -> None:
        """Start nothing until it is wanted."""
        self._holdings = holdings
        self._context = holdings.context
        self._clock = clock
        self._providers = ProviderWatch(holdings.context)
        self._waits_said: dict[GroupId, str] = {}
        self._waiting: dict[GroupId, tuple[Waiting, Cause]] = {}
        self._running: dict[GroupId, Cause] = {}
        self._come_anew: set[GroupId] = set()
        """Arrived once more while a start of theirs was under way that had begun before they left: that one comes to
        nothing."""
        self._slots: set[GroupId] = set()
        self._undecided: set[GroupId] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """Begin no more; what is on its way is left to the host."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def is_coming(self, group: GroupId) -> bool:
        """Tell whether a group waits for its start, or is being started."""
        return group in self._waiting or group in self._running

    def cause_of(self, group: GroupId) -> Cause | None:
        """Why a group is being started by the cluster at this moment; None: it is not."""
        return self._running.get(group)

    def want(self, group: GroupId, cause: Cause) -> None:
        """Start a group that is wanted online, unless its own properties speak against that."""
        if cause is Cause.ARRIVAL and group in self._running:
            self._come_anew.add(group)
            return
        info = self._context.view.snapshot.groups.get(group)
        if info is None:
            return
        if info.properties.number("Priority", GroupPriority.MEDIUM) == GroupPriority.DISABLED:
            _log.info("a group is not started by itself: its Priority is 0", group=info.name)
            return
        if cause is Cause.BOOT and self._is_held_at_cold_start(info):
            forming = self._is_forming()
            if forming is None:
                self._undecided.add(group)
                return
            if forming:
                _log.info("a group is not started, as the cluster has just formed", group=info.name)
                return
        self.request(group, cause)

    def request(self, group: GroupId, cause: Cause) -> None:
        """Start a group as soon as it is its turn; nothing happens if it is on its way already."""
        info = self._context.view.snapshot.groups.get(group)
        if info is None or self.is_coming(group):
            return
        values = info.properties
        waiting = Waiting(
            group,
            info.name,
            values.number("Priority", GroupPriority.MEDIUM),
            self._context.now(),
            values.number("GroupStartDelay") / 1000,
        )
        self._waiting[group] = (waiting, cause)
        asyncio.get_running_loop().call_soon(self._pump)  # those that are wanted at the same moment are ordered

    def look(self) -> None:
        """Decide about groups that had to wait for the cluster to have a coordinator, or for other groups."""
        if self._waiting:
            self._pump()
        undecided, self._undecided = self._undecided, set()
        for group in undecided:
            self.want(group, Cause.BOOT)

    # --- the cold start of the cluster ------------------------------------------------------------------------------

    def _is_held_at_cold_start(self, info: GroupInfo) -> bool:
        setting = info.properties.number("ColdStartSetting")
        ignored = self._context.view.snapshot.cluster.properties.number("IgnorePersistentStateOnStartup") == 1
        return setting == ColdStartSetting.DO_NOT_START or ignored

    def _is_forming(self) -> bool | None:
        """Tell whether the cluster has just formed, within ClusterGroupWaitDelay; None while nobody coordinates."""
        snapshot = self._context.view.snapshot
        record = snapshot.coordinator
        lease = None if record is None else snapshot.leases.get(record.value.node)
        if record is None or lease is None or lease.value.ended:
            return None
        if lease.value.incarnation != record.value.incarnation:
            return None
        delay = snapshot.cluster.properties.number("ClusterGroupWaitDelay", 120)
        return self._clock.now() - record.value.formed < delay

    # --- the queue --------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        now = self._context.now()
        plan = plan_starts([self._with_providers(one) for one, _ in self._waiting.values()], len(self._slots), now)
        for group in plan.begin:
            waiting, cause = self._waiting.pop(group)
            self._waits_said.pop(group, None)
            self._slots.add(group)
            self._running[group] = cause
            spawn(self._tasks, self._start(group, cause), f"the start of {waiting.name}")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        moments = [one for one in (plan.again_at, self._providers.next_look(now)) if one is not None]
        if moments and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(min(moments) - now, self._pump)

    def _with_providers(self, waiting: Waiting) -> Waiting:
        """A group that depends on others is not ready before they are, or before the time for that is over."""
        sentence = self._providers.waits_for(waiting.group)
        if not sentence:
            return waiting
        if self._waits_said.get(waiting.group) != sentence:
            self._waits_said[waiting.group] = sentence
            _log.info("a group is not started yet", group=waiting.name, sentence=sentence)
        return replace(waiting, delay=max(waiting.delay, self._providers.timeout))

    async def _start(self, group: GroupId, cause: Cause) -> None:
        again = False
        try:
            if self._is_wanted(group):
                await self._bring_online(group)
        except FaultError as error:
            _log.warning("a group is started later", group=group, sentence=error.sentence)
            again = True
        except ClusterError as error:
            _log.warning("a group was not brought online", group=group, sentence=error.sentence)
        finally:
            self._running.pop(group, None)
            self._free(group)
        if group in self._come_anew:
            self._come_anew.discard(group)
            self.want(group, Cause.ARRIVAL)
        elif again:
            await asyncio.sleep(AGAIN)
            self.request(group, cause)

    def _is_wanted(self, group: GroupId) -> bool:
        owned = self._holdings.find(group)
        return owned is not None and owned.run.persistent_state and not self._holdings.is_busy(group)

    async def _bring_online(self, group: GroupId) -> None:
        host = self._holdings.host
        status: ClusterError | None = None
        try:
            await host.online_group(group, DO_NOT_UPDATE)
        except ClusterError as error:
            status = error  # which resource has failed, the host has told; others may still be on their way
        settled = asyncio.ensure_future(host.wait_settled(group))
        try:
            await asyncio.wait((settled,), timeout=SLOT_TIME)
            self._free(group)
            await settled
        finally:
            settled.cancel()
        if status is not None:
            raise status

    def _free(self, group: GroupId) -> None:
        if group in self._slots:
            self._slots.discard(group)
            self._pump()
