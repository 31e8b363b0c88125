"""Makes the modules in ``checks`` importable for their tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "checks"))
