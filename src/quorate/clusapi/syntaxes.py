"""Types, formats and syntaxes: what tells how a value in a property list or value list is to be read.

Source: pages property-lists and data-syntax; header enumerations CLUSTER_PROPERTY_TYPE, CLUSTER_PROPERTY_FORMAT and
CLUSTER_PROPERTY_SYNTAX; [MS-CMRP] 2.2.3.10.
"""

from enum import IntEnum
from typing import Final, Self

_USER: Final = 0x8000  # from here on types and formats are a vendor's own


class PropertyType(IntEnum):
    """What a value is: the high word of a syntax (CLUSPROP_TYPE_*)."""

    ENDMARK = 0
    LIST_VALUE = 1  # the value of a property
    RESCLASS = 2
    RESERVED1 = 3
    NAME = 4
    SIGNATURE = 5
    SCSI_ADDRESS = 6
    DISK_NUMBER = 7
    PARTITION_INFO = 8
    FTSET_INFO = 9
    DISK_SERIALNUMBER = 10
    DISK_GUID = 11
    DISK_SIZE = 12
    PARTITION_INFO_EX = 13
    PARTITION_INFO_EX2 = 14
    STORAGE_DEVICE_ID_DESCRIPTOR = 15
    USER = 0x8000  # the first of a vendor's own
    UNKNOWN = 0xFFFF


class PropertyFormat(IntEnum):
    """How a value's data looks: the low word of a syntax (CLUSPROP_FORMAT_*)."""

    UNKNOWN = 0
    BINARY = 1
    DWORD = 2  # unsigned, 32 bits
    SZ = 3  # text
    EXPAND_SZ = 4  # text with %VARIABLES%
    MULTI_SZ = 5  # texts, each with its NUL, then one more NUL
    ULARGE_INTEGER = 6  # unsigned, 64 bits
    LONG = 7  # signed, 32 bits
    EXPANDED_SZ = 8  # text whose variables have been replaced
    SECURITY_DESCRIPTOR = 9  # self-relative, as bytes
    LARGE_INTEGER = 10  # signed, 64 bits
    WORD = 11  # unsigned, 16 bits
    FILETIME = 12  # 100 ns ticks since 1601-01-01 UTC, unsigned, 64 bits
    VALUE_LIST = 13  # nested
    PROPERTY_LIST = 14  # nested
    USER = 0x8000  # the first of a vendor's own, as bytes


class Syntax(IntEnum):
    """Type and format of a value in one number (CLUSPROP_SYNTAX_*).

    ``Syntax(number)`` takes any unsigned 32-bit number; whether it may stand in a list is for ``PropertyValue`` to say.
    """

    ENDMARK = 0x00000000
    NAME = 0x00040003
    RESCLASS = 0x00020002
    LIST_VALUE_BINARY = 0x00010001
    LIST_VALUE_DWORD = 0x00010002
    LIST_VALUE_SZ = 0x00010003
    LIST_VALUE_EXPAND_SZ = 0x00010004
    LIST_VALUE_MULTI_SZ = 0x00010005
    LIST_VALUE_ULARGE_INTEGER = 0x00010006
    LIST_VALUE_LONG = 0x00010007
    LIST_VALUE_EXPANDED_SZ = 0x00010008
    LIST_VALUE_SECURITY_DESCRIPTOR = 0x00010009
    LIST_VALUE_LARGE_INTEGER = 0x0001000A
    LIST_VALUE_WORD = 0x0001000B
    LIST_VALUE_FILETIME = 0x0001000C
    LIST_VALUE_VALUE_LIST = 0x0001000D  # no name in the header, but no other number is possible
    LIST_VALUE_PROPERTY_LIST = 0x0001000E
    DISK_SIGNATURE = 0x00050002
    SCSI_ADDRESS = 0x00060002
    DISK_NUMBER = 0x00070002
    PARTITION_INFO = 0x00080001
    FTSET_INFO = 0x00090001
    DISK_SERIALNUMBER = 0x000A0003
    DISK_GUID = 0x000B0003
    DISK_SIZE = 0x000C0006
    PARTITION_INFO_EX = 0x000D0001
    PARTITION_INFO_EX2 = 0x000E0001
    STORAGE_DEVICE_ID_DESCRIPTOR = 0x000F0001

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFF:
            return None
        member = int.__new__(cls, value)
        member._value_ = value
        member._name_ = f"SYNTAX_0x{value:08X}"
        return member

    @classmethod
    def of(cls, format_: PropertyFormat, type_: int = PropertyType.LIST_VALUE) -> "Syntax":
        """Combine a format and a type, by default that of a property's value."""
        return cls(type_ << 16 | format_)

    @property
    def type_word(self) -> int:
        """The high word: a :class:`PropertyType` or a vendor's number."""
        return self.value >> 16

    @property
    def format_word(self) -> int:
        """The low word: a :class:`PropertyFormat` or a vendor's number."""
        return self.value & 0xFFFF

    @property
    def is_value(self) -> bool:
        """Answer whether a value entry may have this syntax: known or vendor type, known or vendor format."""
        type_, format_ = self.type_word, self.format_word
        known_type = PropertyType.ENDMARK < type_ <= PropertyType.STORAGE_DEVICE_ID_DESCRIPTOR
        return (known_type or _USER <= type_ < PropertyType.UNKNOWN) and (
            PropertyFormat.UNKNOWN < format_ <= PropertyFormat.PROPERTY_LIST or format_ >= _USER
        )
