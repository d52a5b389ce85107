"""
URLs of ``s3proxy presign``: each gives access with its method for its time, and nothing else.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from s3proxy.commands.cli import main
from s3proxy.resign.presign import CannotPresign, presign
from s3proxy.s3.credential import Credential
from tests.support.harness import NOW, VECTORS, data_set_credentials
from tests.support.memory import MemoryProxy
from tests.support.processes import write_keys

CREDENTIALS = list(data_set_credentials().values())
LASTING, TEMPORARY = CREDENTIALS[0], CREDENTIALS[2]
SIGNATURES = ("v4", "v4a", "v2")


def ask(url: str, method: str = "GET", after: float = 0) -> str | None:
    """
    Use a URL some seconds later; return the code of the error, or None.
    """
    proxy = MemoryProxy(now=NOW + timedelta(seconds=after))
    parts = urlsplit(url)
    head = f"{method} {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 0\r\n\r\n"
    verdict = proxy.send(head.encode())
    assert len(verdict.stored) == (verdict.statuses[0] == 200)
    return verdict.codes[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://s3.example.test/test-bucket/k",
        "https://s3.example.test:9443/test-bucket/a b/é+~%2F.txt?versionId=a%2Bb&response-content-type=text/plain",
        "http://test-bucket.s3.example.test/k?acl",
        "http://s3.example.test/test-bucket?prefix=a",
        "http://s3.example.test",
    ],
)
def test_a_url_gives_access(url: str) -> None:
    """
    With every signature, for lasting and temporary keys, until it expires, and with its own method only.
    """
    for credential, signature in itertools.product((LASTING, TEMPORARY), SIGNATURES):
        made = presign(url, credential, NOW, expires=60, signature=signature, domain="s3.example.test")

        assert ask(made) is None
        assert ask(made, after=60) is None
        assert ask(made, after=61) == "AccessDenied"
        assert ask(made, method="PUT") == "SignatureDoesNotMatch"
    for signature in SIGNATURES:
        other = presign(url, replace(LASTING, secret_access_keys=("x",)), NOW, signature=signature)
        assert ask(other) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("file", "name", "signature"), [("sigv4", "s3-presigned-get", "v4"), ("sigv2", "v2-query", "v2")]
)
def test_a_url_as_published(file: str, name: str, signature: str) -> None:
    """
    Byte for byte that of S3's documentation.
    """
    vectors = json.loads((VECTORS / "vectors" / f"s3-{file}.json").read_text())["vectors"]
    vector = next(each for each in vectors if each["name"] == name)
    target, host = vector["request"]["target"], vector["request"]["headers"][0][1]
    keys = vector["credentials"]
    # With Signature V4 the documentation signs at midnight, for a day. For Signature V2 it gives only the end.
    now, expires = datetime(2013, 5, 24, tzinfo=UTC), 86400
    if signature == "v2":
        now = datetime.fromtimestamp(int(parse_qs(urlsplit(target).query)["Expires"][0]) - expires, UTC)

    made = presign(
        f"https://{host}{urlsplit(target).path}",
        Credential(access_key_id=keys["access_key"], secret_access_keys=(keys["secret_key"],)),
        now,
        expires=expires,
        signature=signature,
        domain="s3.amazonaws.com",
    )

    assert made == f"https://{host}{target}"


@pytest.mark.parametrize(
    ("signature", "expires"),
    [("v4", 1), ("v4", 604800), ("v4a", 1), ("v4a", 604800), ("v2", 1), ("v2", 604801)],
)
def test_how_long_a_url_may_live(signature: str, expires: int) -> None:
    """
    From a second to a week. Signature V2 has no maximum ("Authenticating Requests: Using Query Parameters").
    """
    made = presign("http://s3.example.test/test-bucket/k", LASTING, NOW, expires=expires, signature=signature)

    assert ask(made, after=expires) is None
    assert ask(made, after=expires + 1) == "AccessDenied"


def test_the_first_of_two_secrets_signs() -> None:
    """
    During a key rotation the URL is the same as with the first secret alone.
    """
    two = replace(LASTING, secret_access_keys=(*LASTING.secret_access_keys, "another"))

    for signature in ("v4", "v2"):
        made = presign("http://s3.example.test/test-bucket/k", two, NOW, signature=signature)

        assert made == presign("http://s3.example.test/test-bucket/k", LASTING, NOW, signature=signature)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ftp://s3.example.test/b/k", {}),
        ("/b/k", {}),
        ("http://s3.example.test/b/k#part", {}),
        ("http://s3.example.test/b/%zz", {}),
        ("http://s3.example.test/b/k?a=%", {}),
        ("http://s3.example.test/b/k", {"expires": 0}),
        ("http://s3.example.test/b/k", {"expires": 604801}),
        ("http://s3.example.test/b/k", {"expires": 0, "signature": "v2"}),
    ],
)
def test_what_cannot_be_presigned(url: str, options: dict[str, Any]) -> None:
    """
    The command reports the reason, and makes no URL that would be refused.
    """
    with pytest.raises(CannotPresign):
        presign(url, LASTING, NOW, **options)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    It prints a URL and nothing else. If there are several keys it names the one that it used, and no secret.
    """
    keys = tmp_path / "keys.toml"
    write_keys(keys)
    url = "http://127.0.0.1:9000/bucket/key"

    assert main(["presign", url, "--keys", str(keys)]) == 1
    assert "2 keys: --access-key-id is required" in capsys.readouterr().err
    assert main(["presign", url, "--keys", str(keys), "--access-key-id", "NOBODY"]) == 1
    assert main(["presign", url, "--keys", str(tmp_path / "none.toml")]) == 1
    capsys.readouterr()

    assert main(["presign", url, "--keys", str(keys), "--access-key-id", LASTING.access_key_id]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith(f"{url}?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert printed.count("\n") == 1
    assert LASTING.secret_access_keys[0] not in printed


def test_the_method_may_be_in_lower_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    S3's methods are in upper case, and a URL for any other never works: the command refuses a method that S3 does not
    have.
    """
    keys = tmp_path / "keys.toml"
    write_keys(keys)
    options = ["http://s3.example.test/b/k", "--keys", str(keys), "--access-key-id", LASTING.access_key_id]

    assert main(["presign", *options, "--method", "put"]) == 0
    printed = urlsplit(capsys.readouterr().out.strip()).query
    with pytest.raises(SystemExit) as ended:
        main(["presign", *options, "--method", "fetch"])

    again = "http://s3.example.test/b/k?" + printed
    moment = datetime.strptime(parse_qs(printed)["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert ask(again, method="PUT", after=(moment - NOW).total_seconds()) is None
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err
