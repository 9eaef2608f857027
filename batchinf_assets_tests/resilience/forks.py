"""A process that is forked from one that has everything imported, and answers with one value."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn


class ForkFailed(Exception):
    """The forked process did not answer; the message is its traceback, or how it ended."""


class Fork:
    """Run `body` in a fork of this process.

    Args:
        body: Returns a JSON value. Fork before anything here started threads: they do not follow.
    """

    def __init__(self, body: Callable[[], Any]) -> None:
        self._answers, writing = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._answers)
            _answer(body, writing)
        os.close(writing)

    def result(self) -> Any:
        """Wait for the answer.

        Raises:
            ForkFailed: The body raised, or the process was killed.
        """
        with os.fdopen(self._answers, encoding="utf-8") as answers:
            content = answers.read()
        _, status = os.waitpid(self._process, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            raise ForkFailed(content or f"The forked process ended with {code}.")
        return json.loads(content)


def _answer(body: Callable[[], Any], writing: int) -> NoReturn:
    code = 1
    try:
        with os.fdopen(writing, "w", encoding="utf-8") as answers:
            try:
                answer = json.dumps(body())
                code = 0
            except BaseException:  # noqa: BLE001 - the fork must never run on into our caller
                answer = traceback.format_exc()
            answers.write(answer)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
