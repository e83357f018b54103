"""Two coordinators at once, lost answers, old pictures: nothing runs twice, and everything runs in the end."""

import os

import pytest
from tests.worlds.coordination_world import World

SEEDS = 20_000 if os.environ.get("QUORATE_SOAK") else 150
STEPS = 250


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_whatever_happens_nothing_runs_twice_and_everything_runs_in_the_end(part: int) -> None:
    take_overs = 0
    for seed in range(part, SEEDS, 4):
        world = World(seed)
        try:
            for _ in range(STEPS):
                world.step()
            if not any(node.is_on for node in world.nodes.values()):
                world.nodes[next(iter(world.nodes))].restart()
            world.calm_down()
            _check_all_is_well(world)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        take_overs += world.take_overs
    assert take_overs > SEEDS / 8, "the worlds were too kind"


def _check_all_is_well(world: World) -> None:
    on = {node.id for node in world.nodes.values() if node.is_on}
    for group, row in world.store.owners.items():
        assert row.holder in on, f"{group} is held by node {row.holder}, which is off"
        assert group in world.nodes[row.holder].running, f"{group} does not run on its holder"
    role = world.store.role
    assert role is not None
    assert role.node in on
    assert role.incarnation == world.nodes[role.node].incarnation
    leading = [node.id for node in world.nodes.values() if node.is_on and node.brain.phase.value == "coordinator"]
    assert leading == [role.node]


def test_the_laws_notice_a_cluster_that_does_not_wait_for_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.worlds.coordination_world.MARGIN", -4)
    with pytest.raises(AssertionError, match=r"taken over while it runs|runs on nodes"):
        for seed in range(400):
            world = World(seed)
            for _ in range(STEPS):
                world.step()
