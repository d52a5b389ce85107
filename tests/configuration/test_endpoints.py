"""
Endpoints with TLS: their arguments are those of Twisted's own endpoints.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from trustme import CA
from twisted.internet import endpoints as twisted_endpoints
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.testing import MemoryReactorClock

from s3proxy.configuration import endpoints
from s3proxy.configuration.endpoints import TCPAddress, TLSEndpoint, check_endpoint, listening_address, parse_tls
from s3proxy.configuration.tables import NotAccepted

ENDPOINT = (
    r"ssl:port=1:interface=\:\:1:privateKey=/a\:b/k=1.pem:extraCertChain=c.pem:dhParameters=d.pem"
    ":sslmethod=TLSv1_2_METHOD:backlog=9"
)
SSL = {"private_key": "server.pem", "certificate": "server.pem"}


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("ssl:443", TLSEndpoint(TCPAddress(443, ""), **SSL)),
        ("ssl:443:key.pem:cert.pem", TLSEndpoint(TCPAddress(443, ""), private_key="key.pem", certificate="cert.pem")),
        (
            ENDPOINT,
            TLSEndpoint(
                TCPAddress(1, "::1"),
                private_key="/a:b/k=1.pem",
                certificate="/a:b/k=1.pem",
                chain="c.pem",
                dh_parameters="d.pem",
                method="TLSv1_2_METHOD",
            ),
        ),
        ("tls:certificates", TLSEndpoint(TCPAddress(443, "::"), directory="certificates")),
        ("tls:/etc/s3:8443", TLSEndpoint(TCPAddress(8443, "::"), directory="/etc/s3")),
        (
            "tls:path=/etc/s3:interface=127.0.0.1:port=0:backlog=5",
            TLSEndpoint(TCPAddress(0, "127.0.0.1"), directory="/etc/s3"),
        ),
        (f"tls:path={quoteStringArgument('/a:b=c')}", TLSEndpoint(TCPAddress(443, "::"), directory="/a:b=c")),
        ("tcp:443", None),
        ("unix:/ssl:1", None),
    ],
)
def test_an_endpoint_with_tls(text: str, endpoint: TLSEndpoint | None) -> None:
    """
    Arguments by place or by name, with a backslash before a colon.
    """
    assert parse_tls(text) == endpoint
    if endpoint is not None:
        assert listening_address(text) == endpoint.address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ssl:", '"" is not a number'),
        ("ssl:https", '"https" is not a number'),
        ("ssl:443:backlog=many", '"many" is not a number'),
        ("ssl:443:sslmethod=Context", '"Context" is not a method of OpenSSL'),
        ("ssl:443:sslmethod=NO_METHOD", '"NO_METHOD" is not a method of OpenSSL'),
        ("ssl:443:key=a.pem", 'unknown argument "key="'),
        ("ssl:443:a:b:c:d:e:f:g:h:i", "too many or too few arguments"),
        ("ssl:443:port=443", "too many or too few arguments"),
        ("ssl:65536", "65536 is not a port from 0 to 65535"),
        ("tls:", "no path is given"),
        ("tls:a:b", '"b" is not a number'),
        ("tls:a:backlog=b", '"b" is not a number'),
        ("tls:port=443", 'missing argument "path="'),
        ("tls:a:interface=nowhere.invalid", "interface=nowhere.invalid: "),
    ],
)
def test_an_endpoint_with_tls_that_is_not_accepted(text: str, why: str) -> None:
    """
    With what is wrong.
    """
    with pytest.raises(NotAccepted) as refusal:
        check_endpoint(text)

    assert str(refusal.value).startswith(why)


def test_the_arguments_are_those_of_twisted(tmp_path: Path) -> None:
    """
    By name and in order, as far as the installed release has the endpoint.
    """
    parse_ssl = twisted_endpoints._parseSSL
    assert list(inspect.signature(endpoints._ssl).parameters) == list(inspect.signature(parse_ssl).parameters)[1:]
    parser = getattr(twisted_endpoints, "_TLSServerEndpointParser", None)
    if parser is not None:
        names = list(inspect.signature(parser._actualParseStreamServer).parameters)
        assert list(inspect.signature(endpoints._tls).parameters) == names[2:]


def test_twisted_parses_the_same(tmp_path: Path) -> None:
    """
    A description of ``ssl:`` listens at the same address with Twisted's own endpoint.
    """
    path = tmp_path / "a:b.pem"
    CA().issue_cert("a.test").private_key_and_cert_chain_pem.write_to_path(path)
    text = f"ssl:8443:privateKey={quoteStringArgument(str(path))}:interface=127.0.0.1"
    reactor = MemoryReactorClock()
    endpoint = parse_tls(text)
    assert endpoint is not None

    serverFromString(reactor, text).listen(None)

    ((port, _, _, _, interface),) = reactor.sslServers
    assert endpoint.address == TCPAddress(port, interface)
    assert endpoint.certificate == str(path)
