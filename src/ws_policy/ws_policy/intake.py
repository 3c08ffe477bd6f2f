"""Weights come in: checked, then loaded between two steps, or refused with a reason."""

from __future__ import annotations

from ws_policy.weights import MAX_BYTES, Packet, WeightsError, unpack


class WeightsIntake:
    """Guards a PolicyRuntime. A session that was left for another one is never taken up again."""

    def __init__(self, runtime, max_bytes: int = MAX_BYTES):
        self.rejected = 0
        self.session = ""
        self._runtime = runtime
        self._max_bytes = max_bytes
        self._left: set[str] = set()

    @property
    def version(self) -> int:
        """Version that acts now, 0 before the first."""
        return self._runtime.version

    def take(self, packet: Packet) -> str:
        """Load the packet; returns why it was refused, or "" when it acts from now on."""
        try:
            if packet.session in self._left:
                raise WeightsError(f"session {packet.session!r} has been replaced by {self.session!r}")
            tensors = unpack(packet, self._runtime.architecture, session=self.session, newer_than=self.version,
                             max_bytes=self._max_bytes)
            self._runtime.load(tensors, packet.version)
        except WeightsError as error:
            self.rejected += 1
            return str(error)
        if self.session and self.session != packet.session:
            self._left.add(self.session)
        self.session = packet.session
        return ""
