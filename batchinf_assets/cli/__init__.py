"""The operator's commands, over the same functions as the assets.

Exit codes: 0 fine, 1 the thing checked is not fine, 2 wrong use.
"""

from batchinf_assets.cli.entry import main

__all__ = ["main"]
