"""Draw mutants of the code, and print which of them no test of ``make test`` notices.

python -m tools.mutants --seed 12 --number 60

A mutant is one small fault in one file. Each is tried in a copy of the tree with the tests nearest to its module, until
one fails. Those that live are then put into one copy together, in which all tests run once; the tests that fail are run
for each of the living alone, to find which one they kill. That is repeated with what is left, until all tests pass or
no more are killed. A test that fails without any mutant kills none.

The same seed, a number or a commit's hash, draws the same mutants of the same tree. Ends with 1 if a mutant lives.
"""

from __future__ import annotations

import argparse
import ast
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import cache_from_source
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tools.mutations import Mutant, draw

ROOT: Final = Path(__file__).parents[1]
PLACES: Final = "domain sync stores accounts quota clients web/pages"
_NEAREST: Final = ("tests/unit/", "tests/golden/", "tests/contract/")
_GRACE_S: Final = 20
_FIRST: Final = ("-n", "0", "-x")
_LINKED: Final = (".venv", ".test-servers")
_NOTED: Final = "RELEVE_MUTANTS_NOTED"  # Names the file to which a run of pytest adds the tests that fail.


# -- The nearest tests


class Neighbours:
    """The test files near a module, by the imports of all files of a tree, whose paths are relative to it."""

    def __init__(self, root: Path, files: Iterable[str]) -> None:
        modules = [file for file in files if file.endswith(".py")]
        self._imports = {file: _imports_of(root / file) for file in modules}
        self._tests = [file for file in modules if file.startswith(_NEAREST) and Path(file).name.startswith("test_")]

    def tests_of(self, file: str, most: int) -> list[str]:
        """Return the nearest test files of a module, at most so many.

        First those of its name, then those that import it, then those that import what imports it, or its package.
        Without any, any test shows whether the tests still start.
        """
        module = _dotted(file)
        package, _, name = module.rpartition(".")
        users = {_dotted(user): user for user, imports in self._imports.items() if module in imports}
        ranked = []
        for test in self._tests:
            imports = self._imports_with_conftest(test)
            # Of what imports the module, that which imports little else is near.
            width = min((len(self._imports[users[user]]) for user in imports & users.keys()), default=0)
            tells = [Path(test).stem == f"test_{name}", module in imports, width > 0, package in imports]
            if any(tells):
                shared = len({*Path(file).parts[1:-1]} & {*Path(test).parts[1:-1]})
                ranked.append((tells.index(True), width, -shared, test))
        return [test for *_, test in sorted(ranked)[:most]] or self._tests[:1]

    def _imports_with_conftest(self, test: str) -> frozenset[str]:
        conftests = [f"{folder.as_posix()}/conftest.py" for folder in Path(test).parents]
        return self._imports[test].union(*(self._imports.get(conftest, ()) for conftest in conftests))


def _dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports_of(path: Path) -> frozenset[str]:
    """Return what a file imports: the modules, and each name of a module, which may be a module too."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


# -- Running tests


@dataclass(frozen=True, slots=True)
class Job:
    """A run of pytest with these mutants and arguments, that is stopped after ``bound_s``."""

    mutants: Sequence[Mutant]
    arguments: Sequence[str]
    bound_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended: ``code`` is pytest's, None if it was stopped; ``failed``: the tests, in order."""

    code: int | None
    failed: Sequence[str]
    seconds: float
    output: str = field(repr=False)

    @property
    def killer(self) -> str:
        """What has noticed a mutant; empty if nothing has. pytest's 5 says that there was no test."""
        if self.failed:
            return self.failed[0]
        return {None: "time-out", 0: "", 5: ""}.get(self.code, f"the end of pytest with {self.code}")


def pytest_runtest_logreport(report: Any) -> None:
    """Note a test that fails: this module is a plugin of each run, because a run that is stopped prints no summary."""
    if report.failed and _NOTED in os.environ:
        with Path(os.environ[_NOTED]).open("a", encoding="utf-8") as noted:
            noted.write(f"{report.nodeid}\n")


pytest_collectreport = pytest_runtest_logreport


class Tree:
    """A copy of the checkout, in which one job runs at a time."""

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self._folder, self._noted, self._log = folder, folder.with_suffix(".noted"), folder.with_suffix(".log")
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file, follow_symlinks=False)
        for name, target in zip(_LINKED, (Path(sys.prefix), ROOT / _LINKED[1]), strict=True):
            (folder / name).symlink_to(target.resolve())
        self._job = Job([], [], 0)
        self._begun = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, job: Job) -> None:
        self._job, self._begun = job, time.monotonic()
        for mutant in job.mutants:
            self._write(mutant.file, mutant.mutated)
        self._noted.write_text("")
        command = [".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tools.mutants"]
        # Programs that tests start get the copy's modules, too. Without bytecode each process compiles all modules.
        env = {**os.environ, "PYTHONPATH": str(self._folder), _NOTED: str(self._noted)}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *job.arguments],
                cwd=self._folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def poll(self) -> Result | None:
        """Return the job's result if it has ended or its time is over."""
        code = self._process.poll() if self._process else 0
        seconds = time.monotonic() - self._begun
        if code is None and seconds < self._job.bound_s:
            return None
        self.stop()
        failed = list(dict.fromkeys(self._noted.read_text(encoding="utf-8").splitlines()))
        return Result(code, failed, seconds, self._log.read_text(encoding="utf-8", errors="replace")[-3000:])

    def stop(self) -> None:
        """End the job's processes, and take its mutants out. pytest gets the time to end its servers."""
        if self._process is None:
            return
        try:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGINT)
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # It, and what it has left.
            self._process.wait()
        self._process = None
        for mutant in self._job.mutants:
            self._write(mutant.file, mutant.source)

    def _write(self, file: str, source: bytes) -> None:
        """Write a module, and delete its bytecode: Python knows that only by its second and its size."""
        (self._folder / file).write_bytes(source)
        Path(cache_from_source(str(self._folder / file))).unlink(missing_ok=True)


class Bench:
    """Copies of the checkout in which jobs run, so many at a time."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self._trees = trees

    def run(self, jobs: Sequence[Job]) -> list[Result]:
        """Return the results of jobs, in their order."""
        results = dict[int, Result]()
        waiting, running = deque(enumerate(jobs)), dict[int, Tree]()
        free = [*self._trees]
        with ExitStack() as stack:
            for tree in self._trees:
                stack.callback(tree.stop)
            while waiting or running:
                while waiting and free:
                    place, job = waiting.popleft()
                    running[place] = free.pop()
                    running[place].start(job)
                time.sleep(0.1)
                for place, tree in [*running.items()]:
                    if result := tree.poll():
                        results[place] = result
                        free.append(running.pop(place))
                        _tell(f"{len(results)} of {len(jobs)}", jobs[place], result)
        return [results[place] for place in range(len(jobs))]


def _tell(progress: str, job: Job, result: Result) -> None:
    what = job.mutants[0].place if len(job.mutants) == 1 else f"{len(job.mutants) or 'no'} mutants"
    sys.stderr.write(f"{progress}: {what}: {result.killer or 'no test fails'} ({result.seconds:.0f} s)\n")


@contextmanager
def open_bench(files: Sequence[str], processes: int) -> Iterator[Bench]:
    """Yield a bench in a temporary folder."""
    with TemporaryDirectory(prefix="releve-mutants-", ignore_cleanup_errors=True) as folder:
        yield Bench([Tree(Path(folder, f"tree-{number}"), files) for number in range(processes)])


# -- Stages


def try_nearest_tests(
    bench: Bench, nearest: Mapping[Mutant, Sequence[str]], options: Sequence[str], bound_s: float
) -> dict[Mutant, str]:
    """Return what has killed each mutant: one of the tests nearest to it, the bound, or that pytest could not start."""
    jobs = [Job([mutant], [*options, *_FIRST, *tests], bound_s) for mutant, tests in nearest.items()]
    results = dict(zip(nearest, bench.run(jobs), strict=True))
    killers = {mutant: result.killer for mutant, result in results.items() if result.killer}
    # A failure that also happens without the mutant does not count.
    tests = sorted({killer for killer in killers.values() if "::" in killer})
    others = [mutant for mutant, killer in killers.items() if "::" not in killer]
    failing = _run_without_mutants(bench, options, tests, len(tests) * bound_s).failed if tests else ()
    jobs = []
    for mutant in others:
        collect = [] if results[mutant].code is None else ["--collect-only"]
        jobs.append(Job([], [*options, *_FIRST, *collect, *nearest[mutant]], bound_s / 2))
    alike = {mutant for mutant, result in zip(others, bench.run(jobs), strict=True) if result.killer}
    return {mutant: killer for mutant, killer in killers.items() if killer not in failing and mutant not in alike}


def try_all_tests(
    bench: Bench, living: Sequence[Mutant], options: Sequence[str], whole: Sequence[str], bound_s: float
) -> dict[Mutant, str]:
    """Return which test has killed each mutant, of runs of all tests with all that live."""
    killed = dict[Mutant, str]()
    while living:
        (together,) = bench.run([Job(living, [*options, "--continue-on-collection-errors", *whole], bound_s)])
        if not together.failed:
            sys.stderr.write(f"{together.output}\n" if together.killer else "")
            break
        clean = _run_without_mutants(bench, options, together.failed, bound_s)
        suspects = _one_of_each_file_first([test for test in together.failed if test not in clean.failed])
        jobs = [Job([mutant], [*options, *_FIRST, *suspects], 4 * clean.seconds + 60) for mutant in living]
        alone = zip(living, bench.run(jobs) if suspects else (), strict=bool(suspects))
        newly = {mutant: result.killer for mutant, result in alone if result.killer}
        if not newly:
            sys.stderr.write(f"{len(suspects)} tests fail with all mutants that live, and with none of them alone\n")
            break
        killed |= newly
        living = [mutant for mutant in living if mutant not in newly]
    return killed


def _one_of_each_file_first(tests: Sequence[str]) -> list[str]:
    """Order tests so that one that fails comes soon: those of a file mostly fail together, the nearest cost least."""
    seen = Counter[str]()
    ranked = []
    for test in tests:
        file = test.partition("::")[0]
        ranked.append((seen[file], not file.startswith(_NEAREST), test))
        seen[file] += 1
    return [test for *_, test in sorted(ranked)]


def _run_without_mutants(bench: Bench, options: Sequence[str], tests: Sequence[str], bound_s: float) -> Result:
    (result,) = bench.run([Job([], [*options, "-n", "0", *tests], bound_s)])
    if result.killer and not result.failed:
        raise SystemExit(f"{result.output}\n\nwithout a mutant: {result.killer}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    processes = min(os.cpu_count() or 1, 7) + 1
    parser.add_argument("--seed", required=True, help="a number or a commit's hash")
    parser.add_argument("--number", type=int, default=60, help="how many mutants (60)")
    parser.add_argument("--places", default=PLACES, help=f"packages of worker/ ({PLACES})")
    parser.add_argument("--processes", type=int, default=2, help="how many mutants are tried at a time (2)")
    parser.add_argument("--nearest", type=int, default=8, help="how many test files are near at most (8)")
    parser.add_argument("--bound", type=float, default=300, help="seconds for the nearest tests of a mutant (300)")
    parser.add_argument("--whole-bound", type=float, default=7200, help="seconds for all tests (7200)")
    parser.add_argument("--pytest", default="--set change", help="options of each run of pytest (--set change)")
    whole = f"-n {processes} --dist loadfile --no-loadscope-reorder"
    parser.add_argument("--whole", default=whole, help=f"further arguments for a run of all tests ({whole})")
    parser.add_argument("--list", action="store_true", help="print the mutants and the nearest tests, and run nothing")
    given = parser.parse_args()
    # Where a shell starts this in the background, SIGINT is ignored, and would be by pytest.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    files = _files_of_checkout()
    mutants = draw(ROOT, given.seed, given.number, [f"worker/{place}" for place in given.places.split()])
    neighbours = Neighbours(ROOT, files)
    nearest = {mutant: neighbours.tests_of(mutant.file, given.nearest) for mutant in mutants}
    if given.list:
        _print_table({mutant: " ".join(tests) for mutant, tests in nearest.items()})
        return 0
    options = shlex.split(given.pytest)
    try:
        with open_bench(files, given.processes) as bench:
            killed = try_nearest_tests(bench, nearest, options, given.bound)
            near = len(killed)
            living = [mutant for mutant in mutants if mutant not in killed]
            killed |= try_all_tests(bench, living, options, shlex.split(given.whole), given.whole_bound)
    except KeyboardInterrupt:
        return 130
    _print_table({mutant: f"killed by {killed[mutant]}" if mutant in killed else "SURVIVED" for mutant in mutants})
    counts = f"{len(killed)} of {len(mutants)} killed, {near} of them by the nearest tests"
    sys.stdout.write(f"seed {given.seed}: {counts}; {len(mutants) - len(killed)} survived\n")
    return int(len(killed) < len(mutants))


def _files_of_checkout() -> list[str]:
    """Return the files that git knows or would take, but for those that are linked."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [file for file in listed if (ROOT / file).is_file() and file not in _LINKED]


def _print_table(told: Mapping[Mutant, str]) -> None:
    for mutant, text in told.items():
        sys.stdout.write(f"{mutant.place}  {mutant.kind}: {mutant.change}  {text}\n")


if __name__ == "__main__":
    sys.exit(main())
