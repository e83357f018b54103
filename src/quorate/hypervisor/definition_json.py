"""The definition of a VM as JSON: read strictly, written completely.

Every mistake is a CallerError ERROR_INVALID_PARAMETER that names the key (``disks[1].format``) and the reason. Short
forms are accepted on input: ``"memory": "1G"``, a disk as a bare path, ``"guest": "builtin"``, a network card as
``user``, ``tap=NAME``, ``bridge=NAME`` or ``switch=NAME``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from quorate.hypervisor.definition import (
    DEFAULT_STORAGE,
    DEFINITION_SCHEMA,
    BuiltinGuest,
    Disk,
    DiskFormat,
    Firmware,
    Guest,
    KernelGuest,
    Nic,
    NicKind,
    VmDefinition,
    invalid,
)
from quorate.hypervisor.sizes import parse_size

_Kind = TypeVar("_Kind", bound=StrEnum)

_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}", re.ASCII)
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SERIAL: Final = re.compile(r"[A-Za-z0-9_.+-]{1,20}", re.ASCII)
_SLOT: Final = re.compile(r"0[4-9a-f]|1[0-9a-d]")
_LINK: Final = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)
_RTC: Final = re.compile(r"utc|localtime|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_NIC_MODELS: Final = ("virtio-net-pci", "e1000e")

MEMORY_MIN: Final = 16 << 20
MEMORY_MAX: Final = 16 << 40
VCPUS_MAX: Final = 255
_BUILTIN_BASE: Final = 2 << 20
_BUILTIN_REACH: Final = 2 << 30  # the built-in guest is 32-bit code without paging; q35 has this much below 4 GiB
_SHARE_OF_NAME: Final = 255


def parse_definition(text: str | bytes) -> VmDefinition:
    """Read a definition from JSON text."""
    try:
        value = json.loads(text, object_pairs_hook=_no_twins)
    except (ValueError, UnicodeDecodeError) as error:
        raise invalid("definition", f"is not JSON: {error}") from error
    return definition_from_object(value)


def definition_from_object(value: object) -> VmDefinition:
    """Read a definition from what JSON decodes to."""
    fields = _Fields("", value)
    schema = fields.integer("schema", 1, 1 << 31, default=DEFINITION_SCHEMA)
    definition = VmDefinition(
        name=_name(fields),
        memory_bytes=fields.size("memory", MEMORY_MIN, MEMORY_MAX),
        vcpus=fields.integer("vcpus", 1, VCPUS_MAX, default=1),
        firmware=fields.choice("firmware", Firmware, Firmware.BIOS),
        guest=_guest(fields.take("guest", None)),
        disks=tuple(_disk(f"disks[{n}]", item) for n, item in enumerate(fields.list("disks"))),
        nics=tuple(_nic(f"nics[{n}]", item) for n, item in enumerate(fields.list("nics"))),
        rtc_base=fields.text("rtc_base", "utc", _RTC, "utc, localtime or a moment such as 2026-01-31T12:00:00"),
        agent=fields.boolean("agent", True),
        rng=fields.boolean("rng", True),
        extra={**fields.rest(), "schema": schema} if schema > DEFINITION_SCHEMA else {},
    )
    fields.refuse_rest()
    _check_whole(definition)
    return definition


def definition_to_json(definition: VmDefinition) -> str:
    """Write a definition so that :func:`parse_definition` gives it back."""
    fields = {
        "schema": DEFINITION_SCHEMA,
        "name": definition.name,
        "memory": definition.memory_bytes,
        "vcpus": definition.vcpus,
        "firmware": definition.firmware.value,
        "guest": _guest_object(definition.guest),
        "disks": [_disk_object(disk) for disk in definition.disks],
        "nics": [_nic_object(nic) for nic in definition.nics],
        "rtc_base": definition.rtc_base,
        "agent": definition.agent,
        "rng": definition.rng,
    }
    return json.dumps({**fields, **definition.extra})  # a newer schema keeps its number


# --- Parts --------------------------------------------------------------------------------------------------------


def _name(fields: _Fields) -> str:
    name = fields.take("name")
    if not isinstance(name, str) or not name.strip() or name != name.strip():
        raise invalid("name", "must be text, not empty and without spaces at its ends")
    if len(name) > _SHARE_OF_NAME or not name.isprintable():
        raise invalid("name", f"must be printable and at most {_SHARE_OF_NAME} characters")
    return name


def _guest(value: object) -> Guest | None:
    if value is None:
        return None
    if value == "builtin":
        return BuiltinGuest()
    fields = _Fields("guest", value)
    kind = fields.take("kind")
    guest: Guest
    if kind == "builtin":
        guest = BuiltinGuest(
            beat_hz=fields.integer("beat_hz", 20, 1000, default=100),
            dirty_bytes=fields.size("dirty_bytes", 0, _BUILTIN_REACH, default=0),
            dirty_bytes_per_second=fields.size("dirty_bytes_per_second", 0, 1 << 34, default=0),
            fill_bytes=fields.size("fill_bytes", 0, _BUILTIN_REACH, default=0),
        )
    elif kind == "kernel":
        initrd = fields.take("initrd", None)
        append = fields.take("append", "")
        if not isinstance(append, str) or "\0" in append or len(append) > 2047:
            raise invalid("guest.append", "must be text of at most 2047 characters")
        guest = KernelGuest(
            kernel=_absolute("guest.kernel", fields.take("kernel")),
            initrd=None if initrd is None else _absolute("guest.initrd", initrd),
            append=append,
        )
    else:
        raise invalid("guest.kind", f"{kind!r} is not builtin or kernel; to boot from a disk leave guest out")
    fields.refuse_rest()
    return guest


def _absolute(key: str, value: object) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise invalid(key, f"must be an absolute path, not {value!r}")
    return Path(value)


def _disk(key: str, value: object) -> Disk:
    if isinstance(value, str):
        value = {"volume": value, "format": "raw" if value.endswith((".raw", ".img")) else "qcow2"}
    fields = _Fields(key, value)
    storage = fields.text("storage", DEFAULT_STORAGE, _ID, "a storage's name")
    volume = fields.take("volume")
    if storage == DEFAULT_STORAGE:
        volume = str(_absolute(f"{key}.volume", volume))
    elif not isinstance(volume, str) or not volume or volume.startswith("/") or ".." in PurePosixPath(volume).parts:
        raise invalid(f"{key}.volume", f"must be a path below the storage's directory, not {volume!r}")
    disk = Disk(
        volume=volume,
        storage=storage,
        format=fields.choice("format", DiskFormat, DiskFormat.QCOW2),
        id=fields.text("id", "", _ID, "letters, digits, _ and -"),
        serial=fields.text("serial", "", _SERIAL, "up to 20 letters and digits"),
        pci=fields.text("pci", "", _SLOT, "a slot from 04 to 1d"),
        read_only=fields.boolean("read_only", False),
    )
    fields.refuse_rest()
    return disk


def _nic(key: str, value: object) -> Nic:
    if isinstance(value, str):
        kind, _, target = value.partition("=")
        value = {"kind": kind, "target": target} if target else {"kind": kind}
    fields = _Fields(key, value)
    kind = fields.choice("kind", NicKind, None)
    target = fields.text("target", "", _LINK, "a network link's name of at most 15 characters")
    if (kind is NicKind.USER) is bool(target):
        raise invalid(f"{key}.target", "must be left out with user" if target else f"must name the {kind.value}")
    model = fields.take("model", _NIC_MODELS[0])
    if model not in _NIC_MODELS:
        raise invalid(f"{key}.model", f"{model!r} is not one of {', '.join(_NIC_MODELS)}")
    mac = fields.text("mac", "", _MAC, "six bytes in lower-case hex such as 52:54:00:12:34:56")
    if mac and int(mac[:2], 16) & 1:
        raise invalid(f"{key}.mac", f"{mac} is a multicast address")
    nic = Nic(
        kind=kind,
        target=target,
        model=str(model),
        mac=mac,
        id=fields.text("id", "", _ID, "letters, digits, _ and -"),
        pci=fields.text("pci", "", _SLOT, "a slot from 04 to 1d"),
    )
    fields.refuse_rest()
    return nic


def _check_whole(definition: VmDefinition) -> None:
    guest = definition.guest
    if definition.memory_bytes % 4096:
        raise invalid("memory", "must be a multiple of 4096 bytes")
    if isinstance(guest, BuiltinGuest):
        room = min(definition.memory_bytes, _BUILTIN_REACH) - _BUILTIN_BASE
        if guest.dirty_bytes + guest.fill_bytes > room:
            raise invalid("guest", f"dirty_bytes and fill_bytes together exceed the {room} bytes it can use")
        if guest.dirty_bytes_per_second and guest.dirty_bytes < 4096:
            raise invalid("guest.dirty_bytes_per_second", "needs dirty_bytes of at least 4096")
        if definition.firmware is not Firmware.BIOS:
            raise invalid("firmware", "the built-in guest is its own firmware; leave firmware out")
    if guest is None and not definition.disks:
        raise invalid("disks", "there is nothing to boot: name a disk or a guest")
    devices = [*definition.disks, *definition.nics]
    for attribute in ("id", "pci", "serial", "mac"):
        values = [value for device in devices if (value := getattr(device, attribute, ""))]
        if twins := sorted({value for value in values if values.count(value) > 1}):
            raise invalid("disks and nics", f"{attribute} {twins[0]} is given to two devices")
    volumes = [(disk.storage, disk.volume) for disk in definition.disks]
    if len(set(volumes)) < len(volumes):
        raise invalid("disks", "the same volume is named twice")


def _guest_object(guest: Guest | None) -> Mapping[str, object] | None:
    match guest:
        case None:
            return None
        case BuiltinGuest():
            return {
                "kind": "builtin",
                "beat_hz": guest.beat_hz,
                "dirty_bytes": guest.dirty_bytes,
                "dirty_bytes_per_second": guest.dirty_bytes_per_second,
                "fill_bytes": guest.fill_bytes,
            }
        case KernelGuest():
            initrd = None if guest.initrd is None else str(guest.initrd)
            return {"kind": "kernel", "kernel": str(guest.kernel), "initrd": initrd, "append": guest.append}


def _disk_object(disk: Disk) -> Mapping[str, object]:
    return {
        "storage": disk.storage,
        "volume": disk.volume,
        "format": disk.format.value,
        **_made(id=disk.id, serial=disk.serial, pci=disk.pci),
        "read_only": disk.read_only,
    }


def _nic_object(nic: Nic) -> Mapping[str, object]:
    made = _made(target=nic.target, mac=nic.mac, id=nic.id, pci=nic.pci)
    return {"kind": nic.kind.value, "model": nic.model, **made}


def _made(**values: str) -> Mapping[str, str]:
    """Leave out what has not been made yet."""
    return {key: value for key, value in values.items() if value}


# --- Reading fields -----------------------------------------------------------------------------------------------

_REQUIRED: Final = object()


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the key {key!r} appears twice")
        fields[key] = value
    return fields


class _Fields:
    """Takes the fields of one JSON object one by one; what is left at the end is unknown and refused."""

    def __init__(self, path: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise invalid(path or "definition", f"must be an object, not {value!r}")
        self._path = path
        self._left: dict[str, object] = {str(key): item for key, item in value.items()}

    def key(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def take(self, name: str, default: object = _REQUIRED) -> object:
        if name not in self._left and default is _REQUIRED:
            raise invalid(self.key(name), "is missing")
        return self._left.pop(name, default)

    def integer(self, name: str, least: int, most: int, *, default: int | None = None) -> int:
        value = self.take(name, _REQUIRED if default is None else default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(self.key(name), f"must be a whole number, not {value!r}")
        return self._within(name, value, least, most)

    def size(self, name: str, least: int, most: int, *, default: int | None = None) -> int:
        value = self.take(name, _REQUIRED if default is None else default)
        if isinstance(value, str):
            try:
                value = parse_size(value)
            except ValueError as error:
                raise invalid(self.key(name), str(error)) from error
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(self.key(name), f"must be a size such as 512M, not {value!r}")
        return self._within(name, value, least, most)

    def _within(self, name: str, value: int, least: int, most: int) -> int:
        if not least <= value <= most:
            raise invalid(self.key(name), f"must lie between {least} and {most}, not {value}")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise invalid(self.key(name), f"must be true or false, not {value!r}")
        return value

    def text(self, name: str, default: str, pattern: re.Pattern[str], wanted: str) -> str:
        value = self.take(name, default)
        if value == default:
            return default
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise invalid(self.key(name), f"must be {wanted}, not {value!r}")
        return value

    def choice(self, name: str, kind: type[_Kind], default: _Kind | None) -> _Kind:
        value = self.take(name, _REQUIRED if default is None else default.value)
        for member in kind:
            if member.value == value:
                return member
        raise invalid(self.key(name), f"{value!r} is not one of {', '.join(kind)}")

    def list(self, name: str) -> list[object]:
        value = self.take(name, [])
        if not isinstance(value, list):
            raise invalid(self.key(name), f"must be a list, not {value!r}")
        return value

    def rest(self) -> Mapping[str, object]:
        rest, self._left = self._left, {}
        return rest

    def refuse_rest(self) -> None:
        if self._left:
            raise invalid(self.key(min(self._left)), "is not a key of a definition")
