"""
Which certificates a listener finds in the files that the operator names, and what is told of a file that is wrong.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate
from trustme import CA

from s3proxy.transport import certificates
from s3proxy.transport.certificates import (
    CertificateError,
    read_authorities,
    read_directory,
    read_server_files,
    why_expiring,
)
from tests.support.certificates import host, issue

ROOT = CA()
ISSUER = ROOT.create_child_ca()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def names_in(directory: Path) -> list[tuple[str, ...]]:
    """
    Return the names of each certificate in a directory, in order.
    """
    return [each.names for each in read_directory(directory).certificates]


# Directories


def test_a_file_with_everything(tmp_path: Path) -> None:
    """
    Key, certificate and issuer in one file; the order of the files is that of their names.
    """
    issue(ISSUER, host("b.test")).write(tmp_path / "b.pem")
    issue(ISSUER, host("A.test"), host("*.a.test")).write(tmp_path / "a.pem")

    found = read_directory(tmp_path)

    assert [each.names for each in found.certificates] == [("a.test", "*.a.test"), ("b.test",)]
    assert [len(each.chain) for each in found.certificates] == [2, 2]
    assert [each.key_path.name for each in found.certificates] == ["a.pem", "b.pem"]
    assert found.unused_keys == ()


def test_the_layout_of_certbot(tmp_path: Path) -> None:
    """
    A directory for each name, in which links lead to the files: the certificate twice, alone and with its issuers.
    """
    archive = tmp_path / "archive"
    archive.mkdir()
    made = issue(ISSUER, host("a.test"))
    (archive / "privkey1.pem").write_bytes(made.private_key)
    (archive / "cert1.pem").write_bytes(
        made.chain.partition(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n"
    )
    (archive / "fullchain1.pem").write_bytes(made.chain)
    (archive / "chain1.pem").write_bytes(ISSUER.cert_pem.bytes())
    live = tmp_path / "live" / "a.test"
    live.mkdir(parents=True)
    (tmp_path / "live" / "README").write_text("not a certificate")
    for name in ("privkey", "cert", "fullchain", "chain"):
        (live / f"{name}.pem").symlink_to(archive / f"{name}1.pem")

    (found,) = read_directory(tmp_path / "live").certificates

    assert found.names == ("a.test",)
    assert len(found.chain) == 2
    assert found.key_path == live / "privkey.pem"


def test_a_chain_is_found_by_the_names_of_its_issuers(tmp_path: Path) -> None:
    """
    If no file has it in order. The root is not part of it.
    """
    made = issue(ISSUER, host("a.test"))
    (tmp_path / "0.pem").write_bytes(made.private_key)
    (tmp_path / "1.pem").write_bytes(ISSUER.cert_pem.bytes() + ROOT.cert_pem.bytes())
    (tmp_path / "2.pem").write_bytes(
        made.chain.partition(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n"
    )

    (found,) = read_directory(tmp_path).certificates

    assert found.chain[1:] == (load_pem_x509_certificate(ISSUER.cert_pem.bytes()),)


def test_a_directory_behind_a_link_is_read_once(tmp_path: Path) -> None:
    """
    A link to a directory above itself ends the search, not the daemon.
    """
    place = tmp_path / "certificates"
    place.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    issue(ROOT, host("a.test")).write(elsewhere / "a.pem")
    (place / "linked").symlink_to(elsewhere)
    (elsewhere / "above").symlink_to(place)

    assert [*certificates._pem_files(place)] == [place / "linked" / "a.pem"]
    assert names_in(place) == [("a.test",)]


def test_other_files_are_ignored(tmp_path: Path) -> None:
    """
    Only names that end in ``.pem`` count, and in them only certificates and private keys.
    """
    issue(ROOT, host("a.test")).write(tmp_path / "a.pem")
    issue(ROOT, host("b.test")).write(tmp_path / "b.crt")
    (tmp_path / "dh.pem").write_text("-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----\n")

    assert names_in(tmp_path) == [("a.test",)]


def test_a_key_without_its_certificate_is_told(tmp_path: Path) -> None:
    """
    The other certificates are used.
    """
    issue(ROOT, host("a.test")).write(tmp_path / "a.pem")
    (tmp_path / "b.pem").write_bytes(issue(ROOT, host("b.test")).private_key)

    found = read_directory(tmp_path)

    assert [each.names for each in found.certificates] == [("a.test",)]
    assert found.unused_keys == (tmp_path / "b.pem",)


def test_two_certificates_with_one_key(tmp_path: Path) -> None:
    """
    The former and the renewed one: both are found.
    """
    first = issue(ROOT, host("a.test"))
    first.write(tmp_path / "a.pem")
    issue(ROOT, host("a.test"), private_key=first.private_key).write(tmp_path / "b.pem")

    assert names_in(tmp_path) == [("a.test",), ("a.test",)]


# What is wrong


def encrypted_key() -> bytes:
    """
    Return a private key with a passphrase.
    """
    key = load_pem_private_key(issue(ROOT, host("a.test")).private_key, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


WRONG = {
    "empty": (lambda good: b"", "contains no PEM"),
    "cut within a block": (lambda good: good[:-40], "incomplete PEM"),
    "cut between lines": (lambda good: good + b"-----BEGIN CERTIFICATE-----\nMII\n", "incomplete PEM"),
    "a certificate of nothing": (
        lambda good: b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        "contains a certificate that cannot be read",
    ),
    "a key of nothing": (
        lambda good: b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
        "contains a private key that cannot be read",
    ),
    "a key with a passphrase": (lambda good: encrypted_key(), "the private key is encrypted"),
    "too large": (lambda good: good + b" " * certificates.MAX_PEM_FILE_SIZE, "larger than 1048576 bytes"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_file_that_is_wrong_is_named(fault: str, tmp_path: Path) -> None:
    """
    With what is wrong, and with nothing of its content: it may be a private key.
    """
    make, message = WRONG[fault]
    issue(ROOT, host("a.test")).write(tmp_path / "a.pem")
    good = issue(ROOT, host("b.test"))
    (tmp_path / "b.pem").write_bytes(make(good.private_key + good.chain))

    with pytest.raises(CertificateError) as refusal:
        read_directory(tmp_path)

    assert str(refusal.value) == f"{tmp_path}/b.pem: {message}"
    assert refusal.value.__cause__ is None


def test_a_directory_without_a_server(tmp_path: Path) -> None:
    """
    A certificate without its key, a directory without files, and none at all.
    """
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.pem").write_bytes(issue(ROOT, host("a.test")).chain)
    (tmp_path / "empty").mkdir()

    for name in ("some", "empty"):
        with pytest.raises(CertificateError, match=f"{name}: contains no certificate with its private key"):
            read_directory(tmp_path / name)
    with pytest.raises(CertificateError, match="nowhere: No such file or directory"):
        read_directory(tmp_path / "nowhere")


# Files of one server


def test_the_files_of_one_server(tmp_path: Path) -> None:
    """
    The certificate's file may have issuers after it, and another file may have more; a root is left out.
    """
    made = issue(ISSUER, host("a.test"))
    certificate, key, chain = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.write_bytes(made.chain)
    key.write_bytes(made.private_key)
    chain.write_bytes(ISSUER.cert_pem.bytes() + ROOT.cert_pem.bytes())

    assert len(read_server_files(certificate, key).chain) == 2
    assert len(read_server_files(certificate, key, chain).chain) == 2
    assert read_server_files(certificate, key, chain).names == ("a.test",)


def test_the_files_of_one_server_that_do_not_match(tmp_path: Path) -> None:
    """
    The key of another certificate, a file without a certificate, one without a key, and one that is not there.
    """
    made, other = issue(ROOT, host("a.test")), issue(ROOT, host("b.test"))
    certificate, key, wrong = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "wrong.pem"
    certificate.write_bytes(made.chain)
    key.write_bytes(made.private_key)
    wrong.write_bytes(other.private_key)

    for arguments, message in (
        ((certificate, wrong), f"{wrong}: its private key is not that of the certificate in {certificate}"),
        ((key, key), f"{key}: contains no PEM certificate"),
        ((certificate, certificate), f"{certificate}: contains no PEM private key"),
        ((certificate, tmp_path / "none.pem"), f"{tmp_path}/none.pem: No such file or directory"),
    ):
        with pytest.raises(CertificateError) as refusal:
            read_server_files(*arguments)
        assert str(refusal.value) == message


def test_authorities(tmp_path: Path) -> None:
    """
    Each once, in order; a file without one is an error.
    """
    path = tmp_path / "ca.pem"
    path.write_bytes(ROOT.cert_pem.bytes() + ISSUER.cert_pem.bytes() + ROOT.cert_pem.bytes())
    assert len(read_authorities(path)) == 2
    path.write_bytes(issue(ROOT, host("a.test")).private_key)

    with pytest.raises(CertificateError, match=r"ca\.pem: contains no PEM certificate"):
        read_authorities(path)


# Validity


@pytest.mark.parametrize(
    ("begins", "ends", "told"),
    [
        (-1, 30.1, ""),
        (-1, 30, "expires on 2026-03-31, in 30 days"),
        (-1, 1.5, "expires on 2026-03-03, in 1 day"),
        (-1, 0.1, "expires on 2026-03-01, in 0 days"),
        (-9, -0.1, "expired on 2026-03-01"),
        (0.5, 90, "is not valid before 2026-03-02 00:00 UTC"),
    ],
)
def test_the_end_of_a_certificate_is_told_a_month_before(begins: float, ends: float, told: str) -> None:
    """
    And after it, and before its beginning.
    """
    assert why_expiring(NOW + timedelta(days=begins), NOW + timedelta(days=ends), NOW) == told


def test_a_chain_is_valid_as_long_as_all_of_it(tmp_path: Path) -> None:
    """
    The certificate of an issuer may end first.
    """
    now = datetime.now(UTC)
    path = issue(ISSUER, host("a.test"), ends_at=now + timedelta(days=365_000)).write(tmp_path / "a.pem")

    found = read_server_files(path, path)

    assert found.ends_at == load_pem_x509_certificate(ISSUER.cert_pem.bytes()).not_valid_after_utc
    assert found.is_valid(now)
    assert not found.is_valid(found.ends_at + timedelta(seconds=1))
    assert not found.is_valid(found.begins_at - timedelta(seconds=1))
