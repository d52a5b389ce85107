"""
A network that fails: connections pass through it, and some of them stall, crawl, break or end too early.

A process of its own: ``python -m tests.soak.relay PLAN``. It begins with faults after SIGUSR1, and stops them after
SIGUSR2.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import signal
import socket
import struct
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KINDS = ("stall", "hole", "slow", "reset", "cut")
"""
What happens to a connection at one byte of one direction. ``stall`` and ``slow`` end after a while. A ``hole`` takes
nothing more until its connection is reset. ``cut`` is an orderly end towards the receiver in the middle of what comes.
"""

TICK = 0.05
"""
Seconds between two pieces of a slow connection.
"""

HOLE_TIME = 40.0
"""
Seconds after which a hole is reset, if neither side gave it up before.
"""


@dataclass(frozen=True)
class Line:
    """
    One address where connections arrive, and their target.

    Attributes:
        probability: Probability that a connection has a fault.
    """

    name: str
    port: int
    target_port: int
    probability: float


@dataclass(frozen=True)
class Fault:
    """
    What will happen to a connection.

    Attributes:
        is_response: Whether it happens on the way back.
        at: Bytes which pass before it.
        seconds: How long it lasts.
        rate: Bytes a second of a slow connection.
    """

    kind: str
    is_response: bool
    at: int
    seconds: float
    rate: int


def draw_fault(source: random.Random, probability: float) -> Fault | None:
    """
    Choose what happens to the next connection; None for most of them.
    """
    if source.random() >= probability:
        return None
    kind = source.choices(KINDS, (6, 1, 4, 6, 5))[0]
    is_response = source.random() < 0.35
    if is_response:
        at = source.randrange(1500)
    elif source.random() < 0.4:
        at = source.randrange(3000)
    else:
        at = int(2 ** source.uniform(8, 23))
    return Fault(kind, is_response, at, source.uniform(0.5, 6), int(2 ** source.uniform(13, 19)))


class Side(asyncio.Protocol):
    """
    One of the two sockets of a connection.

    Attributes:
        other: Where its bytes go.
        fault: Of this direction.
        is_connected: Whether there is or was somebody.
        is_lost: Whether there is nobody any more.
    """

    transport: asyncio.Transport
    other: Side

    def __init__(self, relay: Relay, name: str) -> None:
        self._relay = relay
        self._name = name
        self.fault: Fault | None = None
        self.is_connected = False
        self.is_lost = False
        self._kept = bytearray()
        self._passed = 0
        self._rate = 0
        self._holds: set[str] = set()
        self._has_ended = False
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_connected = True
        self._relay.sides.add(self)
        if not self.other.is_connected:
            self.hold("connecting")

    def data_received(self, data: bytes) -> None:
        self._kept += data
        self._pass_on()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._pass_on()
        return True

    def pause_writing(self) -> None:
        self.other.hold("full")

    def resume_writing(self) -> None:
        self.other.release("full")

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._relay.sides.discard(self)
        for timer in self._timers:
            timer.cancel()
        # Data must not arrive late at a peer whose partner has gone.
        self.other.reset() if error is not None else self.other.close()

    def hold(self, reason: str) -> None:
        """
        Stop reading for now.
        """
        self._holds.add(reason)
        if not self.is_lost:
            self.transport.pause_reading()

    def release(self, reason: str) -> None:
        """
        Read again, unless there is another reason not to.
        """
        self._holds.discard(reason)
        if self._holds or self.is_lost:
            return
        self._pass_on()
        if not self._holds and not self.is_lost:
            self.transport.resume_reading()

    def reset(self) -> None:
        """
        End the connection so that the peer reads an error.
        """
        if self.is_connected and not self.is_lost:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()

    def close(self) -> None:
        """
        End the connection after everything was sent.
        """
        if self.is_connected and not self.is_lost:
            self.transport.close()

    def forgive(self) -> None:
        """
        Remove the fault.
        """
        self.fault, self._rate = None, 0
        for timer in self._timers:
            timer.cancel()
        for reason in ("stall", "slow"):
            self.release(reason)

    def _pass_on(self) -> None:
        if self._holds or self.is_lost or not self.other.is_connected:
            return
        if self.fault is not None and self._passed + len(self._kept) >= self.fault.at:
            fault, self.fault = self.fault, None
            self._send(max(0, fault.at - self._passed))
            self._suffer(fault)
        elif self._rate:
            self._send(int(self._rate * TICK) + 1)
            if self._kept:
                self._wait("slow", TICK)
        else:
            self._send(len(self._kept))
        if self._has_ended and not self._kept and not self._holds and not self.other.transport.is_closing():
            # It was reset meanwhile, and has not been notified yet: no peer is left that the end could reach.
            with contextlib.suppress(OSError):
                self.other.transport.write_eof()
            if self.other._has_ended and not self.other._kept:
                self.close()
                self.other.close()

    def _send(self, count: int) -> None:
        data = bytes(self._kept[:count])
        del self._kept[:count]
        self._passed += len(data)
        if data and not self.other.is_lost:
            self._relay.data += len(data)
            self.other.transport.write(data)

    def _wait(self, reason: str, seconds: float) -> None:
        self.hold(reason)
        self._timers = [timer for timer in self._timers if not timer.cancelled()][-4:]
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self.release, reason))

    def _suffer(self, fault: Fault) -> None:
        self._relay.tell(name=self._name, **asdict(fault))
        if fault.kind == "reset":
            self.other.reset()
            self.reset()
        elif fault.kind == "cut":
            self.other.close()
            self.reset()
        elif fault.kind == "hole":
            self.hold("stall")
            self._timers.append(asyncio.get_running_loop().call_later(HOLE_TIME, self.reset))
        elif fault.kind == "stall":
            self._wait("stall", fault.seconds)
        else:
            self._rate = fault.rate
            self._timers.append(asyncio.get_running_loop().call_later(fault.seconds, self.forgive))
            self._pass_on()


class Relay:
    """
    All lines.

    Attributes:
        sides: Sockets which are open.
        bytes: Passed so far, both ways.
    """

    def __init__(self, lines: list[Line], seed: str, record: Path) -> None:
        self.sides: set[Side] = set()
        self.data = 0
        self._lines = lines
        self._sources = {line.name: random.Random(f"{seed} {line.name}") for line in lines}
        self._record = record.open("a", buffering=1)
        self._is_faulty = False
        self._servers: dict[str, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, **fields: object) -> None:
        """
        Write down an event.
        """
        self._record.write(json.dumps(fields) + "\n")

    async def run(self) -> None:
        """
        Serve until SIGTERM.
        """
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(_report)
        loop.add_signal_handler(signal.SIGTERM, over.set)
        loop.add_signal_handler(signal.SIGUSR1, self._set_faulty, True)
        loop.add_signal_handler(signal.SIGUSR2, self._set_faulty, False)
        for line in self._lines:
            await self._listen(line)
        self.tell(kind="ready")
        await over.wait()
        self.tell(kind="end", data=self.data)
        for server in self._servers.values():
            server.close()
        for side in tuple(self.sides):
            side.reset()

    def _set_faulty(self, is_faulty: bool) -> None:
        self._is_faulty = is_faulty
        if not is_faulty:
            for side in tuple(self.sides):
                side.forgive()

    async def _listen(self, line: Line) -> None:
        while True:
            try:
                self._servers[line.name] = await asyncio.get_running_loop().create_server(
                    functools.partial(self._accept, line), "127.0.0.1", line.port
                )
            except OSError:
                # The port was taken by some outgoing connection while it was not listened on.
                await asyncio.sleep(TICK)
            else:
                return

    def _accept(self, line: Line) -> Side:
        near, far = Side(self, line.name), Side(self, line.name)
        near.other, far.other = far, near
        fault = draw_fault(self._sources[line.name], line.probability)
        if fault is not None and self._is_faulty:
            (far if fault.is_response else near).fault = fault
        task = asyncio.get_running_loop().create_task(self._connect(line, near, far))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    async def _connect(self, line: Line, near: Side, far: Side) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, "127.0.0.1", line.target_port)
        except OSError:
            near.reset()
            await self._refuse(line)
            return
        if near.is_lost:
            far.reset()
        else:
            near.release("connecting")

    async def _refuse(self, line: Line) -> None:
        # The target does not listen. So this address does not listen for a while either, as without a relay.
        server = self._servers.pop(line.name, None)
        if server is None:
            return
        self.tell(name=line.name, kind="refuse")
        server.close()
        await asyncio.sleep(0.5)
        await self._listen(line)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """
    Log an exception, but not the one of asyncio itself: a connection that is reset while it is lost tells its protocol
    a second time, and has none by then.
    """
    if not (isinstance(context.get("exception"), AttributeError) and "_call_connection_lost" in context["message"]):
        loop.default_exception_handler(context)


def main() -> None:
    """
    Run the relay that a plan describes.
    """
    plan = json.loads(Path(sys.argv[1]).read_text())
    relay = Relay([Line(**line) for line in plan["lines"]], plan["seed"], Path(plan["record"]))
    asyncio.run(relay.run())


if __name__ == "__main__":
    main()
