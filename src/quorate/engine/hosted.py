"""The groups of this node, virtual machines above all: what is known of each, and the durable writes about it.

Every write of a run state is guarded by the ownership record as this node knows it, so that a node that has lost the
group writes nothing. Writes of one group happen one after another.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, ImageId, ResourceId, VmId
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState, ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ConflictingOwnership
from quorate.database.contract import StoreUnavailable
from quorate.database.group_configuration import GroupConfiguration
from quorate.database.move_records import MoveWrite, QueuedWrite
from quorate.database.records import Ownership, RunState, Versioned, VmRunState
from quorate.engine.context import EngineContext
from quorate.engine.run_changes import WAITING_IN_QUEUE, run_with_states, vm_in_state
from quorate.engine.supervised import spawn
from quorate.engine.vcpus import let_run
from quorate.hypervisor.contract import Instance
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasRefused, CasUnanswered, OwnershipRecord

ANSWER_DEADLINE = 3.0
"""Seconds after which a write of ownership counts as unanswered."""
LATER = 1.0
"""Seconds between two tries to write a state that a silent database has missed."""

_log = structlog.get_logger("groups")


def to_brain(ownership: Versioned[Ownership]) -> OwnershipRecord:
    """Give a brain the record as the database has it."""
    value = ownership.value
    return OwnershipRecord(value.holder, value.epoch, value.image, value.giver, value.giver_image, ownership.revision)


def to_database(record: OwnershipRecord) -> Versioned[Ownership]:
    """Give the database the record as a brain has it."""
    ownership = Ownership(record.holder, record.epoch, record.image, record.giver_image, record.giver)
    return Versioned(ownership, record.revision)


async def write_ownership(
    context: EngineContext, group: GroupId, cas: Cas, run: RunState | None, events: Sequence[EventRecord] = ()
) -> CasAnswered | CasRefused | CasUnanswered:
    """Carry out one compare-and-swap."""
    new = Ownership(cas.holder, cas.epoch, cas.image, cas.giver_image, cas.giver)
    try:
        async with asyncio.timeout(ANSWER_DEADLINE):
            answer = await context.database.change_ownership(group, to_database(cas.expected), new, run, events)
    except (StoreUnavailable, TimeoutError):
        return CasUnanswered(cas.attempt)
    if isinstance(answer, ConflictingOwnership):
        if answer.current is None:
            raise RefusalError(Status.ERROR_GROUP_NOT_FOUND, "the virtual machine was deleted")
        return CasRefused(cas.attempt, to_brain(answer.current))
    return CasAnswered(cas.attempt, to_brain(answer))


def _unchanged(run: RunState) -> RunState:
    return run


class OwnedGroup:
    """A group that this node owns: its two private records as this node knows them."""

    def __init__(self, context: EngineContext, group: GroupId, ownership: Versioned[Ownership], run: RunState) -> None:
        """Know a group by its records."""
        self.context = context
        self.group = group
        self.ownership = ownership
        self.run = run
        self._run_revision: int | None = None
        """Of the run state that this node wrote last, as far as it was answered: a write that was lost may still land,
        and must not land over a later one."""
        self._is_unwritten = False
        """What is known of the run state here was not answered by the database yet."""
        self.is_let_go = False
        """Another node has owned the group since: nothing that is under way for it by this object may go on."""
        self._writing = asyncio.Lock()
        self._late: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """The group's name, for people."""
        info = self.context.view.snapshot.groups.get(self.group)
        return info.name if info is not None else self.group

    @asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Have the group's records to oneself, for a write of other records that goes with them."""
        async with self._writing:
            yield

    async def write(self, change: Callable[[RunState], RunState], events: Sequence[EventRecord] = ()) -> None:
        """Change the run state, durably.

        Raises:
            RefusalError: 5016, this node no longer owns the group; nothing was written.
            StoreUnavailable: the database does not answer; the change is kept in mind and goes out with the next one.
        """
        async with self._writing:
            new = change(self.run)
            if new == self.run and not events and not self._is_unwritten:
                return
            self.run, self._is_unwritten = new, True
            revision = 0
            if self.ownership.value.holder == self.context.node:
                revision = await self.context.database.write_run_state(
                    self.group, self.ownership, new, events, over=self._run_revision
                )
            if not revision:
                raise RefusalError(
                    Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, f"this node no longer owns {self.name}: nothing was written"
                )
            self._run_revision, self._is_unwritten = revision, False

    async def write_queued(
        self, change: Callable[[RunState], RunState], move: MoveWrite, events: Sequence[EventRecord] = ()
    ) -> tuple[QueuedWrite, int]:
        """Change the run state together with the group's entry in the queue, both or none; and the revision.

        Raises:
            RefusalError: 5016, this node no longer owns the group.
            StoreUnavailable: the database does not answer; it is not known whether it was written.
        """
        async with self._writing:
            new = change(self.run)
            outcome, revision = await self.context.database.write_queued_run_state(
                self.group, self.ownership, new, move, events, over=self._run_revision
            )
            if outcome is QueuedWrite.NOT_OWNER:
                sentence = f"this node no longer owns {self.name}: nothing was written"
                raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, sentence)
            if outcome is QueuedWrite.LANDED:
                self.run, self._run_revision, self._is_unwritten = new, revision, False
            return outcome, revision

    async def tell(self, change: Callable[[RunState], RunState], events: Sequence[EventRecord]) -> None:
        """Change the run state where nothing depends on it: a silent database is told when it speaks again.

        Raises:
            RefusalError: 5016, this node no longer owns the group.
        """
        try:
            await self.write(change, events)
        except StoreUnavailable as error:
            _log.warning("a state is written later", group=self.name, sentence=error.sentence)
            spawn(self._late, self._tell_later(tuple(events)), f"late news of {self.name}")

    async def _tell_later(self, events: Sequence[EventRecord]) -> None:
        while True:
            await asyncio.sleep(LATER)
            try:
                await self.write(lambda run: run, events)
                return
            except StoreUnavailable:
                continue
            except RefusalError:
                return  # somebody else's by now, and so are its states

    async def configure(self, change: GroupConfiguration, events: Sequence[EventRecord]) -> None:
        """Change the group's common properties, durably, all or none.

        Raises:
            RefusalError: 5016, this node no longer owns the group; nothing was written.
            StoreUnavailable: the database does not answer; it is not known whether it was written.
        """
        async with self._writing:
            if self.ownership.value.holder != self.context.node:
                sentence = f"this node no longer owns {self.name}: nothing was written"
                raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, sentence)
            new = change.applied_to(self.run)
            await self.context.database.configure_group(
                self.group, change, run=None if new == self.run else new, ownership=self.ownership, events=events
            )
            self.run = new

    async def write_resource_states(
        self, states: Mapping[ResourceId, ResourceState], persistent_state: bool | None
    ) -> None:
        """Write the states of all resources of the group, and whether it is wanted online."""
        resources = self.context.view.snapshot.resources
        sentence = "; ".join(
            f"{resources[id_].name if id_ in resources else id_} {state.name.lower()}" for id_, state in states.items()
        )
        after = {str(id_): int(state) for id_, state in states.items()}
        event = self.context.event(EventKind.RESOURCE_STATE, self.group, sentence, after=after)

        await self.write(lambda run: run_with_states(run, states, persistent_state), (event,))

    async def change_owner(
        self, cas: Cas, change: Callable[[RunState], RunState], events: Sequence[EventRecord] = ()
    ) -> CasAnswered | CasRefused | CasUnanswered:
        """Write ownership and the run state that goes with it."""
        async with self._writing:
            run = change(self.run)
            answer = await write_ownership(self.context, self.group, cas, run, events)
            if isinstance(answer, CasAnswered):
                self.ownership = to_database(answer.record)
                self.run, self._run_revision, self._is_unwritten = run, answer.record.revision, False
            return answer

    def check_ours(self, doing: str) -> None:
        """Refuse to write ownership from a record that names another node: only its holder, or a taker, may.

        Raises:
            RefusalError: 5016.
        """
        holder = self.ownership.value.holder
        if holder != self.context.node:
            raise RefusalError(
                Status.ERROR_HOST_NODE_NOT_GROUP_OWNER,
                f"{self.name} belongs to {self.context.name_of(holder)}: {doing} was refused",
            )
        if self.is_let_go:
            raise self._was_elsewhere(doing)

    def _was_elsewhere(self, doing: str) -> RefusalError:
        sentence = f"{self.name} was another node's meanwhile: {doing} began before that, and does not go on"
        return RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, sentence)


class HostedVm(OwnedGroup):
    """A VM that this node owns, or whose giving is under way."""

    def __init__(
        self,
        context: EngineContext,
        group: GroupId,
        vm_id: VmId,
        ownership: Versioned[Ownership],
        run: RunState,
        instance: Instance | None = None,
    ) -> None:
        """Know a VM by its two records; ``instance`` is its QEMU, if one lives."""
        super().__init__(context, group, ownership, run)
        self.vm_id = vm_id
        self.instance = instance
        self.progress = MigrationProgress(
            state=self.migration_state,
            percent=self.vm.migration_progress,
            failure_reason=self.vm.migration_failure_reason,
        )
        self.incarnation = ""
        """Of the node's lease when `instance` was started or taken on: a lapse since then has cost the VM its QEMU."""
        self.exited = ""
        """Why the QEMU of `instance` is gone, if it is and nobody has drawn the consequences yet."""
        self.is_fetching = False
        """It runs in post-copy: what its guest has not been sent yet is at the source only."""
        self.lock = asyncio.Lock()
        """Held while the VM starts, stops, or a migration is being accepted."""
        self._listeners: list[Callable[[], None]] = []

    @property
    def vm(self) -> VmRunState:
        """What is durable of the VM's state."""
        return self.run.vm if self.run.vm is not None else VmRunState(vm_state=VmState.OFF)

    @property
    def state(self) -> VmState:
        """VmState."""
        return VmState(self.vm.vm_state)

    @property
    def migration_state(self) -> MigrationState:
        """MigrationState."""
        return MigrationState(self.vm.migration_state)

    # --- durable writes --------------------------------------------------------------------------------------------

    async def set_state(self, state: VmState, sentence: str) -> None:
        """Write VmState, with an event; a silent database hears of it later."""
        await self.tell(*self._state_change(state, sentence, lambda vm: vm))

    async def land_state(self, state: VmState, sentence: str) -> None:
        """Write VmState, with an event. It has landed when this returns: whoever comes after this daemon goes by it.

        Raises:
            RefusalError: 5016, this node no longer owns the VM.
            StoreUnavailable: the database does not answer; the state is kept in mind, and has to be set right.
        """
        await self.write(*self._state_change(state, sentence, lambda vm: vm))

    async def set_saved(self, state: VmState, sentence: str, image: ImageId | None, path: str | None) -> None:
        """Write VmState and which saved image may be resumed. It has landed when this returns (I5).

        Raises:
            RefusalError: 5016, this node no longer owns the VM.
            StoreUnavailable: the database does not answer; nothing may be done that depends on it.
        """
        await self.write(
            *self._state_change(state, sentence, lambda vm: replace(vm, saved_image=image, saved_path=path))
        )

    def _state_change(
        self, state: VmState, sentence: str, more: Callable[[VmRunState], VmRunState]
    ) -> tuple[Callable[[RunState], RunState], tuple[EventRecord, ...]]:
        event = self.context.event(
            EventKind.VM_STATE, self.group, sentence, before=self.state.name.lower(), after=state.name.lower()
        )

        def change(run: RunState) -> RunState:
            vm = run.vm if run.vm is not None else VmRunState(vm_state=VmState.OFF)
            return replace(run, vm=more(vm_in_state(vm, state, sentence)))

        return change, (event,)

    async def set_migration(
        self, state: MigrationState, reason: int, sentence: str, events: Sequence[EventRecord] = ()
    ) -> None:
        """Write MigrationState, its failure reason, and how far MigrationProgress has come."""
        await self.write(self.migration_change(state, reason, sentence), events)

    def migration_change(self, state: MigrationState, reason: int, sentence: str) -> Callable[[RunState], RunState]:
        """What `set_migration` writes, for a write that carries more."""
        percent = 0 if state is MigrationState.NO_MIGRATION else self.progress.percent

        def change(run: RunState) -> RunState:
            vm = run.vm if run.vm is not None else VmRunState(vm_state=VmState.OFF)
            shown = replace(
                vm,
                migration_state=int(state),
                migration_failure_reason=reason,
                sentence=sentence,
                migration_progress=percent,
            )
            return replace(run, vm=shown, status_information=run.status_information & ~WAITING_IN_QUEUE)

        return change

    async def keep(self, image: ImageId, doing: str, state: VmState | None = None, sentence: str = "") -> None:
        """Begin a start with a write of ownership of our own (R1): the record names us and this image afterwards.

        With a ``state`` VmState is written along with it, as `set_state` does.

        What this object knows of the run state holds only as long as nobody else has owned the VM: a record that is
        more than one epoch ahead was another node's in between, though it names us again.

        Raises:
            RefusalError: 5016, another node owns the VM, or has owned it meanwhile.
            FaultError: the database did not answer; nothing may be started.
        """
        change: Callable[[RunState], RunState] = _unchanged
        events: Sequence[EventRecord] = ()
        if state is not None:
            change, events = self._state_change(state, sentence, lambda vm: vm)
        for attempt in range(1, 6):
            self.check_ours(doing)
            cas = Cas(CasKind.KEEP, attempt, to_brain(self.ownership), self.context.node, image)
            answer = await self.change_owner(cas, change, events)
            if isinstance(answer, CasAnswered):
                return
            if isinstance(answer, CasRefused):
                if answer.current.epoch > cas.epoch:  # more than the one write of ours whose answer was lost
                    raise self._was_elsewhere(doing)
                self.ownership = to_database(answer.current)
        raise FaultError(
            Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED,
            f"{doing} of {self.name} needs a write of ownership, and the database does not answer",
        )

    async def run_on(self, instance: Instance, doing: str) -> None:
        """Let a guest that stands run again, by a write of our own under one incarnation of a held lease (R1, R2).

        Raises:
            RefusalError: 5016, another node owns the VM.
            FaultError: the database or QEMU did not answer, the lease has run out meanwhile, or there is no guard; the
                guest stands.
        """
        incarnation = self.context.lease.incarnation
        await self.keep(instance.image, doing)
        await let_run(self.context, instance, self.name, doing, incarnation)

    # --- news ------------------------------------------------------------------------------------------------------

    def show(self, progress: MigrationProgress) -> None:
        """Keep what a migration's progress is, and tell who listens."""
        self.progress = progress
        for listener in tuple(self._listeners):
            listener()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on news of a migration; returns the unsubscription."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)
