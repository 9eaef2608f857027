"""Reports which variables it was given, as a refusal: the only thing that comes out unread."""

import os
import sys
from pathlib import Path

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.registry.sandbox import report_refusal

own = Path("/proc/self/environ")
names = {*os.environ, *(item.split("=")[0] for item in own.read_text().split("\0") if item)}
values = " ".join(os.environ.values())
error = ModelRefused(
    f"names {' '.join(sorted(names))} values {values}", reason=Refusal.CRASHED, next_step="None."
)
report_refusal(Path(sys.argv[1]), error)
sys.exit(1)
