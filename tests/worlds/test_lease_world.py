"""The brains of leases in the world: any faults, what is left when they stop, and every rule taken out once.

Every run is decided by its seed, which a failure prints with the whole story. `QUORATE_SOAK=1` (`make soak`) runs many
more; `QUORATE_SEED=n` repeats one.
"""

import os
from collections.abc import Callable

import pytest
from tests.system.soak import Rounds, soaking
from tests.worlds.lease_chaos import STORIES, Chaos
from tests.worlds.lease_mutants import UNSAFE
from tests.worlds.lease_world import LATENESS, TERMS, Node, Violation, World

from quorate.cluster import promise
from quorate.cluster.lease import MARGIN

SOAK = soaking()
BATCHES = 400 if SOAK else 4
BATCH = 60
ROUNDS = Rounds("leases", BATCHES)
MUTANT_SEEDS = 120


def run(chaos: Chaos) -> World:
    try:
        return chaos.run()
    except AssertionError as error:
        told = [*chaos.world.trace, f"seed {chaos.seed}, story {chaos.story!r}, faults {chaos.faults}", str(error)]
        pytest.fail("\n".join(told))


def seeds(batch: int) -> range:
    if "QUORATE_SEED" in os.environ:
        return range(int(os.environ["QUORATE_SEED"]), int(os.environ["QUORATE_SEED"]) + 1)
    first = (ROUNDS.seed(0) if SOAK else 0) + batch * BATCH
    return range(first, first + BATCH)


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(BATCHES))
def test_whatever_happens_nobody_takes_what_may_still_run_and_in_the_end_all_is_well(batch: int) -> None:
    if SOAK and ROUNDS.is_done(batch):
        pytest.skip(f"done by an earlier call: {ROUNDS.path}")
    for seed in seeds(batch):
        run(Chaos(seed))
    if SOAK:
        ROUNDS.note_done(batch)


def test_what_the_laws_are_about_does_happen() -> None:
    """Laws that never had anything to judge have proven nothing."""
    worlds = [run(Chaos(seed, story=story)) for story in ("", *STORIES) for seed in range(3)]
    assert sum(len(world.ended) for world in worlds) > 50
    assert sum(node.killed for world in worlds for node in world.nodes.values()) > 50
    assert any("as long as they do" in line for world in worlds for line in world.trace)
    assert any("for a limited time" in line for world in worlds for line in world.trace)


@pytest.mark.parametrize("mutant", UNSAFE, ids=lambda mutant: mutant.__name__)
def test_without_a_rule_the_world_shows_the_disaster(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    for seed in range(MUTANT_SEEDS):
        try:
            Chaos(seed, story=UNSAFE[mutant]).run()
        except Violation as violation:
            assert "after all faults were over" not in str(violation)
            return
    pytest.fail(f"{MUTANT_SEEDS} runs without {mutant.__name__}, and nothing happened")


# --- what must happen, where nothing is random but latencies and clocks ---------------------------------------------


def quiet_world(nodes: int, seed: int = 0) -> World:
    world = World(seed, nodes)
    world.run(3.0)
    assert all(node.running == {node.group} for node in world.nodes.values())
    return world


def silence(world: World, *nodes: Node) -> None:
    for node in nodes or world.nodes.values():
        node.store, node.watch = "lost", False


def speak(world: World) -> None:
    for node in world.nodes.values():
        node.store, node.watch = "ok", True
        if node.daemon is not None:
            world.send_view(node.daemon)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_a_minute_without_the_database_stops_nothing(nodes: int, seed: int) -> None:
    world = quiet_world(nodes, seed)
    lives = [node.daemon.holder.incarnation for node in world.nodes.values() if node.daemon is not None]
    silence(world)
    world.run(63.0)
    assert all(node.running == {node.group} and not node.killed for node in world.nodes.values())
    speak(world)
    world.run(66.0)
    for node in world.nodes.values():
        assert node.daemon is not None and node.daemon.holder.is_held(world.clock(node))
    assert lives == [node.daemon.holder.incarnation for node in world.nodes.values() if node.daemon is not None]
    assert not world.ended


def cut_off_alone(seed: int) -> tuple[World, Node, float]:
    world = quiet_world(3, seed)
    node = next(iter(world.nodes.values()))
    silence(world, node)
    since = world.now
    world.run(since + 10.0)
    return world, node, since


@pytest.mark.parametrize("seed", range(5))
def test_who_alone_is_cut_off_from_the_database_is_ended_and_what_ran_there_runs_elsewhere(seed: int) -> None:
    world, node, since = cut_off_alone(seed)
    (when, of, _), *others = world.ended
    assert of == node.id and not others
    assert node.killed == 1 and not node.running
    assert when < since + TERMS.duration * 1.05 + MARGIN + LATENESS + 1.0
    assert sum(node.group in other.running for other in world.nodes.values()) == 1


def test_were_promises_granted_by_those_who_can_write_it_would_go_on_out_of_sight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(promise, "_refusal", lambda request, situation: "")
    world, node, _ = cut_off_alone(0)
    assert not world.ended and node.running == {node.group}


@pytest.mark.parametrize("seed", range(5))
def test_the_lease_of_a_dead_node_is_ended_as_soon_as_it_may_be(seed: int) -> None:
    world = quiet_world(3, seed)
    node = next(iter(world.nodes.values()))
    since = world.now
    world.crash(node)
    world.run(since + 10.0)
    assert [of for _, of, _ in world.ended] == [node.id]
    assert world.ended[0][0] < since + TERMS.duration * 1.05 + MARGIN + 0.5
    assert sum(node.group in other.running for other in world.nodes.values()) == 1


@pytest.mark.parametrize("seed", range(5))
def test_without_one_that_is_down_the_others_go_on_for_the_resilience_and_no_longer(seed: int) -> None:
    world = quiet_world(3, seed)
    down, *others = world.nodes.values()
    world.crash(down)
    world.run(world.now + 6.0)
    assert [of for _, of, _ in world.ended] == [down.id]
    silence(world)
    since = world.now
    world.run(since + (TERMS.duration + TERMS.resilience - 1.0) * 0.97 - 0.1)
    assert all(node.running for node in others)
    world.run(since + (TERMS.duration + TERMS.resilience) * 1.03 + LATENESS)
    assert not any(node.running for node in others)


@pytest.mark.parametrize("seed", range(5))
def test_without_one_that_is_silent_and_not_ended_nobody_goes_on(seed: int) -> None:
    world = quiet_world(3, seed)
    mute, *others = world.nodes.values()
    silence(world)
    world.pause_daemon(mute)
    world.run(world.now + TERMS.duration * 1.03 + LATENESS + 0.1)
    assert not any(node.running for node in others)


@pytest.mark.parametrize("seed", range(5))
def test_a_taker_that_was_restarted_meanwhile_waits_for_the_resilience_and_no_longer(seed: int) -> None:
    world = quiet_world(2, seed)
    dead, taker = world.nodes.values()
    world.kill_daemon(taker)
    world.run(world.now + 0.3)
    world.crash(dead)
    since = world.now
    world.start_daemon(taker)
    wait = TERMS.duration + TERMS.resilience + 2 * MARGIN
    world.run(since + wait * 0.97)
    assert not world.ended
    world.run(since + wait * 1.03 + 1.5)
    assert [of for _, of, _ in world.ended] == [dead.id]
    assert taker.running == {taker.group, dead.group}


def test_a_node_that_the_dead_one_never_knew_waits_for_a_person() -> None:
    world = quiet_world(1)
    (dead,) = world.nodes.values()
    silence(world, dead)
    world.run(world.now + 1.0)
    new = world.admit()
    world.crash(dead)
    world.run(world.now + 120.0)
    assert not world.ended
    assert new.daemon is not None
    verdict = world.judge(new.daemon, dead.id)
    assert verdict.at is None and "confirm" in verdict.sentence
    assert world.judge(new.daemon, dead.id, fenced=True).allowed
    world.end(new.daemon, dead.id, fenced=True)
    world.run(world.now + 2.0)
    assert new.running == {new.group, dead.group}
