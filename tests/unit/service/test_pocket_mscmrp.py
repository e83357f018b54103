"""Where the nodes speak MS-CMRP: what configurations say, and how a pocket cluster writes them."""

from pathlib import Path

import pytest

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError
from quorate.service.configuration import MscmrpSettings, read_configuration
from quorate.service.pocket_mscmrp import of_node, parse_mscmrp, write_mscmrp

BASE = """# as somebody has written it
node = "1"
database = "cluster.sqlite"
state = "."
saved = "saved"
runtime = "/run/q"
storage_roots = ["/"]
"""
HERE = MscmrpSettings(HostPort("127.0.0.1", 49152), endpoint_mapper=True)


def written(directory: Path, more: str = "") -> Path:
    path = directory / "node.toml"
    path.write_text(BASE + more, encoding="utf-8")
    return path


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert read_configuration(written(tmp_path)).mscmrp is None


def test_the_table_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, '[mscmrp]\nlisten = "[::1]:49152"\nendpoint_mapper = true\n')
    assert read_configuration(path).mscmrp == MscmrpSettings(HostPort("::1", 49152), endpoint_mapper=True)
    path = written(tmp_path, '[mscmrp]\nlisten = "0.0.0.0:49152"\n')
    assert read_configuration(path).mscmrp == MscmrpSettings(HostPort("0.0.0.0", 49152))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("mscmrp = true", "mscmrp must be a table"),
        ("[mscmrp]", 'mscmrp.listen must be a text, "HOST:PORT"'),
        ('[mscmrp]\nlisten = "here"', "mscmrp.listen is wrong"),
        ('[mscmrp]\nlisten = "127.0.0.1:1"\nendpoint_mapper = "yes"', "mscmrp.endpoint_mapper must be true or false"),
        ('[mscmrp]\nlisten = "127.0.0.1:1"\nport = 5', "mscmrp.port is not a key"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path: Path, lines: str, reason: str) -> None:
    with pytest.raises(CallerError) as refused:
        read_configuration(written(tmp_path, lines + "\n"))
    assert reason in refused.value.sentence


def test_settings_are_written_in_the_place_of_the_old_ones_and_the_rest_stays(tmp_path: Path) -> None:
    path = written(tmp_path, '[mscmrp]\nlisten = "127.0.0.1:1"\n\n[switches]\nlan = "br0"\n')
    write_mscmrp(path, HERE)
    assert read_configuration(path).mscmrp == HERE
    assert read_configuration(path).switches == {"lan": "br0"}
    assert path.read_text(encoding="utf-8").startswith("# as somebody has written it\n")
    write_mscmrp(path, HERE)
    assert path.read_text(encoding="utf-8").count("[mscmrp]") == 1
    write_mscmrp(path, None)
    assert read_configuration(path).mscmrp is None
    assert read_configuration(path).switches == {"lan": "br0"}


def test_the_nodes_follow_each_other() -> None:
    first = parse_mscmrp("127.0.0.1:49152", endpoint_mapper=True)
    assert first == HERE
    assert of_node(first, 2) == MscmrpSettings(HostPort("127.0.0.1", 49154), endpoint_mapper=True)
    assert of_node(parse_mscmrp("off", endpoint_mapper=False), 2) is None


@pytest.mark.parametrize(("text", "mapper"), [("off", True), ("127.0.0.1:0", False), ("49152", False)])
def test_what_makes_no_sense_is_refused(text: str, mapper: bool) -> None:
    with pytest.raises(CallerError) as refused:
        parse_mscmrp(text, endpoint_mapper=mapper)
    assert refused.value.status == 87


def test_ports_that_there_are_not_are_refused() -> None:
    with pytest.raises(CallerError) as refused:
        of_node(parse_mscmrp("127.0.0.1:65534", endpoint_mapper=False), 2)
    assert refused.value.status == 87
