"""What a built distribution must hold before it is published."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from members import ROOT, Project, members

SOURCES = (".py", ".c")


def metadata_faults(metadata: Message, project: Project, versions: dict[str, str]) -> list[str]:
    """What is wrong with a METADATA or PKG-INFO text."""
    expected = {"Name": project.name, "License-Expression": "Apache-2.0", "Requires-Python": ">=3.11"}
    faults = [
        f"{key} is {metadata[key]!r}, expected {value!r}" for key, value in expected.items() if metadata[key] != value
    ]
    faults += [
        f"{key} is missing" for key in ("Summary", "License-File", "Description-Content-Type") if not metadata[key]
    ]
    for line in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name in versions and str(requirement.specifier) != f"=={versions[name]}":
            faults.append(f"needs {line!r}, but members are released together: write {name}=={versions[name]}")
    return faults


def wheel_faults(path: Path, project: Project, versions: dict[str, str], licence: bytes) -> list[str]:
    """What is wrong with a wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = next(name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info"))
        faults = metadata_faults(Parser().parsestr(wheel.read(f"{info}/METADATA").decode()), project, versions)
        licences = [wheel.read(name) for name in names if name == f"{info}/licenses/LICENSE"]
    if licences != [licence]:
        faults.append("the licence text is missing, or is not the project's")
    if f"{project.import_root}/py.typed" not in names:
        faults.append("py.typed is missing")
    owned = {project.import_root, info}
    faults += [f"holds {name}, outside its import root" for name in names if name.split("/")[0] not in owned]
    faults += [f"holds a test: {name}" for name in names if is_test(name)]
    packed = {name for name in names if name.endswith(SOURCES)}
    sources = (path for path in project.source.rglob("*") if path.suffix in SOURCES)
    written = {path.relative_to(project.source.parent).as_posix() for path in sources}
    faults += [f"lacks {name}" for name in sorted(written - packed)]
    return faults


def sdist_faults(path: Path, project: Project, versions: dict[str, str], licence: bytes) -> list[str]:
    """What is wrong with a source distribution; that a wheel builds from it is shown by building it so."""
    with tarfile.open(path) as sdist:
        top = path.name.removesuffix(".tar.gz")
        texts = {
            name: member.read()
            for name in ("PKG-INFO", "LICENSE", "README.md", "pyproject.toml")
            if f"{top}/{name}" in sdist.getnames() and (member := sdist.extractfile(f"{top}/{name}"))
        }
    faults = [f"{name} is missing" for name in ("PKG-INFO", "README.md", "pyproject.toml") if name not in texts]
    if texts.get("LICENSE") != licence:
        faults.append("the licence text is missing, or is not the project's")
    if "PKG-INFO" in texts:
        faults += metadata_faults(Parser().parsestr(texts["PKG-INFO"].decode()), project, versions)
    return faults


def is_test(name: str) -> bool:
    """Whether an archive member is a test or a part of one."""
    path = PurePosixPath(name)
    return "tests" in path.parts or path.name.startswith("test_") or path.name == "conftest.py"


def faults(directory: Path) -> list[str]:
    """What is wrong with the distributions of a directory, which must be those of every member."""
    licence = (ROOT / "LICENSE").read_bytes()
    wheels = {parse_wheel_filename(path.name)[0]: path for path in directory.glob("*.whl")}
    sdists = {parse_sdist_filename(path.name)[0]: path for path in directory.glob("*.tar.gz")}
    found = {member.name: member for member in members()}
    versions: dict[str, str] = {name: member.metadata["project"]["version"] for name, member in found.items()}
    lines = [f"{name}: version {version}, but members are released together" for name, version in versions.items()]
    lines = lines if len(set(versions.values())) > 1 else []
    for name, project in found.items():
        checked = ((wheels.get(name), wheel_faults, "wheel"), (sdists.get(name), sdist_faults, "sdist"))
        for path, check, kind in checked:
            if path is None:
                lines.append(f"{name}: no {kind} was built")
            else:
                lines += [f"{path.name}: {fault}" for fault in check(path, project, versions, licence)]
    return lines


if __name__ == "__main__":
    found_faults = faults(Path(sys.argv[1]))
    print("\n".join(found_faults) or "distributions: nothing found")
    sys.exit(1 if found_faults else 0)
