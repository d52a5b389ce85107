"""
The two ends of a measurement: a backend which swallows and gives octets, and clients which send what was made before.

Neither is measured: only the process between them is.
"""

from __future__ import annotations

import argparse
import socket
import threading

BLOCK = bytes(256) * 1024  # 256 KiB
SMALL = b"a" * 1024


def serve_connection(connection: socket.socket) -> None:
    """
    Answer requests until the connection ends: ``/…/large-N`` gives N bytes, anything else 1 KiB.
    """
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    head = b""
    try:
        while True:
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                if not data:
                    return
                head += data
            text, _, rest = head.partition(b"\r\n\r\n")
            lines = text.split(b"\r\n")
            method, target, _ = lines[0].split(b" ")
            length = next((int(line[15:]) for line in lines[1:] if line[:15].lower() == b"content-length:"), 0)
            left = length - len(rest)
            while left > 0:
                left -= connection.recv_into(view, min(left, len(buffer)))
            head = rest[length:]
            if method in {b"GET", b"HEAD"}:
                size = int(target.partition(b"?")[0].rpartition(b"-")[2]) if b"large-" in target else len(SMALL)
                answer = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: %d\r\n\r\n' % size
                if method == b"HEAD":
                    connection.sendall(answer)
                elif size == len(SMALL):
                    connection.sendall(answer + SMALL)
                else:
                    connection.sendall(answer)
                    for _ in range(size // len(BLOCK)):
                        connection.sendall(BLOCK)
            else:
                connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n')
    except (ConnectionError, ValueError):
        pass
    finally:
        connection.close()


def serve(port: int) -> None:
    """
    Listen until the process is ended.
    """
    with socket.create_server(("127.0.0.1", port), backlog=256) as listener:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve_connection, args=(connection,), daemon=True).start()


class Client:
    """
    One connection which sends requests, one after another.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(1 << 20))

    def ask(self, head: bytes, body: bytes | memoryview = b"", *, is_head: bool = False) -> None:
        """
        Send a request and read its answer, whatever its size.

        Raises:
            AssertionError: The answer is not 200.
        """
        if len(body) <= 65536:
            self._socket.sendall(head + bytes(body))
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)
        data = b""
        while b"\r\n\r\n" not in data:
            more = self._socket.recv(65536)
            assert more, data
            data += more
        text, _, rest = data.partition(b"\r\n\r\n")
        assert text[9:12] == b"200", text
        if is_head:
            return
        lower = text.lower()
        length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
        left = length - len(rest)
        while left > 0:
            count = self._socket.recv_into(self._buffer, min(left, len(self._buffer)))
            assert count
            left -= count

    def close(self) -> None:
        """
        End the connection.
        """
        self._socket.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the backend of the measurement")
    parser.add_argument("port", type=int)
    serve(parser.parse_args().port)
