from __future__ import annotations

import hashlib

import pytest

from quorate.hypervisor.assembler import EAX, Assembler
from quorate.hypervisor.builtin_guest import DIRTY_BASE, ROM_SIZE, build_rom, dirty_end, fill_end
from quorate.hypervisor.definition import BuiltinGuest

BUSY = BuiltinGuest(1000, 128 << 20, 300_000_000, 572 << 20)


@pytest.mark.parametrize("guest", [BuiltinGuest(), BUSY, BuiltinGuest(20), BuiltinGuest(dirty_bytes=4096)])
def test_the_rom_has_its_size_and_is_mostly_empty(guest: BuiltinGuest) -> None:
    rom = build_rom(guest)
    assert len(rom) == ROM_SIZE
    assert len(rom[:0xFFF0].rstrip(b"\xf4")) < 1400
    assert rom[0xFFF0:0xFFF3] == b"\xe9\x0d\x00"  # the processor's first instruction: to offset 0
    assert build_rom(guest) == rom


def test_the_same_parameters_give_the_same_bytes_for_ever() -> None:
    """A guest that was saved by this version runs on in a ROM of the same bytes; change it knowingly."""
    assert hashlib.sha256(build_rom(BuiltinGuest())).hexdigest()[:16] == "de24753cddd56e77"


def test_parameters_change_the_rom() -> None:
    assert len({build_rom(guest) for guest in (BuiltinGuest(), BuiltinGuest(50), BUSY)}) == 3


def test_areas_follow_each_other_in_whole_pages() -> None:
    guest = BuiltinGuest(dirty_bytes=10_000, fill_bytes=5_000)
    assert dirty_end(guest) == DIRTY_BASE + 8192
    assert fill_end(guest) == DIRTY_BASE + 8192 + 4096


def test_the_assembler_settles_labels_in_both_directions() -> None:
    code = Assembler(0xFFFF0000)
    code.label("start")
    code.jump("end")
    code.mov_address(EAX, "end")
    code.label("end")
    code.jump("start")
    assert code.assemble().hex(" ", 5) == "e905000000 b80a00ffff e9f1ffffff"


def test_the_assembler_refuses_a_label_that_is_missing_or_there_already() -> None:
    code = Assembler(0)
    code.label("a")
    with pytest.raises(ValueError, match="already"):
        code.label("a")
    code.call("b")
    with pytest.raises(KeyError):
        code.assemble()
