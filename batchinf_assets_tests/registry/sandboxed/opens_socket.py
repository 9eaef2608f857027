"""Connects to the port that `port` names."""

import socket
import sys
from pathlib import Path

port = int((Path(sys.argv[1]) / "port").read_text())
socket.create_connection(("127.0.0.1", port), timeout=5).sendall(b"stolen")
