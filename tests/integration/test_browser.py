"""
Browsers' forms from a real browser, through s3proxy into Ceph RGW: a field follows the file, as a submit button does.
"""

from __future__ import annotations

import hashlib
import http.server
import random
import threading
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.boto import boto
from tests.integration.browser import running_browser
from tests.integration.conftest import BUCKET, Field, Way

pytestmark = pytest.mark.integration

MIB = 1 << 20
THROUGH = ("through v2 http", "through v4 http")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """
    One browser for all forms.
    """
    with running_browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture(scope="module")
def landing() -> Iterator[str]:
    """
    The URL of a page that a form may redirect to.
    """

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<title>landed</title>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """
            Log nothing.
            """

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/done"
        server.shutdown()
        thread.join()


def make_file(path: Path, size: int) -> str:
    """
    Write a file that does not consist of zeros; return its SHA-256.
    """
    digest = hashlib.sha256()
    generator = random.Random(size)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            block = generator.randbytes(min(MIB, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def submit(
    browser: Any, way: Way, tmp: Path, file: Path, key: str, fields: dict[str, str], conditions: list[Any], **more: str
) -> None:
    """
    Fill in a form, and press its button.

    Args:
        more: Fields that the policy does not have.
    """
    conditions = [*conditions, *({name: value} for name, value in fields.items())]
    made = boto(way).generate_presigned_post(BUCKET, key, Fields=fields, Conditions=conditions)
    inputs = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in {**made["fields"], **more}.items()
    )
    page = tmp / "form.html"
    page.write_text(
        f'<meta charset="utf-8"><title>form</title><form action="{escape(made["url"])}" method="post" '
        f'enctype="multipart/form-data">{inputs}<input type="file" name="file">'
        '<input type="submit" name="submit" value="Upload"></form>'
    )
    browser.get(page.as_uri())
    browser.find_element("name", "file").send_keys(str(file))
    browser.find_element("name", "submit").click()


def stored(way: Way, key: str) -> str | None:
    """
    The SHA-256 of the object at a key.
    """
    client = boto(way)
    if not client.list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents"):
        return None
    digest = hashlib.sha256()
    for block in client.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(MIB):
        digest.update(block)
    return digest.hexdigest()


@pytest.mark.parametrize("name", THROUGH)
@pytest.mark.parametrize("size", [1000, 200 * MIB], ids=["1 kB", "200 MiB"])
def test_a_form_is_stored(name: str, size: int, field: Field, browser: Any, landing: str, tmp_path: Path) -> None:
    """
    The browser lands on the page which the form named, and the file is there, byte for byte.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    file = tmp_path / "käse & brot.bin"
    digest = make_file(file, size)
    fields = {"success_action_redirect": landing, "Content-Type": "application/octet-stream", "x-amz-meta-by": "é"}
    prefix = f"browser/{name.replace(' ', '-')}/{size}"

    submit(
        browser,
        field.ways[name],
        tmp_path,
        file,
        f"{prefix}/${{filename}}",
        fields,
        [["content-length-range", size, size]],
    )
    WebDriverWait(browser, 300).until(lambda driver: driver.title == "landed")

    query = parse_qs(urlsplit(browser.current_url).query)
    key = f"{prefix}/{file.name}"
    assert (query["bucket"], query["key"]) == ([BUCKET], [key])
    straight = field.ways["straight http"]
    assert stored(straight, key) == digest
    head = boto(straight).head_object(Bucket=BUCKET, Key=key)
    assert head["ContentLength"] == size
    assert head["ContentType"] == "application/octet-stream"


@pytest.mark.parametrize("name", THROUGH)
def test_a_form_is_refused(name: str, field: Field, browser: Any, tmp_path: Path) -> None:
    """
    The browser shows S3's own error, and nothing is stored.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    file = tmp_path / "file.bin"
    make_file(file, 300_000)
    for number, (conditions, more, code) in enumerate(
        (
            ([["content-length-range", 0, 299_999]], {}, "EntityTooLarge"),
            ([["content-length-range", 300_001, 400_000]], {}, "EntityTooSmall"),
            ([], {"x-amz-meta-added": "by somebody"}, "AccessDenied"),
            ([], {"x-amz-checksum-crc32": "AAAAAA=="}, "AccessDenied"),
        )
    ):
        key = f"browser/refused/{name.replace(' ', '-')}/{number}"
        submit(browser, field.ways[name], tmp_path, file, key, {}, conditions, **more)
        WebDriverWait(browser, 60).until(lambda driver: "<Code>" in driver.page_source or "form" not in driver.title)

        assert code in browser.page_source
        assert stored(field.ways["straight http"], key) is None
