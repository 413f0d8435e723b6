// Reads all views that are named on stdin by @clickhouse/client, by its defaults and compressed.
import { readFileSync } from "node:fs";
import { createClient } from "@clickhouse/client";

const queries = readFileSync(0, "utf-8").split("\n").filter(Boolean);
let failed = false;
for (const compression of [{}, { response: true, request: true }]) {
  const client = createClient({
    url: `http://${process.env.CLICKHOUSE_ADDRESS}`,
    username: "analyst",
    password: process.env.CLICKHOUSE_PASSWORD,
    database: "optin",
    compression,
  });
  for (const query of queries) {
    try {
      const rows = await (await client.query({ query, format: "JSONEachRow" })).json();
      console.log("OK", query, rows.length);
    } catch (error) {
      console.log("FAIL", query, String(error));
      failed = true;
    }
  }
  await client.close();
}
process.exit(failed ? 1 : 0);
