"""Certificates: the cluster's two authorities (one for nodes, one for users) and what they sign.

Pure: the time comes in as a value, keys and certificates are PEM. Keys are ECDSA P-256. What a certificate says of its
holder:

    ==========  =============  =================  ============================
    field       of a node      of a user          of an authority
    ==========  =============  =================  ============================
    CN          its number     the user's name    what it is for
    OU                         "full" or "read"
    O           the cluster's instance id, in all of them
    use         server, client client             signs certificates
    ==========  =============  =================  ============================

Two authorities, so that no user's certificate is ever good for a node's place. Needs the extra ``machines``; whoever
works without certificates does not import this module.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    raise FaultError(
        Status.ERROR_SERVICE_DEPENDENCY_FAIL,
        'certificates need the Python package "cryptography": install quorate with its extra "machines"',
    ) from error

BACKDATED: Final = timedelta(hours=1)
"""Certificates are valid from an hour before they were made: the clocks of the machines may differ by that much."""
ROLES: Final = ("full", "read")
_MAX_NAME: Final = 64  # characters of a CN, by X.520
_MAX_PEM: Final = 16384  # bytes of a request: it comes from somebody who is not known yet


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority: its certificate, which everybody may know, and its key, which only nodes may."""

    certificate_pem: bytes
    key_pem: bytes


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says. Times are in UTC; the serial number is hexadecimal as :mod:`ssl` writes it."""

    subject: str
    """CN: a node's number or a user's name."""
    organization: str
    """O: the instance id of the cluster."""
    role: str
    """OU: "full" or "read"; empty for a node or an authority."""
    issuer: str
    not_before: datetime
    not_after: datetime
    serial: str
    names: tuple[str, ...]
    """The DNS names and addresses for which a server may show it."""


def create_authority(common_name: str, instance_id: str, now: datetime, years: float = 20) -> Authority:
    """Make an authority with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name, instance_id)
    certificate = (
        _builder(name, name, key.public_key(), now, timedelta(days=365.25 * years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def new_request(common_name: str) -> tuple[bytes, bytes]:
    """Make a key and the request to certify it: (key, request), both PEM. The key never leaves who asks."""
    key_pem = _private_pem(ec.generate_private_key(ec.SECP256R1()))
    return key_pem, request_for(key_pem, common_name)


def request_for(key_pem: bytes, common_name: str) -> bytes:
    """Make a request to certify a key that is there already: renewal keeps the key. CallerError 13: not such a key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(common_name, ""))
    return builder.sign(_load_key(key_pem), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issue_node(
    authority: Authority,
    csr_pem: bytes,
    node_number: str,
    instance_id: str,
    names: Sequence[str],
    now: datetime,
    days: float = 90,
) -> bytes:
    """Certify a node: PEM. Nothing that the request says of itself counts but its key.

    Raises:
        CallerError: 13 for a request that is none, or not signed by its key; 87 for a name that cannot be one.
    """
    uses = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    return _issue(authority, csr_pem, _name(NodeId(node_number), instance_id), uses, names, now, timedelta(days=days))


def issue_user(
    authority: Authority,
    csr_pem: bytes,
    name: str,
    role: str,
    instance_id: str,
    now: datetime,
    days: float = 365,
) -> bytes:
    """Certify a user for a role ("full" or "read"): PEM.

    Raises:
        CallerError: 13 for a request that is none, or not signed by its key; 87 for a name or role that cannot be one.
    """
    if role not in ROLES:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f'the role "{role}" is neither full nor read')
    subject = _name(name, instance_id, role)
    return _issue(authority, csr_pem, subject, (ExtendedKeyUsageOID.CLIENT_AUTH,), (), now, timedelta(days=days))


def fingerprint(certificate_pem: bytes) -> str:
    """The SHA-256 of a certificate, in hexadecimal: what a token names an authority by."""
    return _load_certificate(certificate_pem).fingerprint(hashes.SHA256()).hex()


def request_fingerprint(csr_pem: bytes) -> str:
    """The SHA-256 of the public key of a request, in hexadecimal: by it a machine is known that asks twice.

    Raises CallerError 13 for a request that is none, or not signed by its key.
    """
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    key = _public_key(csr_pem).public_bytes(serialization.Encoding.DER, public)
    return hashlib.sha256(key).hexdigest()


def describe(certificate_pem: bytes) -> CertificateFacts:
    """Read a certificate. Raises CallerError 13 when it is none."""
    certificate = _load_certificate(certificate_pem)
    names: tuple[str, ...] = ()
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = alternative.get_values_for_type(x509.DNSName)
        names = (*dns, *(str(address) for address in alternative.get_values_for_type(x509.IPAddress)))
    except x509.ExtensionNotFound:
        pass
    serial = f"{certificate.serial_number:X}"
    return CertificateFacts(
        subject=_first(certificate.subject, NameOID.COMMON_NAME),
        organization=_first(certificate.subject, NameOID.ORGANIZATION_NAME),
        role=_first(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME),
        issuer=_first(certificate.issuer, NameOID.COMMON_NAME),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=serial if len(serial) % 2 == 0 else f"0{serial}",
        names=names,
    )


def check_pair(key_pem: bytes, certificate_pem: bytes) -> None:
    """Make sure that a key belongs to a certificate. Raises CallerError 13."""
    if _load_key(key_pem).public_key() != _load_certificate(certificate_pem).public_key():
        raise CallerError(Status.ERROR_INVALID_DATA, "the private key does not belong to the certificate")


def _issue(
    authority: Authority,
    csr_pem: bytes,
    subject: x509.Name,
    uses: Sequence[x509.ObjectIdentifier],
    names: Sequence[str],
    now: datetime,
    life: timedelta,
) -> bytes:
    signer = _load_certificate(authority.certificate_pem)
    builder = _builder(subject, signer.subject, _public_key(csr_pem), now, life)
    signer_key = x509.SubjectKeyIdentifier.from_public_key(_p256(signer.public_key()))
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer_key), critical=False)
    )
    if names:
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(names)])
        builder = builder.add_extension(alternative, critical=False)
    certificate = builder.sign(_load_key(authority.key_pem), hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    now = now.astimezone(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, instance_id: str, role: str = "") -> x509.Name:
    if not 1 <= len(common_name) <= _MAX_NAME or not common_name.isprintable() or common_name != common_name.strip():
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f"{common_name[:80]!r} cannot be a name in a certificate: 1 to {_MAX_NAME} printable characters",
        )
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if role:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role))
    if instance_id:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, instance_id))
    return x509.Name(attributes)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, f"{name[:80]!r} is neither an address nor a DNS name in ASCII"
        ) from error


def _first(name: x509.Name, kind: x509.ObjectIdentifier) -> str:
    values = name.get_attributes_for_oid(kind)
    return str(values[0].value) if values else ""


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise _not_one("private key", error) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CallerError(Status.ERROR_INVALID_DATA, "the private key is not one of ECDSA P-256")
    return key


def _load_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise _not_one("certificate", error) from error


def _public_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    if len(csr_pem) > _MAX_PEM:
        raise CallerError(Status.ERROR_INVALID_DATA, f"a request for a certificate has at most {_MAX_PEM} bytes")
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key = _p256(request.public_key())
        if not request.is_signature_valid:
            raise CallerError(Status.ERROR_INVALID_DATA, "the request for a certificate is not signed by its own key")
    except (ValueError, InvalidSignature) as error:
        raise _not_one("request for a certificate", error) from error
    return key


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CallerError(Status.ERROR_INVALID_DATA, "the public key is not one of ECDSA P-256")
    return key


def _not_one(what: str, error: Exception) -> CallerError:
    return CallerError(Status.ERROR_INVALID_DATA, f"this is no {what} in PEM: {error}")
