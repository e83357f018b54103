"""Which CPU features a model has, and which a guest can have here at most: a QEMU without a machine is asked.

It takes 0.2 s, so that the answers are kept in a file, good for this boot of the host, this version of QEMU and its
accelerator. Names are those of QEMU with dashes, one for each feature.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.hypervisor.pinned import Accelerator
from quorate.hypervisor.whole_files import file_faults, made_beside

EVERYTHING: Final = "max"
"""The model that has everything that the accelerator can give on this host."""
_DEADLINE: Final = 10.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SAME: Final = {"i64": "lm", "xd": "nx", "sse3": "pni", "ffxsr": "fxsr-opt"}
_NO_FEATURES: Final = frozenset(
    {
        "check",
        "cpuid-0xb",
        "enforce",
        "fill-mtrr-mask",
        "full-cpuid-auto-level",
        "host-cache-info",
        "host-phys-bits",
        "hypervisor",
        "kvm",
        "kvm-no-smi-migration",
        "kvm-pv-enforce-cpuid",
        "l3-cache",
        "legacy-cache",
        "legacy-multi-node",
        "lmce",
        "migratable",
        "pmu",
        "tcg-cpuid",
        "vmware-cpuid-freq",
    }
)
"""Switches of QEMU's CPU objects that no guest sees as a feature."""

Features = frozenset[str]


class CpuFeatures:
    """The features of CPU models under one QEMU and accelerator."""

    def __init__(self, binary: str, version: tuple[int, int, int], accelerator: Accelerator, cache: Path) -> None:
        """Know what ``cache`` (a file) holds, which need not be there."""
        self._binary = binary
        self._accelerator = accelerator
        self._cache = cache
        self._key = f"{_BOOT_ID.read_text().strip()} {version} {accelerator.value}"
        self._models: dict[str, Features] = {}
        self._asking = asyncio.Lock()

    def known(self, model: str) -> Features | None:
        """The features of a model; None while nobody has asked for them."""
        if model not in self._models:
            self._models |= self._read()
        return self._models.get(model)

    async def learn(self, models: Iterable[str]) -> None:
        """Ask for the features of these models, once. Raises FaultError."""
        async with self._asking:
            missing = [model for model in dict.fromkeys(models) if self.known(model) is None]
            if not missing:
                return
            self._models |= await _ask(self._binary, self._accelerator, missing)
            content = {"key": self._key, "models": {name: sorted(found) for name, found in self._models.items()}}
            with suppress(OSError), made_beside(self._cache, f".{os.getpid()}") as new:  # not kept, it is asked again
                new.write_text(json.dumps(content))

    def _read(self) -> dict[str, Features]:
        try:
            content = json.loads(self._cache.read_text())
            if content["key"] != self._key:
                return {}
            return {str(name): frozenset(map(str, found)) for name, found in content["models"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def features_of(props: Mapping[str, object]) -> Features:
    """Take what a guest sees as features from the properties of an expanded CPU model."""
    return frozenset(
        named for name, value in props.items() if value is True and not name.startswith("x-") and (named := _name(name))
    )


def feature_names(names: Iterable[object]) -> Features:
    """Give features the names that `features_of` gives them."""
    return frozenset(named for name in names if isinstance(name, str) and (named := _name(name)))


def _name(name: str) -> str:
    """One name for each feature: QEMU knows some by several. Empty for what is none."""
    plain = name.replace("_", "-").replace(".", "-")
    plain = _SAME.get(plain, plain)
    return "" if plain in _NO_FEATURES else plain


def expansion(model: str) -> Mapping[str, object]:
    """Give the arguments of query-cpu-model-expansion for a model as it is written after -cpu: "Nehalem,+aes"."""
    name, *options = model.split(",")
    props: dict[str, object] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key[:1] in "+-" and key:
            props[key[1:]] = key[0] == "+"
        elif value in ("on", "off"):
            props[key] = value == "on"
    return {"type": "full", "model": {"name": name, "props": props}}


async def _ask(binary: str, accelerator: Accelerator, models: list[str]) -> dict[str, Features]:
    options = f"-machine none,accel={accelerator.value} -nodefaults -no-user-config -display none -S -qmp stdio"
    commands: list[tuple[str, Mapping[str, object]]] = [("qmp_capabilities", {})]
    commands += [("query-cpu-model-expansion", expansion(model)) for model in models]
    commands.append(("quit", {}))
    asked = "".join(
        json.dumps({"execute": command, "arguments": arguments, "id": number}) + "\n"
        for number, (command, arguments) in enumerate(commands)
    )
    said = await _talk(binary, options.split(), asked)
    answers = {answer["id"]: answer for answer in said if "id" in answer}
    found = {model: _expanded(answers.get(number)) for number, model in enumerate(models, start=1)}
    return {model: features for model, features in found.items() if features is not None}


async def _talk(binary: str, options: list[str], asked: str) -> list[dict[str, object]]:
    """Have a QEMU answer; what it is asked ends with `quit`, and lies in its pipe before it is started.

    QEMU does not end when nobody speaks to it any more: so it ends by itself even if the daemon is killed meanwhile.
    """
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    with file_faults(f"{binary} cannot be asked for CPU features"), _written(asked.encode()) as questions:
        process = await asyncio.create_subprocess_exec(
            binary, *options, stdin=questions, stdout=pipe, stderr=nothing, start_new_session=True
        )
    try:
        async with asyncio.timeout(_DEADLINE):
            output, _ = await process.communicate()
    except TimeoutError:
        raise FaultError(Status.ERROR_TIMEOUT, f"{binary} does not tell its CPU features") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return [line for line in map(_parsed, output.splitlines()) if line]


@contextmanager
def _written(data: bytes) -> Iterator[int]:
    """Give the end of a pipe from which ``data`` can be read, at most 4 KiB, and nothing more."""
    assert len(data) <= select.PIPE_BUF, "it must fit into the pipe, as nobody reads it yet"
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(writer, data)
        os.close(writer)
        yield reader
    finally:
        os.close(reader)


def _parsed(line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _expanded(answer: Mapping[str, object] | None) -> Features | None:
    """The features in an answer; None where QEMU does not know the model."""
    returned = None if answer is None else answer.get("return")
    model = returned.get("model") if isinstance(returned, Mapping) else None
    props = model.get("props") if isinstance(model, Mapping) else None
    return features_of(props) if isinstance(props, Mapping) else None
