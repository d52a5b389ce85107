"""
A pytest plugin that judges mutants in forks of one process that has imported and collected everything once:
``pytest -p tests.mutation.judge --session FILE --room s3 TESTS``.

A mutant in the body of a function gets its code in the fork, and only the tests that run its lines. Code that runs
while modules are imported (a table, a decorator, a default) is judged by a new process that runs all tests of the room.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import difflib
import functools
import gc
import os
import pickle
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

from tests.mutation.table import TIMED_OUT, Explained, load_settings, mutant_of

SLOW_SECONDS = 600
"""
CPU seconds that all tests of a room may take in a separate process.
"""

LEAST_SECONDS = 20
"""
CPU seconds that a mutant's tests may take in any case, however short they are without the mutant.
"""

TIMES_SLOWER = 10
"""
How many times more CPU time than without the mutant its tests may take.
"""

TIMES_BUSY = 20
"""
How many times longer than its CPU time a process may take: it waits for something, or the machine is busy.
"""

IDLE_SECONDS = 15
"""
Seconds without CPU time after which a process counts as stuck.
"""

MOST_SECONDS = 60
"""
CPU seconds of the tests that judge one mutant, the fastest ones of each function. More tests would add hours. They
could only kill a mutant that otherwise survives.
"""

_PROGRESS_EVERY = 25
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_DIE_WITH_PARENT = 1
_TIMED_OUT = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Add the options for the session and the room.
    """
    group = parser.getgroup("mutation")
    group.addoption("--session", type=Path, help="cosmic-ray's session with the mutants")
    group.addoption("--room", help="the room's path below s3proxy/")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """
    Begin before conftest.py imports anything, to see which lines run while modules are imported.
    """
    early_config.pluginmanager.register(Judge(early_config.known_args_namespace), "mutation-judge")


@dataclass(slots=True)
class Traced:
    """
    What the tests run.

    Attributes:
        lines: Numbers of the tests that run a line, by file and line.
        seconds: Duration of a test, by its number.
    """

    lines: dict[tuple[str, int], set[int]]
    seconds: dict[int, float]


@dataclass(slots=True)
class Running:
    """
    A mutant that is being judged.

    Attributes:
        ticks: CPU time of its processes at the last check.
        moved: When the CPU time had last increased.
    """

    item: WorkItem
    diff: str
    deadline: float
    ticks: int = 0
    moved: float = field(default_factory=time.monotonic)

    def is_stuck(self, pid: int, now: float) -> bool:
        """
        Return True if it takes too long, or makes no progress.
        """
        ticks = _ticks_of_session(pid)
        if ticks != self.ticks:
            self.ticks, self.moved = ticks, now
        return now > min(self.deadline, self.moved + IDLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How a mutant is judged.

    Attributes:
        function: The name and the first line of the function whose code is changed; None if the file is changed.
        lines: Lines of the changed statement.
    """

    path: Path
    source: str
    mutated: str
    function: tuple[str, int] | None
    lines: range


class Judge:
    """
    The session's loop: traces the tests once, then judges the mutants one by one.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._session_file: Path = options.session.absolute()
        self._room: str = options.room
        self._root = Path.cwd()
        place = self._root / "s3proxy" / self._room
        self._include = [f"{place}/*"] if place.is_dir() else [str(place)]
        self._importing = coverage.Coverage(data_file=None, config_file=False, include=self._include)
        self._importing.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """
        Judge all mutants that have no result yet.
        """
        self._importing.stop()
        data = self._importing.get_data()
        self._imported = {(name, line) for name in data.measured_files() for line in data.lines(name) or ()}
        self._items = list(session.items)
        self._functions: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        for found in gc.get_objects():
            if isinstance(found, FunctionType):
                code = found.__code__
                self._functions[code.co_filename, code.co_name, code.co_firstlineno].append(found)
        self._traced = self._trace()
        self._pytest = [sys.executable, "-m", "pytest", "-c", "setup.cfg", "-x", "-q", "-p", "no:cacheprovider"]
        # There are too many names for a command line.
        self._tests = self._session_file.parent / "tests"
        chosen = self._in_order(range(len(self._items)))
        self._tests.write_text("\n".join(self._items[number].nodeid for number in chosen))
        self._first = next(room.first for room in load_settings().rooms if room.name == self._room)
        with use_db(str(self._session_file), WorkDB.Mode.open) as database:
            self._judge_all(database)
        return True

    def _trace(self) -> Traced:
        """
        Run every test in a fork, and record the lines that it runs.
        """
        with tempfile.NamedTemporaryFile() as file:
            child = os.fork()
            if child == 0:
                status = 1
                with suppress(BaseException):
                    traced, failed = self._trace_here()
                    Path(file.name).write_bytes(pickle.dumps((traced, failed)))
                    status = 0
                os._exit(status)
            _, status = os.waitpid(child, 0)
            if status != 0:
                raise pytest.UsageError("the tests could not be traced")
            traced, failed = pickle.loads(Path(file.name).read_bytes())
        if failed:
            raise pytest.UsageError(f"without a mutant these fail: {failed[:5]}")
        return traced

    def _trace_here(self) -> tuple[Traced, list[str]]:
        _renew_reactor()
        traced = Traced(lines={}, seconds={})
        failures = _Failures()
        self._items[0].config.pluginmanager.register(failures)
        caches = [found for found in gc.get_objects() if isinstance(found, functools._lru_cache_wrapper)]
        caches = [cache for cache in caches if getattr(cache, "__module__", "").startswith("s3proxy")]
        tracer = coverage.Coverage(data_file=None, config_file=False, include=self._include)
        tracer.start()
        for number in range(len(self._items)):
            # If an earlier test filled the cache, a line would be missed.
            for cache in caches:
                cache.cache_clear()
            tracer.switch_context(str(number))
            began = time.process_time()
            self._run_one(number)
            traced.seconds[number] = time.process_time() - began
        tracer.stop()
        data = tracer.get_data()
        for name in data.measured_files():
            for line, contexts in data.contexts_by_lineno(name).items():
                traced.lines[name, line] = {int(context) for context in contexts if context}
        return traced, failures.failed

    def _run_one(self, number: int) -> None:
        item = self._items[number]
        # Without a next test every fixture ends with its test, as in a separate run.
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)

    def _judge_all(self, database: WorkDB) -> None:
        explained = Explained()
        pending = list(database.pending_work_items)
        running: dict[int, Running] = {}
        copies = [self._session_file.parent / f"slow-{number}" for number in range(os.cpu_count() or 1)]
        for copy in copies:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self._root, copy)
        free, used = list(copies), {}
        began, done = time.monotonic(), 0
        while pending or running:
            while pending and free:
                item = pending.pop()
                try:
                    plan, diff = self._plan(item.mutations[0])
                except SyntaxError:
                    # For example `not` in place of a sign.
                    database.set_result(item.job_id, _result(TestOutcome.KILLED, "", "is no Python"))
                    done += 1
                    continue
                if mutant_of(diff) in explained:
                    database.set_result(item.job_id, _result(TestOutcome.SURVIVED, diff, "not judged: explained"))
                    done += 1
                    continue
                tests = self._tests_of(plan)
                if plan.function is not None and not tests:
                    database.set_result(item.job_id, _result(TestOutcome.SURVIVED, diff, "no test runs it"))
                    done += 1
                    continue
                copy = free.pop()
                pid, seconds = self._start(plan, tests, copy)
                used[pid] = copy, plan
                running[pid] = Running(item, diff, time.monotonic() + seconds)
            if not running:
                break
            pid, outcome, why = _wait(running)
            copy, plan = used.pop(pid)
            # A process that was ended could not do it.
            self._target(plan, copy).write_text(plan.source, "utf-8")
            free.append(copy)
            ended = running.pop(pid)
            database.set_result(ended.item.job_id, _result(outcome, ended.diff, why))
            done += 1
            if done % _PROGRESS_EVERY == 0 or not (pending or running):
                seconds = time.monotonic() - began
                print(f"{self._room}: {done} judged, {len(pending)} left, {seconds:.0f} s", file=sys.stderr, flush=True)

    def _plan(self, spec: MutationSpec) -> tuple[Plan, str]:
        path = self._root / spec.module_path
        source = path.read_text("utf-8")
        operator = get_operator(spec.operator_name)(**spec.operator_args)
        mutated = MutationVisitor.mutate_code(source, operator, spec.occurrence)
        if mutated is None:
            raise pytest.UsageError(f"{spec} is no mutant: begin a new session")
        compile(mutated, str(path), "exec")
        function, body, lines = _place(source, spec.start_pos[0])
        # What a function returned while modules were imported was made by its original code.
        ran_early = any((str(path), line) in self._imported for line in body)
        if function is not None and (ran_early or not self._can_swap(path, mutated, function)):
            function = None
        return Plan(path, source, mutated, function, lines), _diff(spec.module_path, source, mutated)

    def _can_swap(self, path: Path, mutated: str, function: tuple[str, int]) -> bool:
        code = _find_code(compile(mutated, str(path), "exec"), function)
        found = self._functions.get((str(path), *function), ())
        return code is not None and bool(found) and all(each.__code__.co_freevars == code.co_freevars for each in found)

    def _tests_of(self, plan: Plan) -> list[int]:
        tests: set[int] = set()
        for line in plan.lines:
            tests |= self._traced.lines.get((str(plan.path), line), set())
        return self._in_order(tests)

    def _in_order(self, tests: Iterable[int]) -> list[int]:
        """
        First four cases of each function, short tests before long ones, and no more than `MOST_SECONDS`.
        """
        seconds = self._traced.seconds
        rank: dict[str, int] = defaultdict(int)
        keyed = []
        for number in sorted(tests, key=seconds.__getitem__):
            name = self._items[number].nodeid.partition("[")[0]
            keyed.append((rank[name] // 4, seconds[number], number))
            rank[name] += 1
        chosen, left = [], float(MOST_SECONDS)
        for _, taken, number in sorted(keyed):
            left -= taken
            if left < 0 and chosen:
                break
            chosen.append(number)
        return chosen

    def _start(self, plan: Plan, tests: Sequence[int], copy: Path) -> tuple[int, float]:
        if plan.function is None:
            self._target(plan, copy).write_text(plan.mutated, "utf-8")
            seconds = SLOW_SECONDS
        else:
            taken = sum(map(self._traced.seconds.__getitem__, tests))
            seconds = max(LEAST_SECONDS, int(TIMES_SLOWER * taken))
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid != 0:
            return pid, seconds * TIMES_BUSY
        status = 2
        try:
            os.setsid()
            # When the judge ends, so do the processes that it started.
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            if plan.function is None:
                status = self._run_slowly(plan, copy)
            else:
                self._swap(plan)
                status = self._run_tests(tests)
        finally:
            os._exit(status)

    def _target(self, plan: Plan, copy: Path) -> Path:
        return copy / plan.path.relative_to(self._root)

    def _run_slowly(self, plan: Plan, copy: Path) -> int:
        for tests in (self._first_tests(plan.path, copy), (f"@{self._tests}",)):
            status = tests and self._run_in_process(copy, tests)
            if status:
                return _TIMED_OUT if status == -signal.SIGXCPU else 1
        return 0

    def _run_in_process(self, copy: Path, tests: Sequence[str]) -> int:
        return subprocess.run(
            [*self._pytest, *tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode

    def _first_tests(self, path: Path, copy: Path) -> Sequence[str]:
        """
        Return the tests of a module's own test file, which kill most of its mutants.
        """
        module = str(path.relative_to(self._root / "s3proxy"))
        own = f"tests/{Path(module).parent}/test_{path.stem}.py"
        return self._first.get(module, (own,) if (copy / own).exists() else ())

    def _swap(self, plan: Plan) -> None:
        assert plan.function is not None
        code = _find_code(compile(plan.mutated, str(plan.path), "exec"), plan.function)
        assert code is not None
        for function in self._functions[str(plan.path), *plan.function]:
            function.__code__ = code

    def _run_tests(self, tests: Sequence[int]) -> int:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        _renew_reactor()
        failures = _Failures()
        self._items[0].config.pluginmanager.register(failures)
        for number in tests:
            self._run_one(number)
            if failures.failed:
                return 1
        return 0


class _Failures:
    """
    Gathers the tests that failed.
    """

    def __init__(self) -> None:
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def _wait(running: dict[int, Running]) -> tuple[int, TestOutcome, str]:
    """
    Wait until a mutant's process ends or is out of time; return its process id, its outcome and a remark.
    """
    looked = time.monotonic()
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            if status == 0:
                return pid, TestOutcome.SURVIVED, ""
            is_late = os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == _TIMED_OUT
            return pid, TestOutcome.KILLED, TIMED_OUT if is_late else ""
        now = time.monotonic()
        if now > looked + 1:
            looked = now
            for pid, each in running.items():
                if each.is_stuck(pid, now):
                    with suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
        select.select([], [], [], 0.002)


def _ticks_of_session(leader: int) -> int:
    """
    Add up the CPU time, in ticks, of a session's processes and of their children that have ended.
    """
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        # The process may end meanwhile.
        with suppress(OSError):
            fields = path.read_text().rpartition(") ")[2].split()
            if int(fields[3]) == leader:
                ticks += sum(map(int, fields[11:15]))
    return ticks


def _result(outcome: TestOutcome, diff: str, output: str) -> WorkResult:
    return WorkResult(WorkerOutcome.NORMAL, output, outcome, diff)


def _diff(module: Path, source: str, mutated: str) -> str:
    lines = difflib.unified_diff(source.split("\n"), mutated.split("\n"), f"a/{module}", f"b/{module}", lineterm="")
    return "\n".join(lines)


def _renew_reactor() -> None:
    """
    Replace what a fork must not share: the set of watched descriptors, and the reactor's waker.
    """
    from twisted.internet import reactor

    reactor._poller = select.epoll()
    for watched in (reactor._reads, reactor._writes, reactor._selectables, reactor._internalReaders):
        watched.clear()
    reactor.waker = None
    reactor.installWaker()


def _place(source: str, line: int) -> tuple[tuple[str, int] | None, range, range]:
    """
    Return the outermost function whose body has a line (its name and first line), the lines of its body, and the lines
    of the line's statement (without its blocks if it is a compound one).
    """
    function = None
    function_body = range(0)
    lines = range(line, line + 1)
    body: Sequence[ast.AST] = ast.parse(source).body
    while body:
        inner = next((node for node in body if node.lineno <= line <= node.end_lineno), None)
        if inner is None:
            break
        is_function = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
        blocks = [node for name in _BLOCKS for node in getattr(inner, name, ())]
        blocks = [part for node in blocks for part in (node.body if isinstance(node, ast.match_case) else [node])]
        first = min((node.lineno for node in blocks), default=inner.end_lineno + 1)
        lines = range(inner.lineno, min(first, inner.end_lineno + 1) if first > inner.lineno else inner.lineno + 1)
        if is_function and function is None and line >= first:
            start = min([inner.lineno, *(node.lineno for node in inner.decorator_list)])
            function, function_body = (inner.name, start), range(first, inner.end_lineno + 1)
        if line < first:
            break
        body = blocks
    return function, function_body, lines


def _find_code(code: CodeType, function: tuple[str, int]) -> CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if (constant.co_name, constant.co_firstlineno) == function:
                return constant
            found = _find_code(constant, function)
            if found is not None:
                return found
    return None
