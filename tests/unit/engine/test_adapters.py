"""Which devices of a machine are the cluster's, and what the kernel says of them."""

import pytest

from quorate.engine.adapters import usable_adapters
from quorate.engine.netlink import (
    IFA_F_PERMANENT,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_UP,
    Device,
    DeviceAddress,
    list_devices,
)

ON = IFF_UP | IFF_LOWER_UP


def address(text: str, scope: int = 0, flags: int = IFA_F_PERMANENT) -> DeviceAddress:
    return DeviceAddress(text, scope, flags)


def device(name: str, *addresses: DeviceAddress, flags: int = ON, kind: str = "", master: int = 0) -> Device:
    return Device(7, name, flags, "02:00:00:00:00:07", kind, master, addresses)


LAN = address("10.0.0.1/24")


@pytest.mark.parametrize(
    "left_out",
    [
        device("lo", address("127.0.0.1/8", 254), flags=ON | IFF_LOOPBACK),
        device("tap0", LAN, kind="tun"),
        device("vnet3", kind="tun", master=4),
        device("eth1", LAN, master=4),
        device("dummy0", LAN, kind="dummy"),
        device("docker0", LAN, kind="bridge"),
        device("br-0123456789ab", LAN, kind="bridge"),
        device("virbr0", LAN, kind="bridge"),
        device("cali123", LAN, kind="veth"),
    ],
    ids=lambda one: one.name,
)
def test_what_is_no_adapter_of_the_cluster(left_out: Device) -> None:
    assert usable_adapters([left_out]) == ()


@pytest.mark.parametrize(
    "used",
    [
        device("eth0", LAN),
        device("br0", LAN, kind="bridge"),
        device("bond0", LAN, kind="bond"),
        device("eth0.7", LAN, kind="vlan"),
        device("n1", LAN, kind="veth"),
        device("br-lan", LAN, kind="bridge"),
        device("eth0", LAN, flags=IFF_UP),
    ],
    ids=lambda one: f"{one.name}-{one.flags}",
)
def test_what_is_one(used: Device) -> None:
    (found,) = usable_adapters([used])
    assert (found.adapter, found.addresses, found.dhcp) == (used.name, ("10.0.0.1/24",), False)


def test_addresses_that_no_other_node_can_use_do_not_count() -> None:
    found = device(
        "eth0",
        address("fe80::1/64", 253),
        address("fd00::9/64", flags=IFA_F_TEMPORARY),
        address("fd00::8/64", flags=IFA_F_TENTATIVE),
        address("fd00::1/64"),
        address("169.254.1.1/16", 253),
        address("10.0.0.9/32"),
        LAN,
        address("10.0.0.2/24", flags=IFA_F_PERMANENT | IFA_F_TEMPORARY),
    )
    assert usable_adapters([found])[0].addresses == ("10.0.0.1/24", "10.0.0.2/24", "fd00::1/64")
    assert usable_adapters([device("eth0")])[0].addresses == (), "the adapter itself is there"


def test_an_address_with_a_term_was_given_by_a_server() -> None:
    assert usable_adapters([device("eth0", address("10.0.0.1/24", flags=0))])[0].dhcp
    assert not usable_adapters([device("eth0", LAN, address("fd00::1/64", flags=0))])[0].dhcp


def test_a_link_needs_a_cable_and_to_be_switched_on() -> None:
    assert device("eth0").has_link
    assert not device("eth0", flags=IFF_UP).has_link
    assert not device("eth0", flags=IFF_LOWER_UP).has_link


def test_the_kernel_is_understood() -> None:
    loopback = next(found for found in list_devices() if found.name == "lo")
    assert loopback.flags & IFF_LOOPBACK
    assert "127.0.0.1/8" in {one.text for one in loopback.addresses} or not loopback.flags & IFF_UP
