"""Which network devices of a machine may carry the cluster's traffic.

Left out: the loopback, ports of bridges and bonds (the bridge or bond itself has the address), taps and tunnels of
programs (virtual machines' among them), devices that lead nowhere, and the bridges that container engines and libvirt
make on every machine with the same address. Of addresses: link-local ones, temporary ones of IPv6, and those without a
subnet (a single address that some program holds).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from quorate.cluster.networks import FoundInterface
from quorate.engine.netlink import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_PERMANENT,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    IFF_LOOPBACK,
    SCOPE_LINK,
    Device,
    DeviceAddress,
)

_KINDS_LEFT_OUT: Final = frozenset(
    {"tun", "dummy", "ifb", "nlmon", "netdevsim", "vcan", "sit", "ip6tnl", "ipip", "gre", "gretap"}
)
_OF_OTHER_PROGRAMS: Final = re.compile(
    r"docker\d+|br-[0-9a-f]{12}|virbr\d+.*|podman\d+|cni.*|cali.*|flannel.*|lxcbr\d+|lxdbr\d+"
)
_SHORTEST_SUBNET: Final = {4: 31, 6: 127}  # prefix lengths: two machines and a cable


def usable_adapters(devices: Sequence[Device]) -> tuple[FoundInterface, ...]:
    """The adapters among the devices, also those that have no address at the moment."""
    return tuple(_found(device) for device in devices if _is_adapter(device))


def _is_adapter(device: Device) -> bool:
    return not (
        device.flags & IFF_LOOPBACK
        or device.master
        or device.kind in _KINDS_LEFT_OUT
        or _OF_OTHER_PROGRAMS.fullmatch(device.name)
    )


def _found(device: Device) -> FoundInterface:
    usable = [address for address in device.addresses if _is_usable(address)]
    ordered = [address for version in (4, 6) for address in usable if address.version == version]
    return FoundInterface(
        adapter=device.name,
        adapter_id=device.hardware_address,
        addresses=tuple(address.text for address in ordered),
        dhcp=_is_leased(ordered),
    )


def _is_usable(address: DeviceAddress) -> bool:
    unwanted = IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED
    if address.version == 6:
        unwanted |= IFA_F_TEMPORARY
    prefix = int(address.text.rpartition("/")[2])
    return address.scope < SCOPE_LINK and not address.flags & unwanted and prefix <= _SHORTEST_SUBNET[address.version]


def _is_leased(addresses: Iterable[DeviceAddress]) -> bool:
    """Tell whether its first IPv4 address has a term, as what a DHCP server gives out has."""
    first = next((address for address in addresses if address.version == 4), None)
    return first is not None and not first.flags & IFA_F_PERMANENT
