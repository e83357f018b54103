"""A look at etcd before anything is built on it; with certificates and quorum in tests/contract/test_admission.py."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from quorate.clusapi.errors import ClusterError, FaultError, RefusalError
from quorate.clusapi.status import Status
from quorate.database.etcd.settings import EtcdSettings
from quorate.service.clocks import check_offset
from quorate.service.etcd_probe import check_etcd

HEALTHY = json.dumps({"health": "true"}).encode()


@contextmanager
def member(body: bytes, offset: float = 0.0) -> Iterator[str]:
    """Something that answers as a member of etcd, with a clock of its own; its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", formatdate(time.time() + offset, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refused(*endpoints: str) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        asyncio.run(check_etcd(EtcdSettings(endpoints)))
    return caught.value


def test_one_healthy_member_is_enough() -> None:
    with member(HEALTHY) as well, member(json.dumps({"health": "false", "reason": "NO LEADER"}).encode()) as ill:
        probes = asyncio.run(check_etcd(EtcdSettings((ill, well, "http://127.0.0.1:1"))))
    assert [probe.why_not for probe in probes] == ["NO LEADER", "", "Connection refused"]
    assert all(probe.offset is None or abs(probe.offset) < 5 for probe in probes)


def test_members_that_answer_without_quorum_are_told_from_nobody() -> None:
    with member(b'{"health":"false"}') as one, member(b'{"health":"false"}') as two:
        error = refused(one, two, "http://127.0.0.1:1")
        assert (type(error), error.status) == (FaultError, Status.ERROR_CLUSTER_NO_QUORUM)
        assert f"{one}, {two}: it has no quorum; http://127.0.0.1:1: Connection refused" in error.sentence
    assert refused("http://127.0.0.1:1").status == Status.RPC_S_SERVER_UNAVAILABLE


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b""])
def test_what_is_not_etcd_is_said_to_be_none(body: bytes) -> None:
    with member(body) as address:
        assert "what answers there is not etcd" in refused(address).sentence


@pytest.mark.parametrize(("offset", "said"), [(100.0, "s ahead of"), (-100.0, "s behind")])
def test_a_clock_that_differs_is_refused(offset: float, said: str) -> None:
    with member(HEALTHY) as well, member(HEALTHY, offset) as wrong:
        error = refused(well, wrong)
    assert (type(error), error.status) == (RefusalError, Status.ERROR_TIME_SKEW)
    assert f"the clock of etcd's member {wrong} is " in error.sentence
    assert said in error.sentence


@pytest.mark.parametrize("offset", [0.0, 30.0, -30.0])
def test_clocks_may_differ_a_little(offset: float) -> None:
    check_offset(offset, "somebody")
    with pytest.raises(RefusalError):
        check_offset(offset * 1.1 or 31.0, "somebody")
    check_offset(offset * 1.1, "somebody", resolution=4.0)


def test_settings_that_cannot_be_are_refused_before_anybody_is_asked() -> None:
    assert refused("ftp://a").status == Status.ERROR_INVALID_PARAMETER
    assert refused().status == Status.ERROR_INVALID_PARAMETER
