"""How much memory a node has for virtual machines, and how that is said to people. Sizes are bytes.

A virtual machine's memory is *committed* in full from before its start until its process is gone: guests take what they
were promised whenever they like, and a node that has promised more than it has kills one of them.
"""

from typing import Final

MIB: Final = 1 << 20
AUTOMATIC_RESERVE: Final = 0xFFFFFFFF
"""RootMemoryReserved as it is unless somebody sets it: the node decides."""
LEAST_RESERVE: Final = 512 * MIB
RESERVED_SHARE: Final = 20
"""The automatic reserve is one part of so many: 5 %."""


def memory_for_vms(total: int, configured: int | None, root_memory_reserved: int = AUTOMATIC_RESERVE) -> int:
    """Tell how much of a host with ``total`` bytes is for virtual machines.

    ``configured`` is what the node's configuration says (``memory``), which wins; else RootMemoryReserved, in MiB,
    stays with the host, and where that is automatic the greater of 512 MiB and 5 %.
    """
    if configured is not None:
        return configured
    if root_memory_reserved == AUTOMATIC_RESERVE:
        reserve = max(LEAST_RESERVE, total // RESERVED_SHARE)
    else:
        reserve = root_memory_reserved * MIB
    return max(0, total - reserve)


def mib(size: int) -> str:
    """Say a size to people; what does not fit is never rounded into what fits."""
    return f"{size // MIB} MiB" if size % MIB == 0 or size > 64 * MIB else f"{size / MIB:.1f} MiB"


def explain_shortage(node: str, needed: int, committed: int, total: int) -> str:
    """Say why a virtual machine does not fit onto a node, with the figures."""
    free = max(0, total - committed)
    return (
        f"{node} has {mib(free)} free of {mib(total)} for virtual machines ({mib(committed)} taken), not {mib(needed)}"
    )
