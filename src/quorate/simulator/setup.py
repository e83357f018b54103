"""What a simulated world begins with, by the names that people give. Sizes are bytes, rates bytes per second."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

GIB: Final = 1 << 30
GIGABIT: Final = 125_000_000.0
"""Bytes per second of a link of 1 Gb/s."""


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """A machine that is a node of the cluster."""

    name: str
    memory: int = 16 * GIB
    """For virtual machines."""
    drift: float = 0.0
    """How much faster than true time its clock goes, in parts per million."""
    booted: float = 100.0
    """How many seconds ago it was switched on."""
    bandwidth: float = 10 * GIGABIT
    """Of its link in the migration network, either way."""


@dataclass(frozen=True, slots=True)
class VmSetup:
    """A virtual machine, alone in its group."""

    name: str
    on: str
    """The node that owns it at first."""
    memory: int = GIB
    used: int | None = None
    """How much of it is not zero; None: all."""
    dirty: float = 0.0
    """How fast its guest writes, while it runs."""
    working_set: int = 0
    """To how much of its memory it writes."""
    online: bool = True
    """It is wanted online."""
    priority: int = 2000
    possible: tuple[str, ...] | None = None
    """Its possible owners; None: all nodes."""
    preferred: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    """AntiAffinityClassNames."""
    failback: bool = False
    locked: bool = False
    """LockedFromMoving."""
    post_copy: bool = False
    """Its policy allows post-copy, and does not hold its processors back before that."""
    move_type: int | None = None
    """DefaultMoveType; None: as its priority says."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A cluster at its beginning: every machine is on, no daemon has been started."""

    nodes: tuple[NodeSetup, ...]
    vms: tuple[VmSetup, ...] = ()
    properties: Mapping[str, int] = field(default_factory=dict)
    """Of the cluster, by the names that ClusAPI gives them."""
    is_up: bool = False
    """What is wanted online runs already, as if only the daemons had been stopped; else nothing does."""
