"""Leaves what `lie` holds as its report, or a link or a pipe in its place."""

import os
import sys
from pathlib import Path

folder = Path(sys.argv[1])
lie, report = (folder / "lie").read_bytes(), folder / "refused.json"
if lie == b"link":
    report.symlink_to(folder / "lie")
elif lie == b"pipe":
    os.mkfifo(report)
elif lie == b"folder":
    report.mkdir()
else:
    report.write_bytes(lie)
