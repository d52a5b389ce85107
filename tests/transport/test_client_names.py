"""
Which names a client's certificate has, and which of them a listener accepts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import crypto
from trustme import CA

from s3proxy.transport.client_names import certificate_names, comparable_name, is_accepted, verified_names
from tests.support.certificates import host, issue

AUTHORITY = CA()
URI = x509.UniformResourceIdentifier
ADDRESS = x509.RFC822Name


@pytest.mark.parametrize(
    ("names", "common_name", "found"),
    [
        ([host("A.test"), host("b.test")], "", ("a.test", "b.test")),
        ([URI("spiffe://Example/Backup")], "", ("spiffe://Example/Backup",)),
        ([ADDRESS("Backup@Example.test")], "", ("backup@example.test",)),
        ([host("a.test"), ADDRESS("b@a.test"), URI("urn:c")], "", ("a.test", "b@a.test", "urn:c")),
        ([], "Backup", ("backup",)),
        ([], "", ()),
        # The common name is only for a certificate without other names, also if those are of another kind.
        ([host("a.test")], "b.test", ("a.test",)),
        ([x509.DirectoryName(x509.Name([]))], "b.test", ()),
        # A name is none of another kind.
        ([host("urn:c"), host("b@a.test"), URI("a.test"), ADDRESS("urn:c@a")], "", ()),
        ([host("*.a.test")], "", ()),
        ([], "*", ()),
    ],
)
def test_the_names_of_a_certificate(names: list[Any], common_name: str, found: tuple[str, ...]) -> None:
    """
    The subject alternative names of three kinds; otherwise the common name.
    """
    assert certificate_names(issue(AUTHORITY, *names, common_name=common_name).certificate) == found


def test_a_certificate_that_cannot_be_read_has_no_name() -> None:
    """
    It may be anything that an authority has signed.
    """

    class Unreadable:
        @property
        def extensions(self) -> None:
            raise ValueError("not DER")

    unreadable: Any = Unreadable()
    assert certificate_names(unreadable) == ()


@pytest.mark.parametrize(
    ("name", "patterns", "accepted"),
    [
        ("a.test", ["b.test", "a.test"], True),
        ("a.test", ["b.test"], False),
        ("a.test", [], False),
        ("a.b.test", ["*.b.test"], True),
        ("b.test", ["*.b.test"], False),
        ("a.a.b.test", ["*.b.test"], False),
        (".b.test", ["*.b.test"], False),
        ("x@a.b.test", ["*.b.test"], False),
        ("urn:a.b.test", ["*.b.test"], False),
        ("a.b.test.evil", ["*.b.test"], False),
        ("spiffe://Example/Backup", [comparable_name("spiffe://Example/Backup")], True),
        ("spiffe://Example/Backup", [comparable_name("spiffe://example/backup")], False),
        ("a.test", [comparable_name("A.TEST")], True),
    ],
)
def test_which_names_are_accepted(name: str, patterns: list[str], *, accepted: bool) -> None:
    """
    A wildcard stands for one label of a DNS name, and for nothing else.
    """
    assert is_accepted([name], patterns) is accepted


def test_the_names_of_a_connection() -> None:
    """
    Those of the certificate that its client has shown, if it has shown one that has not expired since.
    """

    class Connection:
        def __init__(self, certificate: Any) -> None:
            self._certificate = certificate

        def get_peer_certificate(self) -> Any:
            return self._certificate

    certificate = issue(AUTHORITY, host("a.test")).certificate
    shown = crypto.X509.from_cryptography(certificate)
    end = certificate.not_valid_after_utc

    assert verified_names(Connection(None), end) == ()
    assert verified_names(Connection(shown), end) == ("a.test",)
    assert verified_names(Connection(shown), end + timedelta(seconds=1)) == ()
