"""ari-py, the library of the Asterisk project itself."""

import importlib

from tests.peers.finding import Finding


def import_it() -> Finding:
    """Python 3 finds no `client` beside the package: it was written for the implicit imports of Python 2."""
    try:
        importlib.import_module("ari")
    except ImportError as exc:
        seen, failed = f"{type(exc).__name__}: {exc}", True
    else:
        seen, failed = "imports", False
    return Finding(defect="ARI: import ari", peer=seen, ours="aiohttp, where ARI is needed", reproduced=failed)
