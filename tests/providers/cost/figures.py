"""What one run of a client or of a worker gave."""

from __future__ import annotations

from dataclasses import dataclass

from processors.benchmarks.arena import Moment


@dataclass(frozen=True, slots=True)
class Figures:
    """Pushes that were to be sent and that were accepted, and what it took of CPU time and of time."""

    pushes: int
    accepted: int
    cpu_s: float
    took_s: float
    note: str = ""

    @classmethod
    def between(cls, begun: Moment, done: Moment, pushes: int, accepted: int, note: str = "") -> Figures:
        """The figures of a run that lasted from one moment to the other."""
        return cls(pushes, accepted, done.cpu_s - begun.cpu_s, done.at_s - begun.at_s, note)

    @property
    def cpu_us(self) -> float:
        """CPU time of a push (us)."""
        return self.cpu_s / self.pushes * 1e6

    @property
    def pushes_s(self) -> float:
        """Accepted pushes a second."""
        return self.accepted / self.took_s

    @property
    def busy(self) -> float:
        """The share of its core that the process had: near 1, and nothing but CPU time was in the way."""
        return self.cpu_s / self.took_s

    @property
    def lost(self) -> int:
        """Pushes that were not accepted, or were accepted twice."""
        return abs(self.pushes - self.accepted)
