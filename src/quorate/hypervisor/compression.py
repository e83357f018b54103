"""How fast this host compresses memory as QEMU would: zstd at its lowest level, by the library that QEMU uses too."""

import ctypes
import random
import time
from collections.abc import Sequence
from typing import Final

_LIBRARY: Final = "libzstd.so.1"
_LEVEL: Final = 1  # multifd-zstd-level where nobody says otherwise
_PAGE: Final = 4096
_PAGES: Final = 32  # QEMU compresses so many at a time: 128 KiB
_PIECES: Final = 64
_TIMES: Final = 3


def measure_compression() -> float | None:
    """Measure how many bytes per second one processor takes in; None: the library is not there.

    Takes 8 MiB of pages that are half random, half of one byte, three times, and believes the fastest;
    what other programs do meanwhile does not count.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
        compress, bound = library.ZSTD_compress, library.ZSTD_compressBound
    except (OSError, AttributeError):
        return None
    compress.restype = bound.restype = ctypes.c_size_t
    bound.argtypes = [ctypes.c_size_t]
    compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    pieces = _sample()
    room = bound(_PAGE * _PAGES)
    target = ctypes.create_string_buffer(room)
    took = []
    for _ in range(_TIMES):
        began = time.thread_time()
        for piece in pieces:
            compress(target, room, piece, len(piece), _LEVEL)
        took.append(time.thread_time() - began)
    return sum(map(len, pieces)) / min(took)


def _sample() -> Sequence[bytes]:
    dice = random.Random(1)
    half = _PAGE // 2
    return [b"".join(dice.randbytes(half) + bytes([dice.randrange(256)]) * half for _ in range(_PAGES))] * _PIECES
