"""
Measure what splice(2) saves: two minimal relays between sockets, one with copies and one without.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import time
from collections.abc import Callable
from statistics import median

from bench.loads import GIB, KIB, MIB
from bench.results import spread, text_table

BLOCK_SIZES = (256 * KIB, MIB)

Relay = Callable[[socket.socket, socket.socket, int], None]


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for end in (one, other):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 512 * KIB)
    return one, other


def copy(source: socket.socket, target: socket.socket, size: int) -> None:
    """
    Relay by receive and send, as a `DirectWriter` does.
    """
    while data := source.recv(size):
        left = memoryview(data)
        while left:
            left = left[target.send(left) :]


def splice(source: socket.socket, target: socket.socket, size: int) -> None:
    """
    Relay through a pipe, without a copy to user space.
    """
    end, begin = os.pipe()
    try:
        fcntl.fcntl(begin, fcntl.F_SETPIPE_SZ, size)
        while moved := os.splice(source.fileno(), begin, size):
            while moved:
                moved -= os.splice(end, target.fileno(), moved)
    finally:
        os.close(begin)
        os.close(end)


RELAYS: dict[str, Relay] = {"copy": copy, "splice": splice}


def measure(relay: Relay, size: int, total: int) -> float:
    """
    Return the CPU seconds for a GiB.

    Args:
        size: The size of a block and of the pipe, in bytes.
        total: Bytes to relay.
    """
    giving, source = _connected()
    target, taking = _connected()
    ends = (giving, source, target, taking)
    children = [_child(_give, giving, ends, total), _child(_take, taking, ends, total)]
    giving.close()
    taking.close()
    before = time.process_time()
    relay(source, target, size)
    spent = time.process_time() - before
    source.close()
    target.close()
    for child in children:
        os.waitpid(child, 0)
    return spent * GIB / total


def _child(
    work: Callable[[socket.socket, int], None], own: socket.socket, ends: tuple[socket.socket, ...], total: int
) -> int:
    pid = os.fork()
    if pid:
        return pid
    for end in ends:
        if end is not own:
            end.close()
    work(own, total)
    own.close()
    os._exit(0)


def _give(target: socket.socket, total: int) -> None:
    block = memoryview(bytes(MIB))
    while total:
        total -= target.send(block[:total])


def _take(source: socket.socket, total: int) -> None:
    buffer = bytearray(MIB)
    while source.recv_into(buffer):
        pass


def run(options: argparse.Namespace) -> int:
    """
    Measure, and print the table.
    """
    found: dict[tuple[str, int], list[float]] = {(name, size): [] for size in BLOCK_SIZES for name in RELAYS}
    for number in range(options.rounds):
        for (name, size), values in found.items():
            values.append(measure(RELAYS[name], size, options.mebibytes * MIB))
        print(f"round {number + 1} of {options.rounds}", flush=True)
    rows = [["relay", "block", "CPU s/GiB", "times copy's"]]
    for (name, size), values in found.items():
        ratio = median(value / other for value, other in zip(values, found["copy", size], strict=True))
        rows.append([name, f"{size // KIB} KiB", spread(values, 3), f"{ratio:.2f}"])
    print("\n" + text_table(rows))
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``splice``.
    """
    parser.add_argument("--rounds", type=int, default=9, help="number of measurements of each relay")
    parser.add_argument("--mebibytes", type=int, default=2048, help="MiB of each measurement")
    parser.set_defaults(function=run)
