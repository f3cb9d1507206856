//! Clients of others, unmodified, against the sandbox: Microsoft's own libraries and those that
//! people use with them; and those that speak to an organization through the gateway, which must be
//! the same to them. What each does stands in `clients/`, in its own language;
//! `scripts/clients-for-tests` installs them.
#![expect(clippy::unwrap_used, reason = "a panic in a test is the report")]

mod rehearsal;
#[expect(
    dead_code,
    reason = "shared with the other black-box tests, which use the rest"
)]
#[path = "../it/test_app.rs"]
mod test_app;

use rehearsal::Rehearsal;

#[test]
fn msal_for_python() {
    Rehearsal::start().python("with_msal");
}

#[test]
fn azure_identity_for_python() {
    Rehearsal::start().python("with_azure_identity");
}

#[test]
fn oauth_libraries_for_python() {
    Rehearsal::start().python("with_oauth_libraries");
}

#[test]
fn dataverse_sdk_for_python() {
    Rehearsal::start().python("with_dataverse_sdk");
}

#[test]
fn python_odata() {
    Rehearsal::start().python("with_python_odata");
}

#[test]
fn msal_for_node() {
    Rehearsal::start().node("with-msal.mjs");
}

#[test]
fn azure_identity_for_node() {
    Rehearsal::start().node("with-azure-identity.mjs");
}

#[test]
fn openid_client() {
    Rehearsal::start().node("with-openid-client.mjs");
}

#[test]
fn dynamics_web_api() {
    Rehearsal::start().node("with-dynamics-web-api.mjs");
}

#[test]
fn dataverse_sdk_for_python_through_the_gateway() {
    Rehearsal::through_the_gateway().python("with_dataverse_sdk");
}

#[test]
fn python_odata_through_the_gateway() {
    Rehearsal::through_the_gateway().python("with_python_odata");
}

#[test]
fn dynamics_web_api_through_the_gateway() {
    Rehearsal::through_the_gateway().node("with-dynamics-web-api.mjs");
}

#[test]
fn curl_and_a_shell_through_the_gateway() {
    Rehearsal::through_the_gateway().shell("with-curl.sh");
}
