//! Which paths a fault or a step is for.

/// A prefix, or a pattern in which `*` stands for anything within a segment, `**` for anything at
/// all, and `?` for one character. Case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    written: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Segment,
    All,
}

/// Nobody writes a longer one by hand, and matching takes time in proportion.
const LENGTH_MAX: usize = 300;

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') && !text.starts_with('*') {
            return Err(
                "must be the beginning of a path, such as /api/data/v9.2/contacts, or a pattern \
                 with * (within a segment) or ** (anything), such as /**/oauth2/**/token",
            );
        }
        if text.len() > LENGTH_MAX {
            return Err("is longer than 300 bytes");
        }
        let mut tokens = Vec::new();
        for byte in text.to_ascii_lowercase().bytes() {
            match (byte, tokens.last()) {
                (b'*', Some(Token::All)) => {}
                (b'*', Some(Token::Segment)) => {
                    tokens.pop();
                    tokens.push(Token::All);
                }
                (b'*', _) => tokens.push(Token::Segment),
                (b'?', _) => tokens.push(Token::One),
                (other, _) => tokens.push(Token::Byte(other)),
            }
        }
        let is_prefix = tokens.iter().all(|token| matches!(token, Token::Byte(_)));
        if is_prefix {
            tokens.push(Token::All);
        }
        Ok(Self {
            written: text.to_owned(),
            tokens: simplified(tokens),
        })
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        // Which beginnings of the pattern the path so far can be; one byte of the path at a time.
        let mut reached = vec![false; self.tokens.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        self.pass_empty(&mut reached);
        for byte in path.bytes().map(|byte| byte.to_ascii_lowercase()) {
            let mut next = vec![false; reached.len()];
            for (index, token) in self.tokens.iter().enumerate() {
                if !reached.get(index).copied().unwrap_or_default() {
                    continue;
                }
                let to = match token {
                    Token::Byte(wanted) if *wanted == byte => index + 1,
                    Token::One if byte != b'/' => index + 1,
                    Token::Segment if byte != b'/' => index,
                    Token::All => index,
                    _ => continue,
                };
                if let Some(slot) = next.get_mut(to) {
                    *slot = true;
                }
            }
            self.pass_empty(&mut next);
            reached = next;
        }
        reached.last().copied().unwrap_or_default()
    }

    /// Stars can stand for nothing.
    fn pass_empty(&self, reached: &mut [bool]) {
        for (index, token) in self.tokens.iter().enumerate() {
            let here = reached.get(index).copied().unwrap_or_default();
            if here
                && matches!(token, Token::Segment | Token::All)
                && let Some(next) = reached.get_mut(index + 1)
            {
                *next = true;
            }
        }
    }
}

/// In `/**/`, the second slash belongs to what the stars stand for, so that `/**/token` also finds
/// `/token`.
fn simplified(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let after_slash_and_all =
            token == Token::Byte(b'/') && kept.ends_with(&[Token::Byte(b'/'), Token::All]);
        if after_slash_and_all {
            // `/` `**` `/` becomes `**` `/`: nothing, or segments, and then a slash.
            kept.truncate(kept.len() - 2);
            kept.push(Token::All);
        }
        kept.push(token);
    }
    kept
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).expect(pattern).matches(path)
    }

    #[test]
    fn a_path_without_stars_is_a_beginning() {
        assert!(hit(
            "/api/data/v9.2/contacts",
            "/api/data/v9.2/contacts(1)/fullname"
        ));
        assert!(hit("/API/data", "/api/Data/v9.2/"));
        assert!(!hit("/api/data/v9.2/contacts", "/api/data/v9.2/accounts"));
    }

    #[test]
    fn stars_stand_for_what_they_say() {
        assert!(hit("/*/oauth2/token", "/contoso.example/oauth2/token"));
        assert!(!hit("/*/oauth2/token", "/a/b/oauth2/token"));
        assert!(hit("/**/token", "/contoso.example/oauth2/v2.0/token"));
        assert!(hit("/**/token", "/token"));
        assert!(!hit("/**/token", "/x/tokens"));
        assert!(hit("/**", "/"));
        assert!(hit("**whoami*", "/api/data/v9.2/WhoAmI()"));
        assert!(hit("/api/data/v9.?/accounts", "/api/data/v9.1/accounts"));
        assert!(!hit("/api/data/v9.?/accounts", "/api/data/v9./accounts"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        assert!(Pattern::parse("contacts").is_err());
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse(&format!("/{}", "*a".repeat(200))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_path_matches_itself_and_no_pattern_does_harm(
            path in "/[a-z/.%é]{0,40}", pattern in "[/*][a-z/*?é]{0,40}",
        ) {
            proptest::prop_assert!(hit(&path, &path));
            proptest::prop_assert!(hit("/**", &path));
            let _ = Pattern::parse(&pattern).map(|pattern| pattern.matches(&path));
        }
    }
}
