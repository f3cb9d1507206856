// Microsoft's credentials for its JavaScript libraries: `@azure/identity` on npm

import assert from "node:assert/strict";
import { test } from "node:test";

import {
    AuthorizationCodeCredential,
    ClientCertificateCredential,
    ClientSecretCredential,
    DeviceCodeCredential,
    EnvironmentCredential,
} from "@azure/identity";

import { walk } from "./pages.mjs";
import * as sandbox from "./sandbox.mjs";

// The sandbox's name is none of Microsoft's, whom the library would ask about it.
const own = { authorityHost: sandbox.origin, disableInstanceDiscovery: true };
const { clientId, clientSecret, redirectUri } = sandbox.confidential;

async function good(credential) {
    const { token, expiresOnTimestamp } = await credential.getToken(sandbox.scope);
    assert.ok(expiresOnTimestamp > Date.now());
    await sandbox.whoAmI(token);
}

test("an application signs in by its secret", async () => {
    await good(new ClientSecretCredential(sandbox.tenant, clientId, clientSecret, own));
});

test("an application signs in by its certificate, with and without sending it along", async () => {
    const file = { certificatePath: sandbox.confidential.keyAndCertificateFile };
    await good(new ClientCertificateCredential(sandbox.tenant, clientId, file, own));
    const more = { ...own, sendCertificateChain: true };
    await good(new ClientCertificateCredential(sandbox.tenant, clientId, file, more));
});

test("the environment names everything", async () => {
    const environment = {
        AZURE_TENANT_ID: sandbox.tenant,
        AZURE_CLIENT_ID: clientId,
        AZURE_CLIENT_SECRET: clientSecret,
        AZURE_AUTHORITY_HOST: sandbox.origin,
    };
    Object.assign(process.env, environment);
    try {
        await good(new EnvironmentCredential({ disableInstanceDiscovery: true }));
    } finally {
        for (const name of Object.keys(environment)) {
            delete process.env[name];
        }
    }
});

test("a wrong secret is refused in Entra's words", async () => {
    const credential = new ClientSecretCredential(sandbox.tenant, clientId, "wrong", own);
    await assert.rejects(credential.getToken(sandbox.scope), /invalid_client: .*AADSTS7000215: /);
});

test("a person signs in and the code is redeemed", async () => {
    const asked = new URLSearchParams({
        client_id: clientId,
        response_type: "code",
        redirect_uri: redirectUri,
        scope: `${sandbox.scope} offline_access openid`,
    });
    const { fields } = await walk(`${sandbox.authority}/oauth2/v2.0/authorize?${asked}`);
    const { code } = fields;
    await good(
        new AuthorizationCodeCredential(
            sandbox.tenant,
            clientId,
            clientSecret,
            code,
            redirectUri,
            own,
        ),
    );
});

test("a person signs in on another device", async () => {
    let walked;
    const credential = new DeviceCodeCredential({
        ...own,
        tenantId: sandbox.tenant,
        clientId: sandbox.publicClient.clientId,
        userPromptCallback: ({ verificationUri, userCode }) => {
            walked = walk(verificationUri, userCode);
        },
    });
    await good(credential);
    await walked;
});
