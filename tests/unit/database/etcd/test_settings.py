"""Settings for etcd: what is wrong is said before anything is asked."""

from pathlib import Path

import pytest

from quorate.clusapi.errors import CallerError
from quorate.database.etcd.settings import Endpoint, EtcdSettings

A, B = "https://10.0.0.1:2379", "https://10.0.0.2:2379"


def test_endpoints_are_addresses_of_members() -> None:
    settings = EtcdSettings((A, "https://etcd.example.org", "https://[fd00::1]:4001/"), prefix="quorate/lab/")
    assert settings.parsed() == (
        Endpoint("10.0.0.1", 2379, True),
        Endpoint("etcd.example.org", 2379, True),
        Endpoint("fd00::1", 4001, True),
    )
    assert [str(endpoint) for endpoint in settings.parsed()][2] == "https://[fd00::1]:4001"
    assert settings.parsed()[2].target == "[fd00::1]:4001"
    assert EtcdSettings(("http://127.0.0.1:1",)).parsed() == (Endpoint("127.0.0.1", 1, False),)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (EtcdSettings(()), "names no member"),
        (EtcdSettings(("10.0.0.1:2379",)), "https://HOST:PORT"),
        (EtcdSettings(("ftp://10.0.0.1",)), "https://HOST:PORT"),
        (EtcdSettings(("https://10.0.0.1:99999",)), "no address"),
        (EtcdSettings(("https://10.0.0.1/v3",)), "https://HOST:PORT"),
        (EtcdSettings((A, B, A)), "twice"),
        (EtcdSettings((A, "http://10.0.0.2")), "mixes http and https"),
        (EtcdSettings(("http://10.0.0.2",), ca=Path("ca.pem")), "certificates mean nothing"),
        (EtcdSettings((A,), cert=Path("c.pem")), "belong together"),
        (EtcdSettings((A,), key=Path("k.pem")), "belong together"),
        (EtcdSettings((A,), prefix=""), "printable ASCII"),
        (EtcdSettings((A,), prefix="lab\n/"), "printable ASCII"),
        (EtcdSettings((A,), prefix="quorate/lab"), 'must end with "/"'),
    ],
)
def test_what_is_wrong_is_said(settings: EtcdSettings, reason: str) -> None:
    with pytest.raises(CallerError, match=reason):
        settings.parsed()


def test_files_must_be_there_and_hold_what_they_should(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    settings = EtcdSettings((A,), ca=path)
    with pytest.raises(CallerError, match="cannot be read: No such file"):
        settings.credentials()
    path.write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(CallerError, match="no PEM file with certificate"):
        settings.credentials()
    path.write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    with pytest.raises(CallerError, match="is no certificate"):
        settings.checked_credentials()
    assert EtcdSettings((A,)).checked_credentials() == (None, None, None)
