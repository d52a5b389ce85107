"""
What a small request costs in Python calls, C calls and bytecodes, whatever the speed of the machine.

Client, s3proxy and backend are in one process. The sockets of the client and of the backend are read and written only
between two turns of the reactor, and only the turns are counted.
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from trustme import CA
from twisted.internet import reactor as _reactor

import s3proxy
from bench.loads import KIB
from bench.results import text_table
from s3proxy.configuration.loading import read_configuration
from s3proxy.daemon.service import make_service
from tests.support.processes import free_port, write_configuration
from tests.support.signer import HASH, SIGNED_CHUNKS, Signer

reactor: Any = _reactor

BUDGET = Path(__file__).with_name("calls.toml")
"""
The most that each load may cost. The numbers go down; a mend that must cost more says why in its commit.
"""

CONNECTIONS = 16
_ROUNDS = 15
_WARM_ROUNDS = 5
_MAX_TURNS = 100
_PACKAGE = str(Path(s3proxy.__file__).parent) + os.sep
_COMPREHENSIONS = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"})
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nContent-Length: %d\r\nContent-Type: application/octet-stream\r\n"
    b'ETag: "d41d8cd98f00b204e9800998ecf8427e"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
)


@dataclass(frozen=True)
class Load:
    """
    One kind of request.

    Attributes:
        request: The bytes of the request.
        response: The bytes of the backend's response.
        is_tls: Whether the client's connection is TLS.
    """

    request: bytes
    response: bytes
    is_tls: bool = False


@dataclass(frozen=True)
class Cost:
    """
    What one request costs.

    Attributes:
        calls: Calls of Python functions.
        own_calls: Those of s3proxy's functions, without comprehensions: these do not depend on the version of Python.
        c_calls: Calls of functions written in C.
        bytecodes: Instructions of Python's interpreter.
    """

    calls: float
    own_calls: float
    c_calls: float
    bytecodes: float


def make_loads(signer: Signer) -> dict[str, Load]:
    """
    Return the loads by name.
    """

    def read(method: str, content: bytes, *, is_tls: bool = False) -> Load:
        return Load(signer.head(method, "/bench/key")[0], _RESPONSE % KIB + content, is_tls=is_tls)

    def put(size: int, mode: str) -> Load:
        made = signer.put("/bench/key", bytes(size), mode)
        return Load(made.head + made.body, _RESPONSE % 0)

    return {
        "GET 1 KiB": read("GET", bytes(KIB)),
        "HEAD": read("HEAD", b""),
        "PUT 1 KiB": put(KIB, HASH),
        "PUT 4 KiB, signed chunks": put(4 * KIB, SIGNED_CHUNKS),
        "GET 1 KiB, TLS": read("GET", bytes(KIB), is_tls=True),
    }


class Lab:
    """
    A daemon in this process, its clients and its backend.

    Args:
        directory: An empty directory for the configuration.
    """

    def __init__(self, directory: Path) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._backends: list[tuple[socket.socket, bytearray]] = []
        self._clients: dict[bool, list[socket.socket]] = {False: [], True: []}
        self._ports = {False: free_port(), True: free_port()}
        certificate = directory / "lab.pem"
        CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        tls = f"ssl:{self._ports[True]}:interface=127.0.0.1:privateKey={certificate}"
        path = write_configuration(
            directory,
            f"http://127.0.0.1:{self._listener.getsockname()[1]}",
            listen=f'tcp:{self._ports[False]}:interface=127.0.0.1", "{tls}',
            access="none",
        )
        self._service = make_service(read_configuration(path).settings())
        reactor.startRunning(installSignalHandlers=False)
        self._service.privilegedStartService()
        self._service.startService()
        self.loads = make_loads(Signer(now=datetime.now(UTC), host=f"127.0.0.1:{self._ports[False]}"))

    def connect(self, *, is_tls: bool) -> None:
        """
        Make the connections that are missing.
        """
        clients = self._clients[is_tls]
        while len(clients) < CONNECTIONS:
            client = socket.create_connection(("127.0.0.1", self._ports[is_tls]))
            client.setblocking(False)
            if is_tls:
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                client = context.wrap_socket(client, do_handshake_on_connect=False)
                _until(partial(_is_through, client.do_handshake), partial(reactor.iterate, 0))
            clients.append(client)

    def run(self, load: Load, turn: Callable[[], None]) -> None:
        """
        Send one request on each connection, and read the responses.

        Args:
            turn: Runs a turn of the reactor.
        """
        clients = self._clients[load.is_tls]
        for client in clients:
            client.sendall(load.request)
        left = CONNECTIONS

        def are_asked() -> bool:
            nonlocal left
            left -= self._respond(load.response)
            return not left

        _until(are_asked, turn)
        waiting = dict.fromkeys(clients, b"")

        def are_read() -> bool:
            for client in tuple(waiting):
                data = _read(client)
                waiting[client] += data
                if not data and waiting[client]:
                    if not waiting[client].startswith(b"HTTP/1.1 200 "):
                        raise RuntimeError(waiting[client].decode("latin-1"))
                    del waiting[client]
            return not waiting

        _until(are_read, turn)

    def _respond(self, response: bytes) -> int:
        """
        Respond to each whole request; return how many there were.
        """
        while accepted := _accepted(self._listener):
            self._backends.append((accepted, bytearray()))
        count = 0
        for connection, received in self._backends:
            received.extend(_read(connection))
            head, end, body = bytes(received).partition(b"\r\n\r\n")
            length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            if end and len(body) >= int(length or 0):
                received.clear()
                connection.sendall(response)
                count += 1
        return count

    def close(self) -> None:
        """
        Close every socket.
        """
        stopped = self._service.stopService()
        backends = (connection for connection, _ in self._backends)
        for each in (self._listener, *backends, *self._clients[False], *self._clients[True]):
            each.close()
        _until(lambda: bool(stopped.called), partial(reactor.iterate, 0.01))


def _until(is_done: Callable[[], bool], turn: Callable[[], None]) -> None:
    for _ in range(_MAX_TURNS):
        turn()
        if is_done():
            return
    raise RuntimeError(f"not done after {_MAX_TURNS} turns of the reactor")


def _is_through(step: Callable[[], None]) -> bool:
    try:
        step()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(64 * KIB)
    except (BlockingIOError, ssl.SSLWantReadError):
        return b""


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        found, _ = listener.accept()
    except BlockingIOError:
        return None
    found.setblocking(False)
    return found


def measure(lab: Lab, load: Load) -> tuple[Cost, Counter[str]]:
    """
    Return what a request costs, and how often it calls each Python function.
    """
    lab.connect(is_tls=load.is_tls)
    for _ in range(_WARM_ROUNDS):
        lab.run(load, partial(reactor.iterate, 0))
    found = []
    # Some values are made once a second, and a round may take one turn more: the cheapest round has neither.
    for _ in range(_ROUNDS):
        python: Counter[CodeType] = Counter()
        c_calls: Counter[str] = Counter()
        lab.run(load, partial(_turn, partial(sys.setprofile, partial(_profile, python, c_calls)), sys.setprofile))
        found.append((python.total(), c_calls.total(), python))
    calls, c_count, python = min(found, key=lambda each: each[0])
    bytecodes = []
    for _ in range(_ROUNDS):
        codes: Counter[CodeType] = Counter()
        lab.run(load, partial(_turn, partial(sys.settrace, partial(_trace, codes)), sys.settrace))
        bytecodes.append(codes.total())
    own = sum(count for code, count in python.items() if _is_own(code))
    cost = Cost(*(round(each / CONNECTIONS, 1) for each in (calls, own, c_count, min(bytecodes))))
    names = Counter({f"{Path(code.co_filename).name} {code.co_qualname}": count for code, count in python.items()})
    return cost, names


def _is_own(code: CodeType) -> bool:
    return code.co_filename.startswith(_PACKAGE) and code.co_name not in _COMPREHENSIONS


def _turn(start: Callable[[], object], stop: Callable[[None], object]) -> None:
    iterate = reactor.iterate
    start()
    iterate(0)
    stop(None)


def _profile(python: Counter[CodeType], c_calls: Counter[str], frame: FrameType, event: str, argument: Any) -> None:
    if event == "call":
        python[frame.f_code] += 1
    elif event == "c_call":
        c_calls[argument.__name__] += 1


def _trace(codes: Counter[CodeType], frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    if event == "opcode":
        codes[frame.f_code] += 1
    return partial(_trace, codes)


@contextmanager
def running_lab() -> Iterator[Lab]:
    """
    Run a lab in a directory of its own.
    """
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory))
        try:
            yield lab
        finally:
            lab.close()


def describe_versions() -> dict[str, str]:
    """
    Return the versions on which every number but `own_calls` depends.
    """
    found = {name: version(name) for name in ("twisted", "pyopenssl", "cryptography")}
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}", **found}


def excesses(budget: dict[str, Any], costs: dict[str, Cost]) -> list[str]:
    """
    Return each number that is above its budget, in words.
    """
    names = [field.name for field in fields(Cost)]
    if any(budget.get(name) != found for name, found in describe_versions().items()):
        names = ["own_calls"]
    return [
        f"{load}: {name} {getattr(cost, name):g}, the budget is {budget[load][name]:g}"
        for load, cost in costs.items()
        for name in names
        if getattr(cost, name) > budget[load][name]
    ]


def write_budget(costs: dict[str, Cost]) -> str:
    """
    Return the budget file for these costs.
    """
    lines = ["# What a small request may cost: `python -m bench calls`. It goes down; what must cost more says why."]
    lines += [f'{name} = "{found}"' for name, found in describe_versions().items()]
    for load, cost in costs.items():
        lines += ["", f'["{load}"]', *(f"{each.name} = {getattr(cost, each.name):g}" for each in fields(Cost))]
    return "\n".join(lines) + "\n"


def run(options: argparse.Namespace) -> int:
    """
    Measure, print and compare.
    """
    costs: dict[str, Cost] = {}
    with running_lab() as lab:
        for name, load in lab.loads.items():
            costs[name], calls = measure(lab, load)
            if name == options.functions:
                print(text_table([["function", "calls"], *_rows(calls)]))
    rows = [[name, *(f"{getattr(cost, each.name):g}" for each in fields(Cost))] for name, cost in costs.items()]
    print(text_table([["a request", *(each.name.replace("_", " ") for each in fields(Cost))], *rows]))
    if options.record:
        options.budget.write_text(write_budget(costs))
        return 0
    found = excesses(tomllib.loads(options.budget.read_text()), costs)
    print("\n".join(found) or "within the budget")
    return 1 if found else 0


def _rows(calls: Counter[str]) -> list[list[str]]:
    return [[name, f"{count / CONNECTIONS:g}"] for name, count in calls.most_common()]


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``calls``.
    """
    parser.add_argument("--functions", metavar="LOAD", help="print how often each function is called under this load")
    parser.add_argument("--budget", type=Path, default=BUDGET, help=f"the file of the budget (bench/{BUDGET.name})")
    parser.add_argument("--record", action="store_true", help="write the numbers into that file")
    parser.set_defaults(function=run)
