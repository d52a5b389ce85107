"""
Clients that upload without end. Each writes down what it intends before an upload, and the response after it.

A process of its own, which may be killed at any moment: ``python -m tests.soak.client PLAN``. After SIGTERM it ends
with its current uploads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import selectors
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.soak.uploads import MULTIPART, Bytes, Upload, draw_upload, write_upload
from tests.support.signer import Signer

PATIENCE = 60.0
"""
Seconds without any progress until a client gives up.
"""

PIECE = 65536
MAX_KEYS = 12
"""
Keys of one slot whose objects are known for certain, and may be replaced.
"""


class Ledger:
    """
    What this process writes down, line by line; nothing is lost if it is killed.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **fields: object) -> None:
        """
        Add a line.
        """
        os.write(self._file, json.dumps(fields).encode() + b"\n")


class Wire:
    """
    A connection of a client, which is reused if possible.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, raw: Bytes, expects: bool, flaw: str, about_to_end: Callable[[], None]) -> tuple[str, str]:
        """
        Send an upload.

        Args:
            about_to_end: Called before the last byte may leave.

        Returns:
            The status of the whole response and the code in it; ``cut`` if the response is not whole.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
            exchange = Exchange(self._socket)
            if expects:
                exchange.run(raw.head, None)
                exchange.wait_for_continue()
            is_whole = raw.stop == len(raw.body)
            data = raw.body[: raw.stop] if expects else raw.head + raw.body[: raw.stop]
            if exchange.status is None:
                exchange.run(data, about_to_end if is_whole else None)
            if not is_whole and exchange.status is None:
                if flaw == "cut-half":
                    with contextlib.suppress(OSError):
                        self._socket.shutdown(socket.SHUT_WR)
                else:
                    self.close(reset=flaw == "cut-reset")
                    return "gave up", ""
            exchange.finish()
            if not exchange.is_reusable or not is_whole:
                self.close()
            return exchange.status or "cut", exchange.code
        except OSError as error:
            self.close()
            return "cut", type(error).__name__

    def close(self, *, reset: bool = False) -> None:
        """
        End the connection.
        """
        if self._socket is not None:
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()
            self._socket = None


class Exchange:
    """
    One request and its response, which may arrive before the request's end.

    Attributes:
        status: Status of the response; None before it is complete.
        code: The S3 error in the response.
        is_reusable: Whether the connection can be used for another request.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._received = b""
        self._has_ended = False
        self._interim = False
        self._sends_all = True
        self.status: str | None = None
        self.code = ""
        self.is_reusable = False

    def run(self, data: bytes, about_to_end: Callable[[], None] | None) -> None:
        """
        Send bytes until there are no more or a response has come.
        """
        view, is_told = memoryview(data), about_to_end is None
        while view and self.status is None and not self._has_ended:
            can_read, can_write = self._wait(writes=True)
            if can_read:
                self._read()
            elif can_write:
                if len(view) <= PIECE and not is_told and about_to_end is not None:
                    about_to_end()
                    is_told = True
                try:
                    view = view[self._socket.send(view[:PIECE]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    # There may be a response that says why.
                    break
        if not data and about_to_end is not None:
            about_to_end()
        self._sends_all = self._sends_all and not view

    def wait_for_continue(self) -> None:
        """
        Wait for 100 Continue, for at most a second.
        """
        until = time.monotonic() + 1
        while not self._interim and self.status is None and not self._has_ended and time.monotonic() < until:
            if self._wait(writes=False, seconds=0.2)[0]:
                self._read()

    def finish(self) -> None:
        """
        Read the rest of the response.
        """
        while self.status is None and not self._has_ended:
            if not self._wait(writes=False)[0]:
                raise TimeoutError
            self._read()
        self.is_reusable = self.is_reusable and self._sends_all and not self._has_ended

    def _wait(self, *, writes: bool, seconds: float = PATIENCE) -> tuple[bool, bool]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if writes else 0))
            found = selector.select(seconds)
        if not found and seconds == PATIENCE:
            raise TimeoutError
        events = found[0][1] if found else 0
        return bool(events & selectors.EVENT_READ), bool(events & selectors.EVENT_WRITE)

    def _read(self) -> None:
        try:
            data = self._socket.recv(PIECE)
        except BlockingIOError:
            return
        self._has_ended = not data
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        while end and head[9:10] == b"1":
            self._interim = True
            self._received = rest
            head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is not None:
            is_whole = len(rest) >= int(length[1])
        elif re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            is_whole = rest.endswith(b"0\r\n\r\n")
        else:
            is_whole = head[9:12] == b"204" or self._has_ended
        if is_whole:
            self.status = head[9:12].decode()
            found = re.search(rb"<Code>([^<]*)</Code>", rest)
            self.code = found[1].decode() if found else ""
            self.is_reusable = not re.search(rb"(?i)\r\nconnection: *close", head)


class Slot:
    """
    Makes one upload after another.

    Args:
        plan: The plan that the process was started with.
        number: Number of the slot in its process.
    """

    def __init__(self, plan: dict[str, Any], number: int, ledger: Ledger, over: threading.Event) -> None:
        self._plan = plan
        self._name = f"{plan['name']}-{number}"
        self._source = random.Random(f"{plan['seed']} {self._name}")
        self._ledger = ledger
        self._over = over
        self._wire = Wire(plan["port"])
        # The process that replaces a killed client gets its keys, so that their histories continue.
        self._keys = [(key, account) for key, account in plan["keys"][number :: plan["slots"]]]
        self._boto: dict[str, Any] = {}

    def run(self) -> None:
        """
        Upload until the run is over.
        """
        for count in range(self._plan["count"] or 1 << 60):
            self._over.wait(self._source.expovariate(1 / self._plan["pause"]))
            if self._over.is_set():
                break
            self._upload(count)
        self._wire.close()

    def _upload(self, count: int) -> None:
        key, account = f"{self._name}-{count}", self._source.choice(sorted(self._plan["accounts"]))
        if self._keys and self._source.random() < 0.3:
            key, account = self._keys.pop(self._source.randrange(len(self._keys)))
        upload = draw_upload(self._source, key, account, self._plan["flaw_probability"])
        number = f"{self._name}-{count}"
        body = upload.body
        digest = hashlib.sha256(body).hexdigest()
        self._ledger.write(event="start", number=number, **{**asdict(upload), "sha256": digest})
        is_ending = False

        def about_to_end() -> None:
            nonlocal is_ending
            is_ending = True
            self._ledger.write(event="last", number=number)

        if upload.mode == MULTIPART:
            status, code = self._upload_parts(upload, body, about_to_end)
        else:
            secret = self._plan["accounts"][account]
            signer = Signer(account, secret, datetime.now(UTC), f"127.0.0.1:{self._plan['port']}")
            raw = write_upload(upload, self._plan["bucket"], body, signer)
            status, code = self._wire.ask(raw, upload.expects, upload.flaw, about_to_end)
        self._ledger.write(event="end", number=number, status=status, code=code)
        if status[0] in "24" or not upload.is_good or not is_ending:
            # The key's content is certain, so the key is used again. Otherwise a late commit could replace the next
            # object.
            self._keys.append((key, account))
            if len(self._keys) > MAX_KEYS:
                self._keys.pop(0)
        if status.startswith("5"):
            self._over.wait(self._source.uniform(0.2, 1))

    def _upload_parts(self, upload: Upload, body: bytes, about_to_end: Callable[[], None]) -> tuple[str, str]:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        client, name = self._client(upload.account), {"Bucket": self._plan["bucket"], "Key": upload.key}
        try:
            name["UploadId"] = client.create_multipart_upload(**name)["UploadId"]
            parts: list[dict[str, Any]] = []
            for start in range(0, len(body), upload.chunk_size):
                number = len(parts) + 1
                data = body[start : start + upload.chunk_size]
                tag = client.upload_part(**name, PartNumber=number, Body=data)["ETag"]
                parts.append({"PartNumber": number, "ETag": tag})
            if upload.flaw == "abandoned":
                return "gave up", ""
            if upload.flaw == "part":
                parts[-1]["ETag"] = f'"{hashlib.md5(body + b"!").hexdigest()}"'
            about_to_end()
            completed = client.complete_multipart_upload(**name, MultipartUpload={"Parts": parts})
            if "ETag" not in completed:
                return "cut", ""
        except ClientError as error:
            return str(error.response["ResponseMetadata"]["HTTPStatusCode"]), error.response["Error"]["Code"]
        except (BotoCoreError, HTTPClientError, KeyError) as error:
            # Python takes a cut head for a whole one: then something is missing from it.
            return "cut", type(error).__name__
        return "200", ""

    def _client(self, account: str) -> Any:
        import boto3
        from botocore.config import Config

        if account not in self._boto:
            # A client that retries would hide the first response.
            config = Config(
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                connect_timeout=PATIENCE,
                read_timeout=PATIENCE,
            )
            self._boto[account] = boto3.session.Session().client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{self._plan['port']}",
                aws_access_key_id=account,
                aws_secret_access_key=self._plan["accounts"][account],
                region_name="us-east-1",
                config=config,
            )
        return self._boto[account]


def main() -> None:
    """
    Run the slots that a plan describes.
    """
    plan = json.loads(Path(sys.argv[1]).read_text())
    ledger, over = Ledger(Path(plan["ledger"])), threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: over.set())
    slots = [Slot(plan, number, ledger, over) for number in range(plan["slots"])]
    threads = [threading.Thread(target=slot.run) for slot in slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
