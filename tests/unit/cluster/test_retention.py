"""How much of the past is kept."""

from hypothesis import given
from hypothesis import strategies as st

from quorate.cluster.retention import (
    KEEP_AT_LEAST,
    KEEP_AT_MOST,
    KEEP_SECONDS,
    Sample,
    StoreFacts,
    find_alarms,
    plan_compaction,
    trim_samples,
)

GIB = 1 << 30


def test_an_idle_store_keeps_ten_thousand_changes() -> None:
    samples = [Sample(0, 100_000), Sample(400, 101_000)]
    assert plan_compaction(samples, 400, 0) == 91_000
    assert plan_compaction(samples, 400, 91_000) is None
    assert plan_compaction([Sample(0, 5)], 400, 0) is None
    assert plan_compaction([], 400, 0) is None


def test_a_busy_store_keeps_five_minutes_and_a_very_busy_one_fifty_thousand_changes() -> None:
    assert plan_compaction([Sample(0, 100_000), Sample(400, 130_000)], 400, 0) == 100_000
    assert plan_compaction([Sample(0, 100_000), Sample(400, 190_000)], 400, 0) == 140_000
    assert plan_compaction([Sample(390, 100_000), Sample(400, 130_000)], 400, 0) == 80_000, "nothing is known of before"


@given(
    st.lists(st.tuples(st.floats(0.1, 200), st.integers(0, 40_000)), min_size=1, max_size=60),
)
def test_however_fast_it_goes_what_is_kept_is_bounded_on_both_sides(steps: list[tuple[float, int]]) -> None:
    now, head, compacted = 0.0, 0, 0
    samples: list[Sample] = []
    for seconds, changes in steps:
        now, head = now + seconds, head + changes
        samples = trim_samples((*samples, Sample(now, head)), now)
        target = plan_compaction(samples, now, compacted)
        if target is not None:
            assert target > compacted
            compacted = target
        assert head - compacted >= min(head, KEEP_AT_LEAST)
        assert head - compacted <= KEEP_AT_MOST + KEEP_AT_LEAST // 10
        assert sum(now - sample.time >= KEEP_SECONDS for sample in samples) <= 1


def test_a_store_is_said_to_run_full_before_it_is() -> None:
    assert find_alarms(StoreFacts(GIB, GIB, 2 * GIB, ())) == ()
    assert find_alarms(StoreFacts(GIB, GIB, None, ())) == ()
    (nearly,) = find_alarms(StoreFacts(int(1.7 * GIB), GIB, 2 * GIB, ()))
    assert nearly.key == "nearly full"
    assert "85 % of the 2048 MiB" in nearly.sentence
    keys = [alarm.key for alarm in find_alarms(StoreFacts(2 * GIB, GIB, 2 * GIB, ("member a is out of space",)))]
    assert keys == ["member a is out of space", "nearly full"]
