"""How numbers, names and choices are written as single words in scenario files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from quorate.simulator.phrases import Kind

_NAME: Final = re.compile(r"[A-Za-z][\w.-]*")
_NUMBERED: Final = re.compile(r"([A-Za-z][\w.-]*?)(\d+)\.\.(?:([A-Za-z][\w.-]*?))?(\d+)")
_AMOUNT: Final = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)([A-Za-z/]*)")
_TIMES: Final[Mapping[str, float]] = {"": 1.0, "s": 1.0, "ms": 0.001, "min": 60.0, "h": 3600.0}
_SIZES: Final[Mapping[str, int]] = {"T": 1 << 40, "G": 1 << 30, "M": 1 << 20, "K": 1 << 10, "": 1}
_RATES: Final[Mapping[str, float]] = {
    "GB/s": 1e9,
    "MB/s": 1e6,
    "kB/s": 1e3,
    "B/s": 1.0,
    "Gb/s": 1.25e8,
    "Mb/s": 1.25e5,
}
_MOST_NAMES: Final = 100_000


def number(value: float) -> str:
    """Write a number as short as it can be without becoming another."""
    short = f"{value:.12g}"
    exact = short if float(short) == value else repr(value)
    return exact.removesuffix(".0")


def read_name(word: str) -> str:
    """Read a name. Raises ValueError."""
    if not _NAME.fullmatch(word):
        raise ValueError("a name begins with a letter and has letters, digits, '.', '-' and '_'")
    return word


def read_names(word: str) -> tuple[str, ...]:
    """Read ``vm1,vm5..vm8`` as names. Raises ValueError."""
    names: list[str] = []
    for part in word.split(","):
        numbered = _NUMBERED.fullmatch(part)
        if numbered is None:
            names.append(read_name(part))
            continue
        stem, first, other, last = numbered.groups()
        low, high = int(first), int(last)
        if (other is not None and other != stem) or not low <= high < low + _MOST_NAMES:
            raise ValueError("a range goes up, as in vm1..vm8")
        names += [f"{stem}{index}" for index in range(low, high + 1)]
    return tuple(names)


def _numbered(name: str) -> tuple[str, int] | None:
    """Take a name apart into what stands before its number, and its number; none if it has no such form."""
    numbered = re.fullmatch(r"(.*?)(0|[1-9]\d*)", name)
    return None if numbered is None else (numbered[1], int(numbered[2]))


def write_names(names: Sequence[str]) -> str:
    """Write names; three or more that count up as a range."""
    words: list[str] = []
    index = 0
    while index < len(names):
        end = index + 1
        first = _numbered(names[index])
        while first is not None and end < len(names) and _numbered(names[end]) == (first[0], first[1] + end - index):
            end += 1
        if end - index >= 3:
            words.append(f"{names[index]}..{names[end - 1]}")
        else:
            words += names[index:end]
        index = end
    return ",".join(words)


def _write_names(value: object) -> str:
    assert isinstance(value, tuple)
    return write_names(value)


def _amount(word: str, units: Mapping[str, float], example: str) -> float:
    amount = _AMOUNT.fullmatch(word)
    if amount is None or amount[2] not in units:
        raise ValueError(f"write it as {example}")
    return float(amount[1]) * units[amount[2]]


def _positive(word: str, units: Mapping[str, float], example: str) -> float:
    value = _amount(word, units, example)
    if value < 0:
        raise ValueError("it cannot be negative")
    return value


def _write_size(value: object) -> str:
    assert isinstance(value, int)
    unit, factor = next((unit, factor) for unit, factor in _SIZES.items() if value % factor == 0 and value >= factor)
    return f"{value // factor}{unit}"


def _write_rate(value: object) -> str:
    assert isinstance(value, (int, float))
    for unit in ("GB/s", "MB/s", "kB/s"):
        written = number(value / _RATES[unit])
        if value >= _RATES[unit] and float(written) * _RATES[unit] == value:
            return f"{written}{unit}"
    return f"{number(value)}B/s"


def _write_number(value: object) -> str:
    assert isinstance(value, (int, float))
    return number(value)


def _size(word: str) -> int:
    return round(_positive(word.removesuffix("iB"), _SIZES, "512M or 2G"))


def _whole(word: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        raise ValueError("write it as 3 or 0x10") from None


NAME: Final = Kind("NAME", read_name, str)
NAMES: Final = Kind("NAMES", read_names, _write_names)
SECONDS: Final = Kind("SECONDS", lambda word: _positive(word, _TIMES, "5, 0.2, 200ms, 10min or 2h"), _write_number)
SPAN: Final = Kind(
    "SECONDS",
    lambda word: None if word == "good" else _positive(word, _TIMES, "5, 0.2, 10min, or “good” for good"),
    lambda value: "good" if value is None else _write_number(value),
    is_said=True,
)
SIZE: Final = Kind("SIZE", _size, lambda value: _write_size(value) if value else "0")
MEMORY: Final = replace(SIZE, is_said=True)
RATE: Final = Kind("RATE", lambda word: _positive(word, _RATES, "50MB/s or 10Gb/s"), _write_rate)
WHOLE: Final = Kind("NUMBER", _whole, str)
REAL: Final = Kind("NUMBER", lambda word: _amount(word, {"": 1.0}, "20 or -0.5"), _write_number)


def choice(name: str, values: Sequence[str]) -> Kind:
    """Make a kind of some values; blanks in them are written as hyphens."""
    by_word = {value.replace(" ", "-"): value for value in values}

    def read(word: str) -> str:
        if word not in by_word:
            raise ValueError(f"it is one of {', '.join(by_word)}")
        return by_word[word]

    return Kind(name, read, lambda value: str(value).replace(" ", "-"))
