"""Samba's own tests of failover clusters (smbtorture, Debian's package samba-testsuite), where they are installed.

They were written against Windows, and want objects that one cluster had; what cannot be here is listed with its reason.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from tests.system.wire_cluster import HOST, PASSWORD, USER, WireCluster, why_no_wire, wire_cluster

SMBTORTURE: Final = shutil.which("smbtorture")
pytestmark = [
    pytest.mark.skipif(why_no_wire() is not None, reason=str(why_no_wire())),
    pytest.mark.skipif(SMBTORTURE is None, reason="not installed: smbtorture (package samba-testsuite)"),
]

_NO_NETWORK: Final = "the nodes of a pocket cluster are on one machine and need no network"
_OTHER_NAME: Final = "it wants an interface and a group set by the names that they had in one cluster"
NOT_HERE: Final[Mapping[str, str]] = {
    "cluster.ClusterControl": "its last code asks whom the quorum needs, which is the database's matter",
    "resource.CreateResource": "Generic Service is a type that only Windows can run",
    "resource.DeleteResource": "likewise",
    "resource.SetResourceName": "likewise",
    "resource.GetResourceNetworkName": 'it wants a resource that is called "Network Name"',
    "resource.all_resources": "it wants a network name for every resource",
    "resourcetype.all_resourcetypes": "it wants MSMQ to be registered and not to be installed",
    "network.OpenNetwork": _NO_NETWORK,
    "network.OpenNetworkEx": _NO_NETWORK,
    "network.CloseNetwork": _NO_NETWORK,
    "network.GetNetworkState": _NO_NETWORK,
    "network.GetNetworkId": _NO_NETWORK,
    "netinterface.OpenNetInterface": _OTHER_NAME,
    "netinterface.OpenNetInterfaceEx": _OTHER_NAME,
    "netinterface.CloseNetInterface": _OTHER_NAME,
    "netinterface.GetNetInterfaceState": _OTHER_NAME,
    "netinterface.GetNetInterfaceId": _OTHER_NAME,
    "groupset.OpenGroupSet": _OTHER_NAME,
    "groupset.CloseGroupSet": _OTHER_NAME,
}
LEAST: Final = 46
"""How many of its tests succeed."""
_OUTCOME: Final = re.compile(r"^(success|failure|error): (\S+)", re.MULTILINE)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[WireCluster]:
    with wire_cluster(tmp_path / "pc") as running:
        running.create_builtin("web1", "64M")
        yield running


def test_what_samba_tests_of_failover_clusters_holds_here(cluster: WireCluster, tmp_path: Path) -> None:
    binding = f"ncacn_ip_tcp:{HOST}[{cluster.port('node1')},seal]"
    options = ("--configfile=/dev/null", f"--option=torture:basedir={tmp_path}", "-U", f"{USER}%{PASSWORD}")
    done = cluster.machine.run([str(SMBTORTURE), *options, binding, "rpc.clusapi"], timeout=300)
    outcomes = {test: outcome for outcome, test in _OUTCOME.findall(done.stdout)}
    lost = {test for test, outcome in outcomes.items() if outcome != "success"}
    assert lost <= NOT_HERE.keys(), done.stdout + done.stderr
    assert len(outcomes) - len(lost) >= LEAST, done.stdout + done.stderr
