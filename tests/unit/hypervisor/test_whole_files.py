from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.hypervisor.whole_files import file_faults, made_beside, partial_file, sync_into_place


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_fault_says_what_which_file_and_why(tmp_path: Path) -> None:
    with (
        pytest.raises(FaultError) as fault,
        file_faults("the list could not be read", Status.ERROR_RESOURCE_FAILED),
    ):
        (tmp_path / "list").read_text()
    assert fault.value.sentence == f"the list could not be read: No such file or directory ({tmp_path / 'list'})"
    assert fault.value.status is Status.ERROR_RESOURCE_FAILED


def test_a_file_that_could_not_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with made_beside(path) as new:
        new.write_text("old")
    with pytest.raises(OSError, match="file") as full, made_beside(path) as new:
        new.write_text("half of the n")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(KeyboardInterrupt), made_beside(path) as new:
        new.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_partial_file_becomes_the_file_or_nothing(tmp_path: Path) -> None:
    with partial_file(tmp_path / "a") as (partial, descriptor):
        os.write(descriptor, b"all")
        sync_into_place(descriptor, partial, tmp_path / "a")
    with pytest.raises(FaultError), partial_file(tmp_path / "b"):
        raise FaultError(Status.ERROR_TIMEOUT, "it stood still")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"all"


def test_a_name_that_is_not_durable_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def sync_files_only(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path):  # noqa: PTH115
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_files_only)
    with pytest.raises(OSError, match="Input/output"), partial_file(tmp_path / "a") as (partial, descriptor):
        sync_into_place(descriptor, partial, tmp_path / "a")
    assert names(tmp_path) == []
