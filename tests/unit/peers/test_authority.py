"""What is in a certificate, and what is refused."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from tests.unit.peers.certificates import INSTANCE

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.peers.authority import (
    BACKDATED,
    Authority,
    check_pair,
    create_authority,
    describe,
    fingerprint,
    issue_node,
    issue_user,
    new_request,
    request_for,
)

NOW = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority("Quorate nodes", INSTANCE, NOW)


def test_an_authority_lives_twenty_years(authority: Authority) -> None:
    facts = describe(authority.certificate_pem)
    assert (facts.subject, facts.issuer, facts.organization, facts.role) == (
        "Quorate nodes",
        "Quorate nodes",
        INSTANCE,
        "",
    )
    assert facts.not_before == NOW - BACKDATED
    assert facts.not_after == NOW + timedelta(days=365.25 * 20)


def test_a_node_is_its_number_in_its_cluster(authority: Authority) -> None:
    key, request = new_request("whatever the request says of itself")
    pem = issue_node(authority, request, "7", INSTANCE, ["192.0.2.7", "node7.example", "2001:db8::7"], NOW)
    facts = describe(pem)
    assert (facts.subject, facts.organization, facts.role, facts.issuer) == ("7", INSTANCE, "", "Quorate nodes")
    assert facts.names == ("node7.example", "192.0.2.7", "2001:db8::7")
    assert facts.not_after == NOW + timedelta(days=90)
    check_pair(key, pem)


def test_a_user_has_a_role(authority: Authority) -> None:
    _, request = new_request("alice")
    facts = describe(issue_user(authority, request, "alice", "read", INSTANCE, NOW))
    assert (facts.subject, facts.organization, facts.role, facts.names) == ("alice", INSTANCE, "read", ())
    assert facts.not_after == NOW + timedelta(days=365)


def test_openssl_finds_every_certificate_in_order(authority: Authority) -> None:
    """Strictly, as a context with VERIFY_X509_STRICT does."""
    signer = x509.load_pem_x509_certificate(authority.certificate_pem)
    for pem in (
        issue_node(authority, new_request("1")[1], "1", INSTANCE, ["node1"], NOW),
        issue_user(authority, new_request("bob")[1], "bob", "full", INSTANCE, NOW),
    ):
        certificate = x509.load_pem_x509_certificate(pem)
        certificate.verify_directly_issued_by(signer)
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    context = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    assert context.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}


def test_the_uses_keep_a_user_from_serving(authority: Authority) -> None:
    pem = issue_user(authority, new_request("bob")[1], "bob", "full", INSTANCE, NOW)
    uses = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_renewal_keeps_the_key(authority: Authority) -> None:
    key, request = new_request("3")
    first = issue_node(authority, request, "3", INSTANCE, [], NOW)
    second = issue_node(authority, request_for(key, "3"), "3", INSTANCE, [], NOW + timedelta(days=60))
    check_pair(key, second)
    assert describe(first).serial != describe(second).serial
    with pytest.raises(CallerError, match="does not belong"):
        check_pair(new_request("3")[0], second)


def test_a_fingerprint_names_one_certificate(authority: Authority) -> None:
    other = create_authority("Quorate nodes", INSTANCE, NOW)
    assert len(fingerprint(authority.certificate_pem)) == 64
    assert fingerprint(authority.certificate_pem) != fingerprint(other.certificate_pem)


@pytest.mark.parametrize("name", ["", " alice", "a\nb", "x" * 65])
def test_what_cannot_be_a_name_is_refused(authority: Authority, name: str) -> None:
    with pytest.raises(CallerError) as refused:
        issue_user(authority, new_request("x")[1], name, "full", INSTANCE, NOW)
    assert refused.value.status is Status.ERROR_INVALID_PARAMETER


def test_an_unknown_role_is_refused(authority: Authority) -> None:
    with pytest.raises(CallerError, match='the role "admin" is neither full nor read'):
        issue_user(authority, new_request("x")[1], "x", "admin", INSTANCE, NOW)


@pytest.mark.parametrize("name", ["närby", "a" * 300 + "\N{SNOWMAN}"])
def test_a_name_that_dns_does_not_know_is_refused(authority: Authority, name: str) -> None:
    with pytest.raises(CallerError, match="neither an address nor a DNS name"):
        issue_node(authority, new_request("1")[1], "1", INSTANCE, [name], NOW)


def forged_request() -> bytes:
    """A request whose signature is by another key than the one that it brings."""
    pem = new_request("1")[1]
    request = x509.load_pem_x509_csr(pem)
    data = bytearray(request.public_bytes(serialization.Encoding.DER))
    data[-1] ^= 0x01
    return x509.load_der_x509_csr(bytes(data)).public_bytes(serialization.Encoding.PEM)


def weak_request() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "1")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def other_curve() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "1")])
    key = ec.generate_private_key(ec.SECP384R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    "request_pem",
    [b"", b"nonsense", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", b"x" * 20000],
)
def test_what_is_no_request_is_refused(authority: Authority, request_pem: bytes) -> None:
    with pytest.raises(CallerError) as refused:
        issue_node(authority, request_pem, "1", INSTANCE, [], NOW)
    assert refused.value.status is Status.ERROR_INVALID_DATA


def test_a_request_of_a_strange_key_is_refused(authority: Authority) -> None:
    for request_pem in (weak_request(), other_curve(), forged_request()):
        with pytest.raises(CallerError) as refused:
            issue_node(authority, request_pem, "1", INSTANCE, [], NOW)
        assert refused.value.status is Status.ERROR_INVALID_DATA
