"""Runs fence agents: programs of the package fence-agents, or others that speak as they do.

An agent is told what to do on its standard input, one ``name=value`` a line, and answers by its exit code: 0 done (to
"status": it is on), 2 to "status": it is off, anything else: it failed, with the reason on standard error. No shell
takes part, and only programs named fence_… in one directory are run.

Who may configure the cluster is not thereby who may run programs on its nodes: options that name a program, a file to
write or options of another program are refused.
"""

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.database.fence_records import FenceAgent

AGENTS_DIRECTORY: Final = Path("/usr/sbin")
ACTIONS: Final = ("off", "reboot")
SHORTEST_TIMEOUT: Final = 1.0
LONGEST_TIMEOUT: Final = 300.0
MOST_OPTIONS: Final = 32
LONGEST_VALUE: Final = 1024
MOST_WORDS: Final = 300
"""Characters of what an agent says that are kept."""
_MOST_OUTPUT: Final = 64 << 10
_NAME: Final = re.compile(r"fence_[a-z0-9_]{1,60}")
_OPTION: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_OURS: Final = frozenset({"action", "option", "nodename"})
_DANGEROUS: Final = re.compile(r"(?!api_).*_path|.*_script|ssh_options|debug(_file)?|log_?file|verbose(_level)?")
_SECRET: Final = re.compile(r".*(pass|secret|key|token|community|credential).*")
_IS_OFF: Final = 2


class Answer(Enum):
    """What an agent answers."""

    DONE = "done"
    ON = "on"
    OFF = "off"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Said:
    """An agent's answer, and its words for people."""

    answer: Answer
    sentence: str


class FenceAgents:
    """The agents that are installed on this node."""

    def __init__(self, directory: Path = AGENTS_DIRECTORY) -> None:
        """Run the programs named fence_… in this directory."""
        self._directory = directory

    def check(self, agent: FenceAgent) -> None:
        """Check a configuration before it is stored.

        Raises:
            CallerError: 87 with the key and the reason; 2, the agent is not installed here.
        """
        if not _NAME.fullmatch(agent.agent):
            raise _wrong("agent", f"{agent.agent[:80]!r} is no name of a fence agent: fence_ and small letters")
        if agent.action not in ACTIONS:
            raise _wrong("action", f"{agent.action[:80]!r} is none of {', '.join(ACTIONS)}")
        if not SHORTEST_TIMEOUT <= agent.timeout <= LONGEST_TIMEOUT:
            raise _wrong("timeout", f"{agent.timeout:g} is outside {SHORTEST_TIMEOUT:g} to {LONGEST_TIMEOUT:g} s")
        if len(agent.options) > MOST_OPTIONS:
            raise _wrong("options", f"there are {len(agent.options)}, and {MOST_OPTIONS} may be")
        for name, value in agent.options.items():
            _check_option(name, value)
        if not self._is_installed(agent.agent):
            raise CallerError(
                Status.ERROR_FILE_NOT_FOUND,
                f"agent: there is no program {agent.agent} in {self._directory} on this node; it is needed on every "
                "node, as each may have to switch this one off",
            )

    def _is_installed(self, name: str) -> bool:
        path = self._directory / name
        return path.is_file() and os.access(path, os.X_OK)

    async def power_off(self, agent: FenceAgent) -> Said:
        """Have it switched off (or off and on again): DONE or FAILED. One that is off already is DONE too."""
        code, words = await self._run(agent, agent.action)
        if code == 0:
            return Said(Answer.DONE, f"{agent.agent} has switched it off")
        return Said(Answer.FAILED, f"{agent.agent} failed to switch it off: {words}")

    async def status(self, agent: FenceAgent) -> Said:
        """Ask whether it is ON or OFF, or FAILED."""
        code, words = await self._run(agent, "status")
        if code == _IS_OFF:
            return Said(Answer.OFF, f"{agent.agent} says that it is off")
        if code == 0:
            return Said(Answer.ON, f"{agent.agent} says that it is on")
        return Said(Answer.FAILED, f"{agent.agent} cannot tell whether it is off: {words}")

    async def monitor(self, agent: FenceAgent) -> Said:
        """Ask whether the device answers at all: DONE or FAILED."""
        code, words = await self._run(agent, "monitor")
        if code == 0:
            return Said(Answer.DONE, f"{agent.agent} reaches its device")
        return Said(Answer.FAILED, f"{agent.agent} does not reach its device: {words}")

    async def _run(self, agent: FenceAgent, action: str) -> tuple[int | None, str]:
        """Run an agent; answers its exit code, None when it had to be ended, and what it said."""
        if not _NAME.fullmatch(agent.agent) or not self._is_installed(agent.agent):
            return None, f"it is not in {self._directory} on this node"
        lines = "".join(f"{name}={value}\n" for name, value in {**agent.options, "action": action}.items())
        try:
            process = await asyncio.create_subprocess_exec(
                self._directory / agent.agent,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            return None, error.strerror or str(error)
        try:
            async with asyncio.timeout(agent.timeout):
                words = await _talk(process, lines.encode())
                code = await process.wait()
        except TimeoutError:
            return None, f"it did not answer within {agent.timeout:g} s"
        finally:
            await _end(process)
        return code, redacted(words, agent.options) or f"it ended with {code} and said nothing"


async def _talk(process: asyncio.subprocess.Process, told: bytes) -> str:
    assert process.stdin is not None
    assert process.stderr is not None
    with suppress(ConnectionError):  # it has ended without listening; its exit code tells
        process.stdin.write(told)
        await process.stdin.drain()
    process.stdin.close()
    said = b""
    while chunk := await process.stderr.read(_MOST_OUTPUT):
        said = (said + chunk)[-_MOST_OUTPUT:]
    return said.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End an agent with everything that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


def redacted(words: str, options: Mapping[str, str]) -> str:
    """What an agent said, in one line, without the secrets that it was told."""
    text = " ".join(words.split())
    for name, value in options.items():
        if value and is_secret(name):
            text = text.replace(value, "***")
    return text if len(text) <= MOST_WORDS else f"…{text[-MOST_WORDS:]}"


def is_secret(option: str) -> bool:
    """Tell by its name whether an option's value must be shown to nobody."""
    return _SECRET.fullmatch(option) is not None


def _check_option(name: str, value: str) -> None:
    if not _OPTION.fullmatch(name):
        raise _wrong("options", f"{name[:80]!r} is no name of an option")
    plain = name.replace("-", "_")
    if plain in _OURS:
        raise _wrong("options", f"{name} is said by the cluster itself")
    if _DANGEROUS.fullmatch(plain):
        raise _wrong("options", f"{name} could make the agent run a program or write a file, and is refused")
    if len(value) > LONGEST_VALUE or not all(char.isprintable() for char in value):
        raise _wrong("options", f"the value of {name} is too long, or holds a character that cannot be printed")


def _wrong(key: str, reason: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, f"{key}: {reason}")
