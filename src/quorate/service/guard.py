"""The guard of a node: `python -m quorate.service.guard RUNTIME_DIR [--watchdog DEVICE] [--stay]`.

It kills the node's QEMUs when the deadline has passed until which they may run (I2), whatever has become of the daemon:
killed, stopped, swapped out, or cut off. The daemon writes the deadline into the file that both share (`guard_file`);
the guard polls it, sleeps until it at the longest, and has everything it needs in memory and open by then. It goes on
killing what appears, running, paused or incoming alike, until the deadline is in the future again: a frozen daemon may
be just about to start a virtual CPU.

It knows nothing of clusters and is of the standard library alone, so that it costs little and has little to fail on. A
node has one, which is ensured by a lock on the file. It goes on without a daemon, and ends

- when it is told to (SIGTERM) and no QEMU lives; a daemon that writes again withdraws that,
- when its directory is gone and no QEMU lives, and
- when for a minute no daemon has lived, and no QEMU (not with `--stay`, for those whom systemd starts).
"""

import argparse
import ctypes
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from quorate.engine.guard_file import GUARD_FILE, GuardFile, Party, Word, boottime
from quorate.service.guard_qemus import Qemu, Qemus
from quorate.service.guard_watchdog import Watchdog

POLL: Final = 0.05
"""Seconds between two rounds."""
UNKNOWN: Final = 30.0
"""Seconds for which a guard that finds no deadline of this boot lets run what it finds."""
IDLE: Final = 60.0
"""Seconds without daemon and QEMU after which it ends."""
LOCK_PATIENCE: Final = 0.5
"""Seconds for which the lock may be held by somebody who only looks whether it is held."""
SURVIVES: Final = 1.0
"""Seconds after SIGKILL at which a process that has not ended is worth a word."""
PRIORITY: Final = 10
"""Of SCHED_FIFO."""
_CURRENT: Final = 1  # MCL_CURRENT
_FUTURE: Final = 2  # MCL_FUTURE
_IPC_LOCK: Final = 1 << 14  # CAP_IPC_LOCK

Tell = Callable[[str], None]


class Words:
    """The guard's log: lines that wait until nothing is left to do, as the disk may be what has failed."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._waiting: list[str] = []

    def tell(self, sentence: str) -> None:
        """Add a line."""
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        self._waiting.append(f"{moment}.{int(now * 1000) % 1000:03d}Z guard {os.getpid()}: {sentence}\n")

    def flush(self) -> None:
        """Write what waits; a full disk ends no guard."""
        if self._waiting:
            lines, self._waiting = self._waiting, []
            with suppress(OSError):
                os.write(self._descriptor, "".join(lines).encode(errors="replace"))


class Guard:
    """One guard, from its lock to its end."""

    def __init__(self, file: GuardFile, qemus: Qemus, watchdog: Watchdog | None, words: Words, *, stay: bool) -> None:
        """Begin with what the file says; it may be long past."""
        self._file = file
        self._qemus = qemus
        self._watchdog = watchdog
        self._words = words
        self._stay = stay
        self._pulse = file.pulse_writer(Party.GUARD)
        self._started = boottime()
        self._sequence = 0
        self._deadline = self._started + UNKNOWN
        self._duration = 0.0
        self._is_past = False
        self._told_at: int | None = None
        self._place_due = 0.0
        self._survivors: set[int] = set()

    def run(self) -> None:
        """Guard until there is nobody to guard for."""
        while True:
            now = boottime()
            self.round(now)
            reason = self._reason_to_end(now)
            if reason:
                break
            self._say_who_ended(self._qemus.wait(self._pause()))
        self._words.tell(f"ends: {reason}")
        if self._watchdog is not None:
            self._watchdog.leave()
        self._words.flush()

    def end(self) -> None:
        """Be told to end."""
        self._told_at = self._sequence

    def round(self, now: float) -> None:
        """See what the daemon says and which QEMUs there are; kill them when the deadline has passed."""
        self._hear(now)
        if now >= self._deadline:
            self._kill(now)
        else:
            self._qemus.look(now)
        if self._watchdog is not None:
            may_run = bool(self._qemus) and (not self._is_past or self._qemus.may_run())
            self._watchdog.tend(now, self._deadline, self._duration, may_run=may_run)
        self._pulse()
        if not self._qemus or not self._is_past or self._survivors:
            self._words.flush()

    def _pause(self) -> float:
        if self._is_past:
            return POLL
        return min(POLL, max(0.0, self._deadline - boottime()))  # 0: it has passed since this round began

    # --- the deadline ----------------------------------------------------------------------------------------------

    def _hear(self, now: float) -> None:
        word = self._file.word()
        if word is None or word.sequence == self._sequence:
            return  # also when both slots are unreadable: the last deadline that was heard counts
        if not self._is_past and self._has_lapsed(word, now):
            self._kill(now)
        self._sequence, self._deadline, self._duration = word
        if self._told_at is not None and self._sequence > self._told_at:
            self._told_at = None
        if self._is_past and now < self._deadline:
            self._is_past = False
            self._words.tell(f"the lease is held again, for {self._deadline - now:.1f} s")

    def _has_lapsed(self, word: Word, now: float) -> bool:
        """Tell whether the lease was over before this word, and won again while nobody let this process run.

        A machine that was frozen goes on with all its processes at once, and its daemon may be the first. What it wins
        then counts from after the deadline; what carries on what runs, a renewal or promises, from before it.
        """
        follows = self._sequence > 0 and word.sequence == self._sequence + 1  # else there was a word that was missed
        return follows and word.duration > 0 and self._deadline <= min(now, word.deadline - word.duration)

    def _kill(self, now: float) -> None:
        fresh = self._qemus.kill(now)  # first those that are held: for them nothing has to be opened
        self._qemus.look(now, thoroughly=not self._is_past)
        fresh += self._qemus.kill(now)
        for qemu in fresh:
            self._words.tell(f"killed {qemu}: {self._why(now)}")
        if not self._is_past and not fresh:
            self._words.tell(f"no virtual machine runs here; {self._why(now)}")
        self._is_past = True
        for qemu in self._qemus.survivors():
            if qemu.killed_at is not None and now - qemu.killed_at > SURVIVES and qemu.pid not in self._survivors:
                self._survivors.add(qemu.pid)
                doing = "may still run" if qemu.may_run() else "does not run any more, but has not ended"
                self._words.tell(f"{qemu} {doing} {now - qemu.killed_at:.1f} s after SIGKILL")

    def _why(self, now: float) -> str:
        if not self._sequence:
            return f"no daemon has said within {UNKNOWN:.0f} s until when it may run"
        return f"the node's lease was over {now - self._deadline:.3f} s ago (word {self._sequence} of its daemon)"

    def _say_who_ended(self, ended: list[Qemu]) -> None:
        for qemu in ended:
            if self._is_past:
                self._words.tell(f"{qemu} has ended")

    # --- the end ---------------------------------------------------------------------------------------------------

    def _reason_to_end(self, now: float) -> str:
        """Say why there is nothing more to do; empty while there is."""
        if self._qemus:
            return ""
        if self._told_at is not None:
            self._qemus.look(now, thoroughly=True)
            return "" if self._qemus else "it was told to, and no virtual machine runs"
        if now >= self._place_due:
            self._place_due = now + 1.0
            if not self._file.is_in_place():
                return f"{self._file.path} is gone, and no virtual machine runs"
        daemon = self._file.pulse(Party.DAEMON)
        heard = max(self._started, 0.0 if daemon is None else daemon.at)
        if not self._stay and now - heard > IDLE and now - self._deadline > IDLE:
            return f"no daemon and no virtual machine for {IDLE:.0f} s"
        return ""


# --- being there when nobody else is ----------------------------------------------------------------------------------


def harden(tell: Tell) -> None:
    """Get out of reach of swapping, of other processes' work and of the OOM killer, as far as the system permits."""
    got, missed = [], []
    for what, attempt in (
        ("locked in memory", _lock_memory),
        ("scheduled before all others", _take_precedence),
        ("spared by the OOM killer", _be_spared),
    ):
        try:
            attempt()
        except OSError as error:
            missed.append(f"not {what}: {error.strerror}")
        else:
            got.append(what)
    tell("; ".join([", ".join(got)] * bool(got) + missed))


def _lock_memory() -> None:
    """Lock everything that is mapped, and where no limit can be hit by it, what will be."""
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    unlimited = hard == resource.RLIM_INFINITY or _has_capability(_IPC_LOCK)
    c = ctypes.CDLL(None, use_errno=True)
    if c.mlockall(_CURRENT | (_FUTURE if unlimited else 0)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _has_capability(bit: int) -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & bit)
    return False


def _take_precedence() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except OSError:
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def _be_spared() -> None:
    Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")


def _rehearse(words: Words) -> None:
    """Go through what a kill needs, so that nothing of it is done for the first time when it matters."""
    pidfd = os.pidfd_open(os.getpid())
    signal.pidfd_send_signal(pidfd, 0)
    os.close(pidfd)
    words.flush()
    gc.collect()
    gc.freeze()


def _lock(file: GuardFile) -> bool:
    deadline = time.monotonic() + LOCK_PATIENCE
    while not file.try_lock():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def main() -> int:
    """Guard a node; exit code 1 when it has a guard already, or the directory or the watchdog cannot be used."""
    parser = argparse.ArgumentParser(prog="quorate-guard", description="Kills a node's QEMUs when its lease is over.")
    parser.add_argument("runtime", type=Path, help="the node's runtime directory")
    parser.add_argument("--watchdog", type=Path, help="a watchdog device to feed, such as /dev/watchdog")
    parser.add_argument("--stay", action="store_true", help="do not end for want of a daemon")
    options = parser.parse_args()
    runtime: Path = options.runtime.absolute()
    words = Words()
    try:
        runtime.mkdir(mode=0o700, exist_ok=True)  # systemd may start the guard before the first daemon
        file = GuardFile(runtime / GUARD_FILE)
        if not _lock(file):
            print(f"another guard guards {runtime}", file=sys.stderr)
            return 1
        watchdog = None if options.watchdog is None else Watchdog(options.watchdog, words.tell)
    except OSError as error:
        print(f"quorate guard: {error}", file=sys.stderr)
        return 1
    os.chdir("/")
    words.tell(f"guards {runtime}" + (f", with the watchdog {options.watchdog}" if watchdog else ""))
    guard = Guard(file, Qemus(runtime, words.tell), watchdog, words, stay=options.stay)
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: guard.end())
    guard.round(boottime())
    harden(words.tell)
    _rehearse(words)
    guard.run()
    file.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
