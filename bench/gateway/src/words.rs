//! What keys, tokens and accounts are called: load, upstream and database must agree on it.

/// Bytes of a token: what Entra ID's for Dynamics have.
const TOKEN: usize = 1800;

/// The API key of a consumer; as long as a real one.
pub fn key(number: usize) -> String {
    format!("tl_{number:0>43}")
}

/// The access token of an account.
pub fn token(number: usize) -> String {
    let mut token = format!("eyJ{number:08}");
    // No two pages of memory alike, as with real tokens.
    let mut state = number as u32 ^ 0x9e37_79b9;
    while token.len() < TOKEN {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        token.push(char::from(b'a' + (state >> 24) as u8 % 26));
    }
    token
}

/// Whether an `Authorization` header holds the token of an account.
pub fn is_token_of(header: &[u8], account: &[u8]) -> bool {
    let Some(token) = header.strip_prefix(b"Bearer eyJ") else {
        return false;
    };
    token.len() == TOKEN - 3 && token[..8].ends_with(account)
}

/// The name of an account.
pub fn account(number: usize) -> String {
    format!("a{number}")
}

/// An identifier: digits alone are a ULID too.
pub fn id(kind: usize, number: usize) -> String {
    format!("0{kind}{number:024}")
}
