"""The one place where virtual CPUs start.

Whoever comes here has won the right to (R1), and says under which incarnation of the lease (R2). What is asked here is
whether the node may run anything at this moment (I2): a guard lives that would end what runs when the lease is over,
and the lease, or the promises that carry it on, hold. The guard is asked first, as it may have to be waited for.
"""

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.status import Status
from quorate.engine.context import EngineContext
from quorate.engine.guard import PATIENCE
from quorate.hypervisor.contract import GuestPanicked, GuestShutdown, Instance, RunState


async def let_run(
    context: EngineContext,
    instance: Instance,
    name: str,
    doing: str,
    incarnation: str,
    *,
    new: bool = False,
    patience: float = PATIENCE,
) -> None:
    """Start the virtual CPUs of the guest ``name``; what is ``new`` is not started on promises alone.

    A dead guard is back within a second, and waited for ``patience`` seconds; who tries again anyhow has none.

    Raises:
        FaultError: 1062, there is no guard; 5052, the lease has run out; or QEMU did not answer. The guest stands.
    """
    await context.guard.wait_live(f"{doing} of {name}", patience)
    lease = context.lease
    may_run = lease.is_held if new else lease.may_run
    if not may_run or lease.incarnation != incarnation:
        raise FaultError(
            Status.ERROR_CLUSTER_NODE_NOT_MEMBER,
            f"the lease of {context.node_name} ran out during {doing} of {name}: it was not run",
        )
    await instance.cont()


async def ended_by_itself(instance: Instance) -> GuestShutdown | GuestPanicked | None:
    """Tell what a guest did to itself while no daemon was there; None: it has not ended.

    One that has ended is not let run: its QEMU refuses that for ever of one that has shut down, and of one that has
    crashed nobody would hear.

    Raises:
        RefusalError: 5023, it is still being sent away; QEMU tells only when that is over, or given up.
        FaultError: QEMU did not answer.
    """
    match await instance.run_state():
        case RunState.SHUTDOWN:
            return GuestShutdown(by_guest=True)
        case RunState.PANICKED:
            return GuestPanicked()
        case RunState.SAVING:
            sentence = "its transfer has not come to an end: what the guest has done itself shows afterwards"
            raise RefusalError(Status.ERROR_INVALID_STATE, sentence)
        case _:
            return None
