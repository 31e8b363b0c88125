"""Makes the modules in ``checks``, and the tick model of core's tests, importable for the tests here."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "checks"), str(ROOT / "packages" / "archetype-core" / "tests")]
