"""What a node's configuration says about its doors for other machines."""

from pathlib import Path

import pytest

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError
from quorate.service.configuration import NodeConfiguration, read_configuration

BASE = """
node = "1"
database = "cluster.sqlite"
state = "."
saved = "saved"
runtime = "/run/q"
storage_roots = []
"""


def read(directory: Path, lines: str) -> NodeConfiguration:
    path = directory / "node.toml"
    path.write_text(BASE + lines)
    return read_configuration(path)


def test_a_pocket_node_has_none(tmp_path: Path) -> None:
    configuration = read(tmp_path, "")
    assert (configuration.listen, configuration.peers, configuration.certificates) == (None, None, None)


def test_doors_and_certificates_are_read(tmp_path: Path) -> None:
    configuration = read(tmp_path, 'listen = "0.0.0.0:7443"\npeers = "[2001:db8::7]:7400"\ncertificates = "pki"\n')
    assert configuration.listen == HostPort("0.0.0.0", 7443)
    assert configuration.peers == HostPort("2001:db8::7", 7400)
    assert configuration.certificates == tmp_path / "pki"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('peers = "192.0.2.7:7400"', "peers needs certificates as well"),
        ('listen = "192.0.2.7:7443"', "listen needs certificates as well"),
        ('certificates = "pki"\npeers = "0.0.0.0:7400"', "which others cannot connect to"),
        ('certificates = "pki"\nlisten = "[::]:7443"', "which others cannot connect to"),
        ('certificates = "pki"\npeers = 7400', 'must be a text, "HOST:PORT"'),
        ('certificates = "pki"\npeers = "7400"', "is no address"),
        ('certificates = ""', "certificates must be a text that is not empty"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path: Path, lines: str, reason: str) -> None:
    with pytest.raises(CallerError) as refused:
        read(tmp_path, lines + "\n")
    assert reason in refused.value.sentence
