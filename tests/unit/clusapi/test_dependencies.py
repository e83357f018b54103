import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.dependencies import (
    MOST_TERMS,
    NO_DEPENDENCY,
    Dependency,
    Every,
    OneOf,
    and_also,
    every,
    format_dependency,
    is_met,
    is_plain,
    parse_dependency,
    renamed,
    resources_of,
    restricted,
)
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import ResourceId

A, B, C = (ResourceId(name) for name in "abc")


@pytest.mark.parametrize(
    ("text", "expected", "written"),
    [
        ("", NO_DEPENDENCY, ""),
        ("  [a] ", A, "[a]"),
        ("[a] AND [b]", Every((A, B)), "[a] and [b]"),
        ("([a])and([b]or[c])", Every((A, OneOf((B, C)))), "[a] and ([b] or [c])"),
        ("[a] and [b] or [c]", OneOf((Every((A, B)), C)), "([a] and [b]) or [c]"),
        ("[a] and ([a] and [b])", Every((A, B)), "[a] and [b]"),
        ("[ a ] or [a]", A, "[a]"),
    ],
)
def test_an_expression_is_read_and_written(text: str, expected: Dependency, written: str) -> None:
    assert parse_dependency(text) == expected
    assert format_dependency(expected) == written


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[a] [b]", "'[b]'"),
        ("[]", "'[]'"),
        ("[a] and", "at its end"),
        ("([a]", "at its end"),
        ("[a])", "')'"),
        ("a and b", "'a and b'"),
        ("[a] nor [b]", "'nor"),
    ],
)
def test_a_wrong_expression_is_refused_with_the_place(text: str, place: str) -> None:
    with pytest.raises(CallerError) as refused:
        parse_dependency(text)
    assert refused.value.status == 87
    assert place in refused.value.sentence


@pytest.mark.parametrize("text", ["(" * 9 + "[a]" + ")" * 9, " or ".join(f"[{n}]" for n in range(MOST_TERMS + 1))])
def test_an_expression_beyond_the_limits_is_too_complex(text: str) -> None:
    with pytest.raises(CallerError) as refused:
        parse_dependency(text)
    assert refused.value.status == 5929


def test_an_expression_changes_term_by_term() -> None:
    mixed = parse_dependency("[a] and ([b] or [c])")
    assert resources_of(mixed) == (A, B, C)
    assert restricted(mixed, lambda item: item != B) == every((A, C))
    assert restricted(mixed, lambda item: item == A) == A
    assert restricted(mixed, lambda item: False) == NO_DEPENDENCY
    assert and_also(OneOf((A, B)), C) == Every((OneOf((A, B)), C))
    assert and_also(NO_DEPENDENCY, A) == A
    assert renamed(mixed, lambda item: ResourceId(item.upper())) == parse_dependency("[A] and ([B] or [C])")
    assert is_plain(every((A, B)))
    assert is_plain(A)
    assert not is_plain(mixed)


EXPRESSIONS: st.SearchStrategy[Dependency] = st.recursive(
    st.sampled_from([A, B, C]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda terms: Every(tuple(terms))),
        st.lists(inner, min_size=1, max_size=3).map(lambda terms: OneOf(tuple(terms))),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, st.sets(st.sampled_from([A, B, C])))
def test_the_written_form_means_the_same(expression: Dependency, there: set[ResourceId]) -> None:
    try:
        read = parse_dependency(format_dependency(expression))
    except CallerError as error:
        assert error.status == 5929
        return
    assert is_met(read, there.__contains__) == is_met(expression, there.__contains__)
    assert parse_dependency(format_dependency(read)) == read
