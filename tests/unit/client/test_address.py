"""How a cluster is named, and where what is shown to it is found."""

import json
from pathlib import Path

import pytest

from quorate.client.address import NodeAddress, cluster_place, node_addresses
from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.status import Status

A, B = "https://192.0.2.7:7443", "https://node2.example:7443"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("QUORATE_CLUSTER", "QUORATE_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config" / "quorate"


def credentials(directory: Path, *urls: str) -> Path:
    directory.mkdir(parents=True)
    for name in ("user.crt", "user.key", "ca.crt"):
        (directory / name).write_text("")
    if urls:
        nodes = [{"name": f"node{number}", "http": url} for number, url in enumerate(urls, 1)]
        (directory / "cluster.json").write_text(json.dumps({"version": 1, "name": "prod", "nodes": nodes}))
    return directory


def test_a_url_with_credentials_that_were_given(tmp_path: Path) -> None:
    place = credentials(tmp_path / "mine")
    (node,) = node_addresses(A, str(place))
    assert node == NodeAddress("", A, place)
    assert (node.remote, node.called) == (HostPort("192.0.2.7", 7443), A)


def test_several_urls_are_tried_in_their_order(tmp_path: Path) -> None:
    nodes = node_addresses(f"{A}, {B}/", str(credentials(tmp_path / "mine")))
    assert [node.socket for node in nodes] == [A, B]


def test_the_environment_names_cluster_and_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = credentials(tmp_path / "mine")
    monkeypatch.setenv("QUORATE_CLUSTER", A)
    monkeypatch.setenv("QUORATE_CREDENTIALS", str(place))
    assert node_addresses() == (NodeAddress("", A, place),)


def test_a_directory_of_credentials_is_enough(tmp_path: Path) -> None:
    place = credentials(tmp_path / "mine", A, B)
    assert node_addresses(str(place)) == (NodeAddress("node1", A, place), NodeAddress("node2", B, place))


def test_other_credentials_may_be_shown_to_the_same_nodes(tmp_path: Path) -> None:
    place, others = credentials(tmp_path / "mine", A), credentials(tmp_path / "others")
    assert node_addresses(str(place), str(others)) == (NodeAddress("node1", A, others),)


def test_a_bare_name_is_what_was_kept_under_it(config: Path) -> None:
    place = credentials(config / "prod", A)
    assert node_addresses("prod") == (NodeAddress("node1", A, place),)
    with pytest.raises(FaultError):
        node_addresses("test")


def test_a_url_finds_what_was_kept_for_it(config: Path) -> None:
    credentials(config / "other", "https://192.0.2.9:7443")
    place = credentials(config / "prod", A, B)
    (config / "broken").mkdir()
    (config / "broken" / "cluster.json").write_text("nonsense")
    assert node_addresses(B) == (NodeAddress("", B, place),)


def test_without_credentials_it_says_where_they_come_from() -> None:
    with pytest.raises(CallerError, match="quorate user add") as missing:
        node_addresses(A)
    assert missing.value.status is Status.ERROR_FILE_NOT_FOUND


def test_a_pocket_cluster_needs_none(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"nodes": [{"name": "node1", "http": "/run/x/http"}]}')
    (node,) = node_addresses(str(tmp_path))
    assert (node.socket, node.credentials, node.remote) == ("/run/x/http", None, None)


def test_a_url_is_no_directory_to_start_a_pocket_cluster_in() -> None:
    with pytest.raises(CallerError, match="is on other machines"):
        cluster_place(A)
