// A strict, certified client that knows nothing of Microsoft: `openid-client` on npm

import assert from "node:assert/strict";
import { test } from "node:test";

import * as client from "openid-client";
import { createRemoteJWKSet, importPKCS8, jwtVerify } from "jose";

import { walk } from "./pages.mjs";
import * as sandbox from "./sandbox.mjs";

const { clientId, clientSecret, redirectUri } = sandbox.confidential;
const issuer = new URL(`${sandbox.authority}/v2.0`);
const permissions = `openid profile offline_access ${sandbox.scope}`;

const discover = (authentication = client.ClientSecretPost(clientSecret), id = clientId) =>
    client.discovery(issuer, id, undefined, authentication);

async function signIn(config) {
    const verifier = client.randomPKCECodeVerifier();
    const [state, nonce] = [client.randomState(), client.randomNonce()];
    const url = client.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: permissions,
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
        state,
        nonce,
    });
    const callback = await walk(url.href);
    return client.authorizationCodeGrant(config, new URL(callback.url), {
        pkceCodeVerifier: verifier,
        expectedState: state,
        expectedNonce: nonce,
        idTokenExpected: true,
    });
}

test("the issuer is the tenant that was asked for, and nobody else", async () => {
    const metadata = (await discover()).serverMetadata();
    assert.equal(metadata.issuer, issuer.href);
    for (const name of [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "device_authorization_endpoint",
    ]) {
        assert.ok(metadata[name]?.startsWith(`${sandbox.origin}/`), `${name}: ${metadata[name]}`);
    }
});

test("an application signs in by secret in the form and by Basic", async () => {
    for (const way of [
        client.ClientSecretPost(clientSecret),
        client.ClientSecretBasic(clientSecret),
    ]) {
        const tokens = await client.clientCredentialsGrant(await discover(way), {
            scope: sandbox.scope,
        });
        await sandbox.whoAmI(tokens.access_token);
        assert.ok(tokens.expiresIn() > 0);
    }
});

test("an application signs in by certificate, naming it in the assertion's header", async () => {
    const { createHash, X509Certificate } = await import("node:crypto");
    const { raw } = new X509Certificate(sandbox.confidential.certificate);
    for (const [algorithm, hash, member] of [
        ["PS256", "sha256", "x5t#S256"],
        ["RS256", "sha1", "x5t"],
    ]) {
        const key = await importPKCS8(sandbox.confidential.privateKey, algorithm);
        const thumbprint = createHash(hash).update(raw).digest("base64url");
        const way = client.PrivateKeyJwt(key, {
            [client.modifyAssertion]: (header) => {
                header[member] = thumbprint;
            },
        });
        const tokens = await client.clientCredentialsGrant(await discover(way), {
            scope: sandbox.scope,
        });
        await sandbox.whoAmI(tokens.access_token);
    }
});

test("a person signs in; the id_token is sound and signed by the published keys", async () => {
    const config = await discover();
    const tokens = await signIn(config);
    const { preferred_username: name, tid, ver } = tokens.claims();
    assert.deepEqual(
        { name, tid, ver },
        { name: sandbox.user.upn, tid: sandbox.tenant, ver: "2.0" },
    );
    const keys = createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
    await jwtVerify(tokens.id_token, keys, { issuer: issuer.href, audience: clientId });
    await sandbox.whoAmI(tokens.access_token);
});

test("a refresh token is renewed, and the old one is still good", async () => {
    const config = await discover();
    const first = await signIn(config);
    const second = await client.refreshTokenGrant(config, first.refresh_token, {
        scope: sandbox.scope,
    });
    await sandbox.whoAmI(second.access_token);
    const third = await client.refreshTokenGrant(config, first.refresh_token);
    await sandbox.whoAmI(third.access_token);
});

test("a wrong secret and a used code are refused in Entra's words", async () => {
    const wrong = await discover(client.ClientSecretPost("wrong"));
    await assert.rejects(
        client.clientCredentialsGrant(wrong, { scope: sandbox.scope }),
        (error) => {
            assert.equal(error.error, "invalid_client");
            assert.match(error.error_description, /^AADSTS7000215: /);
            assert.equal(error.status, 401);
            return true;
        },
    );
    const forged = new URL(`${redirectUri}?code=nothing&state=s`);
    await assert.rejects(
        client.authorizationCodeGrant(await discover(), forged, { expectedState: "s" }),
        (error) => error.error === "invalid_grant",
    );
});

test("a person signs in on another device", async () => {
    const config = await discover(client.None(), sandbox.publicClient.clientId);
    const started = await client.initiateDeviceAuthorization(config, { scope: permissions });
    assert.equal(typeof started.expires_in, "number");
    await walk(started.verification_uri, started.user_code);
    const tokens = await client.pollDeviceAuthorizationGrant(config, started);
    await sandbox.whoAmI(tokens.access_token);
});

test("signing out leads back to the application", async () => {
    const url = client.buildEndSessionUrl(await discover(), {
        post_logout_redirect_uri: redirectUri,
    });
    assert.equal((await walk(url.href)).url, redirectUri);
});
