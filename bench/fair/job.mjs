// A job with DynamicsWebApi, as its users write it: so many creates at a time, and after a 429 the
// time that it names. The library itself repeats nothing.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const { BASE, BEARER, WRITES, PARALLEL, CLIENTS } = process.env;
const require = createRequire(join(CLIENTS, 'node', 'package.json'));
const { DynamicsWebApi } = require('dynamics-web-api');

const api = new DynamicsWebApi({
  serverUrl: `${BASE}/`,
  dataApi: { version: '9.2' },
  onTokenRefresh: async () => BEARER,
});

let next = 0;
let written = 0;
let throttled = 0;
const failures = {};

async function write(number) {
  const data = { firstname: 'Job', lastname: `Row ${number}` };
  for (;;) {
    try {
      await api.create({ collection: 'contacts', data });
      written += 1;
      return;
    } catch (error) {
      if (error.status !== 429) {
        const what = `${error.status ?? error.code}: ${error.message}`.slice(0, 120);
        failures[what] = (failures[what] ?? 0) + 1;
        return;
      }
      throttled += 1;
      const after = Number(error.headers?.['retry-after'] ?? error.headers?.['Retry-After']);
      await sleep((Number.isFinite(after) ? after : 5) * 1_000);
    }
  }
}

async function work() {
  while (next < Number(WRITES)) await write(next++);
}

const begun = performance.now();
await Promise.all(Array.from({ length: Number(PARALLEL) }, work));
const seconds = (performance.now() - begun) / 1_000;
console.log(JSON.stringify({ seconds, written, throttled, failures }));
