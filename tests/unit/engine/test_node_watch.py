"""What a node tells of its own database and guard, once it is over."""

from quorate.clusapi.events import EventKind
from quorate.engine.node_watch import WITHOUT_GUARD, News, Sight, Watched

WELL = Sight(hears_database=True, may_run=True, has_guard=True)
SILENT = Sight(hears_database=False, may_run=True, has_guard=True)
LAPSED = Sight(hears_database=False, may_run=False, has_guard=True)
BARE = Sight(hears_database=True, may_run=True, has_guard=False)


def looks(*sights: tuple[float, Sight]) -> list[News]:
    watched = Watched()
    told: list[News] = []
    for at, sight in sights:
        watched, news = watched.looked("node1", sight, at)
        told += news
    return told


def test_all_is_well_and_nothing_is_told() -> None:
    assert looks((0.0, WELL), (1.0, WELL)) == []


def test_a_silence_is_told_when_it_is_over_with_its_length_and_what_it_has_cost() -> None:
    (lived,) = looks((0.0, WELL), (1.0, SILENT), (9.0, SILENT), (38.0, WELL), (39.0, WELL))
    assert (lived.kind, lived.seconds) == (EventKind.NODE_DATABASE, 37.0)
    assert lived.sentence == "node1 had no answer from the database for 37.0 s; what ran here went on"
    (ended,) = looks((1.0, SILENT), (9.0, LAPSED), (10.0, SILENT), (11.0, WELL))
    assert "its lease ran out meanwhile, and what ran here was ended" in ended.sentence


def test_each_silence_is_told_once_and_on_its_own() -> None:
    first, second = looks((0.0, LAPSED), (5.0, WELL), (6.0, SILENT), (8.0, WELL))
    assert (first.seconds, second.seconds) == (5.0, 2.0)
    assert "went on" in second.sentence


def test_a_guard_that_was_replaced_in_time_is_no_news() -> None:
    assert looks((0.0, BARE), (WITHOUT_GUARD - 0.1, WELL)) == []
    (told,) = looks((0.0, BARE), (1.0, BARE), (WITHOUT_GUARD, WELL))
    assert (told.kind, told.seconds) == (EventKind.NODE_GUARD, WITHOUT_GUARD)
