"""Makes `pictures.py` importable by the tests beside it, in each of pytest's import modes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
