"""These tests need the libraries of .venv-peers (scripts/test_peers); without them they are not collected."""

import sys
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = ("sae_lens", "dictionary_learning", "sparsify")
collect_ignore_glob = [] if all(find_spec(name) for name in LIBRARIES) else ["test_*.py"]

# The modules here import one another.
sys.path.insert(0, str(Path(__file__).parent))
