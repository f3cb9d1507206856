// oidc-provider as a strictly rotating token service, with a small API that its tokens open.
//
// What is OAuth here is the package's own: rotation, consumption, and the revocation of the whole
// grant when a used refresh token comes again. What is ours is the start of a grant, which takes no
// browser: POST /chaos/mint makes one from the package's own models, as its consent page would.
//
//   node server.mjs CERTIFICATE KEY ACCESS_TOKEN_SECONDS
//
// Prints one line of JSON when it answers. Every refusal is a line of JSON on stdout.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { Provider } from 'oidc-provider';

const [certificate, key, seconds] = process.argv.slice(2);
const CLIENT = { id: 'chaos', secret: 'ch+aos~secret' };
const SCOPE = 'openid offline_access';

// The package's own store in memory forgets all but the last thousand things: a run makes more.
const things = new Map();
const ofGrant = new Map();
class Memory {
  constructor(kind) { this.kind = kind; }
  at(id) { return `${this.kind}:${id}`; }
  async upsert(id, payload, expiresIn) {
    const until = expiresIn === undefined ? Infinity : Date.now() + expiresIn * 1000;
    things.set(this.at(id), { payload, until });
    if (payload.grantId !== undefined) {
      const members = ofGrant.get(payload.grantId) ?? new Set();
      ofGrant.set(payload.grantId, members.add(this.at(id)));
    }
  }
  async find(id) {
    const thing = things.get(this.at(id));
    return thing !== undefined && thing.until > Date.now() ? thing.payload : undefined;
  }
  async findByUid() { return undefined; }
  async findByUserCode() { return undefined; }
  async destroy(id) { things.delete(this.at(id)); }
  async consume(id) {
    const thing = things.get(this.at(id));
    if (thing !== undefined) thing.payload.consumed = Math.floor(Date.now() / 1000);
  }
  async revokeByGrantId(grantId) {
    for (const member of ofGrant.get(grantId) ?? []) things.delete(member);
    ofGrant.delete(grantId);
  }
}

const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
await new Promise((bound) => server.listen(0, '127.0.0.1', bound));
const origin = `https://localhost:${server.address().port}`;

const provider = new Provider(origin, {
  adapter: Memory,
  clients: [{
    client_id: CLIENT.id,
    client_secret: CLIENT.secret,
    redirect_uris: ['https://localhost/nowhere'],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  rotateRefreshToken: true,
  ttl: { AccessToken: Number(seconds), RefreshToken: 86_400, Grant: 86_400, IdToken: 3600 },
  findAccount: (_context, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  features: { devInteractions: { enabled: false } },
  scopes: ['openid', 'offline_access'],
});

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
let granted = 0;
let revoked = 0;
provider.on('grant.success', () => { granted += 1; });
provider.on('grant.revoked', () => { revoked += 1; });
provider.on('grant.error', (_context, error) => {
  say({ refused: error.error, detail: error.error_detail ?? error.error_description });
});
provider.on('server_error', (_context, error) => say({ broken: String(error) }));

async function mint(name) {
  const client = await provider.Client.find(CLIENT.id);
  const grant = new provider.Grant({ accountId: name, clientId: client.clientId });
  grant.addOIDCScope(SCOPE);
  const grantId = await grant.save();
  const token = new provider.RefreshToken({
    accountId: name, client, grantId, gty: 'authorization_code', scope: SCOPE, rotations: 0,
  });
  return { refresh_token: await token.save() };
}

async function api(request) {
  const [scheme, value] = (request.headers.authorization ?? '').split(' ');
  const token = scheme === 'Bearer' ? await provider.AccessToken.find(value) : undefined;
  if (token === undefined || token.isExpired) return [401, { error: { code: '0x80048306' } }];
  return [200, { UserId: token.accountId, BusinessUnitId: token.grantId, OrganizationId: 'chaos' }];
}

const callback = provider.callback();
server.on('request', async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, origin);
  const send = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  if (pathname === '/chaos/mint') send(200, await mint(searchParams.get('name')));
  else if (pathname === '/chaos/counts') send(200, { granted, revoked });
  else if (pathname.startsWith('/api/')) send(...await api(request));
  else callback(request, response);
});

say({ origin, client_id: CLIENT.id, client_secret: CLIENT.secret });
