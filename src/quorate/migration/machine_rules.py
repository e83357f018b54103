"""Whether a virtual machine can be moved at all, wherever to: the START table from "VmState is 2" on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.states import VmState
from quorate.clusapi.status import Status
from quorate.migration.rules import Finding


@dataclass(frozen=True, slots=True)
class MachineState:
    """What its owner knows of a virtual machine at this moment."""

    name: str
    node: str
    """The name of its owner."""
    state: VmState
    busy: bool = False
    """It is being started, stopped or moved, and whoever does that has it to himself."""
    moving_to: str | None = None
    """The name of the node that it is being migrated to."""
    queued: str = ""
    """What is said of its entry in the queue of moves; empty: it has none that counts."""
    locked: bool = False
    """LockedFromMoving."""


def judge_at_rest(machine: MachineState) -> Finding:
    """Nothing is being done to it: 5023."""
    rule, name, state = "at rest", machine.name, machine.state.name.lower()
    if not machine.busy or machine.moving_to is not None:
        return Finding.ok(rule, "nothing is being done to it")
    sentence = f"{name} is {state}, and something is being done to it: wait until that is over"
    return Finding.refuses(rule, state, Status.ERROR_INVALID_STATE, sentence, f"quorate vm show {name} tells what")


def judge_not_moving(machine: MachineState) -> Finding:
    """It is not being migrated: 5023."""
    rule, name, node = "not moving", machine.name, machine.moving_to
    if node is None:
        return Finding.ok(rule, "no migration")
    sentence = f"{name} is being migrated to {node} already: wait for that, or cancel it"
    return Finding.refuses(rule, f"to {node}", Status.ERROR_INVALID_STATE, sentence, f"quorate vm cancel {name}")


def judge_running(machine: MachineState) -> Finding:
    """VmState is 2: 5023."""
    rule, name, state = "running", machine.name, machine.state.name.lower()
    if machine.state is VmState.RUNNING:
        return Finding.ok(rule, "running")
    sentence = f"{name} is {state} on {machine.node}: only a running one can be migrated"
    remedy = (
        f"quorate vm {'resume' if machine.state is VmState.PAUSED else 'start'} {name}; or quorate group move {name}"
    )
    return Finding.refuses(rule, state, Status.ERROR_INVALID_STATE, sentence, remedy)


def judge_not_queued(machine: MachineState) -> Finding:
    """It has no place in the queue of moves: 5023."""
    rule = "not in the queue"
    if not machine.queued:
        return Finding.ok(rule, "not in it")
    remedy = f"quorate vm cancel {machine.name}"
    return Finding.refuses(rule, "in the queue", Status.ERROR_INVALID_STATE, machine.queued, remedy)


def judge_not_locked(machine: MachineState) -> Finding:
    """Its group may be moved: 5960."""
    rule, name = "not locked", machine.name
    if not machine.locked:
        return Finding.ok(rule, "LockedFromMoving 0")
    return Finding.refuses(
        rule,
        "LockedFromMoving 1",
        Status.ERROR_CLUSTER_RESOURCE_LOCKED_STATUS,
        f"{name} is locked from moving: set its group's LockedFromMoving to 0 first",
        f"quorate group set {name} LockedFromMoving=0",
    )


MACHINE_RULES: Final[tuple[Callable[[MachineState], Finding], ...]] = (
    judge_at_rest,
    judge_not_moving,
    judge_running,
    judge_not_queued,
    judge_not_locked,
)
"""In the order in which START refuses."""


def judge_machine(machine: MachineState) -> tuple[Finding, ...]:
    """Judge a virtual machine, wherever it is to go."""
    return tuple(rule(machine) for rule in MACHINE_RULES)
