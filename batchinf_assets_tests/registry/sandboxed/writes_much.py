import sys
from pathlib import Path

with (Path(sys.argv[1]) / "much").open("wb") as file:
    while True:
        file.write(bytes(2**20))
