"""What may be changed in a network."""

import pytest

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.states import NetworkRole
from quorate.cluster.network_rules import NetworkChange, NetworkSettings, plan_network_change

LAN = NetworkSettings("LAN", NetworkRole.INTERNAL_AND_CLIENT, 70_240, auto_metric=True)
SAN = NetworkSettings("SAN", NetworkRole.INTERNAL_AND_CLIENT, 70_256, auto_metric=True)


def change(network: NetworkSettings, **settings: int | bool) -> NetworkSettings:
    return plan_network_change(NetworkChange(**settings), network, [SAN], [])  # type: ignore[arg-type]


def status(network: NetworkSettings, others: list[NetworkSettings], dependents: list[str], **settings: int) -> int:
    with pytest.raises(ClusterError) as caught:
        plan_network_change(NetworkChange(**settings), network, others, dependents)  # type: ignore[arg-type]
    assert network.name in caught.value.sentence
    return int(caught.value.status)


def test_setting_the_metric_ends_its_choice_by_the_cluster() -> None:
    assert change(LAN, metric=5) == NetworkSettings("LAN", LAN.role, 5, auto_metric=False)
    assert change(LAN, metric=LAN.metric).auto_metric is False
    assert change(LAN, metric=5, auto_metric=False).metric == 5
    assert change(LAN, metric=5, auto_metric=True) == NetworkSettings("LAN", LAN.role, 5, auto_metric=False)
    assert change(LAN, auto_metric=False) == NetworkSettings("LAN", LAN.role, 70_240, auto_metric=False)


def test_a_program_that_writes_back_all_it_read_changes_nothing() -> None:
    for network in (LAN, NetworkSettings("LAN", NetworkRole.INTERNAL, 7, auto_metric=False)):
        same = change(network, role=network.role, metric=network.metric, auto_metric=network.auto_metric)
        assert same == network


def test_the_cluster_chooses_the_metric_again_and_never_one_that_is_taken() -> None:
    fixed = NetworkSettings("LAN", NetworkRole.INTERNAL_AND_CLIENT, 7, auto_metric=False)
    assert change(fixed, auto_metric=True) == NetworkSettings("LAN", fixed.role, 70_240, auto_metric=True)
    taken = NetworkSettings("SAN", NetworkRole.INTERNAL_AND_CLIENT, 70_240, auto_metric=True)
    assert plan_network_change(NetworkChange(auto_metric=True), fixed, [taken], []).metric == 70_256
    assert status(fixed, [SAN], [], metric=9, auto_metric=True) == 87


def test_a_network_for_nodes_alone_comes_first() -> None:
    assert change(LAN, role=1).metric == 40_240
    assert change(LAN, role=0).metric == 70_240
    assert change(NetworkSettings("LAN", LAN.role, 7, auto_metric=False), role=1).metric == 7


@pytest.mark.parametrize("role", [0, 2])
def test_the_last_network_between_the_nodes_keeps_its_role(role: int) -> None:
    assert status(LAN, [], [], role=role) == 5066
    assert status(LAN, [NetworkSettings("x", NetworkRole.NONE, 1, auto_metric=True)], [], role=role) == 5066
    assert change(LAN, role=role).role == role
    nobody = NetworkSettings("LAN", NetworkRole.NONE, 1, auto_metric=True)
    assert plan_network_change(NetworkChange(role=2), nobody, [], []).role is NetworkRole.CLIENT_ACCESS


@pytest.mark.parametrize("role", [0, 1])
def test_a_network_with_an_address_for_clients_stays_open_to_them(role: int) -> None:
    assert status(LAN, [SAN], ["IP Address 10.0.0.9"], role=role) == 5067
    assert plan_network_change(NetworkChange(role=3), LAN, [SAN], ["IP Address 10.0.0.9"]) == LAN
