"""The registry as a C program uses it, against a real socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.client import functions as capi
from quorate.client.functions import (
    CLUSREG_CONDITION_EXISTS,
    CLUSREG_CREATE_KEY,
    CLUSREG_READ_ERROR,
    CLUSREG_READ_VALUE,
    CLUSREG_SET_VALUE,
    KEY_ALL_ACCESS,
    KEY_READ,
    REG_DWORD,
    REG_SZ,
    ClusterError,
)
from quorate.clusapi.property_lists import pack_sz
from quorate.clusapi.security_descriptors import DEFAULT_DESCRIPTOR


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 1) as world:
        monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path))
        yield world


@pytest.mark.usefixtures("world")
def test_keys_and_values_as_a_c_program_uses_them() -> None:
    root = capi.GetClusterKey(capi.OpenCluster(None), KEY_ALL_ACCESS)
    key, disposition = capi.ClusterRegCreateKey(root, "Software\\Mine", 0, KEY_ALL_ACCESS)
    assert disposition == 1
    assert capi.ClusterRegSetValue(key, "Text", REG_SZ, pack_sz("x")) == 0
    assert capi.ClusterRegSetValue(key, "Number", REG_DWORD, b"123") == 87
    assert capi.ClusterRegQueryValue(key, "TEXT") == (0, REG_SZ, pack_sz("x"))
    assert capi.ClusterRegEnumValue(key, 0) == (0, "Text", REG_SZ, pack_sz("x"))
    assert capi.ClusterRegEnumValue(key, 1)[0] == 259
    status, name, written = capi.ClusterRegEnumKey(root, 0)
    assert status == 0
    assert written > 0
    assert capi.ClusterRegCloseKey(capi.ClusterRegOpenKey(root, name, KEY_READ)) == 0
    assert capi.ClusterRegQueryInfoKey(key)[:7] == (0, 0, 0, 1, 4, 4, len(DEFAULT_DESCRIPTOR.encode()))
    assert capi.ClusterRegGetKeySecurity(key, 7) == (0, DEFAULT_DESCRIPTOR.encode())
    assert capi.ClusterRegSetKeySecurity(key, 4, DEFAULT_DESCRIPTOR.encode()) == 0
    assert capi.ClusterRegDeleteValue(key, "text") == 0
    assert capi.ClusterRegDeleteKey(root, "Software") == 145
    assert capi.ClusterRegDeleteKey(root, "Software\\Mine") == 0
    assert capi.ClusterRegQueryValue(key, "Text")[0] == 2
    assert capi.ClusterRegCloseKey(key) == 0
    assert capi.ClusterRegCloseKey(key) == 6
    with pytest.raises(ClusterError) as caught:
        capi.ClusterRegOpenKey(root, "nope", KEY_READ)
    assert caught.value.status == 2


@pytest.mark.usefixtures("world")
def test_the_keys_of_objects_hold_what_they_are() -> None:
    cluster = capi.OpenCluster(None)
    group = capi.OpenClusterGroup(cluster, "Cluster Group")
    node = capi.OpenClusterNode(cluster, "node1")
    for key, value, text in (
        (capi.GetClusterGroupKey(group, KEY_READ), "Name", "Cluster Group"),
        (capi.GetClusterNodeKey(node, KEY_READ), "NodeName", "node1"),
    ):
        assert capi.ClusterRegQueryValue(key, value) == (0, REG_SZ, pack_sz(text))
        assert capi.ClusterRegSetValue(key, "Description", REG_SZ, pack_sz("x")) == 5  # opened to read
    type_ = capi.GetClusterResourceTypeKey(cluster, "generic script", KEY_READ)
    assert capi.ClusterRegQueryValue(type_, "IsAlivePollInterval")[1] == REG_DWORD


@pytest.mark.usefixtures("world")
def test_batches_as_a_c_program_uses_them() -> None:
    root = capi.GetClusterKey(capi.OpenCluster(None), KEY_ALL_ACCESS)
    batch = capi.ClusterRegCreateBatch(root)
    assert capi.ClusterRegBatchAddCommand(batch, CLUSREG_CREATE_KEY, "a\\b", 0) == 0
    assert capi.ClusterRegBatchAddCommand(batch, CLUSREG_SET_VALUE, "N", REG_DWORD, b"1234") == 0
    assert capi.ClusterRegCloseBatch(batch, True) == (0, -1)
    assert capi.ClusterRegCloseBatch(batch, True) == (6, -1)
    batch = capi.ClusterRegCreateBatch(root)
    capi.ClusterRegBatchAddCommand(batch, CLUSREG_CREATE_KEY, "c", 0)
    capi.ClusterRegBatchAddCommand(batch, CLUSREG_CONDITION_EXISTS, "N", 0)
    assert capi.ClusterRegCloseBatch(batch, True) == (5986, 1)
    batch = capi.ClusterRegCreateBatch(root)
    capi.ClusterRegBatchAddCommand(batch, CLUSREG_CREATE_KEY, "d", 0)
    assert capi.ClusterRegCloseBatch(batch, False) == (0, -1)
    assert capi.ClusterRegEnumKey(root, 0)[1] == "a"
    reads = capi.ClusterRegCreateReadBatch(root)
    assert capi.ClusterRegReadBatchAddCommand(reads, "a\\b", "N") == 0
    assert capi.ClusterRegReadBatchAddCommand(reads, "", "N") == 0
    status, answers = capi.ClusterRegCloseReadBatch(reads)
    assert status == 0
    assert [(one.command, one.type, one.data) for one in answers] == [
        (CLUSREG_READ_VALUE, REG_DWORD, b"1234"),
        (CLUSREG_READ_ERROR, 2, b""),
    ]
