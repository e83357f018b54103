"""How places to listen at are written."""

import pytest

from quorate.clusapi.addresses import HostPort, https_place, tcp_place
from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("192.0.2.7:7400", HostPort("192.0.2.7", 7400)),
        ("node7.example:0", HostPort("node7.example", 0)),
        ("[2001:db8::7]:65535", HostPort("2001:db8::7", 65535)),
    ],
)
def test_a_place_is_read_as_it_is_written(text: str, place: HostPort) -> None:
    assert HostPort.parse(text) == place
    assert str(place) == text
    assert tcp_place(f"tcp:{text}") == place
    assert https_place(f"https://{text}/") == place


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":1", "host:x", "host:-1", "host:65536", "2001:db8::7:80", "[host]:1", "a/b:1", "a b:1"],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(CallerError) as refused:
        HostPort.parse(text)
    assert refused.value.status is Status.ERROR_INVALID_PARAMETER


@pytest.mark.parametrize("address", ["unix:/x", "https:/x:1", "tcp:", "http://h:1", ""])
def test_another_kind_of_address_is_refused(address: str) -> None:
    for read in (tcp_place, https_place):
        with pytest.raises(CallerError):
            read(address)


def test_a_wildcard_is_known() -> None:
    assert HostPort("0.0.0.0", 1).is_wildcard
    assert HostPort("::", 1).is_wildcard
    assert not HostPort("127.0.0.1", 1).is_wildcard
    assert not HostPort("everywhere.example", 1).is_wildcard
