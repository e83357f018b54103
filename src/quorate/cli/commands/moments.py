"""Moments as people type them: a while ago, a date with or without a time, or the sequence of an event."""

import re
from datetime import UTC, datetime, timedelta

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_moment(option: str, text: str, now: datetime) -> datetime:
    """Read "2h" (ago), "2026-11-22T10:00" or "2026-11-22"; without a zone it is this machine's.

    Raises CallerError 87.
    """
    if (ago := _AGO.fullmatch(text.strip().lower())) is not None:
        try:
            return now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        except OverflowError:
            raise _wrong(option, text) from None
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(option, text) from None


def parse_sequence(text: str) -> int | None:
    """Read the sequence of an event; None when it is none."""
    return int(text) if text.isascii() and text.isdigit() else None


def rfc3339(moment: datetime) -> str:
    """A moment as operations take it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _wrong(option: str, text: str) -> CallerError:
    return CallerError(
        Status.ERROR_INVALID_PARAMETER,
        f"{option} {text}: say how long ago (90s, 15m, 2h, 3d, 1w), a moment (2026-11-22T10:00), or, for --since, the "
        "sequence of an event",
    )
