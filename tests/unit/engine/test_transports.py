"""What is remembered of the links that migrations have used."""

import time

from quorate.clusapi.identity import NodeId
from quorate.engine.link_probe import Speed
from quorate.engine.transports import ENOUGH, CarriedSpeeds
from quorate.migration.transport import Transport

NODE = NodeId("2")
PLAIN = Transport(channels=2)


def test_a_migration_that_was_not_held_back_measures_its_link() -> None:
    speeds = CarriedSpeeds()
    assert speeds.speed(NODE, None) is None
    speeds.learn(NODE, PLAIN, ENOUGH, 118e6)
    assert speeds.speed(NODE, None) == 118e6
    assert speeds.speed(NodeId("3"), None) is None


def test_one_that_was_bounded_or_compressed_or_small_says_nothing() -> None:
    speeds = CarriedSpeeds()
    speeds.learn(NODE, Transport(channels=2, max_bandwidth=1 << 20), ENOUGH, 1e6)
    speeds.learn(NODE, Transport(channels=2, compressed=True), ENOUGH, 1e6)
    speeds.learn(NODE, PLAIN, ENOUGH - 1, 1e6)
    speeds.learn(NODE, PLAIN, ENOUGH, 0.0)
    assert speeds.speed(NODE, None) is None


def test_the_newer_measurement_counts_and_a_trial_only_if_it_was_of_the_link() -> None:
    speeds = CarriedSpeeds()
    speeds.learn(NODE, PLAIN, ENOUGH, 118e6)
    older, newer = time.monotonic() - 60, time.monotonic() + 1
    assert speeds.speed(NODE, Speed(50e6, older)) == 118e6
    assert speeds.speed(NODE, Speed(50e6, newer)) == 50e6
    assert speeds.speed(NODE, Speed(50e6, newer, of_link=False)) == 118e6


def test_what_was_measured_long_ago_is_not_known() -> None:
    assert CarriedSpeeds().speed(NODE, Speed(50e6, time.monotonic() - 3601)) is None
