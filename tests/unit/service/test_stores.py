"""The cluster database as a node's configuration names it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.status import Status
from quorate.database.contract import Put
from quorate.database.etcd.settings import EtcdSettings
from quorate.service.configuration import read_configuration
from quorate.service.stores import SHORTEST_LEASE_ON_ETCD, open_stores

NODE = """
node = "1"
state = "nodes/1"
saved = "saved"
runtime = "/run/quorate/1"
storage_roots = []
"""
ETCD = """
[etcd]
endpoints = ["https://10.0.0.1:2379", "https://10.0.0.2:2379"]
prefix = "quorate/lab/"
ca = "etcd/ca.pem"
cert = "etcd/client.pem"
key = "/etc/client.key"
"""


def configured(tmp_path: Path, text: str) -> Path | EtcdSettings:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return read_configuration(path).database


def test_the_database_is_a_file_or_etcd(tmp_path: Path) -> None:
    assert configured(tmp_path, NODE + 'database = "c.sqlite"') == tmp_path / "c.sqlite"
    assert configured(tmp_path, NODE + ETCD) == EtcdSettings(
        endpoints=("https://10.0.0.1:2379", "https://10.0.0.2:2379"),
        ca=tmp_path / "etcd" / "ca.pem",
        cert=tmp_path / "etcd" / "client.pem",
        key=Path("/etc/client.key"),
        prefix="quorate/lab/",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "database must be a text"),
        ('database = "c.sqlite"' + ETCD, "database and etcd exclude each other"),
        ('etcd = "https://10.0.0.1"', "etcd must be a table"),
        ('[etcd]\nprefix = "q/"', "etcd.endpoints must be a list of texts"),
        ('[etcd]\nendpoints = ["https://h"]', "etcd.prefix must be a text"),
        ('[etcd]\nendpoints = ["h:1"]\nprefix = "q/"', "an address is https://HOST:PORT"),
        ('[etcd]\nendpoints = ["https://h"]\nprefix = "q"', 'prefix must end with "/"'),
        ('[etcd]\nendpoints = ["https://h"]\nprefix = "q/"\nuser = "x"', "etcd.user is not a key of etcd"),
    ],
)
def test_what_is_wrong_with_it_is_said(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(CallerError, match=reason) as caught:
        configured(tmp_path, NODE + text)
    assert str(tmp_path / "node.toml") in caught.value.sentence


def test_a_file_is_opened_with_all_its_ways(tmp_path: Path) -> None:
    async def scenario() -> None:
        stores = await open_stores(tmp_path / "c.sqlite")
        await stores.store.transact([], [Put("a", b"1")])
        blocking = stores.open_blocking()
        assert blocking.get("a") is not None
        blocking.close()
        assert (await stores.maintenance.status()).revision == 1
        stores.check_lease(1.0)
        await stores.store.close()

    asyncio.run(scenario())


def test_a_lease_that_etcd_could_not_keep_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        stores = await open_stores(tmp_path / "c.sqlite")
        on_etcd = type(stores)(stores.store, stores.maintenance, stores.open_blocking, SHORTEST_LEASE_ON_ETCD)
        on_etcd.check_lease(3.0)
        with pytest.raises(RefusalError, match=r"a lease of 2\.5 s .* is too short") as caught:
            on_etcd.check_lease(2.5)
        assert caught.value.status == Status.ERROR_CLUSTER_INVALID_REQUEST
        await stores.store.close()

    asyncio.run(scenario())


def test_files_that_are_missing_are_said_before_anybody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="cannot be read"):
        asyncio.run(open_stores(EtcdSettings(("https://127.0.0.1:1",), ca=tmp_path / "none.pem")))


@pytest.mark.parametrize("module", ["quorate.service.node", "quorate.cli.main"])
def test_who_does_not_use_etcd_does_not_pay_for_it(module: str) -> None:
    program = f"import {module}, sys; print('grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "False\n"
