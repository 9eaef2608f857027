"""Leaves a process behind, in a session of its own, that touches the canary later."""

import os
import sys
import time
from pathlib import Path

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(3):
            os.close(descriptor)
        time.sleep(1)
        (Path(sys.argv[1]) / "canary").touch()
        os._exit(0)
    os._exit(0)
os.wait()
(Path(sys.argv[1]) / "forked").touch()
