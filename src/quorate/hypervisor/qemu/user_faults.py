"""Whether a QEMU of this host can have its guest's pages fetched when they are touched: post-copy needs userfaultfd.

QEMU wants faults of the kernel reported too, as KVM makes them. The system lets root have that, whoever can open
/dev/userfaultfd, and everybody where vm.unprivileged_userfaultfd is 1.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final

_DEVICE: Final = Path("/dev/userfaultfd")
_SETTING: Final = Path("/proc/sys/vm/unprivileged_userfaultfd")


def why_no_postcopy(account: str | None) -> str:
    """Say why a QEMU under this account (None: ours) cannot be the destination of a post-copy; empty: it can."""
    try:
        setting = _SETTING.read_text().strip()
    except OSError:
        return "this kernel has no userfaultfd, which post-copy needs"
    user, groups = _identity(account)
    if user == 0 or setting == "1" or _may_open(user, groups):
        return ""
    who = account or pwd.getpwuid(user).pw_name
    return (
        f"QEMU runs as {who}, which may not use userfaultfd: vm.unprivileged_userfaultfd is {setting} and {_DEVICE} is "
        f"not open to it; `chgrp` it to a group of {who} and make it writable for that, or set "
        "vm.unprivileged_userfaultfd to 1"
    )


def _identity(account: str | None) -> tuple[int, set[int]]:
    if account is None:
        return os.geteuid(), {os.getegid(), *os.getgroups()}
    entry = pwd.getpwnam(account)
    return entry.pw_uid, {entry.pw_gid, *(one.gr_gid for one in grp.getgrall() if account in one.gr_mem)}


def _may_open(user: int, groups: set[int]) -> bool:
    try:
        found = _DEVICE.stat()
    except OSError:
        return False
    if found.st_uid == user:
        return bool(found.st_mode & stat.S_IWUSR)
    if found.st_gid in groups:
        return bool(found.st_mode & stat.S_IWGRP)
    return bool(found.st_mode & stat.S_IWOTH)
