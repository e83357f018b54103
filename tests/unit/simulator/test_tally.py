"""What is told of many histories."""

from quorate.simulator.tally import HAD, Tally, Told
from quorate.simulator.trace import Counts


def told(seed: int, events: int, broken: str = "", **counts: int) -> Told:
    return Told(seed, events, Counts(commands=50, faults=20 + seed, **counts), 30.5, broken, 0.1 * seed)


def test_histories_are_counted_once_each_and_what_happened_in_all() -> None:
    tally = Tally()
    tally.add(told(1, 1000, migrations=3))
    tally.add(told(2, 3000, migrations=1, take_overs=2))
    tally.add(told(3, 2000))
    rows = {what: (histories, total) for what, histories, total in tally.rows()}
    assert rows["a migration"] == ("2", "4")
    assert rows["a failover"] == ("1", "2")
    assert rows["a database loss"] == ("0", "0")
    assert tally.medians()["events"] == 2000
    assert tally.least() == {
        "events": 1000,
        "virtual minutes": 30,
        "faults": 21,
        "commands": 50,
        "commands refused": 0,
    }
    assert tally.slowest is not None and tally.slowest.seed == 3


def test_what_broke_a_law_was_not_played_to_its_end_and_is_no_measure() -> None:
    tally = Tally()
    tally.add(told(1, 10, "I2 at 3.000 s: two run", migrations=1))
    tally.add(told(2, 3000))
    assert tally.histories == 2
    assert [one.seed for one in tally.broken] == [1]
    assert tally.least()["events"] == tally.medians()["events"] == 3000
    assert tally.had["a migration"] == 1


def test_without_histories_there_is_nothing_to_tell() -> None:
    assert Tally().medians()["events"] == Tally().least()["events"] == 0


def test_each_count_that_is_told_exists() -> None:
    for count in HAD.values():
        assert isinstance(getattr(Counts(), count), int)
