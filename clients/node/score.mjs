// Scores a record over the gateway's REST API, with nothing but Node.js (18 or newer):
//
//     node score.mjs http://localhost:8000 record.json
//
// The caller's key, if the gateway wants one, is read from PRAGMATIQ_API_KEY.
import { readFile } from "node:fs/promises";

const [url, file] = process.argv.slice(2);
if (!url || !file) {
  console.error("usage: node score.mjs URL RECORD.json");
  process.exit(2);
}
const key = process.env.PRAGMATIQ_API_KEY;
const answer = await fetch(`${url}/v1/score`, {
  method: "POST",
  headers: {
    "content-type": "application/json",
    "x-timeout-ms": "5000",
    ...(key ? { authorization: `Bearer ${key}` } : {}),
  },
  // Not parsed and written anew: numbers beyond 2^53, such as identifiers, would change.
  body: `{"record": ${await readFile(file, "utf8")}, "embedding": true}`,
  signal: AbortSignal.timeout(5000),
});
const found = await answer.json();
if (!answer.ok) {
  // 429 and 503 may be tried again, after the seconds that the header retry-after names.
  console.error(`${answer.status}: ${found.error.code}: ${found.error.message}`);
  process.exit(1);
}
console.log(JSON.stringify(found));
