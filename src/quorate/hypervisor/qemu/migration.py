"""Moving a memory image: what QEMU is told, and what it tells.

Who stops the guest. QEMU must not: a guest that QEMU stopped at the end of pre-copy runs again by itself on the source
if the last transfer fails, holder or not. With ``switchover-ack`` set on the source alone QEMU waits, before it would
stop a running guest, for a consent that the destination never sends; a guest that was stopped by command needs none,
and then the rest is sent and the transfer completes. QEMU before 8.1 does not know it: there a downtime limit of 1 ms
must do, which QEMU may undercut when next to nothing is dirty.

Such a QEMU would complete while its main thread still waits for the vCPUs to stand, and save devices that have not been
told of the stop (seen in 2 of 8 migrations of an idle guest). With ``pause-before-switchover`` it waits once more for
`migrate-continue`, which is sent after the answer to `stop`.

Do not let QEMU wait for long once next to nothing is left: it then looks for dirty pages thousands of times a second
under its big lock, which starves the guest and QMP (gaps of 0.1 to 0.3 s were seen). In the first 100 ms it does not
look at all: a first pass that ends sooner stays at ``passes`` 1 with ``remaining`` 0, and that is a moment to stop.

Post-copy. With ``postcopy-ram`` on both sides `migrate-start-postcopy` makes QEMU switch when the guest stands; sent
before `stop`, it cannot finish as a pre-copy in between. Thanks to ``pause-before-switchover`` it then stands at
pre-switchover, where it can still be cancelled and continued. Once `migrate-continue` has been carried out it refuses
`cont` ("Migration is not finalized yet") and `migrate_cancel` until all is across, also when the destination is dead.
The destination says `postcopy-active` before it has read the devices' state; that it can run shows as its run state,
which goes from inmigrate to paused. Its query-migrate has no figures in post-copy: only the source sees progress.
A guest may wait for a page with QEMU's big lock held (under TCG, when an interrupt pushes on a missing stack page):
then the main loop stands still and only `migrate-pause` and `migrate-recover` are answered, out of band.
10.0 refuses ``postcopy-ram`` together with ``multifd``.

Who holds the disks. The source lets go of its image locks when it has sent everything. QEMU before 10.0 has a loaded
destination take them at once, though nobody may ever tell it to run, and a source that takes its guest back would find
its own disks locked; with ``late-block-activate`` they are taken at `cont`, as later versions always do.

How a guest is slowed down. QEMU's auto-converge is the dial, and we turn it: initial, increment and the most are set so
that its next step leads to just the percentage that is wanted, up or down. Left alone it takes 20 percent, then 10 more
every second look. It steps on the second look for dirty pages that comes a second or more after another (1 to 4 passes,
1.0 to 4.0 s measured at 128 MiB/s), and `query-migrate` tells what is in force. It takes the throttle off when the
transfer ends, in whatever way, with a daemon or without one: nothing of ours can leave a guest slow. A quota of a
cgroup was tried against it: it holds back who uses his processor up, and did nothing to a guest that dirtied 300 MB/s
with 4 percent of one; nor would it end with the transfer. QEMU puts the processor to sleep whatever it does: 60 and 90
percent left that guest 79 and 20 of its 100 beats a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.hypervisor.contract import MigrationParameters, MigrationSample
from quorate.hypervisor.qemu.events import migration_status

Version = tuple[int, int, int]

UNLIMITED: Final = 1 << 40  # bytes per second; QEMU's default is 128 MiB/s, its 0 is not the same in every version
_SWITCHOVER_ACK_SINCE: Final[Version] = (8, 1, 0)
_WAITING: Final = ("switchover-ack", "pause-before-switchover")
_FILE_URI_SINCE: Final[Version] = (8, 2, 0)
_LEAST_BYTES: Final = 2 << 20  # less says little about a speed
_SPEED_SECONDS: Final = 0.1  # a speed is measured over so long: sockets take megabytes at once, then none for a while
_MOST_THROTTLE: Final = 99
_LEAST_SECONDS: Final = 0.02  # shorter says little about a dirty rate


def is_stopped_by_us_alone(version: Version) -> bool:
    """Answer whether a QEMU that sends its guest to another node never stops it by itself."""
    return version >= _SWITCHOVER_ACK_SINCE


def source_capabilities(parameters: MigrationParameters, version: Version) -> Mapping[str, object]:
    """Give the arguments of migrate-set-capabilities for the side that sends to another node."""
    wait_for_us = is_stopped_by_us_alone(version)
    states = {"events": True, "return-path": True, "auto-converge": parameters.may_throttle, **_ways(parameters)}
    return _capabilities(states | (dict.fromkeys(_WAITING, True) if wait_for_us else {}))


def destination_capabilities(parameters: MigrationParameters) -> Mapping[str, object]:
    """Give the arguments of migrate-set-capabilities for the side that receives."""
    return _capabilities({"events": True, "late-block-activate": True, **_ways(parameters)})


def _ways(parameters: MigrationParameters) -> Mapping[str, bool]:
    return {
        "multifd": parameters.multifd_channels > 0 and not parameters.post_copy,
        "postcopy-ram": parameters.post_copy,
    }


def file_capabilities(version: Version) -> Mapping[str, object]:
    """Give the arguments of migrate-set-capabilities for writing to, or reading from, a file: one way only."""
    states = {"events": True, "return-path": False, "multifd": False, "auto-converge": False, "postcopy-ram": False}
    return _capabilities(states | (dict.fromkeys(_WAITING, False) if version >= _SWITCHOVER_ACK_SINCE else {}))


def _capabilities(states: Mapping[str, bool]) -> Mapping[str, object]:
    # QEMU checks the set as a whole, so their order does not matter
    return {"capabilities": [{"capability": name, "state": state} for name, state in states.items()]}


def transfer_parameters(parameters: MigrationParameters) -> Mapping[str, object]:
    """Give the arguments of migrate-set-parameters for either side."""
    arguments: dict[str, object] = {
        "max-bandwidth": parameters.max_bandwidth or UNLIMITED,
        "downtime-limit": parameters.downtime_limit_ms,
        "multifd-compression": "zstd" if parameters.compressed else "none",
    }
    if parameters.multifd_channels and not parameters.post_copy:
        arguments["multifd-channels"] = parameters.multifd_channels
    if parameters.post_copy:
        arguments["max-postcopy-bandwidth"] = parameters.max_bandwidth
    return arguments


def throttle_parameters(percent: int) -> Mapping[str, object]:
    """Give the arguments of migrate-set-parameters after which QEMU throttles by ``percent``; 0: not worth mentioning.

    At 0 its threshold is as high as can be: it takes a guest that dirties more than is sent to be held back by the 1
    percent that is the least.
    """
    return {
        "cpu-throttle-initial": max(1, percent),
        "cpu-throttle-increment": _MOST_THROTTLE,
        "cpu-throttle-tailslow": False,
        "max-cpu-throttle": max(1, percent),
        "throttle-trigger-threshold": 1 if percent else 100,
    }


def has_file_uri(version: Version) -> bool:
    """Answer whether this QEMU opens image files by itself; an older one is handed the open file."""
    return version >= _FILE_URI_SINCE


def listen_uri(parameters: MigrationParameters, default: Path) -> str:
    """Tell where an incoming QEMU shall listen; an IPv6 address stands in brackets."""
    if (host := parameters.tcp_host) is not None:
        return f"tcp:[{host}]:{parameters.tcp_port}" if ":" in host else f"tcp:{host}:{parameters.tcp_port}"
    return f"unix:{parameters.unix_socket or default}"


def check_uri(uri: str) -> str:
    """Let pass only what leads to another QEMU: QEMU's other schemes run programs and write files."""
    if uri.startswith(("unix:/", "tcp:")):
        return uri
    raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{uri!r} is not the address of a waiting QEMU")


def tcp_address(uri: str) -> tuple[str, int] | None:
    """Give host and port of an address; None if it is not one of TCP."""
    scheme, _, rest = uri.partition(":")
    host, _, port = rest.rpartition(":")
    return (host.strip("[]"), int(port)) if scheme == "tcp" else None


def bound_uri(uri: str, answer: object) -> str:
    """Put in the port that the system chose, as query-migrate tells it."""
    addresses = answer.get("socket-address") if isinstance(answer, Mapping) else None
    if not uri.startswith("tcp:") or not isinstance(addresses, list):
        return uri
    for address in addresses:
        if isinstance(address, Mapping) and address.get("type") == "inet":
            return f"{uri.rpartition(':')[0]}:{address['port']}"
    return uri


class Rates:
    """Measures, from one look at the transfer to the next, how fast it copies and how fast the guest dirties memory.

    QEMU's own figures do not serve: its speed counts bytes on the wire and falls to nothing when there is nothing to
    send, and its dirty rate comes after a second at the earliest, which is longer than many a migration.
    """

    def __init__(self) -> None:
        self._copy_marks: deque[tuple[float, int, int]] = deque()  # when, bytes copied, bytes of zero pages
        self._copy_rate = 0.0
        self._rough_rate = 0.0  # of zero pages mostly: better than nothing
        self._pass = 0
        self._pass_began = 0.0
        self._dirty_mark: tuple[float, int] | None = None  # when a pass began, bytes dealt with and left
        self._dirty_rate = 0.0

    def pass_started(self, number: int, now: float) -> None:
        """Note that QEMU has looked for dirty pages."""
        self._pass, self._pass_began = number, now

    def pass_seconds(self, now: float) -> float:
        """Tell how long ago that was; 0 before the first time."""
        return max(0.0, now - self._pass_began) if self._pass else 0.0

    def copied(self, copied: int, zero: int, remaining: int, now: float) -> float:
        """Tell the speed in bytes of guest memory per second, measured while there was something to copy.

        Pages of zeros are nearly free: a stretch with many of them says little about what the rest will take.
        """
        marks = self._copy_marks
        if not marks:
            marks.append((self._pass_began, 0, 0) if self._pass else (now, copied, zero))
        while len(marks) > 1 and now - marks[1][0] >= _SPEED_SECONDS:
            marks.popleft()
        since, copied_before, zero_before = marks[0]
        new, new_zero = copied - copied_before, zero - zero_before
        if now > since and new + new_zero >= _LEAST_BYTES:
            if new > new_zero:
                self._copy_rate = new / (now - since)
            else:
                self._rough_rate = (new + new_zero) / (now - since)
            marks.append((now, copied, zero))
        elif not remaining:
            marks.clear()  # it idles: that says nothing about its speed either
            marks.append((now, copied, zero))
        return self._copy_rate or self._rough_rate

    def dirtied(self, done: int, remaining: int, now: float) -> float:
        """Tell the dirty rate: what is dealt with plus what is left grows by just that with each pass."""
        began = self._pass_began if self._pass else now
        if self._dirty_mark is None:
            self._dirty_mark = began, done + remaining
            return self._dirty_rate
        since, before = self._dirty_mark
        if began - since >= _LEAST_SECONDS:
            self._dirty_rate = max(0, done + remaining - before) / (began - since)
            self._dirty_mark = began, done + remaining
        return self._dirty_rate


def sample_from(answer: object, rates: Rates, now: float) -> MigrationSample:
    """Read what query-migrate answers, at ``now`` of the monotonic clock."""
    fields = answer if isinstance(answer, Mapping) else {}
    ram = fields.get("ram")
    ram = ram if isinstance(ram, Mapping) else {}
    passes, remaining = _whole(ram, "dirty-sync-count"), _whole(ram, "remaining")
    copied, zero = (_whole(ram, kind) * _whole(ram, "page-size") for kind in ("normal", "duplicate"))
    copying = passes > 0
    return MigrationSample(
        status=migration_status(fields.get("status")),
        total=_whole(ram, "total"),
        transferred=_whole(ram, "transferred"),
        remaining=remaining,
        dirty_bytes_per_second=rates.dirtied(copied + zero, remaining, now) if copying else 0.0,
        bytes_per_second=rates.copied(copied, zero, remaining, now) if copying else 0.0,
        passes=passes,
        pass_seconds=rates.pass_seconds(now) if copying else 0.0,
        sentence=str(fields.get("error-desc") or ""),
        throttle=_whole(fields, "cpu-throttle-percentage"),
    )


def _whole(fields: Mapping[str, object], key: str) -> int:
    value = fields.get(key)
    return int(value) if isinstance(value, int | float) else 0
