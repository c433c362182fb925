"""The small model and the photographs of other tests, made importable."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("deploy", "data"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
