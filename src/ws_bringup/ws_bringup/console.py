"""Standard output that may go away: a closed pipe or a lost terminal neither ends a run nor keeps it from ending."""

from __future__ import annotations

import os
from typing import Any, TextIO


class LastingOutput:
    """A text stream whose writes never fail; once its reader is gone, what is written is dropped."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
