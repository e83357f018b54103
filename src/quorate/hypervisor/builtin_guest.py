"""The built-in guest: a ROM of a few hundred bytes that shows from outside whether a guest lives on.

It is given to a q35 machine as its firmware (64 KiB, -bios). It fills memory with half-random pages if asked, and then,
at each tick of the timer (the PIT, ``beat_hz`` times a second), it

- adds one to its count and prints it on COM1: ``Q 0000001234``;
- rewrites the next pages of its dirty area at the chosen rate. Each page holds a stamp (its address plus the number of
  the round) in its first and last four bytes; a page that does not hold what was written in the round before is
  reported: ``BAD 0020f000 0020f003`` (address, what was found);
- checks one filled page completely, reporting it the same way;
- looks at the ACPI power button, and when it was pressed prints ``OFF`` and switches the machine off.

Between ticks it halts, so that an idle guest costs next to nothing. Its whole state is in memory and registers: it can
be saved, restored and migrated at any instruction. A processor exception prints ``FAULT``.

Layout of guest memory: variables and the stack below 32 KiB, the dirty area from 2 MiB on, the filled area behind it.
It runs in 32-bit protected mode without paging, from the ROM's place at the top of the 4 GiB address space.
"""

from __future__ import annotations

from typing import Final

from quorate.hypervisor.assembler import EAX, EBP, EBX, ECX, EDI, EDX, ESI, ESP, Assembler
from quorate.hypervisor.definition import BuiltinGuest

ROM_SIZE: Final = 0x10000
DIRTY_BASE: Final = 0x200000
PAGE: Final = 4096

_ORIGIN: Final = 0x1_0000_0000 - ROM_SIZE
_RESET_VECTOR: Final = 0xFFF0
_STACK: Final = 0x8000
_TICK: Final = 0x1000  # set by the timer, cleared by the main loop
_COUNT: Final = 0x1004  # beats
_CHECKED: Final = 0x1008  # the filled page to be checked next
_LINE: Final = 0x1010  # the line being printed
_DIGITS: Final = 10
_PIT_HZ: Final = 1193182
_PM_BASE: Final = 0x600

# The half-random pages: a linear congruential generator seeded with the page's address fills the first half.
_MULTIPLIER: Final = 1664525
_INCREMENT: Final = 1013904223
_RANDOM_WORDS: Final = PAGE // 8


def build_rom(guest: BuiltinGuest) -> bytes:
    """Assemble the ROM for these parameters; the same parameters give the same bytes."""
    code = Assembler(_ORIGIN)
    _enter_protected_mode(code)
    _set_up(code, guest)
    _fill(code, guest)
    _main_loop(code, guest)
    _dirty(code, guest)
    _check_filled(code, guest)
    _printing(code)
    _interrupts(code)
    _tables(code, guest)
    rom = bytearray(code.assemble())
    assert len(rom) < _RESET_VECTOR
    rom += b"\xf4" * (ROM_SIZE - len(rom))
    rom[_RESET_VECTOR : _RESET_VECTOR + 3] = b"\xe9\x0d\x00"  # jmp near to offset 0: ffff3h + 000dh
    return bytes(rom)


def dirty_end(guest: BuiltinGuest) -> int:
    """Tell the address behind the dirty area."""
    return DIRTY_BASE + guest.dirty_bytes // PAGE * PAGE


def fill_end(guest: BuiltinGuest) -> int:
    """Tell the address behind the filled area."""
    return dirty_end(guest) + guest.fill_bytes // PAGE * PAGE


def _enter_protected_mode(code: Assembler) -> None:
    """Offset 0, 16-bit: CS has the base ffff0000h since reset, and nobody has loaded it since."""
    code.raw("fa", "cli")
    code.raw("2e 66 0f 01 16 20 00", "o32 lgdt cs:[0020h]")
    code.raw("0f 20 c0", "mov eax, cr0")
    code.raw("0c 01", "or al, 1")
    code.raw("0f 22 c0", "mov cr0, eax")
    code.raw("66 ea", "o32 jmp 0008h:start")
    code.address("start")
    code.data(b"\x08\x00")
    code.align(0x20)
    code.label("gdt_pointer")
    assert code.offset("gdt_pointer") == 0x20
    code.descriptor_pointer(3 * 8 - 1, "gdt")
    code.align(8)
    code.label("gdt")  # the "accessed" bits are set already: a ROM cannot take the processor's write
    code.data(bytes(8))
    code.data(bytes.fromhex("ffff 0000 00 9b cf 00"))  # 08h: code, all 4 GiB
    code.data(bytes.fromhex("ffff 0000 00 93 cf 00"))  # 10h: data, all 4 GiB


def _set_up(code: Assembler, guest: BuiltinGuest) -> None:
    code.label("start")
    code.mov(EAX, 0x10)
    code.raw("8e d8 8e c0 8e d0", "mov ds, ax; mov es, ax; mov ss, ax")
    code.mov(ESP, _STACK)
    code.raw("fc", "cld")
    code.raw("0f 01 1d", "lidt [idt_pointer]")
    code.address("idt_pointer")
    code.mov_address(ESI, "port_table")
    code.mov(ECX, len(_port_table(guest)))
    code.label("next_port")
    code.raw("66 ad 89 c2 ac ee", "lodsw; mov edx, eax; lodsb; out dx, al")
    code.raw("49", "dec ecx")
    code.jump_if("ne", "next_port")
    code.store_value(0xFEE000F0, 0x1FF)  # local APIC on
    code.store_value(0xFEE00350, 0x700)  # LVT0 = ExtInt: the PIC's interrupts arrive
    for register, value in ((0x8000F840, _PM_BASE | 1), (0x8000F844, 0x80)):  # LPC bridge: PMBASE; ACPI on
        code.mov(EDX, 0xCF8)
        code.mov(EAX, register)
        code.raw("ef", "out dx, eax")
        code.raw("b2 fc", "mov dl, 0fch")
        code.mov(EAX, value)
        code.raw("ef", "out dx, eax")
    code.mov(EDX, _PM_BASE + 2)
    code.mov(EAX, 0x0100)
    code.raw("66 ef", "out dx, ax: the power button may set its status bit")


def _fill(code: Assembler, guest: BuiltinGuest) -> None:
    """Half-random pages everywhere, then the stamps of round 0 in the dirty area."""
    code.mov(EDI, DIRTY_BASE)
    code.label("fill_page")
    code.compare(EDI, fill_end(guest))
    code.jump_if("ae", "filled")
    code.raw("89 f8", "mov eax, edi")
    code.mov(ECX, _RANDOM_WORDS)
    code.label("fill_word")
    code.multiply(EAX, _MULTIPLIER)
    code.add(EAX, _INCREMENT)
    code.raw("ab", "stosd")
    code.raw("49", "dec ecx")
    code.jump_if("ne", "fill_word")
    code.add(EDI, PAGE - 4 * _RANDOM_WORDS)
    code.jump("fill_page")
    code.label("filled")
    code.mov(EDI, DIRTY_BASE)
    code.label("stamp_page")
    code.compare(EDI, dirty_end(guest))
    code.jump_if("ae", "stamped")
    code.raw("89 3f 89 bf fc 0f 00 00", "mov [edi], edi; mov [edi+0ffch], edi")
    code.add(EDI, PAGE)
    code.jump("stamp_page")
    code.label("stamped")


def _main_loop(code: Assembler, guest: BuiltinGuest) -> None:
    """EDI: next page of the dirty area; EBX: its round; EBP: 1/65536 of pages owed."""
    code.store_value(_TICK, 0)
    code.store_value(_COUNT, 0)
    code.store_value(_CHECKED, dirty_end(guest))
    code.mov(EDI, DIRTY_BASE)
    code.mov(EBX, 0)
    code.mov(EBP, 0)
    code.label("main")
    code.raw("fa", "cli")
    code.load(EAX, _TICK)
    code.raw("85 c0", "test eax, eax")
    code.jump_if("ne", "beat")
    code.raw("fb f4", "sti; hlt: the tick that ends the halt cannot come between the two")
    code.jump("main")
    code.label("beat")
    code.store_value(_TICK, 0)
    code.raw("fb", "sti")
    code.load(EAX, _COUNT)
    code.raw("40", "inc eax")
    code.store(_COUNT, EAX)
    code.call("print_count")
    code.call("dirty")
    code.call("check_filled")
    code.mov(EDX, _PM_BASE)
    code.raw("66 ed", "in ax, dx")
    code.raw("f6 c4 01", "test ah, 1: the power button")
    code.jump_if("e", "main")
    code.mov_address(ESI, "off_text")
    code.mov(ECX, 4)
    code.call("print")
    code.mov(EDX, _PM_BASE + 4)
    code.mov(EAX, 0x2000)
    code.raw("66 ef", "out dx, ax: sleep enable, type 0 = off")
    code.label("halt")
    code.raw("fa f4", "cli; hlt")
    code.jump("halt")


def _dirty(code: Assembler, guest: BuiltinGuest) -> None:
    step = round(guest.dirty_bytes_per_second * 65536 / (PAGE * guest.beat_hz)) if dirty_end(guest) > DIRTY_BASE else 0
    code.label("dirty")
    code.add(EBP, step)
    code.raw("89 e9 c1 e9 10", "mov ecx, ebp; shr ecx, 16")
    code.mask(EBP, 0xFFFF)
    code.label("dirty_page")
    code.raw("85 c9", "test ecx, ecx")
    code.jump_if("e", "dirty_done")
    code.raw("49", "dec ecx")
    code.raw("8d 04 1f", "lea eax, [edi+ebx]")
    code.raw("8d 37", "lea esi, [edi]")
    code.raw("39 06", "cmp [esi], eax")
    code.jump_if("ne", "dirty_bad")
    code.add(ESI, PAGE - 4)
    code.raw("39 06", "cmp [esi], eax")
    code.jump_if("e", "dirty_good")
    code.label("dirty_bad")
    code.call("print_bad")
    code.label("dirty_good")
    code.raw("40", "inc eax")
    code.raw("89 07 89 87 fc 0f 00 00", "mov [edi], eax; mov [edi+0ffch], eax")
    code.add(EDI, PAGE)
    code.compare(EDI, dirty_end(guest))
    code.jump_if("b", "dirty_page")
    code.mov(EDI, DIRTY_BASE)
    code.raw("43", "inc ebx")
    code.jump("dirty_page")
    code.label("dirty_done")
    code.raw("c3", "ret")


def _check_filled(code: Assembler, guest: BuiltinGuest) -> None:
    code.label("check_filled")
    if fill_end(guest) > dirty_end(guest):
        code.load(ESI, _CHECKED)
        code.raw("89 f0", "mov eax, esi")
        code.mov(ECX, _RANDOM_WORDS)
        code.label("check_word")
        code.multiply(EAX, _MULTIPLIER)
        code.add(EAX, _INCREMENT)
        code.raw("39 06", "cmp [esi], eax")
        code.jump_if("e", "check_next")
        code.call("print_bad")
        code.raw("89 06", "mov [esi], eax: told once")
        code.label("check_next")
        code.add(ESI, 4)
        code.raw("49", "dec ecx")
        code.jump_if("ne", "check_word")
        code.add(ESI, PAGE - 4 * _RANDOM_WORDS)
        code.compare(ESI, fill_end(guest))
        code.jump_if("b", "check_store")
        code.mov(ESI, dirty_end(guest))
        code.label("check_store")
        code.store(_CHECKED, ESI)
    code.raw("c3", "ret")


def _printing(code: Assembler) -> None:
    code.label("print")  # ECX bytes from ESI; uses EAX, EDX
    code.mov(EDX, 0x3FD)
    code.raw("ec a8 20", "in al, dx; test al, 20h: room for a byte")
    code.jump_if("e", "print")
    code.raw("b2 f8 ac ee", "mov dl, 0f8h; lodsb; out dx, al")
    code.raw("49", "dec ecx")
    code.jump_if("ne", "print")
    code.raw("c3", "ret")

    code.label("print_count")  # EAX in decimal
    code.raw("60", "pushad")
    code.store_value(_LINE, int.from_bytes(b"Q ", "little"))
    code.store_value(_LINE + 2 + _DIGITS, 0x0A)
    code.mov(EDI, _LINE + 2 + _DIGITS)
    code.mov(EBX, 10)
    code.mov(ECX, _DIGITS)
    code.label("digit")
    code.raw("31 d2 f7 f3 80 c2 30", "xor edx, edx; div ebx; add dl, '0'")
    code.raw("4f 88 17 49", "dec edi; mov [edi], dl; dec ecx")
    code.jump_if("ne", "digit")
    code.mov(ESI, _LINE)
    code.mov(ECX, 3 + _DIGITS)
    code.call("print")
    code.raw("61 c3", "popad; ret")

    code.label("print_bad")  # ESI: where; prints the address and what is there
    code.raw("60", "pushad")
    code.raw("89 f2 8b 1e", "mov edx, esi; mov ebx, [esi]")
    code.store_value(_LINE, int.from_bytes(b"BAD ", "little"))
    code.mov(EDI, _LINE + 4)
    code.call("hex")
    code.raw("b0 20 aa 89 da", "mov al, ' '; stosb; mov edx, ebx")
    code.call("hex")
    code.raw("b0 0a aa", "mov al, 10; stosb")
    code.mov(ESI, _LINE)
    code.mov(ECX, 22)
    code.call("print")
    code.raw("61 c3", "popad; ret")

    code.label("hex")  # EDX to EDI, eight digits
    code.mov(ECX, 8)
    code.label("nibble")
    code.raw("c1 c2 04 88 d0 24 0f 04 30", "rol edx, 4; mov al, dl; and al, 15; add al, '0'")
    code.raw("3c 39 76 02 04 27", "cmp al, '9'; jbe +2; add al, 'a'-'0'-10")
    code.raw("aa 49", "stosb; dec ecx")
    code.jump_if("ne", "nibble")
    code.raw("c3", "ret")


def _interrupts(code: Assembler) -> None:
    code.label("timer")
    code.raw("50", "push eax")
    code.store_value(_TICK, 1)
    code.raw("b0 20 e6 20", "mov al, 20h; out 20h, al")
    code.raw("58", "pop eax")
    code.label("ignore")
    code.raw("cf", "iret")
    code.label("fault")
    code.mov_address(ESI, "fault_text")
    code.mov(ECX, 6)
    code.call("print")
    code.jump("halt")
    code.label("off_text")
    code.data(b"OFF\n")
    code.label("fault_text")
    code.data(b"FAULT\n")


def _port_table(guest: BuiltinGuest) -> list[tuple[int, int]]:
    """Ports and the bytes that they are given, in this order."""
    divisor = round(_PIT_HZ / guest.beat_hz)
    pic = [(0x20, 0x11), (0xA0, 0x11), (0x21, 0x20), (0xA1, 0x28), (0x21, 4), (0xA1, 2), (0x21, 1), (0xA1, 1)]
    masks = [(0x21, 0xFE), (0xA1, 0xFF)]  # only the timer
    pit = [(0x43, 0x34), (0x40, divisor & 0xFF), (0x40, divisor >> 8)]  # channel 0, mode 2
    uart = [(0x3F9, 0), (0x3FB, 0x80), (0x3F8, 1), (0x3F9, 0), (0x3FB, 3), (0x3FA, 7)]  # 115200 8N1, no interrupts
    return pic + masks + pit + uart


def _tables(code: Assembler, guest: BuiltinGuest) -> None:
    code.label("port_table")
    for port, value in _port_table(guest):
        code.data(port.to_bytes(2, "little") + bytes([value]))
    code.label("idt_pointer")
    code.descriptor_pointer(0x30 * 8 - 1, "idt")
    code.align(8)
    code.label("idt")
    for vector in range(0x30):
        handler = "fault" if vector < 0x20 else "timer" if vector == 0x20 else "ignore"
        address = _ORIGIN + code.offset(handler)
        low, high = address & 0xFFFF, address >> 16
        code.data(low.to_bytes(2, "little") + b"\x08\x00\x00\x8e" + high.to_bytes(2, "little"))
