"""An HTTP proxy on loopback that fails on purpose: a process of its own before a test's server.

A test gives it rules and asks what it saw:

    with fault_proxy("http://127.0.0.1:5000") as proxy:
        proxy.inject(Fault(kind="status", status=503, method="PUT", times=2))
        ...  # talk to proxy.url
        assert proxy.seen(method="PUT")[0].fault == "status"

A process, because a client in Rust may hold the interpreter while it waits for an answer.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Kind = Literal["status", "refuse", "lose_answer", "stall", "hang"]

CODES = {403: "AccessDenied", 409: "ConditionalRequestConflict", 503: "SlowDown"}
CONTROL = "/-/"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with which requests.

    Attributes:
        kind: `status` answers without asking the server; `refuse` closes the connection without
            asking it; `lose_answer` asks it and then closes the connection; `stall` asks it, sends
            half of its answer's body and then nothing; `hang` asks it and sends nothing.
        status: What `status` answers; `lose_answer` answers it too instead of closing, if not 0.
        method: A regular expression for the whole method.
        path: A regular expression to be found in path and query.
        after: How many such requests go well first.
        times: How many fail then; None for all.
    """

    kind: Kind
    status: int = 0
    method: str = ".*"
    path: str = ""
    after: int = 0
    times: int | None = None


@dataclass(frozen=True)
class Seen:
    """A request that came by, and which fault it met."""

    method: str
    path: str
    fault: Kind | None


class FaultProxy:
    """A running proxy, as a test sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def inject(self, *faults: Fault) -> None:
        """Replace the rules; the first one that fits a request decides. Forget what was seen."""
        self._ask("faults", json.dumps([asdict(fault) for fault in faults]).encode())

    def seen(self, method: str = ".*", path: str = "") -> list[Seen]:
        """Return the requests since the rules changed, in order."""
        found = [Seen(*each) for each in json.loads(self._ask("seen"))]
        return [s for s in found if re.fullmatch(method, s.method) and re.search(path, s.path)]

    def _ask(self, what: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(f"{self.url}{CONTROL}{what}", data=data) as answer:
            return answer.read()


@contextmanager
def fault_proxy(upstream: str) -> Generator[FaultProxy]:
    """Run a proxy before the server at `upstream`, at first without faults."""
    command = [sys.executable, __file__, upstream.removeprefix("http://")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield FaultProxy(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.kill()


class _Rules:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._met: list[int] = []
        self.seen: list[tuple[str, str, str | None]] = []

    def set(self, faults: Iterable[dict[str, Any]]) -> None:
        with self._lock:
            self._faults = [Fault(**fault) for fault in faults]
            self._met = [0] * len(self._faults)
            self.seen = []

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            fault = self._first(method, path)
            self.seen.append((method, path, fault.kind if fault else None))
            return fault

    def _first(self, method: str, path: str) -> Fault | None:
        for index, fault in enumerate(self._faults):
            if re.fullmatch(fault.method, method) and re.search(fault.path, path):
                self._met[index] += 1
                number = self._met[index] - fault.after
                if number > 0 and (fault.times is None or number <= fault.times):
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms
    rules = _Rules()
    upstream = ""

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith(CONTROL):
            self._control(body)
            return
        fault = self.rules.fault_for(self.command, self.path)
        if fault is None:
            self._answer(*self._asked(body))
        elif fault.kind == "status":
            self._answer(*_refusal(fault.status))
        elif fault.kind == "refuse":
            self.close_connection = True
        else:
            self._fail_after(fault, *self._asked(body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing: what was seen is asked for."""

    def _control(self, body: bytes) -> None:
        if body:
            self.rules.set(json.loads(body))
        self._answer(200, {}, json.dumps(self.rules.seen).encode())

    def _fail_after(self, fault: Fault, status: int, headers: dict[str, str], body: bytes) -> None:
        self.close_connection = True
        if fault.kind == "lose_answer":
            if fault.status:
                self._answer(*_refusal(fault.status))
            return
        if fault.kind == "stall":
            self._answer(status, headers, body, body[: len(body) // 2])
            self.wfile.flush()
        self.connection.recv(1)  # until the client gives up and closes

    def _asked(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        connection.request(self.command, self.path, body, asked)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), found

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, sent: bytes | None = None
    ) -> None:
        self.send_response_only(status)
        size = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        kept = {k: v for k, v in headers.items() if k.lower() not in _OURS}
        for name, value in {**kept, "Content-Length": size}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if sent is None else sent)


_OURS = {"connection", "content-length", "transfer-encoding"}


def _refusal(status: int) -> tuple[int, dict[str, str], bytes]:
    code = CODES.get(status, "InternalError")
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    return status, {"Content-Type": "application/xml"}, body


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that gave up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    _Handler.upstream = sys.argv[1]
    with _Server(("127.0.0.1", 0), _Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
