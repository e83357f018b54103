"""Properties as other servers tell them."""

from quorate.client.mscmrp.properties import number_of, text_of, texts_of, told_properties
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, Value, pack_property_list


def listed(*items: tuple[str, PropertyFormat, Value]) -> bytes:
    return pack_property_list(PropertyList.of(items))


COMMON = listed(("Role", PropertyFormat.DWORD, 3), ("Name", PropertyFormat.SZ, "one"))
READ_ONLY = listed(("NAME", PropertyFormat.SZ, "another"), ("Addresses", PropertyFormat.MULTI_SZ, ("a", "b")))


def test_lists_are_read_together_and_the_first_of_two_counts() -> None:
    told = told_properties(COMMON, READ_ONLY)
    assert (number_of(told, "role"), text_of(told, "Name"), texts_of(told, "addresses")) == (3, "one", ("a", "b"))


def test_an_end_mark_too_many_is_taken() -> None:
    assert told_properties(COMMON + bytes(4)) == told_properties(COMMON)


def test_what_is_damaged_or_missing_is_not_there() -> None:
    told = told_properties(None, b"", COMMON[:-6], b"nonsense")
    assert len(told) == 0
    assert (number_of(told, "Role"), text_of(told, "Name"), texts_of(told, "Name")) == (0, "", ())
    told = told_properties(COMMON)
    assert (number_of(told, "Name"), text_of(told, "Role"), texts_of(told, "Role")) == (0, "", ())
