//! An access token, as text or in three quarters of its length.
//!
//! Entra's are JWTs (RFC 7519): three parts in base64url, two kilobytes and more, and most of what
//! a server holds of an account. Packed, they are the bytes that the parts stand for, and become
//! text again where they are sent. Nothing is read of them: to a client a token is opaque (RFC 6749,
//! section 1.4), and one that would not come out as it went in stays as it is.

use std::fmt;

use base64_simd::URL_SAFE_NO_PAD;

/// Parts of a JWT.
const PARTS: usize = 3;

/// An access token.
pub struct BearerToken(Form);

enum Form {
    Packed(Packed),
    Text(Box<str>),
}

/// One to three parts, with a dot between them.
struct Packed {
    /// The parts' bytes side by side, and behind them as text what the last part has over a
    /// multiple of four characters.
    bytes: Box<[u8]>,
    /// Where each part ends.
    ends: [u32; PARTS],
    parts: u8,
}

impl BearerToken {
    /// Takes a token in.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Form::Text(text.into()))
    }

    /// The same token in less room, where that can be.
    #[must_use]
    pub(super) fn packed(self) -> Self {
        let text = self.text();
        let packed = Packed::of(&text).map(|packed| Self(Form::Packed(packed)));
        packed
            .filter(|packed| packed.text() == text)
            .unwrap_or(self)
    }

    /// Writes the token.
    pub fn append_to(&self, to: &mut Vec<u8>) {
        match &self.0 {
            Form::Packed(packed) => packed.append_to(to),
            Form::Text(text) => to.extend_from_slice(text.as_bytes()),
        }
    }

    /// How much room it takes as text, in bytes, or a little more.
    #[must_use]
    pub fn room(&self) -> usize {
        match &self.0 {
            Form::Packed(packed) => packed.bytes.len().div_ceil(3) * 4 + PARTS + 1,
            Form::Text(text) => text.len(),
        }
    }

    /// The token as text.
    pub(super) fn text(&self) -> String {
        let mut text = Vec::with_capacity(self.room());
        self.append_to(&mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken")
    }
}

impl Packed {
    /// None when it has more parts, or characters of another alphabet.
    fn of(text: &str) -> Option<Self> {
        let last = text.rfind('.').map_or(0, |dot| dot + 1);
        let over = (text.len() - last) % 4;
        let (whole, over) = text.split_at_checked(text.len() - over)?;
        let mut bytes = Vec::with_capacity(whole.len() / 4 * 3 + PARTS + over.len());
        let (mut ends, mut parts) = ([0; PARTS], 0_u8);
        for part in whole.split('.') {
            let end = ends.get_mut(usize::from(parts))?;
            URL_SAFE_NO_PAD.decode_append(part, &mut bytes).ok()?;
            *end = u32::try_from(bytes.len()).ok()?;
            parts += 1;
        }
        bytes.extend_from_slice(over.as_bytes());
        Some(Self {
            bytes: bytes.into_boxed_slice(),
            ends,
            parts,
        })
    }

    fn append_to(&self, to: &mut Vec<u8>) {
        let mut rest = &*self.bytes;
        let mut begin = 0;
        for (number, end) in self.ends[..usize::from(self.parts)].iter().enumerate() {
            if number > 0 {
                to.push(b'.');
            }
            let (part, behind) = rest.split_at((end - begin) as usize);
            URL_SAFE_NO_PAD.encode_append(part, to);
            (rest, begin) = (behind, *end);
        }
        to.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use proptest::prelude::*;

    use super::*;

    fn is_packed(text: &str) -> bool {
        matches!(BearerToken::new(text).packed().0, Form::Packed(_))
    }

    proptest! {
        #[test]
        fn a_jwt_comes_out_as_it_went_in_and_takes_less(
            header in prop::collection::vec(any::<u8>(), 0..40),
            claims in prop::collection::vec(any::<u8>(), 0..400),
            signature in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let text = [header, claims, signature].map(|part| BASE64.encode(part)).join(".");
            let token = BearerToken::new(&text).packed();
            prop_assert_eq!(token.text(), text.as_str());
            prop_assert!((text.len()..text.len() + 9).contains(&token.room()));
            prop_assert!(is_packed(&text));
        }

        #[test]
        fn whatever_else_is_a_token_comes_out_as_it_went_in(text in "[A-Za-z0-9._~+/=-]{0,80}") {
            prop_assert_eq!(BearerToken::new(&text).packed().text(), text);
        }
    }

    #[test]
    fn what_is_of_one_part_takes_less_and_what_would_come_out_otherwise_is_kept_as_text() {
        for text in [
            "opaque",
            "opaqu",
            "opaq",
            "eyJh.eyJh",
            "eyJh.eyJh.eyJ",
            "..",
            "",
        ] {
            assert!(is_packed(text), "{text}");
            assert_eq!(BearerToken::new(text).packed().text(), text);
        }
        for text in [
            "eyJh.eyJh.eyJh.eyJh",
            // Bits behind the last byte of a part.
            "eyJh.eyJ9X.eyJh",
            "eyJh.eyJ.eyJh",
            "eyJ=.eyJh.eyJh",
            "ey+/",
            "naïve",
        ] {
            assert!(!is_packed(text), "{text}");
            assert_eq!(BearerToken::new(text).packed().text(), text);
        }
        // As long as Entra's.
        let text = "a1-_".repeat(450);
        let BearerToken(Form::Packed(packed)) = BearerToken::new(&text).packed() else {
            panic!("kept as text");
        };
        assert_eq!(packed.bytes.len(), 1350);
    }
}
