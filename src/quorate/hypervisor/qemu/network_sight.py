"""What the network cards of a virtual machine would be plugged into on this host."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from quorate.clusapi.host_sight import NetworkSight
from quorate.hypervisor.definition import Nic, NicKind

INTERFACES: Final = Path("/sys/class/net")
_ABSENT: Final = "which this host does not have"


def look_at_networks(nics: Iterable[Nic], switches: Mapping[str, str], root: Path = INTERFACES) -> list[NetworkSight]:
    """Look for the bridge, the tap or the switch of each card."""
    return [_network(nic, switches, root) for nic in nics]


def _network(nic: Nic, switches: Mapping[str, str], root: Path) -> NetworkSight:
    match nic.kind:
        case NicKind.USER:
            return NetworkSight("network of its own process", doubt="its connections do not survive a migration")
        case NicKind.TAP:
            return _tap(nic.target, root)
        case NicKind.BRIDGE:
            return _bridge(f"bridge {nic.target}", nic.target, root)
        case NicKind.SWITCH:
            name = f"switch {nic.target}"
            if nic.target not in switches:
                return NetworkSight(name, trouble=_ABSENT)
            return _bridge(name, switches[nic.target], root)


def _tap(tap: str, root: Path) -> NetworkSight:
    name = f"tap {tap}"
    if (root / tap).exists():
        return NetworkSight(name)
    if os.geteuid() == 0:
        return NetworkSight(name, doubt="it is not there, and QEMU will make one that is plugged into nothing")
    return NetworkSight(name, trouble=_ABSENT)


def _bridge(name: str, bridge: str, root: Path) -> NetworkSight:
    if not (root / bridge).exists():
        is_itself = name == f"bridge {bridge}"
        return NetworkSight(name, trouble=_ABSENT if is_itself else f"whose bridge {bridge} this host does not have")
    if not (root / bridge / "bridge").is_dir():
        return NetworkSight(name, trouble=f"and {bridge} is no bridge on this host")
    with suppress(OSError):
        if (root / bridge / "operstate").read_text().strip() == "down":
            return NetworkSight(name, doubt=f"{bridge} is down on this host")
    return NetworkSight(name)
