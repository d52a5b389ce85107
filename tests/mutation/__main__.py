"""
Mutate rooms and judge the mutants: ``python -m tests.mutation [ROOM ...]``, by default all of them.

The results are kept in a session for each room, so that an interrupted run can continue. If a file of the room has
changed, its mutants are judged again; with ``--fresh`` all are. If tests have changed, the survivors are judged again:
additional tests do not kill fewer mutants. ``--files`` judges some files of one room, in a session of their own: after
a small change, where the session of the whole room is not at hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from tests.defences.runner import UNWANTED, make_copy
from tests.mutation.table import TIMED_OUT, Explained, Mutant, Room, Settings, load_settings, mutant_of


def main() -> int:
    """
    Run; return the exit status.
    """
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="mutation", description="Mutate rooms without I/O, and judge the mutants.")
    parser.add_argument("rooms", nargs="*", choices=[[], *(room.name for room in settings.rooms)], default=[])
    parser.add_argument("--sessions", type=Path, default=Path(".cache/mutation"), help="where sessions are kept")
    parser.add_argument("--fresh", action="store_true", help="judge all mutants anew")
    parser.add_argument("--report", action="store_true", help="judge nothing more: tell what is known by now")
    parser.add_argument("--files", nargs="+", metavar="NAME", default=[], help="judge these files of one room alone")
    options = parser.parse_args()
    rooms = [room for room in settings.rooms if not options.rooms or room.name in options.rooms]
    if options.files and len(rooms) != 1:
        parser.error("--files needs one room")
    unexplained = 0
    for room in rooms:
        directory = (options.sessions / "-".join([room.name, *sorted(options.files)])).absolute()
        if not options.report:
            _judge(room, settings, directory, options.files, is_fresh=options.fresh)
        unexplained += _report(room, directory)
    return 1 if unexplained else 0


def _judge(room: Room, settings: Settings, directory: Path, files: Collection[str], *, is_fresh: bool) -> None:
    copy = directory / "copy"
    session, config, stamp = directory / "session.sqlite", directory / "config.toml", directory / "stamp.json"
    outdated = directory / "outdated.sqlite"
    # An interrupted run may have left a mutant in its copy.
    shutil.rmtree(copy, ignore_errors=True)
    make_copy(copy)
    place = copy / "s3proxy" / room.name
    sources = {
        str(file.relative_to(copy)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])
        if not files or file.name in files
    }
    if len(sources) < len(files):
        raise SystemExit(f"{room.name}: not all of these are files of it: {' '.join(files)}")
    now = {"sources": sources, "tests": _digest(copy, (*room.tests, "tests/mutation/judge.py"))}
    former = json.loads(stamp.read_text()) if stamp.exists() and session.exists() and not is_fresh else {}
    outdated.unlink(missing_ok=True)
    if not former:
        session.unlink(missing_ok=True)
    elif former["sources"] != sources:
        session.rename(outdated)
    config.write_text(
        "[cosmic-ray]\n"
        f'module-path = "s3proxy/{room.name}"\n'
        "timeout = 0\n"
        "excluded-modules = []\n"
        'test-command = ""\n'
        '[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(settings.exclude_operators)}\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    environment["PYTHONPATH"] = str(copy)

    def run(*command: str) -> None:
        subprocess.run([sys.executable, "-m", *command], cwd=copy, env=environment, check=True)

    if not session.exists():
        run("cosmic_ray.cli", "init", str(config), str(session))
        run("cosmic_ray.tools.filters.operators_filter", str(session), str(config))
        keep_only(session, sources)
    if outdated.exists():
        same = {file for file, digest in sources.items() if former["sources"].get(file) == digest}
        print(f"{room.name}: {take_over(outdated, session, same)} are known from before", flush=True)
        outdated.unlink()
    if former and former["tests"] != now["tests"]:
        _forget_survivors(session)
    stamp.write_text(json.dumps(now))
    deselected = [f"--deselect={test}" for test in room.without]
    plugin = ["-p", "tests.mutation.judge", "--session", str(session), "--room", room.name]
    # The session is outside the copy; the copy's own configuration says where the tests are. Forks share the position
    # of an open file, so output is not captured by descriptor.
    run("pytest", "-c", "setup.cfg", "-q", "--capture=sys", "-p", "no:cacheprovider", *plugin, *deselected, *room.tests)


def take_over(outdated: Path, session: Path, files: Collection[str]) -> int:
    """
    Take over the results for the mutants of these files; return how many.
    """
    same = "module_path, operator_name, operator_args, occurrence"
    marks = ", ".join("?" * len(files))
    with closing(sqlite3.connect(session)) as database, database:
        database.execute("ATTACH ? AS outdated", (str(outdated),))
        return database.execute(
            "INSERT INTO work_results (worker_outcome, output, test_outcome, diff, job_id) "
            "SELECT worker_outcome, output, test_outcome, diff, new.job_id FROM mutation_specs AS new "
            f"JOIN outdated.mutation_specs AS old USING ({same}) "
            "JOIN outdated.work_results AS known ON known.job_id = old.job_id "
            f"WHERE module_path IN ({marks}) AND new.job_id NOT IN (SELECT job_id FROM work_results)",
            tuple(files),
        ).rowcount


def keep_only(session: Path, files: Collection[str]) -> None:
    """
    Remove the mutants of all other files from a session.
    """
    marks = ", ".join("?" * len(files))
    with closing(sqlite3.connect(session)) as database, database:
        others = f"SELECT job_id FROM mutation_specs WHERE module_path NOT IN ({marks})"
        for table in ("work_results", "work_items", "mutation_specs"):
            database.execute(f"DELETE FROM {table} WHERE job_id IN ({others})", tuple(files))


def _forget_survivors(session: Path) -> None:
    with closing(sqlite3.connect(session)) as database, database:
        database.execute("DELETE FROM work_results WHERE test_outcome = 'SURVIVED'")


def _digest(copy: Path, places: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for place in places:
        path = copy / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _report(room: Room, directory: Path) -> int:
    """
    Print the results of a room; return how many mutants survived that no row explains.
    """
    counts = {"killed": 0, "by time": 0, "survived": 0, "left": 0}
    unexplained: set[Mutant] = set()
    known = Explained()
    for mutant in _judged(directory / "session.sqlite", counts):
        if mutant not in known:
            unexplained.add(mutant)
    explained = counts["survived"] - len(unexplained)
    killed, by_time, left = counts["killed"], counts["by time"], counts["left"]
    print(
        f"{room.name}: {killed} killed ({by_time} by time), {explained} explained, {len(unexplained)} unexplained, "
        f"{left} not judged yet",
        flush=True,
    )
    for mutant in sorted(unexplained):
        print(f"\n[[survivor]]\nfile = {json.dumps(mutant.file)}")
        print(f"before = {json.dumps(mutant.before)}\nafter = {json.dumps(mutant.after)}", flush=True)
    return len(unexplained)


def _judged(session: Path, counts: dict[str, int]) -> Iterator[Mutant]:
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome

    with use_db(str(session), WorkDB.Mode.open) as database:
        counts["left"] = len(list(database.pending_work_items))
        for _, result in database.results:
            if result.worker_outcome is not WorkerOutcome.NORMAL:
                continue
            if result.test_outcome is not TestOutcome.SURVIVED:
                counts["killed"] += 1
                counts["by time"] += result.output == TIMED_OUT
                continue
            counts["survived"] += 1
            yield mutant_of(result.diff)


if __name__ == "__main__":
    sys.exit(main())
