//! Every AADSTS code that the sandbox knows, with the kind of error, the status and the sentence
//! that go with it.
//!
//! The sentences hold names in braces; [`fill`] puts values there. Where no value is at hand, as in
//! a fault that somebody forces, a neutral word stands in.

/// One code.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) code: u32,
    /// OAuth's own kind of error (RFC 6749, section 5.2).
    pub(crate) error: &'static str,
    pub(crate) status: u16,
    pub(crate) suberror: Option<&'static str>,
    pub(crate) text: &'static str,
}

const REQUEST: &str = "invalid_request";
const GRANT: &str = "invalid_grant";
const CLIENT: &str = "invalid_client";
const RESOURCE: &str = "invalid_resource";
const SCOPE: &str = "invalid_scope";
const INTERACTION: &str = "interaction_required";
const UNAUTHORIZED: &str = "unauthorized_client";
const DENIED: &str = "access_denied";

/// Unknown codes are answered as this kind, the most common one.
const OTHER: Known = plain(0, GRANT, "An error occurred while processing the request.");

const fn plain(code: u32, error: &'static str, text: &'static str) -> Known {
    Known {
        code,
        error,
        status: 400,
        suberror: None,
        text,
    }
}

const fn sub(code: u32, error: &'static str, suberror: &'static str, text: &'static str) -> Known {
    Known {
        suberror: Some(suberror),
        ..plain(code, error, text)
    }
}

/// The client is not who it says: 401 (RFC 6749, section 5.2).
const fn client(code: u32, text: &'static str) -> Known {
    Known {
        status: 401,
        ..plain(code, CLIENT, text)
    }
}

const fn status(status: u16, known: Known) -> Known {
    Known { status, ..known }
}

/// The code's entry; for one that is not known, an entry that says no more than that.
pub(crate) fn find(code: u32) -> &'static Known {
    KNOWN
        .iter()
        .find(|known| known.code == code)
        .unwrap_or(&OTHER)
}

/// A sentence with its values; what has none gets a neutral word.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        filled.push_str(before);
        let value = values.iter().find(|(known, _)| *known == name);
        filled.push_str(value.map_or_else(|| neutral(name), |(_, value)| value));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn neutral(name: &str) -> &'static str {
    match name {
        "client" => "00000000-0000-0000-0000-000000000000",
        "user" => "user@contoso.example",
        "tenant" => "the directory",
        "application" => "the application",
        "resource" => "https://unknown.crm.dynamics.com",
        "when" => "2024-01-01T00:00:00.0000000Z",
        "parameter" => "client_id",
        _ => "(unknown)",
    }
}

pub(crate) const KNOWN: &[Known] = &[
    // --- accounts ---
    plain(
        50_013,
        GRANT,
        "Assertion failed signature validation. {reason}",
    ),
    plain(
        50_020,
        REQUEST,
        "User account '{user}' from identity provider '{issuer}' does not exist in tenant '{tenant}' and cannot access the application '{client}' in that tenant. The account needs to be added as an external user in the tenant first. Sign out and sign in again with a different account.",
    ),
    plain(
        50_034,
        GRANT,
        "The user account {user} does not exist in the {tenant} directory. To sign into this application, the account must be added to the directory.",
    ),
    plain(
        50_053,
        GRANT,
        "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.",
    ),
    sub(
        50_055,
        GRANT,
        "user_password_expired",
        "The password is expired.",
    ),
    plain(50_057, GRANT, "The user account is disabled."),
    plain(
        50_058,
        "login_required",
        "A silent sign-in request was sent but no user is signed in. The session information is not sufficient for single-sign-on.",
    ),
    plain(
        50_059,
        REQUEST,
        "No tenant-identifying information found in either the request or implied by any provided credentials.",
    ),
    plain(
        50_089,
        GRANT,
        "Authentication failed due to flow token expired. Go back to the application and start again.",
    ),
    plain(
        50_105,
        GRANT,
        "Your administrator has configured the application {application} ('{client}') to block users unless they are specifically granted ('assigned') access to the application. The signed in user '{user}' is blocked because they are not a direct member of a group with access, nor had access directly assigned by an administrator.",
    ),
    plain(
        50_126,
        GRANT,
        "Error validating credentials due to invalid username or password.",
    ),
    sub(
        50_132,
        GRANT,
        "bad_token",
        "The session is not valid due to the following reasons: password expiration or recent password change, SSO Artifact is invalid or expired, session is not fresh enough for application, or a silent sign-in request was sent but the user's session with Azure AD is invalid or has expired.",
    ),
    sub(
        50_133,
        GRANT,
        "bad_token",
        "Session is invalid due to expiration or recent password change.",
    ),
    sub(
        50_144,
        GRANT,
        "user_password_expired",
        "The user's Active Directory password has expired. Generate a new password for the user or have the user use the self-service reset tool to reset their password.",
    ),
    sub(
        50_173,
        GRANT,
        "bad_token",
        "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '{when}' and the TokensValidFrom date (before which tokens are not valid) for this user is '{after}'.",
    ),
    plain(
        50_196,
        GRANT,
        "The server terminated an operation because it encountered a client request loop. Please contact your app vendor.",
    ),
    plain(
        90_072,
        REQUEST,
        "User account '{user}' from identity provider '{issuer}' does not exist in tenant '{tenant}' and cannot access the application '{client}' in that tenant. The account needs to be added as an external user in the tenant first.",
    ),
    plain(
        500_121,
        DENIED,
        "Authentication failed during strong authentication request.",
    ),
    plain(
        500_341,
        GRANT,
        "The user account {user} has been deleted from the {tenant} directory. To sign into this application, the account must be added to the directory.",
    ),
    // --- Conditional Access and multifactor authentication ---
    sub(
        50_074,
        INTERACTION,
        "basic_action",
        "Strong Authentication is required.",
    ),
    sub(
        50_076,
        INTERACTION,
        "basic_action",
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '{resource}'.",
    ),
    sub(
        50_078,
        INTERACTION,
        "basic_action",
        "Presented multi-factor authentication has expired due to policies configured by your administrator, you must refresh your multi-factor authentication to access '{resource}'.",
    ),
    sub(
        50_079,
        INTERACTION,
        "basic_action",
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '{resource}'.",
    ),
    sub(
        50_131,
        INTERACTION,
        "message_only",
        "Used in various Conditional Access errors. Access was refused because of the device's state, the request's origin, or an access policy.",
    ),
    sub(
        53_000,
        INTERACTION,
        "message_only",
        "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, and the device is not compliant. The user must enroll their device with an approved MDM provider like Intune.",
    ),
    sub(
        53_001,
        INTERACTION,
        "message_only",
        "Device is not in required device state: domain_joined. Conditional Access policy requires a domain joined device, and the device is not domain joined.",
    ),
    sub(
        53_003,
        INTERACTION,
        "message_only",
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
    ),
    sub(
        70_043,
        GRANT,
        "bad_token",
        "The refresh token has expired or is invalid due to sign-in frequency checks by Conditional Access. The token was issued on {when} and the maximum allowed lifetime for this request is {seconds}.",
    ),
    sub(
        530_032,
        INTERACTION,
        "message_only",
        "Blocked by security policy. The tenant admin has configured a security policy that blocks this request.",
    ),
    sub(
        530_035,
        INTERACTION,
        "message_only",
        "Access has been blocked by security defaults. This is due to the request using legacy auth or being deemed unsafe by security defaults policies.",
    ),
    // --- the application and its registration ---
    plain(
        50_011,
        REQUEST,
        "The redirect URI '{address}' specified in the request does not match the redirect URIs configured for the application '{client}'. Make sure the redirect URI sent in the request matches one added to your application in the Azure portal. Navigate to https://aka.ms/redirectUriMismatchError to learn more about how to fix this.",
    ),
    plain(
        50_194,
        REQUEST,
        "Application '{client}'({application}) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant.",
    ),
    plain(
        700_005,
        GRANT,
        "Provided Authorization Code is intended to use against other tenant, thus rejected.",
    ),
    plain(
        700_016,
        UNAUTHORIZED,
        "Application with identifier '{client}' was not found in the directory '{tenant}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
    ),
    plain(
        7_000_112,
        UNAUTHORIZED,
        "Application '{client}'({application}) is disabled.",
    ),
    plain(
        9_002_346,
        REQUEST,
        "Application '{client}'({application}) is configured for use by Azure Active Directory users only. Please do not use the /consumers endpoint to serve this request.",
    ),
    plain(
        700_051,
        "unsupported_response_type",
        "response_type 'token' is not enabled for the application.",
    ),
    plain(
        700_054,
        "unsupported_response_type",
        "response_type '{value}' is not enabled for the application.",
    ),
    plain(
        7_000_114,
        UNAUTHORIZED,
        "Application '{client}' is not allowed to make application on-behalf-of calls.",
    ),
    plain(
        650_052,
        "invalid_client",
        "The app needs access to a service ('{resource}') that your organization '{tenant}' has not subscribed to or enabled. Contact your IT Admin to review the configuration of your service subscriptions.",
    ),
    plain(
        650_056,
        CLIENT,
        "Misconfigured application. This could be due to one of the following: the client has not listed any permissions for '{resource}' in the requested permissions in the client's application registration. Or, the admin has not consented in the tenant. Or, check the application identifier in the request to ensure it matches the configured client application identifier. Client app ID: {client}.",
    ),
    plain(
        650_057,
        RESOURCE,
        "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration. Client app ID: {client}({application}). Resource value from request: {resource}. Resource app ID: 00000007-0000-0000-c000-000000000000. List of valid resources from app registration: .",
    ),
    // --- client authentication ---
    client(70_002, "Error validating credentials."),
    client(
        700_021,
        "Client assertion application identifier doesn't match 'client_id' parameter. Review the documentation at https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
    ),
    client(
        700_023,
        "Client assertion audience claim does not match Realm issuer. Review the documentation at https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials .",
    ),
    client(
        700_024,
        "Client assertion is not within its valid time range. Current time: {now}, assertion valid from {from}, expiry time of assertion {until}.",
    ),
    client(
        700_025,
        "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
    ),
    client(
        700_027,
        "Client assertion failed signature validation. {reason}",
    ),
    client(50_027, "Invalid JWT token. {reason}"),
    client(
        700_211,
        "No matching federated identity record found for presented assertion issuer '{issuer}'. Please check your federated identity credential Subject, Audience and Issuer against the presented assertion.",
    ),
    client(
        700_212,
        "No matching federated identity record found for presented assertion audience '{audience}'. Please check your federated identity credential Subject, Audience and Issuer against the presented assertion.",
    ),
    client(
        700_213,
        "No matching federated identity record found for presented assertion subject '{subject}'. Please check your federated identity credential Subject, Audience and Issuer against the presented assertion.",
    ),
    client(
        7_000_215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{client}'.",
    ),
    client(
        7_000_218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    client(
        7_000_222,
        "The provided client secret keys for app '{client}' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.",
    ),
    // --- consent ---
    sub(
        65_001,
        GRANT,
        "consent_required",
        "The user or administrator has not consented to use the application with ID '{client}' named '{application}'. Send an interactive authorization request for this user and resource.",
    ),
    plain(
        65_004,
        DENIED,
        "User declined to consent to access the app.",
    ),
    plain(
        90_094,
        DENIED,
        "An administrator of the tenant has set a policy that prevents you from granting the application '{application}' the permissions it is requesting. Contact an administrator, who can grant permissions to this application on your behalf.",
    ),
    plain(
        90_095,
        DENIED,
        "Admin consent is required for the permissions requested by this application. An admin consent request may be sent to the admin.",
    ),
    // --- grants ---
    plain(
        54_005,
        GRANT,
        "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
    ),
    sub(
        70_000,
        GRANT,
        "bad_token",
        "Provided grant is invalid or malformed.",
    ),
    plain(
        70_003,
        "unsupported_grant_type",
        "The app requested an unsupported grant type '{value}'.",
    ),
    sub(
        70_008,
        GRANT,
        "token_expired",
        "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.",
    ),
    plain(
        70_016,
        "authorization_pending",
        "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
    ),
    plain(
        70_017,
        "authorization_declined",
        "The user declined the authorization request of the device.",
    ),
    plain(
        70_018,
        "bad_verification_code",
        "Invalid verification code due to User typing in wrong user code for device code flow.",
    ),
    plain(
        70_020,
        "expired_token",
        "The provided value for the input parameter 'device_code' is not valid. This device code has expired.",
    ),
    sub(
        700_082,
        GRANT,
        "token_expired",
        "The refresh token has expired due to inactivity. The token was issued on {when} and was inactive for 90.00:00:00.",
    ),
    sub(
        700_084,
        GRANT,
        "token_expired",
        "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which cannot be extended. It is now expired and a new sign in request must be sent by the SPA to the sign in page. The token was issued on {when}.",
    ),
    plain(
        500_133,
        GRANT,
        "Assertion is not within its valid time range. Ensure that the access token is not expired before using it for user assertion, or request a new token. Current time: {now}, expiry time of assertion {until}.",
    ),
    plain(
        501_481,
        GRANT,
        "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
    ),
    plain(
        501_491,
        REQUEST,
        "Invalid Code_Challenge_method or code_challenge parameter. Possible reason: the length or the method is not supported.",
    ),
    plain(
        500_112,
        CLIENT,
        "The reply address '{address}' does not match the reply address '{expected}' provided when requesting Authorization code.",
    ),
    plain(
        700_009,
        REQUEST,
        "Reply address must be provided when presenting an authorization code requested with an explicit reply address.",
    ),
    plain(
        9_002_325,
        GRANT,
        "Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
    ),
    plain(
        9_002_326,
        REQUEST,
        "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type. Request origin: '{origin}'.",
    ),
    plain(
        9_002_327,
        REQUEST,
        "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
    ),
    plain(
        700_222,
        REQUEST,
        "AAD-issued tokens may not be used for federated identity flows.",
    ),
    // --- resources and scopes ---
    plain(
        50_001,
        RESOURCE,
        "The application named {resource} was not found in the tenant named {tenant}. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
    ),
    plain(
        500_011,
        RESOURCE,
        "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
    ),
    plain(
        28_000,
        SCOPE,
        "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope {value} is not valid.",
    ),
    plain(
        70_011,
        SCOPE,
        "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope {value} is not valid.",
    ),
    plain(
        1_002_012,
        SCOPE,
        "The provided value for scope {value} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
    ),
    plain(
        901_002,
        REQUEST,
        "The 'resource' request parameter is not supported.",
    ),
    // --- requests ---
    plain(50_049, "invalid_instance", "Unknown or invalid instance."),
    plain(
        70_007,
        REQUEST,
        "'{value}' is not a supported value for 'response_mode' when requesting a token.",
    ),
    plain(
        90_002,
        REQUEST,
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
    ),
    plain(
        90_014,
        REQUEST,
        "The required field '{parameter}' is missing from the credential. Ensure that you have all the necessary parameters for the login request.",
    ),
    plain(90_023, REQUEST, "Unsupported '{parameter}' value."),
    plain(
        90_038,
        REQUEST,
        "Tenant '{tenant}' request is being redirected to the National Cloud '{cloud}'.",
    ),
    plain(
        900_144,
        REQUEST,
        "The request body must contain the following parameter: '{parameter}'.",
    ),
    plain(
        900_561,
        REQUEST,
        "The endpoint only accepts POST requests. Received a {method} request.",
    ),
    plain(
        9_001_023,
        REQUEST,
        "The grant type '{value}' is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint.",
    ),
    plain(
        9_002_313,
        REQUEST,
        "Invalid request. Request is malformed or invalid.",
    ),
    // --- trouble of the service ---
    status(
        503,
        plain(
            90_033,
            "temporarily_unavailable",
            "A transient error has occurred. Please try again.",
        ),
    ),
    status(
        429,
        plain(
            90_055,
            "temporarily_unavailable",
            "TenantThrottlingError: There are too many incoming requests. The server is busy.",
        ),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_and_its_sentence_can_be_filled() {
        let mut codes: Vec<u32> = KNOWN.iter().map(|known| known.code).collect();
        codes.sort_unstable();
        let whole = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), whole);
        for known in KNOWN {
            assert!(!fill(known.text, &[]).contains(['{', '}']), "{known:?}");
        }
    }

    #[test]
    fn values_stand_where_they_belong() {
        assert_eq!(
            fill("a {x} b {y}", &[("x", "{y}"), ("y", "2")]),
            "a {y} b 2"
        );
        assert_eq!(fill("open {x", &[]), "open {x");
    }
}
