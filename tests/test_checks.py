"""The checks catch what they are there for."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import distribution
import house
import layers
import members
import pins

HASH = {letter: f"sha256:{letter * 64}" for letter in "abc"}
RECORDED = f"""\
numpy==2.0 ; sys_platform == 'linux' \\
    --hash={HASH["a"]} \\
    --hash={HASH["b"]}
daft==1.0 \\
    --hash={HASH["c"]}
"""
TABLE = {"one": [], "two": ["one"]}


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
    """Ordinary text, ignored files and Cargo's own lock are no violations."""
    (repository / ".gitignore").write_text("uv.lock\n")
    (repository / "uv.lock").write_text("https://" + "pypi" + ".org/simple")
    (repository / "Cargo.lock").write_text("registry+https://example.org/" + "crates" + ".io-index")
    (repository / "a.md").write_text("pip install from PyPI, https://example.org/work/x, ./work/x")
    (repository / "a.py").write_text("x = 1\n" * 500)
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


def test_layers_catch_an_import_against_the_table(tmp_path: Path) -> None:
    """An import of a member above fails, one of a member below does not."""
    for name in TABLE:
        project(tmp_path, name)
    upwards, downwards = (tmp_path / name / "src" / name / "__init__.py" for name in TABLE)
    config = tmp_path / "importlinter.ini"
    config.write_text(layers.contracts(list(TABLE), TABLE))
    path = [tmp_path / name / "src" for name in TABLE]
    downwards.write_text("import one\n")
    assert layers.lint(config, path) == 0
    downwards.write_text("")
    upwards.write_text("def f():\n    import two\n")
    assert layers.lint(config, path) == 1


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
