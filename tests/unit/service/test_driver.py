"""The keys `memory` and `driver` of a node's configuration."""

import asyncio
from pathlib import Path

import pytest

from quorate.clusapi.errors import CallerError
from quorate.service.configuration import NodeConfiguration, read_configuration
from quorate.service.drivers import open_driver

BASE = 'node = "1"\ndatabase = "c.sqlite"\nstate = "s"\nsaved = "v"\nruntime = "/run/q"\nstorage_roots = ["/srv"]\n'


def read(tmp_path: Path, more: str) -> NodeConfiguration:
    path = tmp_path / "node.toml"
    path.write_text(BASE + more)
    return read_configuration(path)


def test_without_them_it_is_qemu_with_what_the_host_has(tmp_path: Path) -> None:
    configuration = read(tmp_path, "")
    assert (configuration.memory, configuration.is_fake) == (None, False)


def test_a_fake_host_has_the_memory_that_was_configured(tmp_path: Path) -> None:
    configuration = read(tmp_path, 'driver = "fake"\nmemory = 2048\n')
    assert configuration.memory == 2048 << 20
    facts = asyncio.run(open_driver(configuration).host_facts())
    assert (facts.kind, facts.memory_total) == ("fake", 2048 << 20)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('driver = "xen"\n', 'driver must be "qemu" or "fake"'),
        ("driver = 1\n", 'driver must be "qemu" or "fake"'),
        ("memory = 0\n", "memory must be a number of MiB, 1 or more"),
        ('memory = "4G"\n', "memory must be a number of MiB"),
        ("memory = true\n", "memory must be a number of MiB"),
    ],
)
def test_anything_else_is_refused_with_the_key_and_the_reason(tmp_path: Path, more: str, says: str) -> None:
    with pytest.raises(CallerError, match=says):
        read(tmp_path, more)
