"""Every check of the project, one session each; plain `nox` runs what CI runs.

Sessions share the environment that nox runs in (`uv run nox` makes it), except `alone` and `wheels`, which install into
clean ones of their own.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "checks"))

BUILD = ROOT / "build"
DIST = BUILD / "dist"
UV = os.environ.get("UV", "uv")
CACHED_UV = (sys.executable, ROOT / "checks" / "cached_uv.py")
# A registry that is slow for a moment must not fail a check.
os.environ.setdefault("UV_HTTP_CONNECT_TIMEOUT", "30")
os.environ.setdefault("UV_HTTP_RETRIES", "8")
# Daft sends a usage report with every query, from a thread of its own.
os.environ.setdefault("DO_NOT_TRACK", "true")
# Hundreds of processes import the same modules, so the first of them keeps what it compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
PEER, PEER_PYTHON = "archetype-ecs==0.6.3", "3.12"

# Adoptions of the contract suites take longest and need nothing that the other tests of their package do not.
SUITES = ("test_*_contract.py", "test_*_s3.py")
SPANNING = ("--ignore=tests/test_docs.py", "--ignore=tests/strangers", "--ignore=tests/crash")
BESIDE_SUITES = tuple(f"--ignore-glob=*/{pattern}" for pattern in SUITES)

# These take a minute or more of one core, the longest first. They are begun first, so that no core waits for the other.
LONG_RUNS = (
    "archetype-store-lance test_lance_s3",
    "archetype-store-lance test_lance_contract",
    "archetype-core",
    "archetype-core second half",
    "tests",
    "archetype-journal test_journaled_contract",
    "archetype-server test_server_kill",
    "archetype-server test_server_document",
    "archetype-server",
    "test_gate_crash",
    "test_crash_mutants",
    "test_lance_crash",
    "test_journal_crash",
)

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "none"
# Cheap first. Everything CI needs, and no test twice: `test`, `contracts` and `lock` are for people.
nox.options.sessions = [
    "fmt",
    "lint",
    "layers",
    "types",
    "typing",
    "thorough",
    "docs",
    "crash",
    "wheels",
    "alone",
    "bench",
]


def python(session: nox.Session, *arguments: str | Path) -> None:
    """Run the environment's own Python, wherever nox was started from."""
    session.run(sys.executable, *map(str, arguments), external=True)


def every(session: nox.Session, *commands: tuple[str | Path, ...]) -> None:
    """Run several commands of the environment's Python, the later ones too when one fails."""
    failures = 0
    for command in commands:
        try:
            python(session, *command)
        except CommandFailed:
            failures += 1
    if failures:
        session.error(f"{failures} of {len(commands)} commands failed")


Command = Sequence[str | Path]


def memory() -> dict[str, str]:
    """The variable that puts temporary files into memory, if this machine has enough of it for programs and files.

    Half of the time of many tests is the disk's, and no test depends on it: power cuts and failing disks are simulated.
    """
    shared = Path("/dev/shm")  # noqa: S108  # reason: each process makes a directory of its own in it
    if not shared.is_dir() or not os.access(shared, os.W_OK):
        return {}
    room = os.statvfs(shared)
    is_enough = room.f_bavail * room.f_frsize >= 4 << 30 and not room.f_flag & os.ST_NOEXEC
    return {"TMPDIR": str(shared)} if is_enough else {}


def side_by_side(session: nox.Session, runs: Mapping[str, Sequence[Command]]) -> None:
    """Run named lists of commands, as many lists at a time as there are cores: the long ones, then the others in their order.

    A list ends at its first failure, other lists go on. The output of a list is printed in one piece, under its name.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= memory()

    def run(commands: Sequence[Command]) -> tuple[bool, str, float]:
        output, began = "", time.monotonic()
        for command in commands:
            done = subprocess.run(
                list(map(str, command)),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                env=environment,
                cwd=ROOT,
            )
            output += done.stdout
            if done.returncode:
                return False, output, time.monotonic() - began
        return True, output, time.monotonic() - began

    failures: list[str] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        first = sorted(runs, key=lambda name: LONG_RUNS.index(name) if name in LONG_RUNS else len(LONG_RUNS))
        running = {pool.submit(run, runs[name]): name for name in first}
        for done in as_completed(running):
            is_well, output, seconds = done.result()
            session.log(f"{running[done]}: {'ok' if is_well else 'FAILED'} after {seconds:.0f} s")
            print(output, flush=True)
            if not is_well:
                failures.append(running[done])
    if failures:
        session.error(f"failed: {', '.join(sorted(failures))}")


def pytest_here(*where: str | Path) -> list[Command]:
    """One command, that runs tests in the environment that nox runs in."""
    return [(sys.executable, "-m", "pytest", *where)]


def uv(session: nox.Session, *arguments: str | Path) -> None:
    """Run uv without its progress output."""
    session.run(UV, "--quiet", *map(str, arguments), external=True)


@nox.session
def fmt(session: nox.Session) -> None:
    """Formatting is ruff's; `nox -s fmt -- --fix` applies it."""
    fix = "--fix" in session.posargs
    python(session, "-m", "ruff", "format", *([] if fix else ["--check"]), ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules, the house's rules, and the pins; arguments go to ruff."""
    every(
        session,
        ("-m", "ruff", "check", *session.posargs, "."),
        ("checks/house.py",),
        ("checks/pins.py", "check"),
        ("checks/sync_twin.py", "--check"),
    )


@nox.session
def layers(session: nox.Session) -> None:
    """Imports and declared dependencies keep the direction that the root pyproject.toml states."""
    python(session, "checks/layers.py")


@nox.session
def types(session: nox.Session) -> None:
    """Types of everything, the blocks of the documentation too; arguments go to mypy."""
    python(session, "checks/type_check.py", *session.posargs)


@nox.session
def thorough(session: nox.Session) -> None:
    """Contract suites, tests marked thorough, and those that span packages: everything that `alone` leaves out."""
    from members import members

    runs: dict[str, list[Command]] = {}
    for member in members():
        if member.tests is None:
            continue
        adoptions = suites(member.tests)
        others = {path: path.read_text() for path in sorted(member.tests.glob("test_*.py")) if path not in adoptions}
        marked = [path for path, text in others.items() if "mark.thorough" in text]
        whole = [path for path in marked if "pytestmark = pytest.mark.thorough" in others[path]]
        some = [path for path in marked if path not in whole]
        runs |= {f"{member.name} {path.stem}": pytest_here(path) for path in (*adoptions, *whole)}
        if some:
            runs[member.name] = pytest_here(*some, "-m", "thorough")
    side_by_side(session, {**runs, "tests": pytest_here("tests", *SPANNING)})


@nox.session
def test(session: nox.Session) -> None:
    """All tests of every package, then those that span them; arguments go to pytest instead."""
    from members import members

    if session.posargs:
        python(session, "-m", "pytest", *session.posargs)
        return
    runs: dict[str, list[Command]] = {}
    for member in members():
        if member.path.parent.name != "packages":
            continue
        if member.tests is None:
            session.warn(f"{member.name}: skipped, it has no tests")
            continue
        runs |= {f"{member.name} {path.stem}": pytest_here(path) for path in suites(member.tests)}
        runs[member.name] = pytest_here(member.tests, *BESIDE_SUITES)
    side_by_side(session, {**runs, "tests": pytest_here("tests", *SPANNING)})


def suites(tests: Path) -> list[Path]:
    """The modules of a directory that adopt a contract suite."""
    return sorted(path for pattern in SUITES for path in tests.glob(pattern))


@nox.session
def contracts(session: nox.Session) -> None:
    """The contract suite, tested by itself."""
    if session.posargs:
        python(session, "-m", "pytest", "contracts/tests", *session.posargs)
        return
    side_by_side(session, modules(ROOT / "contracts" / "tests"))


@nox.session(name="contracts-long")
def contracts_long(session: nox.Session) -> None:
    """What takes minutes and says little that the others do not: some contract suites, and random programs at length."""
    for module in (*sorted(ROOT.glob("packages/*/tests/long_*.py")), ROOT / "tests" / "door" / "long_door.py"):
        python(session, "-m", "pytest", module, *session.posargs)


@nox.session
def crash(session: nox.Session) -> None:
    """Processes are killed, disks fail, the power goes: stores and gate keep what they answered, broken ones are noticed."""
    shim(session)
    if session.posargs:
        python(session, "-m", "pytest", "tests/crash", *session.posargs)
        return
    side_by_side(session, modules(ROOT / "tests" / "crash"))


def modules(directory: Path) -> dict[str, list[Command]]:
    """A run for each test module of a directory."""
    return {path.stem: pytest_here(path) for path in sorted(directory.glob("test_*.py"))}


@nox.session(name="crash-long")
def crash_long(session: nox.Session) -> None:
    """The same with ten times the chances and every call, for our own stores and gate; ARCHETYPE_CRASH_SEED makes it others."""
    shim(session)
    more = {
        "ARCHETYPE_CRASH_KILLS": "2000",
        "ARCHETYPE_CRASH_CALLS": "2000",
        "ARCHETYPE_CRASH_CUTS": "600",
        "ARCHETYPE_CRASH_RACES": "1000",
        "ARCHETYPE_GATE_KILLS": "200",
    }
    for name, value in more.items():
        os.environ.setdefault(name, value)
    ours = [f"tests/crash/test_{name}_crash.py" for name in ("journal", "lance", "gate")]
    python(session, "-m", "pytest", *ours, "tests/crash/long_lance_crash.py", *session.posargs)


@nox.session(name="server-long")
def server_long(session: nox.Session) -> None:
    """The server's document with 200 cases for each operation, 100 kills and 200 stops; ARCHETYPE_SERVER_SEED makes others."""
    more = {"ARCHETYPE_SERVER_EXAMPLES": "200", "ARCHETYPE_SERVER_ROUNDS": "100", "ARCHETYPE_SERVER_STOPS": "200"}
    for name, value in more.items():
        os.environ.setdefault(name, value)
    tests = ROOT / "packages" / "archetype-server" / "tests"
    runs = [tests / f"test_server_{name}.py" for name in ("document", "kill")]
    python(session, "-m", "pytest", "-m", "thorough", *runs, *session.posargs)


def shim(session: nox.Session) -> None:
    """See to it that the library that makes disks fail is built and works; where it cannot, leave, and say so."""
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        apt = shutil.which("apt-get")
        if not apt or os.geteuid() != 0:
            session.error(
                "NO C COMPILER, SO NOTHING WAS CRASHED: install one (gcc and libc6-dev), or run as root with apt-get"
            )
        session.run(apt, "update", "-qq", external=True, silent=True)
        session.run(apt, "install", "-y", "-qq", "gcc", "libc6-dev", external=True, silent=True)
    program = "from archetype_contracts.crash.shim import {0}; print({0}())"
    built = subprocess.run(
        [sys.executable, "-c", program.format("library")], capture_output=True, text=True, check=False
    )
    preloaded = {**os.environ, "LD_PRELOAD": built.stdout.strip()}
    tried = subprocess.run(
        [sys.executable, "-c", program.format("Shim")], capture_output=True, text=True, check=False, env=preloaded
    )
    if tried.returncode:
        reason = (built.stderr if built.returncode else tried.stderr).strip().splitlines()[-1]
        session.skip(f"NOTHING WAS CRASHED, this machine does not let system calls fail: {reason}")


@nox.session
def docs(session: nox.Session) -> None:
    """Python blocks of the documentation run as they stand."""
    python(session, "-m", "pytest", "tests/test_docs.py", *session.posargs)


@functools.cache
def build() -> None:
    """Fill build/dist with an sdist of every member and the wheel built from that sdist, once per nox run."""
    shutil.rmtree(DIST, ignore_errors=True)
    hashes = ["--build-constraints", "requirements.lock", "--require-hashes"]
    command = [*CACHED_UV, "build", "--all-packages", "--no-create-gitignore", "--out-dir", DIST, *hashes]
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT)


def clean_room(name: str) -> tuple[Path, Command]:
    """The Python of a new environment, and the command that makes it. Nothing of the source tree can be imported there."""
    room = BUILD / "rooms" / name
    return room / "bin" / "python", (UV, "--quiet", "venv", "--clear", "--python", sys.executable, room)


def install(interpreter: Path, *requirements: str) -> Command:
    """The command that installs some requirements into a clean room, members among them as wheels."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    from members import closure

    ours = {member.name for member in closure([Requirement(line) for line in requirements])}
    wheels = [wheel for wheel in DIST.glob("*.whl") if canonicalize_name(wheel.name.split("-")[0]) in ours]
    here = ("--python", interpreter, "--constraints", ROOT / "requirements.lock")
    return (*CACHED_UV, "pip", "install", *here, *wheels, *requirements)


def pytest_in(interpreter: Path, tests: Sequence[Path], home: Path, *more: str) -> Command:
    """The command that runs tests in a clean room, configured by the pyproject.toml of ``home``."""
    config = (f"--config-file={home / 'pyproject.toml'}", f"--rootdir={home}", "-p", "no:cacheprovider")
    return (interpreter.parent / "pytest", *config, *more, *tests)


def halves(name: str, tests: Path | None) -> dict[str, Sequence[Path]]:
    """The tests of a package, under its name; those of core by halves, because they take longer than all others together."""
    if tests is None or name != "archetype-core":
        return {name: [] if tests is None else [tests]}
    suites = {path for pattern in SUITES for path in tests.glob(pattern)}
    modules = sorted(set(tests.glob("test_*.py")) - suites)
    return {name: modules[::2], f"{name} second half": modules[1::2]}


@nox.session
def wheels(session: nox.Session) -> None:
    """Distributions hold what they should, and strangers can use them.

    Each directory of tests/strangers is a project of a third party: its pyproject.toml names the members that it needs,
    its tests run beside our built wheels and nothing else.
    """
    from members import Project

    build()
    python(session, "checks/distribution.py", DIST)
    strangers = [Project(path.parent) for path in sorted(ROOT.glob("tests/strangers/*/pyproject.toml"))]
    if not strangers:
        session.warn("third-party projects: skipped, tests/strangers has none")
    runs: dict[str, list[Command]] = {}
    for stranger in strangers:
        needs = [str(requirement) for requirement in stranger.requirements()] + stranger.test_requirements()
        interpreter, made = clean_room(stranger.name)
        runs[stranger.name] = [made, install(interpreter, f"{stranger.name} @ {stranger.path.as_uri()}", *needs)]
        if stranger.tests is not None:
            runs[stranger.name].append(pytest_in(interpreter, [stranger.tests], stranger.path))
    side_by_side(session, runs)


@nox.session
def alone(session: nox.Session) -> None:
    """Every wheel works with its declared dependencies and nothing else; arguments name the packages to try.

    Contract suites and tests marked thorough, which `thorough` runs, are not repeated here.
    """
    from members import members

    build()
    runs: dict[str, list[Command]] = {}
    for member in members():
        if session.posargs and member.name not in session.posargs:
            continue
        if member.tests is None:
            session.warn(f"{member.name}: imported only, it has no tests")
        for name, tests in halves(member.name, member.tests).items():
            interpreter, made = clean_room(name)
            bare = (interpreter, "-I", ROOT / "checks" / "importable.py", member.import_root)
            # Some modules are for an extra alone.
            whole = f"{member.name}[{','.join(member.extras)}]" if member.extras else member.name
            runs[name] = [made, install(interpreter, whole), bare]
            if tests:
                # What tests need is added after everything was imported without it.
                quick = pytest_in(interpreter, tests, ROOT, "-m", "not thorough", *BESIDE_SUITES)
                runs[name] += [install(interpreter, member.name, *member.test_requirements()), quick]
    side_by_side(session, runs)


@nox.session
def bench(session: nox.Session) -> None:
    """Every benchmark in its quick form, with its correctness checks; results go to build/bench."""
    scripts = [path for path in sorted(ROOT.glob("benchmarks/*.py")) if not path.name.startswith("_")]
    if not scripts:
        session.skip("benchmarks/ has no scripts")
    folder = BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    results = {script: folder / f"{script.stem}.json" for script in scripts}
    runs: dict[str, list[Command]] = {}
    for script, result in results.items():
        result.unlink(missing_ok=True)
        runs[script.stem] = [(sys.executable, script, "--quick", "--out", result, *session.posargs)]
    # They only show that they work: what they measure beside one another says nothing.
    side_by_side(session, runs)
    for result in results.values():
        if not result.exists():
            session.error(f"{result.stem} wrote no {result.name}")
        json.loads(result.read_text())


@nox.session(name="bench-peer")
def bench_peer(session: nox.Session) -> None:
    """The public package of this idea beside ours, each in an environment of its own; arguments go to the script.

    It wants a later Python than ours, which has to be on the path.
    """
    room = BUILD / "rooms" / "peer"
    uv(session, "venv", "--clear", "--no-python-downloads", "--python", PEER_PYTHON, room)
    # From elsewhere: our pins are not the peer's.
    uv(session, "--directory", tempfile.gettempdir(), "pip", "install", "--python", room / "bin" / "python", PEER)
    results = BUILD / "bench"
    results.mkdir(parents=True, exist_ok=True)
    script, interpreter = ROOT / "benchmarks" / "peer.py", room / "bin" / "python"
    python(session, script, "--peer", interpreter, "--out", results / "peer.json", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Write the pins and requirements.lock anew; arguments such as --upgrade go to uv."""
    python(session, "checks/pins.py", "refresh", *session.posargs)


@nox.session
def typing(session: nox.Session) -> None:
    """A user's project passes the strictest checks of mypy and pyright beside our wheels, and its mistakes are found."""
    from members import Project

    build()
    consumer = Project(ROOT / "tests" / "typing")
    needs = [str(requirement) for requirement in consumer.requirements()] + consumer.test_requirements()
    interpreter, made = clean_room(consumer.name)
    expected: Command = (interpreter, consumer.path / "expected.py")
    side_by_side(session, {consumer.name: [made, install(interpreter, *needs), expected]})
