"""One group that this node owns: its resources, what is wished of them, and the order in which that is done."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from quorate.clusapi.dependencies import Dependency, restricted
from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import ResourceState, VmResdllContext
from quorate.clusapi.status import Status
from quorate.database.snapshot import TYPE_VIRTUAL_MACHINE
from quorate.hosting import group_plan
from quorate.hosting.contract import GroupFacts, ResourceFailure, ResourceStateChange, RunStates
from quorate.hosting.group_plan import Goal, Outcome, Wish
from quorate.hosting.hosted_resource import HostedResource
from quorate.hosting.resource_state import StateChanged
from quorate.hosting.state_writer import StateWriter

ANSWER_WITHIN: Final = 0.3  # seconds; what takes longer is pending
_STILL: Final = frozenset({ResourceState.OFFLINE, ResourceState.FAILED})


class HostedGroup:
    """The resources of one group and the wishes that are not fulfilled yet."""

    def __init__(
        self,
        facts: GroupFacts,
        run_states: RunStates,
        on_changed: Callable[[ResourceStateChange], None],
        on_failed: Callable[[ResourceFailure], None],
    ) -> None:
        """Begin without resources."""
        self.facts = facts
        self.resources: dict[ResourceId, HostedResource] = {}
        self._on_changed = on_changed
        self._on_failed = on_failed
        self._wishes: dict[ResourceId, Wish] = {}
        self._returning: frozenset[ResourceId] = frozenset()
        self._outcomes: dict[ResourceId, Outcome] = {}
        self._writer = StateWriter(run_states, facts.id, self.states)
        self._unwanted = False  # an offline of ours has written that the group is not wanted online
        self._replanning: asyncio.Handle | None = None
        self._pulse = asyncio.Event()

    # --- What is known -----------------------------------------------------------------------------------------

    def states(self) -> dict[ResourceId, ResourceState]:
        """The states of all resources now."""
        return {resource_id: resource.state for resource_id, resource in self.resources.items()}

    @property
    def dependencies(self) -> Mapping[ResourceId, Dependency]:
        """What each resource depends on; resources that are not here any more are left out."""
        here = self.resources.__contains__
        return {item: restricted(resource.facts.requirement, here) for item, resource in self.resources.items()}

    def _is_wanted(self, leaving: Iterable[ResourceId] = ()) -> bool:
        """Answer whether the group is wanted online when ``leaving`` are offline; what is on its way back counts."""
        coming = {item for item, wish in self._wishes.items() if wish.goal is Goal.ONLINE} | self._returning
        states = {item: ResourceState.ONLINE if item in coming else state for item, state in self.states().items()}
        return group_plan.is_wanted_online(states, self.dependencies, leaving)

    @property
    def is_settled(self) -> bool:
        """Answer whether nothing is wished, pending, under way or unwritten any more."""
        still = not self._wishes and self._replanning is None and self._writer.is_idle
        return still and not any(item.is_busy or item.state.is_pending for item in self.resources.values())

    @property
    def has_to_be_ended(self) -> bool:
        """Answer whether something of it may run that is not the engine's to end."""
        return any(item.has_to_be_ended for item in self.resources.values())

    async def wait_settled(self) -> None:
        """Return when :attr:`is_settled`."""
        while not self.is_settled:
            if self._writer.is_idle:
                await self._pulse.wait()
            else:
                await self._writer.wait_idle()

    async def close(self, *, end: bool = False) -> None:
        """Let go of all resources; stop nothing, unless ``end``: then what is not the engine's is ended by force."""
        self._wishes.clear()
        self._returning = frozenset()
        if self._replanning is not None:
            self._replanning.cancel()
            self._replanning = None
        await self._writer.close()
        resources = list(self.resources.values())
        self.resources.clear()
        await asyncio.gather(*(item.end_and_close() if end else item.close() for item in resources))
        self._beat()

    # --- Requests ----------------------------------------------------------------------------------------------

    async def online(self, targets: Iterable[ResourceId], *, persistent: bool) -> Status:
        """Bring resources online with all they depend on; 0 or 997. Raises ClusterError when one could not."""
        wanted = tuple(targets)
        if persistent:
            await self._writer.write(True)
            self._unwanted = False
        closure = group_plan.with_providers(wanted, self.dependencies)
        self._returning -= set(closure)
        return await self._carry_out(wanted, {item: Wish(Goal.ONLINE) for item in closure if item in self.resources})

    async def offline(self, targets: Iterable[ResourceId], wish: Wish, *, persistent: bool) -> Status:
        """Take resources offline with all that depends on them; 0 or 997. Raises ClusterError when one could not."""
        wanted = tuple(targets)
        closure = group_plan.with_dependents(wanted, self.states(), self.dependencies)
        self._returning -= set(closure)
        if persistent and not self._is_wanted(closure):
            self._writer.note(False)
            self._unwanted = True
        return await self._carry_out(wanted, {item: self._for(item, wish) for item in closure})

    def restart(self, resource_id: ResourceId) -> None:
        """Bring a failed resource online again when what it depends on is online; return when that is arranged.

        What cannot be online without it goes offline first, and comes back after it.
        """
        states, dependencies = self.states(), self.dependencies
        closure = group_plan.with_dependents((resource_id,), states, dependencies)
        down = [item for item in closure if item != resource_id and states[item] not in _STILL]
        self._wishes.update({item: Wish(Goal.OFFLINE) for item in down})
        self._wishes[resource_id] = Wish(Goal.ONLINE, after_dependents=True)
        self._returning |= {resource_id, *down}
        self._replan()

    def note_stopped(self, resource_id: ResourceId) -> None:
        """A resource has stopped in order, by itself: it is not wanted online any more."""
        if not self._is_wanted((resource_id,)):
            self._writer.note(False)
            self._unwanted = True

    def _for(self, resource_id: ResourceId, wish: Wish) -> Wish:
        """A VM that is to be turned off is ended at once, also while it is being saved or shut down."""
        resource = self.resources.get(resource_id)
        is_vm = resource is not None and resource.facts.type.casefold() == TYPE_VIRTUAL_MACHINE.casefold()
        turned_off = is_vm and wish.vm_context is VmResdllContext.TURN_OFF
        return replace(wish, forced=wish.forced or turned_off)

    def note_facts(self, written: Mapping[ResourceId, ResourceState]) -> None:
        """The group's facts may be others now, dependencies above all; write the states that are not written."""
        self._replan_soon()
        if self.states() != dict(written):
            self._writer.note()

    def on_changed(self, resource: HostedResource, change: StateChanged) -> None:
        """A resource changed its state."""
        self._replan_soon()
        if change.old.shown != change.new.shown:
            self._writer.note()
            self._on_changed(
                ResourceStateChange(
                    self.facts.id,
                    resource.facts.id,
                    resource.facts.name,
                    change.old.shown,
                    change.new.shown,
                    change.sentence,
                )
            )
        if change.is_failure:
            self._on_failed(self._failure(resource, change.sentence))

    def _failure(self, resource: HostedResource, sentence: str) -> ResourceFailure:
        facts = resource.facts
        return ResourceFailure(
            group_id=self.facts.id,
            resource_id=facts.id,
            name=facts.name,
            type=facts.type,
            status=resource.last_status,
            lacking=resource.status_information,
            sentence=sentence,
        )

    # --- The plan ----------------------------------------------------------------------------------------------

    async def _carry_out(self, targets: tuple[ResourceId, ...], wishes: Mapping[ResourceId, Wish]) -> Status:
        for item in wishes:
            self._outcomes.pop(item, None)
        self._wishes.update(wishes)
        self._replan()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                while any(item in self._wishes for item in targets) and self._may_answer_soon(wishes):
                    await self._pulse.wait()
        except TimeoutError:
            return Status.ERROR_IO_PENDING
        if any(item in self._wishes for item in targets):
            return Status.ERROR_IO_PENDING
        for item in targets:
            self._raise_unless_done(item)
        return Status.ERROR_SUCCESS

    def _may_answer_soon(self, wishes: Iterable[ResourceId]) -> bool:
        """Answer whether an entry point is about to answer; one that said "pending" is not."""
        if self._replanning is not None:
            return True
        return any(self.resources[item].is_busy for item in wishes if item in self.resources)

    def _raise_unless_done(self, resource_id: ResourceId) -> None:
        outcome = self._outcomes.get(resource_id)
        if outcome is None or outcome.status == Status.ERROR_SUCCESS:
            return
        resource = self.resources.get(resource_id)
        if resource is None or outcome.status == Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED:
            raise RefusalError(outcome.status, outcome.sentence)
        status = resource.last_status if resource.last_status != Status.ERROR_SUCCESS else outcome.status
        raise RefusalError(status, f"resource {resource.facts.name!r}: {resource.sentence}")

    def _replan_soon(self) -> None:
        if self._replanning is None:
            self._replanning = asyncio.get_running_loop().call_soon(self._replan)

    def _replan(self) -> None:
        """Do what is next, until nothing is."""
        if self._replanning is not None:
            self._replanning.cancel()
            self._replanning = None
        while True:
            plan = group_plan.plan(self.states(), self.dependencies, self._wishes, self._returning)
            self._wishes, self._returning = dict(plan.wishes), plan.returning
            self._outcomes.update(plan.ended)
            self._want_what_stays(plan.ended)
            for item in plan.act:
                self._act(self.resources[item], self._wishes[item])
            if not plan.act and not plan.ended:
                break
        self._beat()

    def _want_what_stays(self, ended: Mapping[ResourceId, Outcome]) -> None:
        """What refused to go offline is wanted online after all: if the node dies it is to be started elsewhere."""
        vetoed = any(outcome.status == Status.ERROR_CLUSTER_RESOURCE_VETOED_CALL for outcome in ended.values())
        if vetoed and self._unwanted and self._is_wanted():
            self._unwanted = False
            self._writer.note(True)

    def _act(self, resource: HostedResource, wish: Wish) -> None:
        status = resource.request_online() if wish.goal is Goal.ONLINE else resource.request_offline(wish)
        if status not in (Status.ERROR_SUCCESS, Status.ERROR_IO_PENDING):
            del self._wishes[resource.facts.id]
            self._outcomes[resource.facts.id] = Outcome(status, resource.sentence)

    # --- Waiting -----------------------------------------------------------------------------------------------

    def on_quiet(self) -> None:
        """An entry point has returned, which may be what somebody waits for."""
        self._beat()

    def _beat(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()
