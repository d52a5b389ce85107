"""
A browser: Chromium without a screen. Its page has another origin than the storage system's, or the same one.

The page has no keys. It gets URLs and forms that boto3 signs here, as a web application's server does.
"""

from __future__ import annotations

import http.server
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from scenario import MIB, PAGE_KEY, Cell, Client, cannot
from sdks import Boto3

PART_SIZE = 8 * MIB


class _Origin(http.server.ThreadingHTTPServer):
    """
    The server of the page, with the files that the page sends and saves.

    Args:
        page: Path of the page.
        directory: Directory of the files.
    """

    def __init__(self, page: Path, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _OriginRequest)
        self.page = page
        self.directory = directory
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def close(self) -> None:
        """
        Stop the server.
        """
        self.shutdown()
        self._thread.join()
        self.server_close()


class _OriginRequest(http.server.BaseHTTPRequestHandler):
    server: _Origin

    @property
    def _file(self) -> Path:
        return self.server.directory / self.path.rpartition("/")[2]

    def do_GET(self) -> None:
        is_file = self.path.startswith("/files/")
        data = (self._file if is_file else self.server.page).read_bytes()
        self._response("application/octet-stream" if is_file else "text/html", data)

    def do_OPTIONS(self) -> None:
        self._response("text/plain", b"")

    def do_PUT(self) -> None:
        self._file.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self._response("text/plain", b"")

    def _response(self, content_type: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        # For the page that comes from the storage system.
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Methods", "PUT")
        self.send_header("Access-Control-Allow-Headers", "Content-Type")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """
        Log nothing.
        """


class Chromium(Client):
    """
    Chromium from Debian, driven by Selenium.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell)
        self._signer = Boto3(cell).client
        self._downloads = Path(cell.directory) / "downloads"
        self._downloads.mkdir()
        self._bucket = ""
        if cell.is_tls:
            self._trust(Path(cell.directory) / ".pki" / "nssdb")
        self._origin = _Origin(Path(cell.tools["page"]), Path(cell.directory))
        try:
            self._browser = self._start()
            self._browser.set_script_timeout(cell.response_seconds)
            self._browser.set_page_load_timeout(cell.response_seconds)
        except BaseException:
            self._origin.close()
            raise

    def _trust(self, database: Path) -> None:
        """
        Make Chromium, which has no option for it, trust the authority.
        """
        certutil = [self.cell.tools["certutil"], "-d", f"sql:{database}"]
        database.mkdir(parents=True)
        subprocess.run([*certutil, "-N", "--empty-password"], check=True)
        authority = ["-n", "authority", "-t", "C,,", "-i", self.cell.authority]
        subprocess.run([*certutil, "-A", *authority], check=True)

    def _start(self) -> Any:
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = self.cell.tools["chromium"]
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--no-first-run",
            "--disable-gpu",
            "--disable-quic",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            # Chromium ends with its driver, however the driver ends.
            "--remote-debugging-pipe",
            f"--user-data-dir={self.file('profile')}",
        ):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(self._downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = ChromeService(self.cell.tools["chromedriver"], log_output=self.file("chromedriver.log"))
        return Chrome(options=options, service=service)

    def close(self) -> None:
        self._browser.quit()
        self._origin.close()

    def _page_url(self, bucket: str) -> str:
        """
        Return the URL of the page for a bucket.
        """
        del bucket
        return self._origin.url

    def _page(self, bucket: str, function: str, **arguments: Any) -> Any:
        """
        Call a function of the page for a bucket; return what it returns.
        """
        from selenium.common.exceptions import WebDriverException

        arguments["origin"] = self._origin.url
        script = (
            f"const [arguments_, done] = arguments; {function}(arguments_)"
            ".then((value) => done({value}), (error) => done({error: String(error)}))"
        )
        try:
            if self._bucket != bucket:
                self._visit(bucket)
            # Earlier messages are about something else.
            self._console()
            said = self._browser.execute_async_script(script, arguments)
        except WebDriverException as error:
            # The rest of its text has the addresses of its code.
            said = {"error": str(error.msg)}
        if "error" in said:
            # The console has the details of a failure that the page may not read.
            raise RuntimeError("\n".join([*self._console(), said["error"]]))
        return said["value"]

    def _visit(self, bucket: str) -> None:
        self._bucket = ""
        self._browser.get(self._page_url(bucket))
        if not self._browser.execute_script("return typeof send === 'function'"):
            raise RuntimeError(self._browser.execute_script("return document.documentElement.textContent"))
        self._bucket = bucket

    def _console(self) -> list[str]:
        return [line["message"] for line in self._browser.get_log("browser")]

    def _send(self, operation: str, method: str, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
        """
        Have the page send a request that is signed for it.
        """
        url = self._signer.generate_presigned_url(operation, Params=parameters)
        response: dict[str, Any] = self._page(parameters["Bucket"], "send", method=method, url=url, **more)
        return response

    def make_bucket(self, bucket: str) -> None:
        cannot("a bucket which is not there lets no page of another origin make it")

    def remove_bucket(self, bucket: str) -> None:
        cannot("it works on objects alone")

    def put(self, bucket: str, key: str, path: str) -> None:
        parameters = {"Bucket": bucket, "Key": key, "Metadata": {"sent-by": "page"}}
        headers = {"x-amz-meta-sent-by": "page"}
        response = self._send("put_object", "PUT", parameters, headers=headers, file=Path(path).name)
        if not response["etag"]:
            raise RuntimeError("the page is not shown the entity tag")

    def put_large(self, bucket: str, key: str, path: str) -> None:
        # As upload libraries do: in parts, each with a URL of its own. The page reads their entity tags.
        upload = {"Bucket": bucket, "Key": key}
        begun = self._send("create_multipart_upload", "POST", upload)["text"]
        found = re.search("<UploadId>([^<]+)</UploadId>", begun)
        if found is None:
            raise RuntimeError(begun)
        upload["UploadId"] = found[1]
        parts = ""
        for number, first in enumerate(range(0, Path(path).stat().st_size, PART_SIZE), 1):
            response = self._send(
                "upload_part",
                "PUT",
                {**upload, "PartNumber": number},
                file=Path(path).name,
                first=first,
                end=first + PART_SIZE,
            )
            parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(response['etag'] or '')}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        headers = {"Content-Type": "application/xml"}
        said = self._send("complete_multipart_upload", "POST", upload, text=document, headers=headers)["text"]
        if "<CompleteMultipartUploadResult" not in said:
            raise RuntimeError(said)

    def put_stream(self, bucket: str, key: str, stream: Any) -> None:
        cannot("it sends streams over HTTP/2 alone")

    def put_form(self, bucket: str, key: str, path: str) -> None:
        fields = {"success_action_status": "201", "x-amz-meta-sent-by": "page"}
        conditions = [["content-length-range", 1, MIB], *({name: value} for name, value in fields.items())]
        form = self._signer.generate_presigned_post(bucket, key, Fields=fields, Conditions=conditions)
        response: str = self._page(bucket, "post", **form, file=Path(path).name)
        if "<Location>" not in response:
            raise RuntimeError(response)

    def get(self, bucket: str, key: str, path: str) -> None:
        self._send("get_object", "GET", {"Bucket": bucket, "Key": key}, said=Path(path).name)

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        # A range alone needs no preflight; a second header does.
        headers = {"Range": f"bytes={first}-{last}", "Cache-Control": "no-cache"}
        response = self._send("get_object", "GET", {"Bucket": bucket, "Key": key}, headers=headers, said="range")
        if response["status"] != 206:
            raise RuntimeError(f"a range was answered {response['status']}")
        return Path(self.file("range")).read_bytes()

    def list(self, bucket: str, prefix: str) -> list[str]:
        said = self._send("list_objects_v2", "GET", {"Bucket": bucket, "Prefix": prefix})["text"]
        keys = re.findall("<Key>([^<]*)</Key>", said)
        # boto3 requests percent-encoded names in every URL that it signs; not every storage system encodes them.
        return [unquote(key) for key in keys] if "<EncodingType>url</EncodingType>" in said else keys

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        parameters = {"Bucket": target_bucket, "Key": target, "CopySource": {"Bucket": bucket, "Key": key}}
        headers = {"x-amz-copy-source": quote(f"{bucket}/{key}", safe="/-._~")}
        said = self._send("copy_object", "PUT", parameters, headers=headers)["text"]
        if "<CopyObjectResult" not in said:
            raise RuntimeError(said)

    def head(self, bucket: str, key: str) -> int:
        return int(self._send("head_object", "HEAD", {"Bucket": bucket, "Key": key})["length"])

    def show_image(self, bucket: str, key: str) -> tuple[int, int]:
        url = self._signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        width, height = self._page(bucket, "show", url=url)
        return width, height

    def download(self, bucket: str, key: str, name: str) -> bytes:
        parameters = {"Bucket": bucket, "Key": key, "ResponseContentDisposition": f'attachment; filename="{name}"'}
        self._page(bucket, "save", url=self._signer.generate_presigned_url("get_object", Params=parameters))
        deadline = time.monotonic() + min(20, self.cell.response_seconds)
        saved = self._downloads / name
        while not (saved.exists() and saved.stat().st_size):
            if time.monotonic() > deadline:
                found = sorted(path.name for path in self._downloads.iterdir())
                raise RuntimeError("\n".join([*self._console(), f"nothing was saved as {name}: {found}"]))
            time.sleep(0.05)
        return saved.read_bytes()


class ChromiumAtHome(Chromium):
    """
    Chromium with a page that is an object of the bucket in which it works: no preflight is needed.
    """

    def _page_url(self, bucket: str) -> str:
        url: str = self._signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": PAGE_KEY})
        return url


CLIENTS: dict[str, type[Client]] = {"chromium": Chromium, "chromium-at-home": ChromiumAtHome}
