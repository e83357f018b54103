"""What the contract suites share: one etcd of three members for the whole run."""

from collections.abc import Iterator

import pytest
from tests.contract.etcd_cluster import EtcdCluster


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three members with mutual TLS, all healthy; a test that harms one makes it whole again."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster
