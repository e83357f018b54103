"""What a cluster asks of its database and of its network does not grow with its size, but with what happens."""

import pytest
from bench.scale import make_inventory

from quorate.cli.quiet import no_logs
from quorate.simulator.inventory import seed_setup
from quorate.simulator.rehearsal import rehearse
from quorate.simulator.rehearsed import Drain, Lose, Rehearsed

SIZES = ((8, 120), (16, 500))


def _play(nodes: int, vms: int, what: Drain | Lose) -> Rehearsed:
    with no_logs():
        return rehearse(seed_setup(make_inventory(nodes, vms)), what)


@pytest.mark.parametrize(("nodes", "vms"), SIZES)
def test_a_loss_costs_what_the_lost_node_had(nodes: int, vms: int) -> None:
    told = _play(nodes, vms, Lose(("node1",)))
    lost = vms // nodes
    assert lost <= len(told.journeys) <= lost + 1 and all(one.has_arrived for one in told.journeys)
    assert max(one.gap for one in told.journeys) < 10
    renewals = (nodes - 1) * (told.seconds + 3)
    assert told.cost.transactions < 6 * lost + renewals
    assert told.cost.questions <= nodes


@pytest.mark.parametrize(("nodes", "vms"), SIZES)
def test_a_drain_costs_what_the_node_had(nodes: int, vms: int) -> None:
    told = _play(nodes, vms, Drain(("node1",)))
    many = len(told.journeys)
    assert vms // nodes <= many <= vms // nodes + 1
    assert all(one.has_arrived for one in told.journeys)
    assert told.cost.transactions < 7 * many
    assert told.cost.questions < 25 * many
