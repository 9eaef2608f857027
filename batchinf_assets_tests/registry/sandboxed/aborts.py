import os
import sys

print("a\x1b[2Jhostile\u202eend", file=sys.stderr, flush=True)
os.abort()
