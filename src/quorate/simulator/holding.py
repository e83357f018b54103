"""A group that a simulated daemon owns, and the durable writes about it: `engine/hosted.py` in a simulated world."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import GroupId, ImageId, VmId
from quorate.clusapi.states import MigrationState, ResourceState, VmState
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ConflictingOwnership
from quorate.database.contract import StoreUnavailable
from quorate.database.move_records import MoveWrite, QueuedWrite
from quorate.database.records import Ownership, RunState, Versioned, VmRunState
from quorate.engine.hosted import to_brain, to_database
from quorate.engine.run_changes import WAITING_IN_QUEUE, run_with_states, vm_in_state
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasRefused, CasUnanswered
from quorate.simulator.brains import Hand
from quorate.simulator.instance import Instance, let_run
from quorate.simulator.kernel import Lock

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon

LATER: Final = 1.0
"""Seconds between two tries to write a state that a silent database has missed."""
Change = Callable[[RunState], RunState]


async def write_ownership(
    daemon: "Daemon", group: GroupId, cas: Cas, run: RunState | None
) -> CasAnswered | CasRefused | CasUnanswered:
    """Carry out one compare-and-swap. Raises RefusalError: the group was deleted."""
    new = Ownership(cas.holder, cas.epoch, cas.image, cas.giver_image, cas.giver)
    try:
        answer = await daemon.database.change_ownership(group, to_database(cas.expected), new, run)
    except StoreUnavailable:
        return CasUnanswered(cas.attempt)
    if isinstance(answer, ConflictingOwnership):
        if answer.current is None:
            raise RefusalError(Status.ERROR_GROUP_NOT_FOUND, "the virtual machine was deleted")
        return CasRefused(cas.attempt, to_brain(answer.current))
    return CasAnswered(cas.attempt, to_brain(answer))


class Held:
    """A group that this node owns, or whose giving is under way, with its virtual machine if it has one."""

    def __init__(
        self,
        daemon: "Daemon",
        group: GroupId,
        vm_id: VmId | None,
        ownership: Versioned[Ownership],
        run: RunState,
        instance: Instance | None = None,
    ) -> None:
        """Know it by its records; ``instance`` is its QEMU, if one lives."""
        self.daemon = daemon
        self.group = group
        self.vm_id = vm_id
        self.ownership = ownership
        self._run = run
        self.instance = instance
        self.incarnation = ""
        """Of the lease when its QEMU was started or taken on."""
        self.exited = ""
        """Why its QEMU is gone, if nobody has drawn the consequences yet."""
        self.is_moving_live = False
        self.is_stopping = False
        self._run_revision: int | None = None
        """Of the run state that was written last, as far as it was answered."""
        self._is_unwritten = False
        self.is_let_go = False
        """Another node has owned it since: nothing that is under way for it by this object may go on."""
        self.lock = Lock(daemon.life)
        """Held while the virtual machine starts, stops, or a migration is being accepted."""
        self._writing = Lock(daemon.life)
        daemon.upkeep.note(self)
        daemon.errands.note(self)

    @property
    def run(self) -> RunState:
        """The run state, as this node wrote or read it last."""
        return self._run

    @run.setter
    def run(self, run: RunState) -> None:
        self._run = run
        self.daemon.upkeep.note(self)
        self.daemon.errands.note(self)

    @property
    def name(self) -> str:
        """The group's name."""
        return self.daemon.world.name_of(self.group)

    @property
    def vm(self) -> VmRunState:
        """What is durable of the virtual machine's state."""
        return self.run.vm if self.run.vm is not None else VmRunState(vm_state=VmState.OFF)

    @property
    def state(self) -> VmState:
        """VmState."""
        return VmState(self.vm.vm_state)

    @property
    def migration_state(self) -> MigrationState:
        """MigrationState."""
        return MigrationState(self.vm.migration_state)

    @property
    def resource_state(self) -> ResourceState:
        """The state of its resources: here they always come and go together."""
        states = self.run.resource_states.values()
        return ResourceState(next(iter(states))) if states else ResourceState.OFFLINE

    # --- writes ------------------------------------------------------------------------------------------------------

    async def write(self, change: Change) -> None:
        """Change the run state. Raises RefusalError 5016, StoreUnavailable."""
        async with self._writing:
            new = change(self.run)
            if new == self.run and not self._is_unwritten:
                return
            self.run, self._is_unwritten = new, True
            await self._write_known()

    async def _write_known(self) -> None:
        revision = 0
        if self.ownership.value.holder == self.daemon.node:
            revision = await self.daemon.database.write_run_state(
                self.group, self.ownership, self.run, over=self._run_revision
            )
        if not revision:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, f"{self.name} is not ours any more")
        self._run_revision, self._is_unwritten = revision, False

    async def tell(self, change: Change) -> None:
        """Change the run state where nothing depends on it: later, if the database is silent. Raises RefusalError."""
        try:
            await self.write(change)
        except StoreUnavailable:
            self.daemon.life.spawn(self._tell_later(), f"late news of {self.name}")

    async def _tell_later(self) -> None:
        while True:
            await self.daemon.life.sleep(LATER)
            try:
                async with self._writing:
                    await self._write_known()
                return
            except StoreUnavailable:
                continue
            except RefusalError:
                return  # somebody else's by now, and so are its states

    async def write_queued(self, change: Change, move: MoveWrite, events: object = ()) -> tuple[QueuedWrite, int]:
        """Change the run state together with the group's entry in the queue. Raises RefusalError, StoreUnavailable."""
        async with self._writing:
            new = change(self.run)
            outcome, revision = await self.daemon.database.write_queued_run_state(
                self.group, self.ownership, new, move, over=self._run_revision
            )
            if outcome is QueuedWrite.NOT_OWNER:
                raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, f"{self.name} is not ours any more")
            if outcome is QueuedWrite.LANDED:
                self.run, self._run_revision, self._is_unwritten = new, revision, False
            return outcome, revision

    async def change_owner(self, cas: Cas, change: Change) -> CasAnswered | CasRefused | CasUnanswered:
        """Write ownership and the run state that goes with it."""
        async with self._writing:
            run = change(self.run)
            answer = await write_ownership(self.daemon, self.group, cas, run)
            if isinstance(answer, CasAnswered):
                self.ownership = to_database(answer.record)
                self.run, self._run_revision, self._is_unwritten = run, answer.record.revision, False
            return answer

    async def set_states(self, state: ResourceState, wanted: bool | None = None) -> None:
        """Write the states of all resources, and whether the group is wanted online; later if it must be."""

        def change(run: RunState) -> RunState:
            return run_with_states(run, dict.fromkeys(run.resource_states, state), wanted)

        await self.tell(change)

    async def set_state(self, state: VmState, sentence: str = "") -> None:
        """Write VmState; a silent database hears of it later."""
        await self.tell(lambda run: _with_vm(run, lambda vm: vm_in_state(vm, state, sentence)))

    async def set_saved(self, state: VmState, image: ImageId | None, path: str | None) -> None:
        """Write which saved image may be resumed; it has landed when this returns. Raises RefusalError, FaultError."""
        await self.write(
            lambda run: _with_vm(
                run, lambda vm: replace(vm_in_state(vm, state, vm.sentence), saved_image=image, saved_path=path)
            )
        )

    def migration_change(self, state: MigrationState, reason: int, sentence: str) -> Change:
        """What is written of a migration."""

        def change(run: RunState) -> RunState:
            shown = _with_vm(
                run,
                lambda vm: replace(vm, migration_state=int(state), migration_failure_reason=reason, sentence=sentence),
            )
            return replace(shown, status_information=run.status_information & ~WAITING_IN_QUEUE)

        return change

    # --- the right to run --------------------------------------------------------------------------------------------

    def check_ours(self) -> None:
        """Refuse to write ownership from a record that names another node. Raises RefusalError 5016."""
        if self.is_let_go or self.ownership.value.holder != self.daemon.node:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, f"{self.name} is not ours any more")

    async def keep(self, image: ImageId, change: Change = lambda run: run) -> None:
        """Begin a start with a write of ownership of our own (R1). Raises RefusalError, FaultError."""
        if Hand.OWN_WRITE in self.daemon.world.brains.weaknesses:
            return
        for attempt in range(1, 6):
            self.check_ours()
            cas = Cas(CasKind.KEEP, attempt, to_brain(self.ownership), self.daemon.node, image)
            answer = await self.change_owner(cas, change)
            if isinstance(answer, CasAnswered):
                return
            if isinstance(answer, CasRefused):
                if answer.current.epoch > cas.epoch:
                    raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, f"{self.name} was another node's")
                self.ownership = to_database(answer.current)
        raise FaultError(
            Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED, f"the start of {self.name} was not written"
        )

    async def run_on(self, instance: Instance) -> None:
        """Let a guest go on that stands, after a write of our own. Raises RefusalError, FaultError."""
        incarnation = self.daemon.keeper.incarnation
        await self.keep(instance.image)
        await let_run(self.daemon, instance, incarnation)


def _with_vm(run: RunState, change: Callable[[VmRunState], VmRunState]) -> RunState:
    vm = run.vm if run.vm is not None else VmRunState(vm_state=VmState.OFF)
    return replace(run, vm=change(vm))
