"""Where a process spends CPU time, by samples of its threads (py-spy): functions, and parts of the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from processors.benchmarks.arena import Running
from processors.benchmarks.flame import WAITING, sampled

Parts = tuple[tuple[str, tuple[str, ...]], ...]
"""Parts of the work by what stands in their frames; the first that fits has the sample."""

OTHER: Final = "other"
IDLE: Final = (WAITING, "concurrent/futures/thread.py")
"""Where threads wait, in C code that a sampler takes for work: for a socket, and for something to do."""
CURVE: Final = ("derive_dh (", "generate_private_key (", "encode (pywebpush", "from_encoded_point (")
"""Frames right above the elliptic-curve work, which is C: a key of one's own for each push, and the secret
that it shares with the subscriber's."""

ENCRYPTION: Final[Parts] = (
    ("the elliptic curve", CURVE),
    ("the rest of encryption", ("pywebpush/", "http_ece/", "cryptography/")),
)

ROLE: Final[Parts] = (
    ("the provider's sender", ("connectors/push/",)),
    ("its HTTP/2 and headers", ("h2/", "hpack/", "hyperframe/", "aioapns/")),
    ("its HTTP/1.1", ("aiohttp/", "yarl/", "multidict/")),
    ("encryption", ("pywebpush/", "http_ece/", "cryptography/")),
    ("building FCM's message", ("firebase_admin/",)),
    ("encode and decode facts", ("connectors/codec.py", "fastavro/")),
    ("encode and decode rows", ("processors/agents/reach_rows.py", "processors/lane/transaction.py")),
    ("the last look at consent", ("/ledger/",)),
    ("the push_sender agent", ("processors/agents/",)),
    ("write transactions", ("processors/lane/writer.py", "aiokafka/producer/", "aiokafka/record/")),
    ("fetch records", ("aiokafka/consumer/", "processors/lane/transport.py")),
    ("the lane", ("processors/lane/", "processors/wiring.py")),
    ("connections to Kafka", ("aiokafka/",)),
    ("Faust", ("/faust/", "/mode/")),
    ("TLS and sockets", ("/ssl.py", "asyncio/sslproto.py", "asyncio/selector_events.py")),
    ("the event loop", ("/asyncio/",)),
)
"""A sample belongs to its innermost frame that is in one of these."""


class Sampler:
    """Samples one process while it works; `stacks` has them after that."""

    def __init__(self, file: Path) -> None:
        self._file = file
        raw = ("--format", "raw", "--full-filenames", "--output", str(file))
        self._sampled = sampled(*raw)

    def look(self, running: Running) -> AbstractContextManager[None]:
        """The context in which it is looked at."""
        return self._sampled(running)

    @property
    def stacks(self) -> list[str]:
        """What was sampled, each a line `outer;...;inner count`."""
        return self._file.read_text().splitlines()


def counted(stacks: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """(frames from the innermost on, samples); without threads that wait."""
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")[::-1]
        if not any(place in frames[0] for place in IDLE):
            yield frames, int(count)


def by_function(stacks: Iterable[str]) -> list[tuple[str, float]]:
    """The share of each function's own time, C code that it calls included; the largest first."""
    return _shares((short(frames[0]), count) for frames, count in counted(stacks))


def by_part(stacks: Iterable[str], parts: Parts) -> list[tuple[str, float]]:
    """The share of each part; the largest first."""
    return _shares((_part(frames, parts), count) for frames, count in counted(stacks))


def short(frame: str) -> str:
    """`function (package/module)` of a frame `function (/a/path/package/module.py:12)`, or the frame."""
    function, _, place = frame.partition(" (")
    if not place:
        return frame
    path = Path(place.rpartition(":")[0] or place.rstrip(")")).with_suffix("")
    return f"{function} ({'/'.join(path.parts[-2:])})"


def _part(frames: Iterable[str], parts: Parts) -> str:
    for frame in frames:
        marked = f"{short(frame)} {frame}"
        for name, words in parts:
            if any(word in marked for word in words):
                return name
    return OTHER


def _shares(samples: Iterable[tuple[str, int]]) -> list[tuple[str, float]]:
    counts: Counter[str] = Counter()
    for name, count in samples:
        counts[name] += count
    total = counts.total() or 1
    return [(name, count / total) for name, count in counts.most_common()]
