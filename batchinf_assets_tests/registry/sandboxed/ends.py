import os
import sys
from pathlib import Path

os._exit(int(Path(sys.argv[1], "code").read_text()))
