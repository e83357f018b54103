"""What becomes of a group's run state: pure answers, for those who write it.

The simulator writes by the same ones. Where something happens to a group, its record, its owner's word and what people
read must not differ between the two.
"""

from collections.abc import Mapping
from typing import Final

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import NodeId, ResourceId
from quorate.clusapi.states import GroupStatus, MigrationState, ResourceState, VmState
from quorate.clusapi.status import E_FAIL
from quorate.cluster.failover import FailoverDecision, TakeOver
from quorate.cluster.moves import Cause, Move
from quorate.database.failover_records import FailoverNote, FailoverState
from quorate.database.records import RunState, VmRunState
from quorate.migration.ownership import CasKind

WAITING_IN_QUEUE: Final = int(GroupStatus.WAITING_IN_QUEUE_FOR_MOVE)
"""StatusInformation of a group: waiting in the queue for a move. The queue itself says it (`server/view.py`); older
versions have written it."""
_WAITS: Final = int(GroupStatus.PHYSICAL_RESOURCES_LACKING | GroupStatus.OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT)
PAGES_MISSING: Final = "it runs here; the rest of its memory is still being fetched"
STANDSTILL: Final = int(GroupStatus.WAITING_TO_START) | _WAITS
"""StatusInformation of a group: why it is not online though it is wanted online."""


# --- states of resources ---------------------------------------------------------------------------------------------


def run_with_states(
    run: RunState, states: Mapping[ResourceId, ResourceState], persistent_state: bool | None
) -> RunState:
    """Its resources have these states; ``persistent_state`` is what a person wants from now on, None: as before."""
    wanted = run.persistent_state if persistent_state is None else persistent_state
    written = replace(run, resource_states={id_: int(s) for id_, s in states.items()}, persistent_state=wanted)
    if persistent_state:  # a person wants it online: what had failed before counts no more
        written = replace(written, failover=FailoverState(away=run.failover.away, drained=run.failover.drained))
    return _forget_standstill(written, states)


def _forget_standstill(run: RunState, states: Mapping[ResourceId, ResourceState]) -> RunState:
    """A group that is on its way, or that nobody wants online any more, waits for nothing and has not been given up."""
    comes = any(state is ResourceState.ONLINE or state.is_pending for state in states.values())
    if ResourceState.FAILED in states.values() or (run.persistent_state and not comes):
        return run
    failover = replace(run.failover, failed_at=None, retried=False, sentence="")
    return replace(run, status_information=run.status_information & ~STANDSTILL, failover=failover)


def vm_in_state(vm: VmRunState, state: VmState, sentence: str) -> VmRunState:
    """Its VmState is this from now on; whether its user wants it paused goes with it.

    The wish outlives saving and restoring, also by a daemon that does not live to see the end of it. It ends when the
    guest runs, when somebody lets it run, and with its memory. Not everything that stands was paused: one that could
    not be saved stands as well if it could not be let run again.
    """
    match state:
        case VmState.PAUSING:
            paused = True
        case VmState.RUNNING | VmState.RESUMING | VmState.OFF:
            paused = False
        case _:
            paused = vm.paused
    return replace(vm, vm_state=int(state), sentence=sentence, paused=paused)


# --- migrations ------------------------------------------------------------------------------------------------------


def run_after_source(run: RunState, kind: CasKind, reason: str, drained: str) -> RunState:
    """The source writes ownership: it hands over, for the drain ``drained`` or none, or its migration has failed."""
    assert run.vm is not None, "a group that migrates is a virtual machine"
    if kind is CasKind.GIVE:
        state, failure, sentence = MigrationState.MOVE, 0, ""
    else:
        state, failure, sentence, drained = MigrationState.FAILURE, E_FAIL, reason, run.failover.drained
    vm = replace(run.vm, migration_state=int(state), migration_failure_reason=failure, sentence=sentence)
    return replace(run, vm=vm, failover=replace(run.failover, drained=drained))


def run_after_destination(
    run: RunState, kind: CasKind, reason: str, me: NodeId, *, pages_missing: bool = False
) -> RunState:
    """The destination writes ownership: the guest runs there, or it gives back what it could not take.

    With ``pages_missing`` it runs in post-copy, and the migration goes on.
    """
    vm = run.vm if run.vm is not None else VmRunState(vm_state=VmState.RUNNING)
    match kind:
        case CasKind.MARK:
            done = replace(
                vm_in_state(vm, VmState.RUNNING, PAGES_MISSING if pages_missing else ""),
                migration_state=int(MigrationState.MOVE if pages_missing else MigrationState.NO_MIGRATION),
                migration_failure_reason=0,
                migration_progress=99 if pages_missing else 100,
            )
            return replace(
                run,
                vm=done,
                default_owner=me,
                status_information=run.status_information & ~WAITING_IN_QUEUE,
                # Where a drain has brought it is not where somebody wants it: it is still away from home.
                failover=replace(run.failover, away=run.failover.away and bool(run.failover.drained)),
            )
        case CasKind.GIVE_BACK:
            failed = replace(
                vm,
                migration_state=int(MigrationState.FAILURE),
                migration_failure_reason=E_FAIL,
                sentence=reason,
            )
            return replace(run, vm=failed)
        case _:
            return run


# --- moves of groups that are off ------------------------------------------------------------------------------------


def run_after_move(run: RunState, destination: NodeId, *, wanted: bool) -> RunState:
    """A person has moved it: it is at home where it is now."""
    moved = replace(run.failover, away=False, failed_at=None, retried=False, sentence="", drained="")
    return replace(run, default_owner=destination, persistent_state=wanted, failover=moved)


def run_after_errand(run: RunState, move: Move, destination: NodeId, *, wanted: bool) -> RunState:
    """The coordinator has moved it. What had been given up stays so, and what waits for room goes on waiting."""
    moved = replace(run.failover, drained=move.drain if move.cause is Cause.DRAIN else "")
    status = run.status_information
    if move.status:
        moved = replace(moved, sentence=move.sentence)
        status = status & ~_WAITS | int(move.status)
    return replace(run, default_owner=destination, persistent_state=wanted, status_information=status, failover=moved)


def run_after_failover(run: RunState, decision: FailoverDecision, destination: NodeId) -> RunState:
    """The policy gives it to another node, to be brought online there."""
    history = tuple(FailoverNote(one.at, one.node) for one in decision.history)
    return _for_start(run, destination, FailoverState(failovers=history, away=True, drained=run.failover.drained))


def run_after_wait(run: RunState, destination: NodeId) -> RunState:
    """It has waited for room, and goes to a node that has it."""
    return _for_start(run, destination, replace(run.failover, away=True, sentence=""))


def _for_start(run: RunState, destination: NodeId, failover: FailoverState) -> RunState:
    """Its new owner is to bring it online."""
    status = run.status_information & ~_WAITS | int(GroupStatus.WAITING_TO_START)
    return replace(run, default_owner=destination, persistent_state=True, status_information=status, failover=failover)


# --- failures --------------------------------------------------------------------------------------------------------


def run_when_parked(run: RunState, status: GroupStatus, sentence: str) -> RunState:
    """It waits, offline, until some node has the room."""
    failover = replace(run.failover, sentence=sentence)
    return replace(run, status_information=run.status_information | int(status), failover=failover)


def run_when_given_up(run: RunState, at: float, why: str, *, retried: bool) -> RunState:
    """It stays failed: until its one retry, or until a person acts."""
    return replace(run, failover=replace(run.failover, failed_at=at, retried=retried, sentence=why))


def run_after_take_over(run: RunState, decision: TakeOver) -> RunState:
    """The run state that a dead node's group's new owner finds: nothing runs, and what is wanted is to be started."""
    states = {id_: int(_after_death(ResourceState(state), run)) for id_, state in run.resource_states.items()}
    is_to_start = decision.starts and run.resource_states  # an empty group has nothing to wait for
    waits = int(decision.status) | (int(GroupStatus.WAITING_TO_START) if is_to_start else 0)
    failover = replace(run.failover, away=True)
    if decision.starts or decision.status:
        failover = replace(failover, sentence=decision.sentence if decision.status else "")
    return replace(
        run,
        default_owner=decision.destination,
        resource_states=states,
        vm=None if run.vm is None else _vm_after_death(run.vm, decision.sentence),
        status_information=run.status_information & ~(STANDSTILL | WAITING_IN_QUEUE) | waits,
        failover=failover,
    )


def _after_death(state: ResourceState, run: RunState) -> ResourceState:
    """What was given up stays failed; everything else is offline, as its node is dead."""
    given_up = state is ResourceState.FAILED and run.failover.failed_at is not None
    return ResourceState.FAILED if given_up else ResourceState.OFFLINE


def _vm_after_death(vm: VmRunState, sentence: str) -> VmRunState:
    """Off, unless a saved image is what counts; a migration that was under way has failed."""
    state = VmState.SAVED if vm.saved_image is not None else VmState.OFF
    after = vm_in_state(vm, state, sentence)
    if MigrationState(vm.migration_state).is_under_way:
        after = replace(after, migration_state=int(MigrationState.FAILURE), migration_failure_reason=E_FAIL)
    return after
