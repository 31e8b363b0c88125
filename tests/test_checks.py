"""The checks catch what they are there for."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from mypy import main, options
from packaging.requirements import Requirement

import distribution
import house
import layers
import members
import pins
import type_check

HASH = {letter: f"sha256:{letter * 64}" for letter in "abc"}
RECORDED = f"""\
numpy==2.0 ; sys_platform == 'linux' \\
    --hash={HASH["a"]} \\
    --hash={HASH["b"]}
daft==1.0 \\
    --hash={HASH["c"]}
"""
TABLE: dict[str, list[str]] = {"one": [], "two": ["one"]}
CHECKING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from two.b import x"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty git repository."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


def project(path: Path, name: str, *needs: str) -> members.Project:
    """A member on disk, without sources beyond its import root."""
    source = path / name / "src" / name
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("")
    dependencies = ", ".join(f'"{need}"' for need in needs)
    (path / name / "pyproject.toml").write_text(
        f'[project]\nname = "{name}"\nversion = "1.0"\ndependencies = [{dependencies}]\n'
    )
    return members.Project(path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "url = 'https://" + "pypi" + ".org/simple'"),
        ("a.lock", "files." + "python" + "hosted.org"),
        ("a.rs", "// https://" + "crates" + ".io/crates/x"),
        ("a.js", "https://registry." + "npm" + "js.org"),
        ("a.md", "see /" + "home/somebody/checkout"),
        ("a.md", "cd /" + "root/x"),
        ("a.py", "x = 1\n" * 501),
    ],
)
def test_house_rules_catch(repository: Path, name: str, text: str) -> None:
    """An address of a registry, a path of one machine or an overlong module is found, before it is added to git."""
    (repository / name).write_text(text)
    assert [line.split(":")[0] for line in house.violations(repository)] == [name]


def test_house_rules_let_pass(repository: Path) -> None:
    """Ordinary text, ignored files, Cargo's own lock and long generated modules are no violations."""
    (repository / ".gitignore").write_text("uv.lock\n")
    (repository / "uv.lock").write_text("https://" + "pypi" + ".org/simple")
    (repository / "Cargo.lock").write_text("registry+https://example.org/" + "crates" + ".io-index")
    (repository / "a.md").write_text("pip install from PyPI, https://example.org/work/x, ./work/x")
    (repository / "a.py").write_text("x = 1\n" * 500)
    (repository / "twin.py").write_text(f'{house.GENERATED}`x.py`."""\n' + "x = 1\n" * 501)
    assert list(house.violations(repository)) == []


def test_house_rules_catch_a_tracked_lock(repository: Path) -> None:
    """A tracked uv.lock is found even when it is ignored."""
    (repository / ".gitignore").write_text("uv.lock\n")
    (repository / "uv.lock").write_text("")
    subprocess.run(["git", "-C", str(repository), "add", "--force", "uv.lock"], check=True)
    assert [line.split(":")[0] for line in house.violations(repository)] == ["uv.lock"]


def test_pins_that_match_are_silent() -> None:
    """The resolved set differs from itself in nothing, in whatever order it comes."""
    numpy, daft = RECORDED.split("daft")
    assert pins.differences("daft" + daft + numpy, "# comment\n" + RECORDED, ["daft==1.0", "numpy==2.0"]) == []


@pytest.mark.parametrize(
    ("resolved", "named"),
    [
        (RECORDED.replace("numpy==2.0", "numpy==2.1"), ["numpy==2.1", "numpy==2.0"]),
        (RECORDED.replace(HASH["b"], HASH["c"]), ["numpy==2.0"]),
        (RECORDED.replace(f" \\\n    --hash={HASH['b']}", ""), ["numpy==2.0"]),
        (RECORDED + f"new==1.0 \\\n    --hash={HASH['c']}\n", ["new==1.0"]),
        (RECORDED.split("daft", maxsplit=1)[0], ["daft==1.0"]),
    ],
    ids=["version", "hash", "fewer hashes", "added", "removed"],
)
def test_pins_catch_a_difference(resolved: str, named: list[str]) -> None:
    """A version or a hash that is not on record is named."""
    found = pins.differences(resolved, RECORDED, ["daft==1.0", "numpy==2.0"])
    assert [line.split(":")[0] for line in found] == named


def test_pins_catch_a_hand_edit() -> None:
    """A pin of pyproject.toml that requirements.lock does not have is named."""
    assert ["daft==1.1" in line for line in pins.differences(RECORDED, RECORDED, ["daft==1.1", "numpy==2.0"])] == [True]


def test_pins_keep_markers_where_a_name_has_two_versions() -> None:
    """A constraint says where it holds only if another one would contradict it."""
    two = RECORDED + f"daft==2.0 ; python_version > '3.12' \\\n    --hash={HASH['a']}\n"
    assert pins.constraints(two) == ["numpy==2.0", "daft==1.0", "daft==2.0 ; python_version > '3.12'"]


def test_pins_are_written_in_place(tmp_path: Path) -> None:
    """Writing pins replaces one list and leaves the rest of the file as it is."""
    path = tmp_path / "pyproject.toml"
    path.write_text("# a\nx = []\nbuild-x = [\n    'old',\n]\ny = [1]\n")
    pins.write_pins(path, "x", ["a==1"])
    pins.write_pins(path, "build-x", [])
    assert path.read_text() == '# a\nx = [\n    "a==1",\n]\nbuild-x = []\ny = [1]\n'


def test_layers_catch_what_is_declared_against_the_table(tmp_path: Path) -> None:
    """A dependency on a member above, and a member that the table does not know, are named."""
    found = [project(tmp_path, "one", "two==1.0"), project(tmp_path, "two", "one==1.0"), project(tmp_path, "three")]
    assert layers.undeclared(found, TABLE) == [
        "three: not in [tool.archetype.layers]",
        "one: declares two, but one may not reach two",
    ]


def test_layers_catch_a_table_with_gaps() -> None:
    """A root that reaches another one through a third has to list both."""
    assert layers.open_ended(TABLE) == []
    (line,) = layers.open_ended({**TABLE, "three": ["two"]})
    assert line.startswith("[tool.archetype.layers]: three reaches one through two")


SETTINGS: dict[str, dict[str, list[Any]]] = {
    "layers": {**TABLE, "three": ["two", "one"]},
    "rooms": {"one": ["low", "high"]},
    "white-box": {"tests/inner": ["one"]},
    "levels": {"one": [["high"], ["low", "base"]]},
}
HOUSE = {
    "packages/one/src/one/low/__init__.py": "from one.low.part import Part, part\n__all__ = ['Part', 'part']\n",
    "packages/one/src/one/low/part.py": "",
    "packages/one/src/one/high.py": "from one.low import Part\n",
    "packages/one/src/one/base.py": "",
    "packages/one/tests/test_x.py": "from one.low.part import Part\n",
    "packages/two/src/two/__init__.py": "from one.low import part\nimport one\n",
    "benchmarks/b.py": "from one.high import x\n",
    "README.md": "```python\nfrom one.low import Part\n```\n",
}


def house_with(root: Path, changes: dict[str, str]) -> list[str]:
    """What the layer rules find in three packages after some files are replaced."""
    found = [project(root / "packages", name, *needs) for name, needs in SETTINGS["layers"].items()]
    for name, content in {**HOUSE, **changes}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return layers.faults(root, found, SETTINGS)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("packages/one/src/one/base.py", "def f():\n    import two\n", "one may not import two"),
        ("packages/one/src/one/low/part.py", "def f():\n    import one.high\n", "low is below high"),
        ("packages/one/src/one/low/part.py", "from one import x\n", "imports the package itself"),
        ("packages/one/src/one/low/part.py", "from one.low import x\n", "import cycle one.low"),
        ("packages/one/src/one/new.py", "", "has no level"),
        ("packages/two/src/two/a.py", "from one.low.part import Part\n", "write `from one.low import Part`"),
        ("packages/two/src/two/a.py", "import one.low.part\n", "write `from one.low import …`"),
        ("packages/two/src/two/a.py", "from one import base\n", "one.base is a module inside one;"),
        ("packages/two/tests/test_x.py", "from one.low.part import Odd\n", "import Odd` and export Odd there"),
        ("benchmarks/b.py", "def f():\n    from one.base import x\n", "write `from one import x`"),
        ("tests/test_x.py", "from one.low.part import Part\n", "write `from one.low import Part`"),
        ("README.md", "#\n```python\nimport one.base\n```\n", "write `from one import …`"),
    ],
)
def test_layers_catch_an_import(tmp_path: Path, path: str, text: str, expected: str) -> None:
    """An import up, around or past a room is named with its file, and what to write instead."""
    found = house_with(tmp_path, {path: text})
    assert [line for line in found if expected in line] != []
    assert all(path.removesuffix(".py").removesuffix("/__init__") in line for line in found if "new" not in path)


@pytest.mark.parametrize("importer", ["from two.b import x", "def f():\n    import two.b", CHECKING])
def test_layers_catch_a_cycle(tmp_path: Path, importer: str) -> None:
    """A cycle is found through a function and through TYPE_CHECKING too, once, with every import on its way."""
    texts = {"a": importer + "\n", "b": "import two.c\n", "c": "import two.a\n"}
    (line,) = house_with(tmp_path, {f"packages/two/src/two/{name}.py": text for name, text in texts.items()})
    assert line.startswith("import cycle two.a -> two.b -> two.c -> two.a")
    assert [part.split(":")[0].strip() for part in line.splitlines()[1:]] == [
        f"packages/two/src/two/{name}.py" for name in "abc"
    ]


@pytest.mark.parametrize("path", ["tests/inner/test_x.py", "packages/one/tests/test_x.py"])
def test_layers_let_pass(tmp_path: Path, path: str) -> None:
    """Imports down, of rooms, and in white-box tests are no faults."""
    assert house_with(tmp_path, {path: "import one.low.part\n"}) == []


def test_types_are_checked_as_strictly_as_they_can() -> None:
    """The strict settings are those of mypy --strict, and name every member and every check."""
    strict = next(
        entry
        for entry in members.Project(members.ROOT).metadata["tool"]["mypy"]["overrides"]
        if "disallow_untyped_defs" in entry
    )
    everywhere = members.Project(members.ROOT).metadata["tool"]["mypy"]
    for name, value in main.define_options()[2]:
        assert (strict if name in options.PER_MODULE_OPTIONS else everywhere).get(name, everywhere.get(name)) is value
    checks = {path.stem for path in (members.ROOT / "checks").glob("*.py")}
    assert set(strict["module"]) >= checks | {"noxfile"} | {f"{member.import_root}.*" for member in members.members()}


def test_types_catch(tmp_path: Path) -> None:
    """An untyped function of a check, a wrong type in a test and one in a page are found where they stand."""
    texts = {
        "src/house.py": "def f(x): return x\n",
        "tests/test_x.py": "def f(x): return x\ny: int = ''\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    page = tmp_path / "docs" / "how-to" / "a.md"
    blocks = {page: "\n\ndef f(x):\n    y: int = ''\n"}
    pages = type_check.write_blocks(tmp_path / "build", blocks, tmp_path)
    bases = [tmp_path / "src", tmp_path / "tests", tmp_path / "build"]
    done = type_check.mypy(bases, bases, root=tmp_path)
    found = [line.split(": error")[0] for line in type_check.paged(done.stdout, pages).splitlines() if "error:" in line]
    assert sorted(found) == ["docs/how-to/a.md:4", "src/house.py:1", "tests/test_x.py:2"]
    assert done.returncode == 1


def test_types_catch_two_test_modules_of_one_name(tmp_path: Path) -> None:
    """Two directories of tests that hold a module of the same name are named."""
    places = [tmp_path / name for name in "ab"]
    for place in places:
        place.mkdir()
        (place / "scene.py").write_text("")
        (place / "conftest.py").write_text("")
    assert [line.split(":")[0] for line in type_check.duplicates(places)] == [str(places[1] / "scene.py")]


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ("one/tests/test_x.py", "holds a test"),
        ("other/__init__.py", "outside its import root"),
        ("-one/py.typed", "py.typed is missing"),
        ("-one/__init__.py", "lacks one/__init__.py"),
        ("-one-1.0.dist-info/licenses/LICENSE", "the licence text is missing"),
        ("Requires-Dist: two>=1.0", "members are released together"),
        ("-License-File: LICENSE", "License-File is missing"),
    ],
)
def test_wheels_are_searched(tmp_path: Path, entry: str, named: str) -> None:
    """A wheel with a test, a stray file, a loose requirement or something missing is found."""
    one = project(tmp_path, "one")
    metadata = {"Name: one", "License-Expression: Apache-2.0", "Requires-Python: >=3.11", "Summary: one"}
    metadata |= {"License-File: LICENSE", "Description-Content-Type: text/markdown", "Requires-Dist: two==1.0"}
    files = {"one/__init__.py", "one/py.typed", "one-1.0.dist-info/licenses/LICENSE"}
    good, bad = tmp_path / "good.whl", tmp_path / "bad.whl"
    broken = metadata if ": " in entry else files
    for path, change in ((good, False), (bad, True)):
        if change and entry.startswith("-"):
            broken.remove(entry[1:])
        elif change:
            broken.add(entry)
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("one-1.0.dist-info/METADATA", "\n".join(sorted(metadata)) + "\n")
            for name in files:
                wheel.writestr(name, "")
    versions = {"one": "1.0", "two": "1.0"}
    assert distribution.wheel_faults(good, one, versions, b"") == []
    (fault,) = [line for line in distribution.wheel_faults(bad, one, versions, b"") if named in line]
    assert named in fault


def test_sdists_are_searched(tmp_path: Path) -> None:
    """An sdist without the project's licence, its metadata or its README is found."""
    path = tmp_path / "one-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as sdist:
        entry = tarfile.TarInfo("one-1.0/LICENSE")
        entry.size = 5
        sdist.addfile(entry, io.BytesIO(b"other"))
    found = distribution.sdist_faults(path, project(tmp_path, "one"), {}, b"licence")
    assert found == [
        "PKG-INFO is missing",
        "README.md is missing",
        "pyproject.toml is missing",
        "the licence text is missing, or is not the project's",
    ]


def test_members_bring_the_members_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The members behind a requirement are found through others, an optional one only where its extra is asked for."""
    found = [project(tmp_path, "one"), project(tmp_path, "two", "one==1.0"), project(tmp_path, "three", "two==1.0")]
    with (tmp_path / "one" / "pyproject.toml").open("a") as file:
        file.write('[project.optional-dependencies]\nmore = ["four"]\n')
    found.append(project(tmp_path, "four"))
    monkeypatch.setattr(members, "members", lambda: found)

    def names(requirement: str) -> list[str]:
        return [member.name for member in members.closure([Requirement(requirement)])]

    assert names("three>=1") == ["one", "three", "two"]
    assert names("one[more]") == ["four", "one"]
    assert names("numpy") == []
