// The sandbox beside @sap/cds on SQLite: the same rows, the same indexes, the same questions, one
// after the other in turn. `./run` installs and builds what this needs, and calls it.
//
//   node run.mjs --tieline FILE --peer DIRECTORY [--contacts N] [--rounds N] [--json FILE]
//
// Every round asks each server each question once, in an order that changes; what counts is the
// median over the rounds, and the median of the rounds' own ratios. Answers are checked: both
// servers must give the same number of rows, in the same order.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values: flags } = parseArgs({
  options: {
    tieline: { type: 'string' },
    peer: { type: 'string' },
    contacts: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '31' },
    json: { type: 'string' },
  },
});
if (!flags.tieline || !flags.peer) {
  console.error('run.mjs: --tieline FILE and --peer DIRECTORY are needed; ./run gives them');
  process.exit(2);
}
const contacts = Number(flags.contacts);
const rounds = Number(flags.rounds);
const tieline = resolve(flags.tieline);
const peerDirectory = resolve(flags.peer);
const scratch = mkdtempSync(join(tmpdir(), 'odata-bench-'));
const TENANT = '6f0c2b7e-3f0e-4f7a-9a53-8d1c5a2e4b10';
const CLIENT = '3b8f4c1d-7c0a-4c62-8f0e-52a6b9d1e7f4';
const SECRET = 'Tie+line~rehearsal/secret=1%&';

const children = [];
process.on('exit', () => {
  for (const child of children) child.kill();
  rmSync(scratch, { recursive: true, force: true });
});

const sandbox = await startSandbox();
const token = await signIn();
const rows = await readEverything();
const peer = await startPeer(rows);
await compare(questions(rows));

// === the two servers ===

function lines(child, wanted, what) {
  return new Promise((found, failed) => {
    let text = '';
    const look = (chunk) => {
      text += chunk;
      const line = text.split('\n').find((candidate) => wanted.test(candidate));
      if (line) found(line);
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.on('exit', (code) => failed(new Error(`${what} ended with ${code}:\n${text}`)));
  });
}

async function startSandbox() {
  const printed = await new Promise((done) => {
    const child = spawn(tieline, ['sandbox', '--print-seed']);
    let text = '';
    child.stdout.on('data', (chunk) => (text += chunk));
    child.on('close', () => done(text));
  });
  const seed = join(scratch, 'seed.toml');
  writeFileSync(seed, printed.replace(/^contacts = 420$/m, `contacts = ${contacts}`));
  const data = join(scratch, 'sandbox');
  const begun = performance.now();
  const args = ['sandbox', '--json', '--listen', '127.0.0.1:0', '--data-dir', data, '--seed', seed, '--limits', 'off'];
  const child = spawn(tieline, args);
  children.push(child);
  const up = JSON.parse(await lines(child, /^\{.*"origin"/, 'the sandbox'));
  const seconds = (performance.now() - begun) / 1000;
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: readFileSync(up.ca_file) });
  return { ...up, agent, pid: child.pid, seconds };
}

async function signIn() {
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: CLIENT,
    client_secret: SECRET,
    scope: `${sandbox.origin}/.default`,
  }).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const answer = await call(sandbox.agent, `${sandbox.origin}/${TENANT}/oauth2/v2.0/token`, { method: 'POST', headers, body });
  return JSON.parse(answer.body).access_token;
}

/** Every contact and account of the sandbox, page by page: the peer gets the very same. */
async function readEverything() {
  const all = async (path) => {
    const found = [];
    let url = `${sandbox.origin}/api/data/v9.2/${path}`;
    while (url) {
      const page = JSON.parse((await call(sandbox.agent, url, { headers: bearer() })).body);
      found.push(...page.value);
      url = page['@odata.nextLink'];
    }
    return found;
  };
  const columns = 'firstname,lastname,fullname,jobtitle,telephone1,mobilephone,emailaddress1,createdon,statecode,_parentcustomerid_value';
  return { contacts: await all(`contacts?$select=${columns}`), accounts: await all('accounts?$select=name') };
}

async function startPeer(rows) {
  const require = createRequire(join(peerDirectory, 'package.json'));
  const file = join(scratch, 'peer.sqlite');
  const env = { ...process.env, NODE_ENV: 'production', CDS_ENV: 'production', cds_requires_db_credentials_url: file };
  await new Promise((done, failed) => {
    const child = spawn(join(peerDirectory, 'node_modules/.bin/cds-deploy'), { cwd: peerDirectory, env, stdio: 'ignore' });
    child.on('exit', (code) => (code === 0 ? done() : failed(new Error(`cds-deploy ended with ${code}`))));
  });
  const Database = require('better-sqlite3');
  const db = new Database(file);
  db.pragma('synchronous = OFF');
  const begun = performance.now();
  const account = db.prepare('INSERT INTO peer_accounts (accountid, name) VALUES (?, ?)');
  const contact = db.prepare(
    'INSERT INTO peer_contacts (contactid, firstname, lastname, fullname, jobtitle, telephone1, mobilephone, emailaddress1, createdon, statecode, parent_accountid) VALUES (?,?,?,?,?,?,?,?,?,?,?)',
  );
  db.transaction(() => {
    for (const row of rows.accounts) account.run(row.accountid, row.name);
    for (const row of rows.contacts) {
      contact.run(
        row.contactid, row.firstname, row.lastname, row.fullname, row.jobtitle, row.telephone1, row.mobilephone,
        row.emailaddress1, row.createdon, row.statecode, row._parentcustomerid_value,
      );
    }
    for (const column of ['lastname', 'fullname', 'telephone1', 'mobilephone', 'emailaddress1', 'createdon', 'parent_accountid']) {
      db.exec(`CREATE INDEX ix_${column} ON peer_contacts (${column}, contactid)`);
    }
    db.exec('CREATE INDEX ix_name ON peer_accounts (name, accountid)');
  })();
  db.exec('ANALYZE');
  db.close();
  const seconds = (performance.now() - begun) / 1000;
  const child = spawn(join(peerDirectory, 'node_modules/.bin/cds-serve'), ['--port', '0'], { cwd: peerDirectory, env });
  children.push(child);
  const line = await lines(child, /http:\/\/localhost:\d+/, 'the peer');
  const origin = line.match(/http:\/\/localhost:\d+/)[0];
  return { origin, agent: new http.Agent({ keepAlive: true, maxSockets: 1 }), seconds, file };
}

// === questions ===

function questions(rows) {
  const middle = rows.contacts[Math.floor(rows.contacts.length / 2)];
  const number = encodeURIComponent(`'${middle.telephone1}'`);
  const select = '$select=fullname,telephone1,emailaddress1';
  const both = (query) => ({ ours: `contacts?${query}`, theirs: `contacts?${query}` });
  return [
    { name: 'one contact by its key', ours: `contacts(${middle.contactid})?${select}`, theirs: `contacts(${middle.contactid})?${select}` },
    { name: 'by telephone number, 10 rows', ...both(`${select}&$filter=telephone1 eq ${number}&$orderby=fullname&$top=10`) },
    { name: 'last name, newest first, 50 rows', ...both(`${select}&$filter=lastname eq 'Smith'&$orderby=createdon desc&$top=50`) },
    { name: 'beginning of a last name, in order, 50 rows', ...both(`${select}&$filter=startswith(lastname,'Mac')&$orderby=lastname,contactid&$top=50`) },
    { name: 'in order of an indexed column, 50 rows', ...both(`${select}&$orderby=lastname,contactid&$top=50`) },
    { name: 'a page of 5,000', ...both(`${select}&$orderby=contactid&$top=5000`) },
    { name: 'contains, 10 rows of a scan', ...both(`${select}&$filter=contains(telephone1,'${middle.telephone1.replace(/\D/g, '').slice(-4)}')&$orderby=contactid&$top=10`) },
    {
      name: '50 contacts with their account',
      ours: `contacts?${select}&$expand=parentcustomerid_account($select=name)&$orderby=contactid&$top=50`,
      theirs: `contacts?${select}&$expand=parent($select=name)&$orderby=contactid&$top=50`,
    },
    {
      name: 'by the name of the account, 10 rows',
      ours: `contacts?${select}&$filter=parentcustomerid_account/name eq 'Litware'&$orderby=contactid&$top=10`,
      theirs: `contacts?${select}&$filter=parent/name eq 'Litware'&$orderby=contactid&$top=10`,
    },
    { name: 'count of a last name', ours: "contacts/$count?$filter=lastname eq 'Smith'", theirs: "contacts/$count?$filter=lastname eq 'Smith'" },
    { name: '20th page of 50, in order', paged: true },
  ];
}

async function compare(questions) {
  const ours = `${sandbox.origin}/api/data/v9.2/`;
  const theirs = `${peer.origin}/data/`;
  for (const question of questions.filter((candidate) => candidate.paged)) {
    Object.assign(question, await deepPage(ours, theirs));
  }
  const samples = questions.map(() => ({ ours: [], theirs: [] }));
  for (let round = -3; round < rounds; round++) {
    for (const [at, question] of rotated(questions, round)) {
      const first = (round + at) % 2 === 0;
      const ask = {
        ours: () => timed(sandbox.agent, encodeURI(ours + question.ours).replaceAll('%25', '%'), bearer(question.headers)),
        theirs: () => timed(peer.agent, encodeURI(theirs + question.theirs).replaceAll('%25', '%'), question.peerHeaders ?? {}),
      };
      const answers = {};
      for (const side of first ? ['ours', 'theirs'] : ['theirs', 'ours']) answers[side] = await ask[side]();
      if (round < 0) same(question, answers);
      else for (const side of ['ours', 'theirs']) samples[at][side].push(answers[side].ms);
    }
  }
  report(questions, samples);
}

/** Where the 20th page begins: the sandbox follows its links, the peer skips. */
async function deepPage(ours, theirs) {
  const query = '$select=fullname,telephone1,emailaddress1&$orderby=lastname,contactid';
  const headers = { prefer: 'odata.maxpagesize=50' };
  let url = `${ours}contacts?${query}`;
  for (let page = 1; page < 20; page++) {
    url = JSON.parse((await call(sandbox.agent, encodeURI(url).replaceAll('%25', '%'), { headers: bearer(headers) })).body)['@odata.nextLink'];
  }
  return { ours: url.slice(ours.length), headers, theirs: `contacts?${query}&$skip=950&$top=50` };
}

function same(question, answers) {
  const keys = (answer) => {
    if (answer.status !== 200) throw new Error(`${question.name}: ${answer.status} ${answer.body.slice(0, 300)}`);
    if (/^\d+$/.test(answer.body)) return answer.body;
    const body = JSON.parse(answer.body);
    return (body.value ?? [body]).map((row) => row.contactid).join();
  };
  // Microsoft counts up to 5,000.
  if (question.name.startsWith('count')) return;
  if (keys(answers.ours) !== keys(answers.theirs)) throw new Error(`${question.name}: the servers answer differently`);
}

function* rotated(list, by) {
  for (let at = 0; at < list.length; at++) {
    const place = (((at + by) % list.length) + list.length) % list.length;
    yield [place, list[place]];
  }
}

// === requests ===

function bearer(more = {}) {
  return { authorization: `Bearer ${token}`, accept: 'application/json', ...more };
}

function call(agent, url, { method = 'GET', headers = {}, body } = {}) {
  const library = url.startsWith('https:') ? https : http;
  return new Promise((done, failed) => {
    const request = library.request(url, { agent, method, headers }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => done({ status: response.statusCode, body: Buffer.concat(chunks).toString() }));
    });
    request.on('error', failed);
    request.end(body);
  });
}

async function timed(agent, url, headers) {
  const begun = performance.now();
  const answer = await call(agent, url, { headers });
  return { ...answer, ms: performance.now() - begun };
}

// === what it showed ===

function quantile(list, part) {
  const sorted = [...list].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}

function report(questions, samples) {
  const results = questions.map((question, at) => {
    const { ours, theirs } = samples[at];
    const ratios = ours.map((ms, round) => ms / theirs[round]);
    const figures = (list) => ({ p50: quantile(list, 0.5), p90: quantile(list, 0.9) });
    return { name: question.name, ours: figures(ours), theirs: figures(theirs), ratio: quantile(ratios, 0.5) };
  });
  const memory = Number(readFileSync(`/proc/${sandbox.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]) / 1024;
  const pad = (text, width) => String(text).padStart(width);
  console.log(`${contacts} contacts, ${rounds} rounds; ${cpus()[0].model}, ${availableParallelism()} cores; Node ${process.version}`);
  console.log(`the sandbox answered after ${sandbox.seconds.toFixed(1)} s, with all its rows made (accounts, cases and calls too); ${memory.toFixed(0)} MB resident`);
  console.log(`the peer's rows were put straight into SQLite in ${peer.seconds.toFixed(1)} s, file of ${(statSync(peer.file).size / 1e6).toFixed(0)} MB\n`);
  console.log(`${'milliseconds'.padEnd(46)}${pad('sandbox p50', 12)}${pad('p90', 8)}${pad('cds p50', 10)}${pad('p90', 8)}${pad('ratio', 8)}`);
  for (const { name, ours, theirs, ratio } of results) {
    const text = (value) => value.toFixed(2);
    console.log(`${name.padEnd(46)}${pad(text(ours.p50), 12)}${pad(text(ours.p90), 8)}${pad(text(theirs.p50), 10)}${pad(text(theirs.p90), 8)}${pad(text(ratio), 8)}`);
  }
  if (flags.json) writeFileSync(flags.json, JSON.stringify({ contacts, rounds, results }, null, 2));
  process.exit(0);
}
