from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import VmId
from quorate.hypervisor.definition import (
    BuiltinGuest,
    Disk,
    DiskFormat,
    Firmware,
    KernelGuest,
    Nic,
    NicKind,
    VmDefinition,
    check_definition,
    complete_definition,
)
from quorate.hypervisor.definition_json import definition_to_json, parse_definition
from quorate.hypervisor.pinned import Accelerator, Pinned
from quorate.hypervisor.sizes import parse_size

VM = VmId("6f1c2d3e-0000-4000-8000-000000000001")
FULL = VmDefinition(
    name="web1",
    memory_bytes=1 << 30,
    vcpus=2,
    firmware=Firmware.UEFI,
    guest=KernelGuest(Path("/boot/k"), Path("/boot/i"), "console=ttyS0"),
    disks=(Disk("/vm/a.qcow2"), Disk("web1/b", storage="fast", format=DiskFormat.RAW, read_only=True)),
    nics=(Nic(NicKind.USER), Nic(NicKind.TAP, "tap0", model="e1000e"), Nic(NicKind.SWITCH, "lan")),
    rtc_base="2026-01-31T12:00:00",
    agent=False,
    rng=False,
)


def parse(**fields: object) -> VmDefinition:
    return parse_definition(json.dumps({"name": "web1", "memory": "1G", "guest": "builtin"} | fields))


def test_short_forms_are_read() -> None:
    definition = parse(disks=["/vm/a.qcow2", "/vm/b.raw"], nics=["user", "bridge=br0"])
    assert definition.memory_bytes == 1 << 30
    assert definition.vcpus == 1
    assert definition.guest == BuiltinGuest(beat_hz=100)
    assert definition.disks == (Disk("/vm/a.qcow2"), Disk("/vm/b.raw", format=DiskFormat.RAW))
    assert definition.nics == (Nic(NicKind.USER), Nic(NicKind.BRIDGE, "br0"))
    assert (definition.agent, definition.rng, definition.rtc_base) == (True, True, "utc")


@pytest.mark.parametrize("definition", [FULL, complete_definition(FULL, VM), parse()])
def test_json_gives_back_what_was_written(definition: VmDefinition) -> None:
    assert parse_definition(definition_to_json(definition)) == definition


@pytest.mark.parametrize(
    ("fields", "key", "reason"),
    [
        ({"memory": 0}, "memory", "between"),
        ({"memory": "lots"}, "memory", "size"),
        ({"memory": True}, "memory", "size"),
        ({"memory": (64 << 20) + 1}, "memory", "multiple"),
        ({"memory": -(1 << 30)}, "memory", "between"),
        ({"vcpus": 0}, "vcpus", "between"),
        ({"vcpus": "2"}, "vcpus", "whole number"),
        ({"vcpus": True}, "vcpus", "whole number"),
        ({"name": ""}, "name", "empty"),
        ({"name": " a"}, "name", "spaces"),
        ({"name": "a\nb"}, "name", "printable"),
        ({"name": "a" * 256}, "name", "255"),
        ({"name": 7}, "name", "text"),
        ({"colour": "red"}, "colour", "not a key"),
        ({"firmware": "coreboot"}, "firmware", "bios, uefi"),
        ({"firmware": "uefi"}, "firmware", "built-in"),
        ({"guest": "windows"}, "guest", "object"),
        ({"guest": {"kind": "windows"}}, "guest.kind", "builtin or kernel"),
        ({"guest": {"kind": "builtin", "beat_hz": 5}}, "guest.beat_hz", "between 20 and 1000"),
        ({"guest": {"kind": "builtin", "speed": 5}}, "guest.speed", "not a key"),
        ({"guest": {"kind": "builtin", "fill_bytes": "1G"}}, "guest", "exceed"),
        ({"guest": {"kind": "builtin", "dirty_bytes_per_second": 1}}, "guest.dirty_bytes_per_second", "dirty_bytes"),
        ({"guest": {"kind": "kernel"}}, "guest.kernel", "missing"),
        ({"guest": {"kind": "kernel", "kernel": "vmlinuz"}}, "guest.kernel", "absolute"),
        ({"guest": {"kind": "kernel", "kernel": "/k", "append": 1}}, "guest.append", "text"),
        ({"guest": None}, "disks", "nothing to boot"),
        ({"disks": "/vm/a"}, "disks", "list"),
        ({"disks": [7]}, "disks[0]", "object"),
        ({"disks": ["a.qcow2"]}, "disks[0].volume", "absolute"),
        ({"disks": [{"storage": "fast", "volume": "../x"}]}, "disks[0].volume", "below"),
        ({"disks": [{"storage": "fast", "volume": "/x"}]}, "disks[0].volume", "below"),
        ({"disks": [{"volume": "/x", "format": "vmdk"}]}, "disks[0].format", "qcow2, raw"),
        ({"disks": [{"volume": "/x", "pci": "02"}]}, "disks[0].pci", "slot"),
        ({"disks": [{"volume": "/x", "pci": "1f"}]}, "disks[0].pci", "slot"),
        ({"disks": [{"volume": "/x", "serial": "a b"}]}, "disks[0].serial", "letters"),
        ({"disks": [{"volume": "/x", "id": "0,x=y"}]}, "disks[0].id", "letters"),
        ({"disks": ["/x", "/x"]}, "disks", "twice"),
        ({"disks": [{"volume": "/x", "id": "d"}, {"volume": "/y", "id": "d"}]}, "disks and nics", "two devices"),
        ({"disks": [{"volume": "/x", "pci": "05"}], "nics": [{"kind": "user", "pci": "05"}]}, "disks and nics", "two"),
        ({"nics": ["tap"]}, "nics[0].target", "must name"),
        ({"nics": ["user=x"]}, "nics[0].target", "left out"),
        ({"nics": ["tap=a,b"]}, "nics[0].target", "link"),
        ({"nics": [{"kind": "user", "model": "ne2000"}]}, "nics[0].model", "virtio-net-pci"),
        ({"nics": [{"kind": "user", "mac": "53:54:00:00:00:01"}]}, "nics[0].mac", "multicast"),
        ({"nics": [{"kind": "user", "mac": "52-54"}]}, "nics[0].mac", "six bytes"),
        ({"rtc_base": "noon"}, "rtc_base", "utc"),
        ({"rtc_base": "utc,x=y"}, "rtc_base", "utc"),
        ({"agent": "yes"}, "agent", "true or false"),
        ({"schema": 0}, "schema", "between"),
    ],
)
def test_a_mistake_is_refused_with_key_and_reason(fields: Mapping[str, object], key: str, reason: str) -> None:
    with pytest.raises(CallerError) as refused:
        parse(**fields)
    assert refused.value.status == 87
    assert refused.value.sentence.startswith(f"{key}: ")
    assert reason in refused.value.sentence


@pytest.mark.parametrize("text", ["", "7", "[]", "{", '{"name": "a", "name": "b"}', b"\xff", '{"memory": "1G"}'])
def test_what_is_no_definition_is_refused(text: str | bytes) -> None:
    with pytest.raises(CallerError):
        parse_definition(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["name", "memory", "disks", "nics", "guest", "kind", "volume", "vcpus"]) | st.text(),
                inner,
            )
        ),
        max_leaves=8,
    )
)
def test_anything_is_either_read_or_refused(value: object) -> None:
    try:
        definition = parse_definition(json.dumps(value))
    except CallerError:
        return
    assert parse_definition(definition_to_json(definition)) == definition


def test_unknown_keys_of_a_newer_schema_survive() -> None:
    definition = parse(schema=9, colour="red")
    assert json.loads(definition_to_json(definition))["colour"] == "red"
    assert parse_definition(definition_to_json(definition)) == definition


def test_completing_gives_each_device_what_it_lacks_once() -> None:
    done = complete_definition(FULL, VM)
    devices: list[Disk | Nic] = [*done.disks, *done.nics]
    assert [device.id for device in devices] == ["disk0", "disk1", "nic0", "nic1", "nic2"]
    assert [device.pci for device in devices] == ["04", "05", "06", "07", "08"]
    assert len({disk.serial for disk in done.disks}) == 2
    assert len({nic.mac for nic in done.nics}) == 3
    assert all(nic.mac.startswith("52:") for nic in done.nics)
    assert complete_definition(done, VM) == done
    assert complete_definition(FULL, VM) == done
    other = complete_definition(FULL, VmId("6f1c2d3e-0000-4000-8000-000000000002"))
    assert other.nics[0].mac != done.nics[0].mac


def test_completing_keeps_what_is_there() -> None:
    given_ = replace(FULL, disks=(Disk("/a", id="disk0", pci="05"), Disk("/b")), nics=(Nic(NicKind.USER, pci="04"),))
    done = complete_definition(given_, VM)
    assert [disk.pci for disk in done.disks] == ["05", "06"]
    assert [disk.id for disk in done.disks] == ["disk0", "disk1"]
    assert done.nics[0].pci == "04"


def test_too_many_devices_are_refused() -> None:
    crowd = replace(FULL, disks=tuple(Disk(f"/d{number}") for number in range(27)), nics=())
    with pytest.raises(CallerError):
        complete_definition(crowd, VM)


def test_files_are_checked_on_this_node(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.qcow2").write_bytes(b"")
    (root / "sub").mkdir()
    (tmp_path / "outside").write_bytes(b"")
    (root / "link").symlink_to(tmp_path / "outside")
    good = VmDefinition("a", 1 << 30, disks=(Disk(str(root / "a.qcow2")), Disk("a.qcow2", storage="fast")))
    check_definition(good, [root], {"fast": root})
    for volume, reason in (
        (root / "b", "does not exist"),
        (root / "link", "outside"),
        (root / "sub" / ".." / ".." / "outside", "outside"),
        (Path("/etc/passwd"), "outside"),
        (root / "sub", "neither"),
    ):
        with pytest.raises(CallerError, match=reason) as refused:
            check_definition(VmDefinition("a", 1 << 30, disks=(Disk(str(volume)),)), [root])
        assert refused.value.sentence.startswith("disks[0].volume: ")
    with pytest.raises(CallerError, match="no storage"):
        check_definition(good, [root])
    with pytest.raises(CallerError, match=r"guest\.kernel"):
        check_definition(VmDefinition("a", 1 << 30, guest=KernelGuest(root / "vmlinuz")), [root])
    with pytest.raises(CallerError, match="none"):
        check_definition(good, [])


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512M", 512 << 20), ("1G", 1 << 30), ("1 GiB", 1 << 30), ("2k", 2048), ("7b", 7)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1", "1X", "1GG", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


def test_pinned_survives_json_with_what_a_newer_version_added() -> None:
    pinned = Pinned("pc-q35-10.0", Accelerator.TCG, "qemu64", 1 << 30)
    assert Pinned.from_json(pinned.to_json()) == pinned
    newer = json.dumps(json.loads(pinned.to_json()) | {"schema": 2, "tpm": True})
    assert json.loads(Pinned.from_json(newer).to_json())["tpm"] is True
    for broken in ("", "[]", "{}", pinned.to_json().replace("tcg", "xen"), pinned.to_json().replace("1073741824", "0")):
        with pytest.raises(CallerError):
            Pinned.from_json(broken)
