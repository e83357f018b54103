"""Whether this host can run a virtual machine: measured by the driver, judged by the rules of the preflight."""

from quorate.clusapi.host_sight import GuestSight
from quorate.hypervisor.contract import Hypervisor
from quorate.hypervisor.definition import VmDefinition
from quorate.hypervisor.pinned import Pinned
from quorate.migration.host_rules import HostQuestion, judge_host
from quorate.migration.rules import Finding, require


async def judge_this_host(
    hypervisor: Hypervisor,
    definition: VmDefinition,
    pinned: Pinned,
    guest: GuestSight | None = None,
    *,
    running_here: bool = False,
) -> tuple[Finding, ...]:
    """Judge what this host has for a VM: for one that comes from another node, compared with the ``guest`` there.

    Raises:
        FaultError: this host could not be looked at.
    """
    host = await hypervisor.measure(definition, pinned)
    question = HostQuestion(
        name=definition.name,
        machine_type=pinned.machine_type,
        accelerator=pinned.accelerator.value,
        memory=pinned.memory_bytes,
        host=host,
        guest=guest if guest is not None else GuestSight(),
        moves=guest is not None,
        needs_memory=not running_here,
    )
    return judge_host(question)


async def check_can_run(
    hypervisor: Hypervisor, definition: VmDefinition, pinned: Pinned, *, running_here: bool = False
) -> None:
    """Refuse what this host cannot run; a VM that is ``running_here`` needs none of the memory that is free.

    Raises:
        RefusalError: 5953 it cannot run it, 5957 not enough free memory; with the reason.
        FaultError: this host could not be looked at.
    """
    require(await judge_this_host(hypervisor, definition, pinned, running_here=running_here))
