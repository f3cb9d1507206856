// The sandbox that the tests talk to, as described by the file that SANDBOX names.

import { readFileSync } from "node:fs";

if (!process.env.SANDBOX) {
    throw new Error("SANDBOX must name the file that describes the sandbox: see clients/README.md");
}
const described = JSON.parse(readFileSync(process.env.SANDBOX, "utf8"));

export const origin = described.origin;
export const host = new URL(origin).host;
export const tenant = described.tenant;
export const authority = `${origin}/${tenant}`;
// Where the organization is called: at the gateway, its address holds the account's name.
export const organization = described.gateway?.organization ?? origin;
export const api = `${organization}/api/data/v9.2`;
// An API key of the gateway's, in place of a token.
export const apiKey = described.gateway?.api_key;
// Every permission that was granted, the one form that an application may ask for by itself.
export const scope = `${origin}/.default`;

export const confidential = {
    clientId: described.confidential.client_id,
    clientSecret: described.confidential.client_secret,
    redirectUri: described.confidential.redirect_uri,
    certificate: readFileSync(described.confidential.certificate_file, "utf8"),
    privateKey: readFileSync(described.confidential.key_file, "utf8"),
    // Key and certificate in one file, as @azure/identity wants them.
    keyAndCertificateFile: described.confidential.key_and_certificate_file,
};
export const publicClient = {
    clientId: described.public.client_id,
    redirectUri: described.public.redirect_uri,
};
export const user = described.user;

// A token is good when the organization answers who it is for.
export async function whoAmI(token) {
    const answer = await fetch(`${api}/WhoAmI`, { headers: { Authorization: `Bearer ${token}` } });
    const text = await answer.text();
    if (answer.status !== 200) {
        throw new Error(`WhoAmI answered ${answer.status}: ${text}`);
    }
    return JSON.parse(text);
}
