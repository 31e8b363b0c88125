"""Run mypy and pyright over the programs beside this file; they must find what `# E:` comments expect, and nothing else.

A comment names what mypy finds on its line, then what pyright does: `# E: arg-type | reportArgumentType`. Runs in the
environment that the programs are checked against.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPECTED = re.compile(r"# E: (?P<mypy>.*?) \| (?P<pyright>.*)$")
Finding = tuple[str, int, str]


def run(*command: str) -> str:
    """What a tool of this environment prints."""
    tool = Path(sys.executable).parent / command[0]
    return subprocess.run([tool, *command[1:]], cwd=HERE, stdout=subprocess.PIPE, text=True, check=False).stdout


def mypy() -> Counter[Finding]:
    """What mypy finds."""
    lines = map(json.loads, run("mypy", "--output=json", "--no-incremental").splitlines())
    return Counter((line["file"], line["line"], line["code"]) for line in lines if line["severity"] == "error")


def pyright() -> Counter[Finding]:
    """What pyright finds; warnings count."""
    said = json.loads(run("basedpyright", "--outputjson", "--pythonpath", sys.executable))
    if not said["summary"]["filesAnalyzed"]:
        raise SystemExit("pyright checked nothing")
    return Counter(
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one.get("rule", one["message"]))
        for one in said["generalDiagnostics"]
        if one["severity"] != "information"
    )


def expected(checker: str) -> Counter[Finding]:
    """What the comments expect of a checker."""
    return Counter(
        (path.name, number, code)
        for path in HERE.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if path.name != Path(__file__).name and (match := EXPECTED.search(line))
        for code in match[checker].split(", ")
    )


def main() -> int:
    """Compare; 1 and a line for each difference if there are any."""
    failures = 0
    with ThreadPoolExecutor() as pool:
        running = {check: pool.submit(check) for check in (mypy, pyright)}
    for check, result in running.items():
        found, wanted = result.result(), expected(check.__name__)
        for verb, odd in (("finds", found - wanted), ("misses", wanted - found)):
            for file, line, code in sorted(odd):
                print(f"{check.__name__} {verb} {code}: tests/typing/{file}:{line}")
                failures += 1
        print(f"{check.__name__}: {len(wanted)} mistakes expected, {sum(found.values())} found")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
