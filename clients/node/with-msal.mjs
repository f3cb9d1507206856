// Microsoft's own library for Node: `@azure/msal-node` on npm

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";

import {
    ConfidentialClientApplication,
    CryptoProvider,
    PublicClientApplication,
} from "@azure/msal-node";

import { walk } from "./pages.mjs";
import * as sandbox from "./sandbox.mjs";

const scopes = [sandbox.scope];
// The sandbox's name is none of Microsoft's, whom the library would ask about it.
const own = { authority: sandbox.authority, knownAuthorities: [sandbox.host] };

function confidential(credential = { clientSecret: sandbox.confidential.clientSecret }) {
    return new ConfidentialClientApplication({
        auth: { clientId: sandbox.confidential.clientId, ...own, ...credential },
    });
}

const publicClient = () =>
    new PublicClientApplication({ auth: { clientId: sandbox.publicClient.clientId, ...own } });

async function signIn(app, redirectUri, more = {}) {
    const { verifier, challenge } = await new CryptoProvider().generatePkceCodes();
    const asked = { scopes, redirectUri, state: "a state" };
    const url = await app.getAuthCodeUrl({
        ...asked,
        codeChallenge: challenge,
        codeChallengeMethod: "S256",
        ...more,
    });
    const { fields } = await walk(url);
    assert.equal(fields.state, "a state");
    return app.acquireTokenByCode({ ...asked, code: fields.code, codeVerifier: verifier, ...more });
}

test("an application signs in by its secret, and the second time from its cache", async () => {
    const app = confidential();
    const first = await app.acquireTokenByClientCredential({ scopes });
    await sandbox.whoAmI(first.accessToken);
    assert.ok(first.expiresOn > new Date());
    const second = await app.acquireTokenByClientCredential({ scopes });
    assert.equal(second.fromCache, true);
});

test("an application signs in by its certificate", async () => {
    const { certificate, privateKey } = sandbox.confidential;
    const thumbprintSha256 = new X509Certificate(certificate).fingerprint256.replaceAll(":", "");
    const app = confidential({
        clientCertificate: { thumbprintSha256, privateKey, x5c: certificate },
    });
    const { accessToken } = await app.acquireTokenByClientCredential({ scopes });
    await sandbox.whoAmI(accessToken);
});

test("a wrong secret is refused in Entra's words", async () => {
    const refused = confidential({ clientSecret: "wrong" }).acquireTokenByClientCredential({
        scopes,
    });
    await assert.rejects(refused, (error) => {
        assert.equal(error.errorCode, "invalid_client");
        assert.match(error.errorMessage, /AADSTS7000215: /);
        return true;
    });
});

test("a person signs in with PKCE, and the token is renewed silently", async () => {
    const app = confidential();
    const first = await signIn(app, sandbox.confidential.redirectUri);
    await sandbox.whoAmI(first.accessToken);
    assert.equal(first.account.username, sandbox.user.upn);
    assert.equal(first.account.tenantId, sandbox.tenant);
    assert.ok(first.account.homeAccountId.endsWith(`.${sandbox.tenant}`));
    const [account] = await app.getTokenCache().getAllAccounts();
    const renewed = await app.acquireTokenSilent({ account, scopes, forceRefresh: true });
    assert.equal(renewed.fromCache, false);
    await sandbox.whoAmI(renewed.accessToken);
});

test("a nonce that was asked for comes back", async () => {
    const nonce = "a nonce of our own";
    const { idTokenClaims } = await signIn(confidential(), sandbox.confidential.redirectUri, {
        nonce,
    });
    assert.equal(idTokenClaims.nonce, nonce);
});

test("a refresh token of another cache is traded in", async () => {
    const app = confidential();
    await signIn(app, sandbox.confidential.redirectUri);
    const cache = JSON.parse(app.getTokenCache().serialize());
    const [{ secret: refreshToken }] = Object.values(cache.RefreshToken);
    const { accessToken } = await confidential().acquireTokenByRefreshToken({
        refreshToken,
        scopes,
    });
    await sandbox.whoAmI(accessToken);
});

test("a person signs in to a public client at any port of this machine", async () => {
    const { accessToken } = await signIn(
        publicClient(),
        `${sandbox.publicClient.redirectUri}:51235`,
    );
    await sandbox.whoAmI(accessToken);
});

test("a person signs in by the browser that the library opens", async () => {
    const { accessToken, account } = await publicClient().acquireTokenInteractive({
        scopes,
        openBrowser: async (url) => {
            // It listens at a port of its own for where the walk ends.
            walk(url).then(({ deliver }) => deliver());
        },
    });
    assert.equal(account.username, sandbox.user.upn);
    await sandbox.whoAmI(accessToken);
});

test("a person signs in on another device", async () => {
    let walked;
    const { accessToken } = await publicClient().acquireTokenByDeviceCode({
        scopes,
        deviceCodeCallback: ({ verificationUri, userCode, message, expiresIn }) => {
            assert.equal(expiresIn, 900);
            assert.ok(message.includes(userCode));
            walked = walk(verificationUri, userCode);
        },
    });
    await walked;
    await sandbox.whoAmI(accessToken);
});
