"""The data of registry values as bytes, as the Windows registry and ClusAPI's calls have it.

Texts are UTF-16LE with a final NUL, lists of texts end with one more NUL, numbers are little-endian. A value is kept as
what its type says, so data that does not fit its type is refused, where Windows would store any bytes; a text that was
set without its NUL comes back with it.
"""

from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.property_lists import pack_multi_sz, pack_sz
from quorate.clusapi.status import Status
from quorate.database.values import RegistryType, RegistryValue

_WIDTHS: Final = {RegistryType.DWORD: 4, RegistryType.QWORD: 8}


def encode_data(value: RegistryValue) -> bytes:
    """The data of a value."""
    data = value.data
    if isinstance(data, bytes):
        return data
    if isinstance(data, int):
        return data.to_bytes(_WIDTHS[value.type], "little")
    return pack_multi_sz(data) if isinstance(data, tuple) else pack_sz(data)


def decode_data(type_: int, data: bytes) -> RegistryValue:
    """Read the data of a value of a type (REG_…). Raises CallerError ERROR_INVALID_PARAMETER."""
    try:
        kind = RegistryType(type_)
    except ValueError:
        known = ", ".join(f"REG_{one.name} ({one.value})" for one in RegistryType)
        raise _refused(f"values of type {type_} are not kept; the cluster database knows {known}") from None
    if kind is RegistryType.BINARY:
        return RegistryValue(kind, data)
    if (width := _WIDTHS.get(kind)) is not None:
        if len(data) != width:
            raise _refused(f"a REG_{kind.name} has {width} bytes, not {len(data)}")
        return RegistryValue(kind, int.from_bytes(data, "little"))
    try:
        text = data.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise _refused(f"the data of a REG_{kind.name} is not UTF-16: {error.reason}") from error
    text = text.rstrip("\0")
    if kind is RegistryType.MULTI_SZ:
        return RegistryValue(kind, tuple(text.split("\0")) if text else ())
    return RegistryValue(kind, text)


def _refused(sentence: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
