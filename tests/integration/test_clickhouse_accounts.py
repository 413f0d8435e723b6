"""What each account of the embedded ClickHouse may do, and that nothing of a web page gets in."""

from __future__ import annotations

import base64
import gzip
import http.client
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from connectors.clickhouse.accounts import Account, Role, stored_accounts
from connectors.clickhouse.embedded import EmbeddedClickHouse
from connectors.clickhouse.http_bodies import PIECE_BYTES, decompressed
from connectors.clickhouse.migrate import migrate
from connectors.clickhouse.query import ask
from connectors.errors import Misconfigured

ALL: frozenset[Role] = frozenset({"admin", "metrics", "analyst"})
WRITERS: frozenset[Role] = frozenset({"admin", "metrics"})
ADMIN: frozenset[Role] = frozenset({"admin"})
NOBODY: frozenset[Role] = frozenset()

READS = (
    "SELECT 1",
    "select count() from permission_facts",
    "SELECT * FROM consent_current",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "FROM permission_facts SELECT count()",
    "# comment\nSELECT 1",
    "-- comment\nSELECT 1",
    "/* a */ SELECT /* b */ 1 -- c",
    "WITH 1 AS x SELECT x",
    "SELECT 1;",
    "SELECT 'INTO OUTFILE', 'a; b', '-- c'",
    "SELECT * FROM numbers(3)",
    "SELECT * FROM view(SELECT 1)",
    "SELECT 1 SETTINGS max_threads = 2",
    "SELECT count() FROM system.tables",
    "SELECT 1 INTERSECT SELECT 1",
    "SHOW TABLES",
    "SHOW CREATE TABLE consent_current",
    "DESCRIBE TABLE permission_facts",
    "EXISTS TABLE permission_facts",
    "EXPLAIN SELECT 1",
    "SELECT toString(subject) FROM token_facts WHERE subject = 'file(x)'",
)
REFUSED = (
    "SELECT 'x' INTO OUTFILE '{folder}/out' TRUNCATE FORMAT TSVRaw",
    "SHOW TABLES INTO OUTFILE '{folder}/out'",
    "EXPLAIN SELECT 1 INTO OUTFILE '{folder}/out'",
    "SELECT 1; SELECT 2",
    "SELECT 1; CREATE TABLE optin.t (a Int8) ENGINE=Memory",
    "SELECT 1; SYSTEM STOP MERGES",
    "SELECT * FROM file('/etc/hostname', 'LineAsString')",
    "SELECT raw_blob FROM file('/proc/self/environ', 'RawBLOB')",
    "SELECT file('/etc/hostname')",
    "SELECT `file`('/etc/hostname')",
    "SELECT COLUMNS('a') APPLY(file) FROM (SELECT '/etc/hostname' AS a)",
    "SELECT COLUMNS('a') APPLY(x -> file(x)) FROM (SELECT '/etc/hostname' AS a)",
    "SELECT (SELECT * FROM (SELECT * FROM file('/etc/hostname', 'LineAsString')))",
    "WITH x AS (SELECT * FROM file('/etc/hostname', 'LineAsString')) SELECT * FROM x",
    "DESCRIBE TABLE file('/etc/hostname', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/a', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1', 'system', 'one')",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM sqlite('/tmp/a', 'b')",
    "SELECT * FROM executable('x', 'TSV', 'a Int8')",
    "SELECT * FROM python('x')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM default.`/etc/hostname`",
    "SELECT * FROM loop(permission_facts)",
    "SELECT * FROM merge('system', 'processes')",
    "SELECT * FROM system.processes",
    "SHOW PROCESSLIST",
    "INSERT INTO FUNCTION file('{folder}/out', 'CSV', 'a String') VALUES ('x')",
    "INSERT INTO permission_facts FROM INFILE '/etc/hostname' FORMAT TSV",
    "CREATE TEMPORARY TABLE t (a Int8) ENGINE = File(CSV)",
    "CREATE TABLE optin.t (a Int8) ENGINE = URL('http://127.0.0.1:1/', CSV)",
    "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local', path='/')",
    "CREATE DICTIONARY d (a Int8) PRIMARY KEY a SOURCE(FILE(path '/etc/x' format 'TSV')) LAYOUT(FLAT())",
    "CREATE FUNCTION f AS x -> file(x)",
    "CREATE USER u",
    "GRANT ALL ON *.* TO default",
    "ATTACH TABLE t FROM '/etc' (a Int8) ENGINE = MergeTree ORDER BY a",
    "BACKUP DATABASE optin TO File('{folder}/out')",
    "SYSTEM STOP MERGES",
    "SYSTEM SHUTDOWN",
    "KILL QUERY WHERE 1",
    "SET ROLE admin",
    "SET ROLE ALL",
    "EXECUTE AS default SELECT 1",
    "SET readonly = 0",
    "SET profile = 'default'",
    "SELECT 1 SETTINGS profile = 'default'",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 SETTINGS max_execution_time = 100000",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "EXPLAIN SYNTAX SYSTEM STOP MERGES",
    "BEGIN TRANSACTION",
)
INSERTS = (
    "INSERT INTO schema_migrations (number, name) VALUES (900, 'x; y')",
    "INSERT INTO schema_migrations (number, name) SELECT 901, 'x'",
    "WITH 902 AS n INSERT INTO schema_migrations (number, name) SELECT n, 'x'",
    "INSERT INTO schema_migrations (number, name) FORMAT TSV\n903\tx\n",
    "INSERT INTO schema_migrations (number, name) VALUES (904, 'x'); DROP TABLE permission_facts",
)
CHANGES = (
    "CREATE TABLE made (a Int8) ENGINE = MergeTree ORDER BY a",
    "ALTER TABLE made ADD COLUMN b Int8",
    "OPTIMIZE TABLE made",
    "TRUNCATE TABLE made",
    "RENAME TABLE made TO made2",
    "DROP TABLE made2",
    "CREATE OR REPLACE VIEW made_view AS SELECT 1 AS one",
    "DROP VIEW made_view",
    "CREATE TEMPORARY TABLE t (a Int8)",
)
TABLE = [
    *((statement, ALL, True) for statement in READS),
    *((statement, NOBODY, False) for statement in REFUSED),
    *((statement, WRITERS, False) for statement in INSERTS),
    *((statement, ADMIN, False) for statement in CHANGES),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """A server with our tables, shared."""
    with EmbeddedClickHouse(tmp_path_factory.mktemp("accounts")) as server:
        migrate(server.url)
        yield server


def request(
    server: EmbeddedClickHouse, method: str, statement: str, headers: dict[str, str]
) -> tuple[int, str]:
    """Status and text of an answer; a GET carries the statement in its address."""
    where = urlsplit(server.address)
    connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=20)
    try:
        path = "/?database=optin" + (f"&query={quote(statement)}" if method == "GET" else "")
        connection.request(method, path, None if method == "GET" else statement.encode(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def as_account(server: EmbeddedClickHouse, name: str) -> dict[str, str]:
    """Basic authorization of an account."""
    password = stored_accounts(server.data)[name].password
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize(("statement", "allowed", "reads"), TABLE, ids=lambda value: str(value)[:60])
def test_each_account_may_run_what_the_page_says(
    server: EmbeddedClickHouse, tmp_path: Path, statement: str, allowed: frozenset[Role], reads: bool
) -> None:
    """By POST what its role may; by GET only what reads, whoever asks."""
    for account in ("analyst", "metrics", "admin"):
        for method in ("GET", "POST"):
            text = statement.format(folder=tmp_path)
            status, answer = request(server, method, text, as_account(server, account))
            may = account in allowed and (reads or method == "POST")
            assert (status == 200) == may, (account, method, status, answer[:300])
    assert [*tmp_path.iterdir()] == []


def test_what_stands_behind_values_is_never_run(server: EmbeddedClickHouse) -> None:
    """The table that an INSERT of the table above would have dropped is there."""
    assert ask(server.url, "EXISTS TABLE permission_facts").rows == [(1,)]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Referer", "http://evil.example/"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Host", "evil.example:80"),
        ("Host", "127.0.0.1.evil.example"),
        ("Host", ""),
    ],
)
def test_web_pages_are_refused(server: EmbeddedClickHouse, header: tuple[str, str], method: str) -> None:
    """Even with the right password, which a browser may have kept."""
    status, answer = request(server, method, "SELECT 1", as_account(server, "admin") | dict([header]))

    assert status in {403, 501}
    assert answer != "1\n"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-ClickHouse-User": "default"},
        {"X-ClickHouse-User": "analyst"},
        {"X-ClickHouse-User": "analyst", "X-ClickHouse-Key": "guess"},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic " + base64.b64encode(b"analyst").decode()},
        {"Authorization": ""},
    ],
)
def test_nobody_comes_in_without_a_password(server: EmbeddedClickHouse, headers: dict[str, str]) -> None:
    """Also by default, and by a scheme that is not known."""
    status, answer = request(server, "POST", "SELECT 1", headers)

    assert (status, "AUTHENTICATION_FAILED" in answer) == (403, True)


def test_a_refused_scheme_does_not_fall_back_to_other_headers(server: EmbeddedClickHouse) -> None:
    """`Authorization` decides where it is sent."""
    password = stored_accounts(server.data)["admin"].password
    headers = {"Authorization": "Bearer x", "X-ClickHouse-User": "admin", "X-ClickHouse-Key": password}

    assert request(server, "POST", "SELECT 1", headers)[0] == 403


def test_passwords_are_the_owners_alone(server: EmbeddedClickHouse) -> None:
    """They are in no environment and no argument of the server, and only the owner reads the folder."""
    passwords = [account.password.encode() for account in stored_accounts(server.data).values()]
    process = Path(f"/proc/{server.pid}")
    said = (process / "environ").read_bytes() + (process / "cmdline").read_bytes() + server.log.read_bytes()

    assert not any(password in said for password in passwords)
    for path, mode in ((server.data, 0o700), (server.data / "accounts.json", 0o600), (server.log, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


def test_named_users_get_their_roles(tmp_path: Path) -> None:
    """Names of the setting come in beside our own accounts; one of the readers may only read."""
    env = {
        "OPTIN_CLICKHOUSE_USERS": '{"writer": "w", "anna": "a"}',
        "OPTIN_CLICKHOUSE_READERS": "anna",
    }
    with EmbeddedClickHouse(tmp_path / "data", env=env) as server:
        migrate(server.url)
        insert = "INSERT INTO schema_migrations (number, name) VALUES (900, 'x')"
        for name, status in (("writer", 200), ("anna", 500), ("metrics", 200)):
            assert request(server, "POST", insert, as_account(server, name))[0] == status
            assert request(server, "POST", "SELECT 1", as_account(server, name))[0] == 200


@pytest.mark.parametrize("users", ['{"default": ""}', "{'a': 'SECRET'}", '{"a": SECRET}', "/nowhere/SECRET"])
def test_a_bad_setting_of_users_is_refused_without_its_words(tmp_path: Path, users: str) -> None:
    """An empty password, and a text that is no JSON."""
    with pytest.raises(Misconfigured, match="OPTIN_CLICKHOUSE_USERS") as refused:
        EmbeddedClickHouse(tmp_path, env={"OPTIN_CLICKHOUSE_USERS": users}).start()

    assert "SECRET" not in str(refused.value)


def test_a_file_of_users_must_be_private(tmp_path: Path) -> None:
    """0600, like all that holds a password."""
    file = tmp_path / "users.json"
    file.write_text('{"a": "b"}')
    file.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        EmbeddedClickHouse(tmp_path / "data", env={"OPTIN_CLICKHOUSE_USERS": str(file)}).start()


def test_an_account_does_not_print_its_password() -> None:
    """Neither in a log nor in a traceback."""
    assert "secret" not in repr(Account("analyst", "secret"))


@pytest.mark.parametrize("length", ["abc", "-5"])
def test_a_length_that_is_no_number_gets_an_answer(server: EmbeddedClickHouse, length: str) -> None:
    """And the connection is closed: nobody knows where the next request begins."""
    headers = as_account(server, "analyst") | {"Content-Length": length, "Connection": "close"}

    assert request(server, "POST", "", headers)[0] == 500


def test_the_body_of_a_ping_is_no_request(server: EmbeddedClickHouse) -> None:
    """One request gets one answer, whatever is in its body."""
    inner = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    outer = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(inner)
    with socket.create_connection(("127.0.0.1", urlsplit(server.address).port or 0), 5) as connection:
        connection.sendall(outer + inner)
        connection.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: connection.recv(1 << 16), b""))

    assert answers.count(b"HTTP/1.1 200") == 1


def test_a_small_body_that_unpacks_to_much_is_refused_in_pieces() -> None:
    """No piece is larger than the bound, whatever one piece of the body unpacks to."""
    packed = gzip.compress(b" " * (16 << 20))
    pieces = [*decompressed(iter([packed]), "gzip")]

    assert max(map(len, pieces)) <= PIECE_BYTES
    assert sum(map(len, pieces)) == 16 << 20


class TestConfinement:
    """What the kernel refuses, whatever statement gets by the allow-list."""

    PROGRAM = """
import sys
from pathlib import Path
from connectors.clickhouse import embedded
data = Path(sys.argv[1])
embedded._confine(data)
import chdb
engine = chdb.connect(str(data / "engine"))
print(engine.query("SELECT 1 + 1", "TSV").bytes())
for statement in sys.stdin.read().splitlines():
    try:
        print("GOT", statement, engine.query(statement, "TSV").bytes()[:40])
    except Exception as error:
        print("REFUSED" if "ermission denied" in str(error) else f"FAILED {error}", statement)
"""

    def test_one_missed_statement_opens_nothing(self, tmp_path: Path) -> None:
        """Files of the machine, the passwords beside the engine's data, other servers."""
        data, outside = tmp_path / "data", tmp_path / "outside"
        data.mkdir()
        outside.write_text("a secret")
        (data / "accounts.json").write_text("passwords")
        with socket.create_server(("127.0.0.1", 0)) as other:
            place = f"127.0.0.1:{other.getsockname()[1]}"
            statements = [
                "SELECT * FROM file('/etc/hostname', 'LineAsString')",
                "SELECT raw_blob FROM file('/proc/self/environ', 'RawBLOB')",
                f"SELECT * FROM file('{outside}', 'LineAsString')",
                f"SELECT * FROM file('{data / 'accounts.json'}', 'LineAsString')",
                f"SELECT 1 INTO OUTFILE '{tmp_path / 'written'}'",
                f"SELECT * FROM url('http://{place}/', 'LineAsString') SETTINGS http_max_tries = 1",
            ]
            done = subprocess.run(
                [sys.executable, "-c", self.PROGRAM, str(data)],
                input="\n".join(statements),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        if "no Landlock" in done.stdout:
            pytest.skip("this kernel has no Landlock")

        assert "b'2\\n'" in done.stdout, done.stdout + done.stderr
        assert done.stdout.count("REFUSED") == len(statements), done.stdout
        assert not (tmp_path / "written").exists()
