"""A foreign page in a real browser, beside the embedded ClickHouse of whoever visits it: it does nothing.

The page even knows the admin's password. What a browser sends for a page is refused all the same, and no page
reads an answer.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import pytest
from aiohttp import web

from connectors.clickhouse.accounts import stored_accounts
from connectors.clickhouse.embedded import EmbeddedClickHouse
from connectors.clickhouse.query import ask
from connectors.loopback import HOST
from tests.support.browser.chromium import Chromium
from tests.support.browser.devtools import connected
from tests.support.providers.part import or_skip

ATTEMPTS: Final = """
async (base, read, write) => {
  const found = [];
  const note = async (name, doing) => {
    try { found.push([name, await doing()]); } catch (error) { found.push([name, 'refused']); }
  };
  const loaded = element => new Promise(done => {
    element.onload = () => done('loaded'); element.onerror = () => done('refused');
    setTimeout(() => done('refused'), 3000); document.body.append(element);
  });
  const get = sql => base + '&query=' + encodeURIComponent(sql);
  for (const sql of [...write, ...read]) {
    await note('img', () => loaded(Object.assign(new Image(), {src: get(sql)})));
    await note('script', () => loaded(Object.assign(document.createElement('script'), {src: get(sql)})));
    await note('fetch', async () => (await fetch(get(sql))).text());
    await note('post', async () => (await fetch(base, {method: 'POST', body: sql})).text());
    await note('no-cors', async () => (await fetch(base, {method: 'POST', body: sql, mode: 'no-cors'})).type);
    await note('beacon', () => { navigator.sendBeacon(base, sql); return 'sent'; });
    await note('form', () => {
      const target = document.createElement('iframe'); target.name = 'f' + found.length;
      document.body.append(target);
      const form = document.createElement('form');
      Object.assign(form, {method: 'post', action: get(sql), target: target.name, enctype: 'text/plain'});
      document.body.append(form); form.submit();
      return new Promise(done => {
        target.onload = () => done('sent'); setTimeout(() => done('sent'), 2000);
      });
    });
    await note('socket', () => new Promise((done, fail) => {
      const socket = new WebSocket(get(sql).replace('http', 'ws'));
      socket.onopen = () => done('open'); socket.onerror = fail;
    }));
  }
  return JSON.stringify(found);
}
"""


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_a_foreign_page_writes_and_reads_nothing(tmp_path: Path) -> None:
    """By images, scripts, fetch, forms, beacons and sockets, with the password of the admin."""
    with (
        EmbeddedClickHouse(tmp_path / "data") as server,
        or_skip(Chromium(tmp_path / "chromium")) as chromium,
    ):
        password = stored_accounts(server.data)["admin"].password
        port = urlsplit(server.address).port
        base = f"http://{HOST}:{port}/?user=admin&password={quote(password)}"
        written = tmp_path / "written"
        write = [
            "CREATE TABLE optin.foreign (a Int8) ENGINE = Memory",
            f"SELECT 'x' INTO OUTFILE '{written}' TRUNCATE FORMAT TSVRaw",
        ]
        found = asyncio.run(_visited(chromium, base, ["SELECT 40 + 2"], write))

        assert {name for name, _ in found} >= {"img", "script", "fetch", "post", "no-cors", "form", "socket"}
        for name, result in found:
            assert result in {"refused", "opaque", "sent"}, (name, result)
        assert ask(server.url, "SELECT count() FROM system.tables WHERE database = 'optin'").rows == [(0,)]
        assert not written.exists()


async def _visited(chromium: Chromium, base: str, read: list[str], write: list[str]) -> list[tuple[str, str]]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(
            text="<!doctype html><title>A page</title><body></body>", content_type="text/html"
        )

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    try:
        async with connected(chromium.address) as tools:
            origin = f"http://localhost:{runner.addresses[0][1]}/"
            target = await tools.call("Target.createTarget", url="about:blank")
            attached = await tools.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            session = attached["sessionId"]
            await tools.call("Page.enable", session)
            await tools.call("Page.navigate", session, url=origin)
            await tools.event("Page.loadEventFired", lambda _: True)
            words = ", ".join(json.dumps(one) for one in (base, read, write))
            said = await tools.evaluate(session, f"({ATTEMPTS})({words})")
    finally:
        await runner.cleanup()
    return [(name, result) for name, result in json.loads(said)]
