"""How fast this host compresses."""

import ctypes

import pytest

from quorate.hypervisor import compression


def test_a_host_with_the_library_measures_a_believable_speed() -> None:
    try:
        ctypes.CDLL("libzstd.so.1")
    except OSError:
        pytest.skip("libzstd is not installed")
    speed = compression.measure_compression()
    assert speed is not None
    assert 5e6 < speed < 20e9


def test_a_host_without_it_compresses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_LIBRARY", "libzstd-of-nobody.so.1")
    assert compression.measure_compression() is None
