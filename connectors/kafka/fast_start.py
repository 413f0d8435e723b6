"""How the JVM that runs Kafka is tuned, and a cache of loaded classes that halves its start.

The cache is made once for each machine by a training run (`training.py`), kept beside the archives
and used by every later start. Without it everything works the same, a second or two slower.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connectors.kafka.jars import Runtime

FLAGS: Final = (
    # One small collector thread: starts sooner and takes less memory than G1 at this heap size.
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    # JDK 24+ warns about the way in which Kafka unmaps files; nothing that we could do about it.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    # Cached classes yes, cached machine code no: the latter warns about each mismatch.
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-AOTAdapterCaching",
    "-XX:-AOTStubCaching",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


def cache_file(runtime: Runtime) -> Path:
    """Where the cache of this JRE with these archives lies, or would lie."""
    return runtime.cache / f"kafka-{runtime.fingerprint}.aot"


def flags(runtime: Runtime, heap_mb: int) -> list[str]:
    """The options for `java`, with the cache if there is one."""
    cache = cache_file(runtime)
    cached = [f"-XX:AOTCache={cache}", "-Xlog:aot=off"] if cache.exists() else []
    return [f"-Xmx{heap_mb}m", *FLAGS, *cached]
