"""The embedded ClickHouse as clients see it: over HTTP, through crashes, and guarded."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from connectors.child import Identity, python_module
from connectors.clickhouse.accounts import stored_accounts
from connectors.clickhouse.embedded import MODULE, EmbeddedClickHouse, answers_query
from connectors.errors import Misconfigured

GONE_S = 15.0
ROWS = 2_000


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """A server that the tests of this file share."""
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as clickhouse:
        yield clickhouse


@pytest.fixture
def client(clickhouse: EmbeddedClickHouse) -> Iterator[Client]:
    """A client, unchanged, as anybody would make one."""
    with connect(clickhouse) as client:
        yield client


def connect(server: EmbeddedClickHouse, **more: Any) -> Client:
    """A `clickhouse_connect` client of the server."""
    where = urlsplit(server.url)
    account = {"username": where.username, "password": where.password, **more}
    return clickhouse_connect.get_client(host=where.hostname or "", port=where.port or 0, **account)


def address(server: EmbeddedClickHouse) -> str:
    """Where the server is, without a path."""
    return server.address.rpartition("/")[0]


def as_admin(server: EmbeddedClickHouse, path: str = "/", body: bytes | None = None, **more: str) -> Any:
    """The answer to one request of the account admin; `more` are headers, with _ for -."""
    password = stored_accounts(server.data)["admin"].password
    headers = {"X-ClickHouse-User": "admin", "X-ClickHouse-Key": password}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    return urllib.request.urlopen(urllib.request.Request(address(server) + path, data=body, headers=headers))


def table(client: Client, name: str, columns: str = "id UInt64, name String") -> str:
    """An empty table that drops blocks with a known token."""
    client.command(f"DROP TABLE IF EXISTS {name} SYNC")
    client.command(
        f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY tuple() "
        "SETTINGS non_replicated_deduplication_window = 1000"
    )
    return name


class TestAsAServer:
    """What clients do with any ClickHouse."""

    def test_inserts_columns_and_selects_rows(self, client: Client) -> None:
        """Native blocks, compressed, column by column; rows come back with their types."""
        table(client, "people", "id UInt64, name Nullable(String), at DateTime64(3)")
        summary = client.insert(
            "people",
            [list(range(ROWS)), [None, "ä'\\\n"] * (ROWS // 2), [1_790_000_000_123] * ROWS],
            column_names=["id", "name", "at"],
            column_oriented=True,
        )
        rows = client.query("SELECT id, name, at FROM people ORDER BY id LIMIT 2").result_rows

        assert summary.written_rows == ROWS
        assert [row[:2] for row in rows] == [(0, None), (1, "ä'\\\n")]
        assert rows[0][2].microsecond == 123_000

    @pytest.mark.parametrize("count", [9, 10, 13, 32])
    def test_any_number_of_columns_arrives(self, client: Client, count: int) -> None:
        """The byte that counts the columns may look like white space."""
        names = [f"c{number}" for number in range(count)]
        table(client, f"wide{count}", ", ".join(f"{name} Int32" for name in names))
        client.insert(f"wide{count}", [[1, 2, 3]] * count, column_names=names, column_oriented=True)

        assert client.query(f"SELECT count(), sum({names[-1]}) FROM wide{count}").first_row == (3, 6)

    def test_parameters_are_bound_by_the_server(self, client: Client) -> None:
        """Values come as `param_x`, never as SQL."""
        evil = "x' OR 1=1 --"
        answer = client.query("SELECT {name:String}, {n:UInt8} + 1", parameters={"name": evil, "n": 7})

        assert answer.first_row == (evil, 8)

    def test_a_known_token_is_dropped_and_does_not_leak(self, client: Client) -> None:
        """A batch sent twice counts once; the session's next insert without a token is not dropped."""
        name = table(client, "once")
        for _ in range(2):
            client.insert(name, [[1, "a"]], settings={"insert_deduplication_token": "batch-1"})
        client.insert(name, [[2, "b"]])

        assert client.query(f"SELECT id FROM {name} ORDER BY id").result_rows == [(1,), (2,)]

    def test_a_session_keeps_its_settings(self, client: Client) -> None:
        """A setting of one statement does not undo the SET before it."""
        client.command("SET max_threads = 3")
        during = client.query("SELECT getSetting('max_threads')", settings={"max_threads": 2}).first_row
        after = client.query("SELECT getSetting('max_threads')").first_row

        assert (during, after) == ((2,), (3,))

    def test_sessions_do_not_see_each_other(self, clickhouse: EmbeddedClickHouse, client: Client) -> None:
        """A temporary table belongs to its session."""
        client.command("CREATE TEMPORARY TABLE mine (x Int8)")
        with connect(clickhouse) as other, pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            other.query("SELECT * FROM mine")

    @pytest.mark.parametrize(
        ("sql", "code", "status"),
        [
            ("SELECT * FROM nowhere", "60", 404),
            ("SELEC 1", "62", 400),
            ("SELECT throwIf(1)", "395", 500),
        ],
    )
    def test_errors_carry_clickhouses_code(
        self, clickhouse: EmbeddedClickHouse, sql: str, code: str, status: int
    ) -> None:
        """Clients tell errors apart by the header and the status."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            as_admin(clickhouse, body=sql.encode())
        with refused.value as answer:
            assert answer.status == status
            assert answer.headers["X-ClickHouse-Exception-Code"] == code
            assert answer.read().startswith(f"Code: {code}. DB::Exception: ".encode())

    def test_a_broken_insert_leaves_nothing_and_the_connection_usable(self, client: Client) -> None:
        """The data behind an error are read away, so the next statement is understood."""
        name = table(client, "broken")
        with pytest.raises(ClickHouseError, match="code: 27"):
            client.raw_insert(name, ["id", "name"], b"1\tgood\n" + b"x\tbad\n" * 200_000, fmt="TSV")

        assert client.command(f"SELECT count() FROM {name}") == 0

    def test_a_big_answer_comes_whole(self, client: Client) -> None:
        """Compressed and in blocks."""
        with client.query_column_block_stream("SELECT number FROM numbers(300000)") as blocks:
            assert sum(sum(block[0]) for block in blocks) == sum(range(300_000))

    def test_many_clients_work_at_once(self, clickhouse: EmbeddedClickHouse) -> None:
        """One engine, a thread for each connection."""

        async def scenario() -> int:
            where = urlsplit(clickhouse.url)
            client = await clickhouse_connect.get_async_client(
                host=where.hostname or "",
                port=where.port or 0,
                username=where.username,
                password=where.password or "",
                autogenerate_session_id=False,
            )
            async with client:
                answers = await asyncio.gather(
                    *(client.query("SELECT {i:UInt32}", parameters={"i": number}) for number in range(60))
                )
            return sum(answer.result_rows[0][0] for answer in answers)

        assert asyncio.run(scenario()) == sum(range(60))

    def test_ping_answers(self, clickhouse: EmbeddedClickHouse) -> None:
        """As load balancers and `curl` ask."""
        with urllib.request.urlopen(f"{address(clickhouse)}/ping") as answer:
            assert answer.read() == b"Ok.\n"


class TestGuarded:
    """Who may not do what."""

    def test_a_get_may_only_read(self, clickhouse: EmbeddedClickHouse, client: Client) -> None:
        """A link that somebody clicks drops no table."""
        name = table(client, "kept")
        with pytest.raises(urllib.error.HTTPError, match="500"):
            as_admin(clickhouse, f"/?query={quote(f'DROP TABLE {name}')}")

        assert client.command(f"EXISTS TABLE {name}") == 1

    def test_a_body_that_is_cut_short_inserts_nothing(
        self, clickhouse: EmbeddedClickHouse, client: Client
    ) -> None:
        """A client that dies in the middle of an insert leaves no half batch."""
        name = table(client, "whole")
        where = urlsplit(clickhouse.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port)
        connection.putrequest("POST", "/")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("X-ClickHouse-User", "admin")
        connection.putheader("X-ClickHouse-Key", stored_accounts(clickhouse.data)["admin"].password)
        connection.endheaders()
        piece = f"INSERT INTO {name} FORMAT TSV\n1\tcut\n".encode()
        connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.close()
        # The server may still be at it: a second insert, of the same table, comes behind.
        client.insert(name, [[2, "whole"]])

        assert client.query(f"SELECT id FROM {name}").result_rows == [(2,)]


class TestThroughCrashes:
    """One data folder, one process at a time, and nothing acknowledged is lost."""

    def test_kill_during_inserts_loses_nothing_acknowledged(self, tmp_path: Path) -> None:
        """After kill -9 all acknowledged batches are there, and a batch sent again counts once."""
        with EmbeddedClickHouse(tmp_path) as server:
            with connect(server) as client:
                table(client, "batches")
            acknowledged = 0
            for _ in range(3):
                killer = threading.Timer(0.3, server.kill)
                with connect(server) as client:
                    killer.start()
                    try:
                        while True:
                            insert_batch(client, acknowledged)
                            acknowledged += 1
                    except (ClickHouseError, OSError):
                        killer.join()
                server.start()
                with connect(server) as client:
                    insert_batch(client, acknowledged)
                    acknowledged += 1
                    found = client.query("SELECT count(), uniqExact(id) FROM batches").first_row
                assert found == (acknowledged * 500, acknowledged * 500)

    def test_a_clean_stop_and_start_keep_the_address(self, tmp_path: Path) -> None:
        """Another object over the same folder is found at the same URL, with the data."""
        with EmbeddedClickHouse(tmp_path) as server, connect(server) as client:
            table(client, "lasting")
            client.insert("lasting", [[1, "a"]])
            before = server.url
        with EmbeddedClickHouse(tmp_path) as server, connect(server) as client:
            assert server.url == before
            assert client.command("SELECT count() FROM lasting") == 1

    def test_a_second_process_is_refused(self, clickhouse: EmbeddedClickHouse) -> None:
        """Started by hand over the same folder, it says why not, and exits as misconfigured."""
        second = subprocess.run(
            python_module(MODULE, str(clickhouse.data), "0"),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )

        assert second.returncode == 78
        assert "another process has the ClickHouse data" in second.stderr

    def test_a_second_owner_is_refused(self, clickhouse: EmbeddedClickHouse) -> None:
        """The error names the process that has the folder."""
        with pytest.raises(Misconfigured, match=f"already runs on .* as process {clickhouse.pid}"):
            EmbeddedClickHouse(clickhouse.data).start()

    def test_runs_by_itself_and_ends_by_sigterm(self, tmp_path: Path) -> None:
        """`python -m connectors.clickhouse.embedded` says READY, serves, and exits 0 when told to end."""
        server = subprocess.Popen(
            python_module(MODULE, str(tmp_path), "0"),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        with server:
            assert server.stdout is not None
            ready = server.stdout.readline()
            port = int(ready.removeprefix("READY port="))
            answered = answers_query(f"http://127.0.0.1:{port}")
            server.send_signal(signal.SIGTERM)
            code = server.wait(GONE_S)

        assert answered
        assert code == 0

    def test_ends_with_an_owner_that_is_killed(self, tmp_path: Path) -> None:
        """Kill -9 of the owner leaves no server behind, and the next start on the folder works."""
        program = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from connectors.clickhouse.embedded import EmbeddedClickHouse\n"
            "server = EmbeddedClickHouse(Path(sys.argv[1]))\n"
            "server.start()\n"
            "print(server.pid, flush=True)\n"
            "time.sleep(600)\n"
        )
        owner = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        with owner:
            assert owner.stdout is not None
            server = Identity.of(int(owner.stdout.readline()))
            assert server is not None
            os.kill(owner.pid, signal.SIGKILL)
        deadline = time.monotonic() + GONE_S
        while server.alive() and time.monotonic() < deadline:
            time.sleep(0.05)

        assert not server.alive()
        with EmbeddedClickHouse(tmp_path) as again, connect(again) as client:
            assert client.command("SELECT 1") == 1


def insert_batch(client: Client, number: int) -> None:
    """Insert the 500 rows of a batch under its own token."""
    first = number * 500
    client.insert(
        "batches",
        [list(range(first, first + 500)), ["x"] * 500],
        column_names=["id", "name"],
        column_oriented=True,
        settings={"insert_deduplication_token": f"batch-{number}"},
    )
