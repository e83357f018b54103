"""The operations on users: who may reach the cluster from other machines, by certificate or by password.

Part of the table in ``operations``.
"""

from typing import Final

from quorate.clusapi.operation_declarations import STATUS, change, read
from quorate.clusapi.operation_types import Field, FieldType, Operation, Place

_T = FieldType
_NAME: Final = Field("name", _T.TEXT, "the user's name, 1 to 64 characters")
_ROLE: Final = Field("role", _T.TEXT, '"full", or "read", which is refused every change (status 5)')
_PASSWORD: Final = Field("password", _T.TEXT, "8 to 256 characters; only its NT hash is kept")

USER_OPERATIONS: Final[tuple[Operation, ...]] = (
    change(
        "IssueUserCertificate",
        "Certify a user, who reaches the cluster from other machines; the key stays with who asks.",
        (
            _NAME,
            _ROLE,
            Field("request", _T.BYTES, "a certificate request (PKCS #10) in PEM, of an ECDSA P-256 key"),
            Field("days", _T.U32, "how long it is good, 1 to 3650; absent: 365", optional=True),
            Field("replace", _T.FLAG, "for a user who has one: the old one then counts no more", optional=True),
        ),
        (
            Field("certificate", _T.BYTES, "the user's certificate in PEM"),
            Field("authority", _T.BYTES, "the certificate of the nodes' authority in PEM: by it nodes are known"),
            Field("cluster", _T.TEXT, "name of the cluster"),
            Field("nodes", _T.OBJECTS, "{id, name, http} of each node that has a door for other machines"),
            Field("not_after", _T.TEXT, "when it expires"),
        ),
        Place.ANYWHERE,
    ),
    change(
        "AddUserAccount",
        "Give a user a password, with which the user logs on where no certificate is shown.",
        (_NAME, _ROLE, _PASSWORD),
        (STATUS,),
        Place.ANYWHERE,
    ),
    change(
        "SetUserPassword",
        "Give a user who has a password another one; the old one then counts no more.",
        (_NAME, _PASSWORD),
        (STATUS,),
        Place.ANYWHERE,
    ),
    read(
        "ListUsers",
        "Every user who may reach the cluster from other machines.",
        (),
        (
            Field(
                "users",
                _T.OBJECTS,
                "name, role, has_certificate, serial, not_after, expired, has_password, password_changed",
            ),
        ),
        Place.ANYWHERE,
    ),
    change(
        "RemoveUser",
        "Let a user in no more, at once, whatever the certificate says.",
        (_NAME,),
        (STATUS,),
        Place.ANYWHERE,
    ),
)
