"""Nothing is reported to anybody unless the user wants it.

Daft reports its use unless it is told not to, and reads this when it is imported. Whoever wants the reports sets the variable
to something else before.
"""

from __future__ import annotations

import os

DO_NOT_TRACK = os.environ.setdefault("DO_NOT_TRACK", "true")
"""What was told to libraries that would report their use."""
