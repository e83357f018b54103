"""Operations on the cluster registry; part of the operations table.

A key is named by its path from the root, with backslashes and without regard to case; the root is "". What these
operations write is what properties read: Groups\\<id>, Resources\\<id>\\Parameters, Nodes\\<number> and so on. Data of
values is as the Windows registry has it (:mod:`quorate.database.registry_data`).
"""

from typing import Final

from quorate.clusapi.operation_declarations import STATUS, change, read
from quorate.clusapi.operation_types import Field, FieldType, Place

_T = FieldType
_ANY: Final = Place.ANYWHERE
_KEY: Final = Field("key", _T.TEXT, 'the key: its path, such as "Groups\\<id>"; "" is the root')
_VALUE: Final = Field("name", _T.TEXT, 'name of the value; "" is the unnamed one')
_TYPE: Final = Field("type", _T.U32, "REG_…: SZ 1, EXPAND_SZ 2, BINARY 3, DWORD 4, MULTI_SZ 7, QWORD 11")
_DATA: Final = Field("data", _T.BYTES, "its data: texts in UTF-16LE with NUL, numbers little-endian")
_PATH: Final = Field("key", _T.TEXT, "its path, as spelled")
_LAST_WRITE: Final = Field("last_write", _T.U64, "when it was written last, as a FILETIME; 0 is not known")
_BATCH: Final = Field("batch", _T.BYTES, "the commands, as CLUSTER_REG_BATCH_UPDATE of MS-CMRP")
_PARTS: Final = Field("security_information", _T.U32, "which parts: owner 1, group 2, DACL 4")

REGISTRY_OPERATIONS: Final = (
    read(
        "OpenKey",
        "Find a key of the cluster registry.",
        (_KEY, Field("access", _T.U32, "rights that the key must give the caller: KEY_…", optional=True)),
        (_PATH,),
        _ANY,
        30,
        28,
    ),
    change(
        "CreateKey",
        "Open a key of the cluster registry, and make it with its ancestors if it is not there.",
        (_KEY,),
        (_PATH, Field("disposition", _T.U32, "1: it is new, 2: it was there")),
        _ANY,
        29,
    ),
    change("DeleteKey", "Delete a key that has no subkeys.", (_KEY,), (STATUS,), _ANY, 35),
    read(
        "EnumKey",
        "The keys directly below a key.",
        (_KEY,),
        (Field("keys", _T.OBJECTS, "{name, last_write} each, in order"),),
        _ANY,
        31,
    ),
    read(
        "EnumValue",
        "The values of a key.",
        (_KEY,),
        (Field("values", _T.OBJECTS, "{name, type, data} each, in order; data in base64"),),
        _ANY,
        36,
    ),
    read("QueryValue", "One value of a key.", (_KEY, _VALUE), (_TYPE, _DATA), _ANY, 34),
    change("SetValue", "Set a value of a key.", (_KEY, _VALUE, _TYPE, _DATA), (STATUS,), _ANY, 32),
    change("DeleteValue", "Remove a value of a key.", (_KEY, _VALUE), (STATUS,), _ANY, 33),
    read(
        "QueryInfoKey",
        "How many subkeys and values a key has, the longest of each, and when it was written.",
        (_KEY,),
        (
            Field("subkeys", _T.U32, "how many keys are directly below"),
            Field("max_subkey_length", _T.U32, "characters of the longest name of these"),
            Field("values", _T.U32, "how many values it has"),
            Field("max_value_name_length", _T.U32, "characters of the longest name of these"),
            Field("max_value_length", _T.U32, "bytes of the longest data of these"),
            Field("security_length", _T.U32, "bytes of its security descriptor"),
            _LAST_WRITE,
        ),
        _ANY,
        38,
    ),
    read(
        "GetKeySecurity",
        "The security descriptor of a key: its own, or that of the next key above that has one.",
        (_KEY, _PARTS),
        (Field("descriptor", _T.BYTES, "self-relative"),),
        _ANY,
        40,
    ),
    change(
        "SetKeySecurity",
        "Set parts of the security descriptor of a key.",
        (_KEY, _PARTS, Field("descriptor", _T.BYTES, "self-relative")),
        (STATUS,),
        _ANY,
        39,
    ),
    change(
        "ExecuteBatch",
        "Change several keys and values below a key, all or none.",
        (_KEY, _BATCH),
        (
            STATUS,
            Field("failed_command", _T.U32, "number of the command that did not succeed; 0xFFFFFFFF: of none"),
            Field("sentence", _T.TEXT, "for people: why not", optional=True),
        ),
        _ANY,
        113,
    ),
    read(
        "ExecuteReadBatch",
        "Read several values below a key, all as they were at one moment.",
        (_KEY, _BATCH),
        (Field("output", _T.BYTES, "a batch with an answer for each command"),),
        _ANY,
        145,
        157,
    ),
)
