// A job of writes beside an IVR that asks for one contact a second, three times: through Tieline,
// and straight at the sandbox with DynamicsWebApi and with Microsoft's SDK for Python, as their
// users write it. `./run` installs and builds what this needs, and calls it.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { cpus, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({
  options: {
    tieline: { type: 'string' },
    sandbox: { type: 'string' },
    clients: { type: 'string' },
    quick: { type: 'boolean', default: false },
    writes: { type: 'string' },
    'web-servers': { type: 'string' },
    parallel: { type: 'string', default: '50' },
    only: { type: 'string' },
    json: { type: 'string' },
  },
});
const quick = flags.quick;
const tieline = resolve(flags.tieline);
// The sandbox may be another build, so that only one of the two is measured without optimisation.
const sandboxBinary = resolve(flags.sandbox ?? flags.tieline);
const clients = resolve(flags.clients);
const here = dirname(fileURLToPath(import.meta.url));
// Microsoft's numbers; --quick keeps the rate of 20 a second and makes the window a fifteenth.
const limits = quick
  ? { requests: 400, execution_ms: 80_000, concurrent: 52, window_seconds: 20 }
  : { requests: 6_000, execution_ms: 1_200_000, concurrent: 52, window_seconds: 300 };
const webServers = Number(flags['web-servers'] ?? (quick ? 4 : 20));
const writes = Number(flags.writes ?? (quick ? 4_000 : 200_000));
const parallel = Number(flags.parallel);
const askEvery = quick ? 250 : 1_000;
const idleFor = quick ? 15_000 : 60_000;

const TENANT = '6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10';
const CLIENT = '3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4';
const SECRET = 'Tie+line~rehearsal/secret=1%&';
const scratch = mkdtempSync(join(tmpdir(), 'fair-bench-'));
const children = [];
process.on('exit', () => {
  for (const child of children) child.kill();
  rmSync(scratch, { recursive: true, force: true });
});

const sandbox = await startSandbox();
const gateway = await startServer();
const token = await signIn();
const direct = { base: sandbox.origin, token };
const through = { base: gateway.base, token: gateway.ivr };
const results = { limits, webServers, writes, parallel, askEvery, scenarios: [] };

await control('limits', { mode: 'off' });
await ask(direct.base, direct.token);
const rate = await fullSpeed();
await control('limits', { ...limits, web_servers: webServers });
const best = atBest(rate);
results.rate = rate;
results.best = best;
say(`without limits: ${rate.toFixed(0)} writes a second; at best ${best.toFixed(0)} s`);

const scenarios = {
  tieline: () => scenario('Tieline, with DynamicsWebApi', 'node', through, gateway.job),
  node: () => scenario('DynamicsWebApi, straight', 'node', direct, direct.token),
  python: () => scenario('SDK for Python, straight', 'python', direct, direct.token),
};
for (const [name, run] of Object.entries(scenarios)) {
  if (!flags.only || flags.only.split(',').includes(name)) results.scenarios.push(await run());
}
report();
process.exit(0);

// === the two servers ===

function firstLine(child, what) {
  return new Promise((found, failed) => {
    let text = '';
    let said = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
      if (text.includes('\n')) found(text.slice(0, text.indexOf('\n')));
    });
    child.stderr.on('data', (chunk) => (said += chunk));
    child.on('exit', (code) => failed(new Error(`${what} ended with ${code}:\n${said}`)));
  });
}

async function startSandbox() {
  const args = ['sandbox', '--json', '--control', '--listen', '127.0.0.1:0'];
  args.push('--data-dir', join(scratch, 'sandbox'), '--web-servers', String(webServers));
  const child = spawn(sandboxBinary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  const up = JSON.parse(await firstLine(child, 'the sandbox'));
  const ca = readFileSync(up.ca_file, 'utf8');
  const agent = new https.Agent({ ca, keepAlive: true });
  return { origin: up.origin, caFile: up.ca_file, agent };
}

function tool(...args) {
  const rest = ['--data-dir', join(scratch, 'server'), '--allow-loopback'];
  rest.push('--ca-file', sandbox.caFile);
  const ran = spawnSync(tieline, [...args, ...rest], { encoding: 'utf8' });
  if (ran.status !== 0) throw new Error(`${args.join(' ')}: ${ran.stderr}`);
  return ran.stdout;
}

async function startServer() {
  const secret = join(scratch, 'secret');
  writeFileSync(secret, SECRET);
  const oauth = `${sandbox.origin}/${TENANT}/oauth2/v2.0`;
  const account = ['account', 'add', '--name', 'Contoso', '--default'];
  account.push('--authorization-url', `${oauth}/authorize`, '--token-url', `${oauth}/token`);
  account.push('--api-url', `${sandbox.origin}/api/data/v9.2`, '--client-id', CLIENT);
  account.push('--client-secret-file', secret, '--grant', 'client-credentials');
  tool(...account);
  const key = (name) => JSON.parse(tool('consumer', 'add', '--name', name, '--json')).api_key;
  const [ivr, job] = [key('IVR'), key('Job')];
  tool('consumer', 'limits', 'Job', '--priority', 'bulk');
  if (quick) {
    tool('account', 'limits', 'Contoso', '--window-seconds', String(limits.window_seconds));
  }
  const args = ['serve', '--console', '127.0.0.1:0', '--gateway', '127.0.0.1:0'];
  args.push('--data-dir', join(scratch, 'server'), '--allow-loopback');
  args.push('--ca-file', sandbox.caFile);
  children.push(spawn(tieline, args, { stdio: ['ignore', 'ignore', 'ignore'] }));
  const file = join(scratch, 'server', 'server.json');
  while (!existsSync(file)) await sleep(50);
  await sleep(200);
  const base = JSON.parse(readFileSync(file, 'utf8')).gateway_url.replace(/\/$/, '');
  return { base: base.replace('localhost', '127.0.0.1'), ivr, job };
}

function request(method, url, headers, body) {
  const tls = url.startsWith('https:');
  const options = { method, headers, agent: tls ? sandbox.agent : plainAgent() };
  return new Promise((done, failed) => {
    const call = (tls ? https : http).request(url, options, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk) => (text += chunk));
      answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, text }));
      answer.on('error', failed);
    });
    call.on('error', failed);
    call.end(body);
  });
}

function plainAgent() {
  plainAgent.agent ??= new http.Agent({ keepAlive: true });
  return plainAgent.agent;
}

async function control(path, body) {
  const headers = { 'content-type': 'application/json' };
  const url = `${sandbox.origin}/_sandbox/api/${path}`;
  // What is given nothing is emptied.
  const method = body ? 'POST' : 'DELETE';
  const answer = await request(method, url, headers, body && JSON.stringify(body));
  if (answer.status >= 300) throw new Error(`${path}: ${answer.status} ${answer.text}`);
}

async function signIn() {
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: CLIENT,
    client_secret: SECRET,
    scope: `${sandbox.origin}/.default`,
  });
  const url = `${sandbox.origin}/${TENANT}/oauth2/v2.0/token`;
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const answer = await request('POST', url, headers, form.toString());
  const found = JSON.parse(answer.text).access_token;
  if (!found) throw new Error(`no token: ${answer.text}`);
  return found;
}

// === the IVR ===

async function ask(base, bearer) {
  const url = `${base}/api/data/v9.2/contacts?$select=fullname&$top=1`;
  const begun = performance.now();
  const answer = await request('GET', url, { authorization: `Bearer ${bearer}` });
  return { ms: performance.now() - begun, status: answer.status };
}

// One call at every beat, whether the one before has come back or not: people do not wait for
// each other.
async function listen(base, bearer, until) {
  const calls = [];
  let ended = false;
  until.then(() => (ended = true));
  const begun = performance.now();
  for (let beat = 0; !ended; beat += 1) {
    calls.push(ask(base, bearer).catch(() => ({ ms: 60_000, status: 0 })));
    await sleep(Math.max(0, begun + (beat + 1) * askEvery - performance.now()));
  }
  const answers = await Promise.all(calls);
  const times = answers.map((answer) => answer.ms).sort((a, b) => a - b);
  const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))];
  return {
    calls: answers.length,
    p50: at(0.5),
    p99: at(0.99),
    max: at(1),
    throttled: answers.filter((answer) => answer.status === 429).length,
    failed: answers.filter((answer) => ![200, 429].includes(answer.status)).length,
  };
}

// === the jobs ===

function job(kind, base, bearer, count) {
  const [program, ...args] =
    kind === 'node'
      ? [join(clients, 'bin/node'), join(here, 'job.mjs')]
      : [join(clients, 'python/bin/python'), join(here, 'job.py')];
  const env = {
    ...process.env,
    CLIENTS: clients,
    BASE: base,
    BEARER: bearer,
    WRITES: String(count),
    PARALLEL: String(parallel),
    NODE_EXTRA_CA_CERTS: sandbox.caFile,
    REQUESTS_CA_BUNDLE: sandbox.caFile,
    SSL_CERT_FILE: sandbox.caFile,
    NO_PROXY: '*',
  };
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  return new Promise((done, failed) => {
    let text = '';
    child.stdout.on('data', (chunk) => (text += chunk));
    child.on('close', (code) => {
      if (code === 0) done(JSON.parse(text));
      else failed(new Error(`the job ended with ${code}: ${text}`));
    });
  });
}

// What the machine can do when nothing limits it: the part of the best time that no limit is to
// blame for.
async function fullSpeed() {
  const count = quick ? 1_500 : 20_000;
  const done = await job('node', direct.base, direct.token, count);
  return count / done.seconds;
}

// All of a window at once, and the rest when it has passed.
function atBest(rate) {
  const window = webServers * limits.requests;
  const windows = Math.ceil(writes / window);
  const last = writes - (windows - 1) * window;
  const limited = (windows - 1) * limits.window_seconds + last / rate;
  return Math.max(limited, writes / rate);
}

async function scenario(name, kind, ends, bearer) {
  say(`${name}: idle`);
  await control('limits/counters');
  const idle = await listen(ends.base, ends.token, sleep(idleFor));
  await control('limits/counters');
  say(`${name}: ${writes} writes`);
  const running = job(kind, ends.base, bearer, writes);
  const ivr = await listen(ends.base, ends.token, running);
  const done = await running;
  const result = { name, idle, ivr, job: done, ratio: done.seconds / best };
  say(JSON.stringify(result));
  return result;
}

// === what came out ===

function say(text) {
  console.error(text);
}

function report() {
  const ms = (number) => `${number.toFixed(1)} ms`;
  const rows = results.scenarios.map((found) => [
    found.name,
    `${found.job.seconds.toFixed(0)} s`,
    found.ratio.toFixed(2),
    String(found.job.written),
    String(found.job.throttled),
    ms(found.idle.p99),
    ms(found.ivr.p99),
    (found.ivr.p99 / found.idle.p99).toFixed(2),
    `${found.ivr.throttled} of ${found.ivr.calls}`,
    String(found.ivr.failed),
  ]);
  const heads = ['', 'job', '× best', 'written', "job's 429s", 'IVR idle p99', 'IVR p99', '×'];
  heads.push("IVR's 429s", 'failed');
  console.log(`| ${heads.join(' | ')} |`);
  console.log(`|${heads.map(() => '---').join('|')}|`);
  for (const row of rows) console.log(`| ${row.join(' | ')} |`);
  console.log(
    `\n${writes} writes, ${webServers} web servers with ${limits.requests} requests in ` +
      `${limits.window_seconds} s each, ${parallel} at a time; without limits ` +
      `${results.rate.toFixed(0)} a second; at best ${best.toFixed(0)} s. ${cpus().length} × ` +
      `${cpus()[0].model}.`,
  );
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify(results, null, 2)}\n`);
}
