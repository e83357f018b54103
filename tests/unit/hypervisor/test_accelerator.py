from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from quorate.clusapi.errors import CallerError
from quorate.hypervisor.pinned import Accelerator
from quorate.hypervisor.qemu import accelerator


def find(cache: Path, version: tuple[int, int, int] = (10, 0, 2), **environment: str) -> Accelerator:
    return asyncio.run(accelerator.find_accelerator("/bin/true", version, cache, environment))


def test_the_environment_decides_without_a_trial(tmp_path: Path) -> None:
    assert find(tmp_path / "c", QUORATE_ACCELERATOR="kvm") is Accelerator.KVM
    assert find(tmp_path / "c", QUORATE_ACCELERATOR="tcg") is Accelerator.TCG
    with pytest.raises(CallerError):
        find(tmp_path / "c", QUORATE_ACCELERATOR="xen")
    assert not (tmp_path / "c").exists()


def test_a_host_without_kvm_uses_tcg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_KVM", tmp_path / "kvm")
    assert find(tmp_path / "c") is Accelerator.TCG


def test_a_trial_is_made_once_per_boot_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = []

    async def trial(binary: str) -> bool:
        trials.append(binary)
        return True

    (tmp_path / "kvm").touch()
    monkeypatch.setattr(accelerator, "_KVM", tmp_path / "kvm")
    monkeypatch.setattr(accelerator, "_runs_a_guest", trial)
    assert [find(tmp_path / "c") for _ in range(2)] == [Accelerator.KVM] * 2
    assert len(trials) == 1
    find(tmp_path / "c", (10, 1, 0))
    assert len(trials) == 2
    (tmp_path / "c").write_text("nonsense")
    assert find(tmp_path / "c") is Accelerator.KVM


def test_a_program_that_shows_no_guest_means_no_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(accelerator, "_KVM", tmp_path / "kvm")
    assert find(tmp_path / "c") is Accelerator.TCG
