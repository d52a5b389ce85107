"""
Values of the configuration: s3proxy refuses what other software would read differently, or what would open an access.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3proxy.configuration.loading import make_settings, share_of
from s3proxy.configuration.options import BackendKeySettings
from s3proxy.configuration.tables import Faults

BACKEND: dict[str, Any] = {
    "name": "b",
    "url": "http://127.0.0.1:1",
    "access_key_id": "ID",
    "secret_access_key": "a-secret",
}


def places(content: dict[str, Any]) -> list[str]:
    """
    Return the places of all errors.
    """
    try:
        make_settings({"server": {"spool_directory": "."}, "backend": [BACKEND], **content}, Path())
    except Faults as error:
        return [fault.place for fault in error.faults]
    return []


def server(**options: Any) -> list[str]:
    """
    Return the places of the errors in a server's options.
    """
    return places({"server": {"spool_directory": ".", **options}})


def backend(**options: Any) -> list[str]:
    """
    Return those of a backend's options.
    """
    return places({"backend": [{**BACKEND, **options}]})


def limit(**options: Any) -> list[str]:
    """
    Return those of a limit's options.
    """
    return places({"limits": options})


@pytest.mark.parametrize(
    ("admin", "is_taken"),
    [
        ("tcp:9001:interface=127.0.0.1", True),
        ("tcp:9001:interface=127.1.2.3", True),
        ("tcp6:9001:interface=\\:\\:1", True),
        ("unix:admin.sock", True),
        ("tcp:9001", False),
        ("tcp:9001:interface=0.0.0.0", False),
        ("tcp:9001:interface=10.127.0.1", False),
        ("tcp6:9001:interface=\\:\\:", False),
        ("tcp6:9001:interface=\\:\\:10", False),
    ],
)
def test_the_admin_endpoint_listens_on_loopback(admin: str, is_taken: bool) -> None:
    """
    It requires no key.
    """
    assert server(admin=admin) == ([] if is_taken else ["server.admin"])


@pytest.mark.parametrize("endpoint", ["haproxy:tcp:9000", "fd:3", "tls:9000", "tcp:x", "", "stdio:"])
def test_what_is_no_listener(endpoint: str) -> None:
    """
    Twisted's own wrapper for PROXY headers drops valid connections.
    """
    assert server(listen=[endpoint]) == ["server.listen[0]"]


@pytest.mark.parametrize(
    "url",
    [
        "http://user:password@host",
        "http://host?a",
        "http://host#a",
        "http://host/a b",
        "ftp://host",
        "http://",
        "http://host:0",
        "http://host:99999",
        "http://h\u00f6st",
        "//host",
    ],
)
def test_what_is_no_url_of_a_backend(url: str) -> None:
    """
    A URL must not contain a key either: URLs are shown.
    """
    assert backend(url=url) == ["backend[0].url"]


@pytest.mark.parametrize(
    "domain", ["S3.test", "s3..test", ".s3.test", "s3.test.", "s3.test:80", "s3_test", "*.test", "a" * 254]
)
def test_what_is_no_domain(domain: str) -> None:
    """
    A host is compared with it letter by letter.
    """
    assert server(domains=[domain]) == ["server.domains[0]"]


@pytest.mark.parametrize("peer", ["host", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "unix:", "*", ""])
def test_what_is_no_trusted_peer(peer: str) -> None:
    """
    Valid are a network, an address, or the word for unix sockets.
    """
    assert server(trusted_peers=[peer]) == ["server.trusted_peers[0]"]
    assert server(trusted_peers=["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "unix"]) == []


@pytest.mark.parametrize("word", ["us east", "a/b", "a\nb", "", "-a", "a" * 65, "\u00e4"])
def test_what_is_no_region_or_name(word: str) -> None:
    """
    It is part of signatures, logs and metrics.
    """
    assert server(region=word) == ["server.region"]
    assert backend(name=word) == ["backend[0].name"]


@pytest.mark.parametrize("path", ["health", "/a b", "/a#b", "/\u00e4", "/a\nb", ""])
def test_what_is_no_path(path: str) -> None:
    """
    It is part of a request line.
    """
    assert backend(health=path) == ["backend[0].health"]


@pytest.mark.parametrize("pattern", ["a/b", "[z-a]", "", "a\nb"])
def test_what_is_no_pattern(pattern: str) -> None:
    """
    It would never match.
    """
    assert places({"route": [{"bucket": pattern, "backend": "b"}]}) == ["route[0].bucket"]


@pytest.mark.parametrize("host_id", ["a\r\nX: 1", "a\x00", ""])
def test_text_is_printable(host_id: str) -> None:
    """
    A line end would begin a header in each response.
    """
    assert server(host_id=host_id) == ["server.host_id"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, True, "1"])
def test_what_is_no_number_of_seconds(value: Any) -> None:
    """
    A NaN is neither too small nor too large.
    """
    assert places({"times": {"idle": value}}) == ["times.idle"]


@pytest.mark.parametrize("value", ["9" * 5000 + " MiB", "1 TiB", "-1 KiB", "\u0661 KiB", "1 KiB x", "", True, 1.5])
def test_what_is_no_size(value: Any) -> None:
    """
    Thousands of digits raise no exception of Python's own.
    """
    assert limit(small_body=value) == ["limits.small_body"]


def test_an_option_that_does_not_exist() -> None:
    """
    A misspelt switch would silently be off.
    """
    assert server(refused=["v2-header"]) == ["server.refused"]


def test_no_text_holds_a_secret() -> None:
    """
    Neither that of the settings nor that of an error.
    """
    settings = make_settings({"server": {"spool_directory": "."}, "backend": [BACKEND]}, Path())
    key = BackendKeySettings(name="k", backend="b", access_key_id="ID", secret_access_key="a-secret")

    assert settings.backends[0].secret_access_key == "a-secret"
    assert "a-secret" not in repr(settings)
    assert "a-secret" not in repr(key)
    for secret in ("a-secret\n", ["a-secret"], ""):
        with pytest.raises(Faults) as refusal:
            make_settings({"backend": [{**BACKEND, "secret_access_key": secret}]}, Path())
        assert "a-secret" not in str(refusal.value)


def test_a_value_is_shown_escaped_and_without_a_password() -> None:
    """
    An error is written to a terminal.
    """
    with pytest.raises(Faults) as refusal:
        make_settings(
            {"server": {"region": "a\x1b[31m", "spool_directory": "."}, "backend": [{**BACKEND, "url": "x://u:pw@h"}]},
            Path(),
        )

    assert "\x1b" not in str(refusal.value)
    assert "pw" not in str(refusal.value)


def test_what_one_of_several_processes_may_use() -> None:
    """
    A limit remains a limit, no limit remains none, and the admin endpoint belongs to the supervisor.
    """
    settings = make_settings(
        {
            "server": {"spool_directory": ".", "admin": "tcp:9001:interface=127.0.0.1"},
            "backend": [{**BACKEND, "connections": 3}],
            "limits": {"requests": 3, "bodies": 0, "key_requests": 1},
        },
        Path(),
    )

    share = share_of(settings, 4)

    assert (share.limits.requests, share.limits.bodies, share.limits.key_requests) == (1, 0, 1)
    assert share.backends[0].connections == 1
    assert share.server.admin is None
