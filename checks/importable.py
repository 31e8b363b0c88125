"""Import every module of an installed package, where nothing but its declared dependencies is installed."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path


def main(root: str) -> int:
    """Import ``root`` and all below it; fail unless it comes from this environment."""
    package = importlib.import_module(root)
    place = Path(str(package.__file__)).resolve()
    if Path(sys.prefix).resolve() not in place.parents:
        print(f"{root} comes from {place}, outside the environment")
        return 1
    modules = [module.name for module in pkgutil.walk_packages(package.__path__, f"{root}.")]
    for name in modules:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    print(f"{root}: {len(modules) + 1} modules import with declared dependencies alone")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
