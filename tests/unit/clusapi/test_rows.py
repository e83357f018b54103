"""Versions of a mapping: each is what a dict would be that was changed in the same way."""

import random

from quorate.clusapi.rows import SMALL, Rows


def test_versions_are_what_dicts_would_be() -> None:
    dice = random.Random(7)
    rows, like = Rows({number: str(number) for number in range(50)}), {number: str(number) for number in range(50)}
    earlier: list[tuple[Rows[int, str], dict[int, str]]] = []
    for step in range(2 * SMALL):
        earlier.append((rows, dict(like)))
        if dice.random() < 0.1 and like:
            key = dice.choice(list(like))
            rows, like = rows.without(key), {one: value for one, value in like.items() if one != key}
        else:
            news = {dice.randrange(400): f"{step}"}
            rows, like = rows.changed(news), {**like, **news}
    for version, expected in (*earlier, (rows, like)):
        assert dict(version) == expected and len(version) == len(expected)
        assert list(version) == list(expected), "in the same order"
        assert [version.get(key, "-") for key in range(400)] == [expected.get(key, "-") for key in range(400)]
        assert [key in version for key in range(400)] == [key in expected for key in range(400)]


def test_what_differs_between_versions_is_known_either_way() -> None:
    first = Rows({"a": "1", "b": "2", "c": "3"})
    second = first.changed({"b": "20", "d": "4"})
    third = second.without("a")
    assert first.differences(first) == set()
    assert first.differences(second) == second.differences(first) == {"b", "d"}
    assert first.differences(third) == third.differences(first) == {"a", "b", "d"}
    many = first.changed({str(number): "x" for number in range(SMALL + 1)})
    assert many.differences(first) == {str(number) for number in range(SMALL + 1)}
