"""Sizes as people write them: 512M, 1G, 1048576."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"(\d+)\s*([KMGT]?)(?:iB|B)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """Read a size such as 512M or 1G (powers of 1024, also MiB); raises ValueError with the reason."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write a number of bytes, or one with K, M, G or T such as 512M")
    return int(match[1]) * _UNITS[match[2].upper()]
