"""Does what an honest module does: imports, computes, writes into its folder."""

import json
import os
import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
found = {
    "environment": dict(os.environ),
    "arguments": sys.argv,
    "folder": str(Path.cwd()),
    "input": sys.stdin.read(),
    "sum": float(np.ones((200, 200)).sum()),
    "session": os.getsid(0) == os.getsid(os.getppid()),
    "kernels": sorted(str(path.relative_to(folder)) for path in folder.glob(".numba/*")),
    "descriptors": sorted(
        str(path.readlink()) for path in Path("/proc/self/fd").glob("*") if path.is_symlink()
    ),
}
(folder / "found.json").write_text(json.dumps(found))
print("nobody reads this")
