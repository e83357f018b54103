"""Damage to PDUs and stubs, from a dice: the same for the same seed."""

from random import Random


def mutate(dice: Random, data: bytes) -> bytes:
    """Change some of a PDU's bytes, cut it, or put more in; mostly its length fits afterwards."""
    damaged = bytearray(data)
    for _ in range(dice.choice((0, 0, 1, 1, 2, 5))):
        match dice.randrange(5):
            case 0:
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            case 1:
                damaged[dice.randrange(16)] = dice.choice((0, 1, 2, 3, 4, 0x80, 0xFF))
            case 2:
                at = dice.randrange(0, len(damaged), 4)
                damaged[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x80", b"\1\0\0\0"))
            case 3:
                at = dice.randrange(len(damaged))
                damaged[at:at] = dice.randbytes(dice.randrange(1, 64))
            case _:
                del damaged[dice.randrange(16, len(damaged) + 1) :]
        damaged = damaged or bytearray(data)
    if dice.random() < 0.7 and len(damaged) >= 16:
        damaged[8:10] = len(damaged).to_bytes(2, "little")  # so that it is looked into
    return bytes(damaged)


def mutate_stub(dice: Random, data: bytes, keep: int = 0) -> bytes:
    """Change some of a call's data, but not the first ``keep`` bytes, where its handles are."""
    damaged = bytearray(data)
    for _ in range(dice.choice((0, 1, 1, 2, 3, 8))):
        room = len(damaged) - keep
        match dice.randrange(5):
            case 0 if room:
                damaged[keep + dice.randrange(room)] = dice.randrange(256)
            case 1 if room:
                at = keep + dice.randrange(room) // 4 * 4
                damaged[at : at + 4] = dice.choice(_NUMBERS)
            case 2:
                at = keep + dice.randrange(room + 1)
                damaged[at:at] = dice.randbytes(dice.choice((1, 4, 20, 300)))
            case 3 if room:
                del damaged[keep + dice.randrange(room) :]
            case _:
                damaged += dice.randbytes(dice.randrange(1, 40))
    return bytes(damaged)


_NUMBERS = (bytes(4), b"\1\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\0\0\1\0", b"\xff\xff\xff\x7f")
