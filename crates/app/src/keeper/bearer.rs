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

/// An access token, to be written after `Bearer` (RFC 6750, section 2.1).
#[derive(Clone, Copy)]
pub struct Bearer<'a> {
    form: Form,
    bytes: &'a [u8],
}

/// What a token's bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Where each part ends.
    ends: [u32; PARTS],
    /// How many there are. The parts' bytes stand side by side, and behind them as text what the
    /// last part has over a multiple of four characters. None when the bytes are the text itself.
    parts: u8,
}

impl<'a> Bearer<'a> {
    /// A token as it came.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self::of(Form::TEXT, text.as_bytes())
    }

    pub(super) fn of(form: Form, bytes: &'a [u8]) -> Self {
        Self { form, bytes }
    }

    /// Writes the token.
    pub fn append_to(&self, to: &mut Vec<u8>) {
        let mut rest = self.bytes;
        let mut begin = 0;
        let parts = usize::from(self.form.parts);
        for (number, end) in self.form.ends.into_iter().take(parts).enumerate() {
            if number > 0 {
                to.push(b'.');
            }
            let (part, behind) = rest.split_at((end - begin) as usize);
            URL_SAFE_NO_PAD.encode_append(part, to);
            (rest, begin) = (behind, end);
        }
        to.extend_from_slice(rest);
    }

    /// How much room it takes as text, in bytes, or a little more.
    #[must_use]
    pub fn room(&self) -> usize {
        match self.form.parts {
            0 => self.bytes.len(),
            _ => self.bytes.len().div_ceil(3) * 4 + PARTS + 1,
        }
    }

    pub(super) fn to_text(self) -> String {
        let mut text = Vec::with_capacity(self.room());
        self.append_to(&mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

impl Form {
    pub(super) const TEXT: Self = Self {
        ends: [0; PARTS],
        parts: 0,
    };

    /// A token in less room. None where it would not come out as it went in.
    pub(super) fn packed(text: &str) -> Option<(Self, Vec<u8>)> {
        let (form, bytes) = Self::pack(text)?;
        (Bearer::of(form, &bytes).to_text() == text).then_some((form, bytes))
    }

    /// None when it has more parts, or characters of another alphabet.
    fn pack(text: &str) -> Option<(Self, Vec<u8>)> {
        let last = text.rfind('.').map_or(0, |dot| dot + 1);
        let over = (text.len() - last) % 4;
        let (whole, over) = text.split_at_checked(text.len() - over)?;
        let mut bytes = Vec::with_capacity(whole.len() / 4 * 3 + PARTS + over.len());
        let Self {
            mut ends,
            mut parts,
        } = Self::TEXT;
        for part in whole.split('.') {
            let end = ends.get_mut(usize::from(parts))?;
            URL_SAFE_NO_PAD.decode_append(part, &mut bytes).ok()?;
            *end = u32::try_from(bytes.len()).ok()?;
            parts += 1;
        }
        bytes.extend_from_slice(over.as_bytes());
        Some((Self { ends, parts }, bytes))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use proptest::prelude::*;

    use super::*;

    /// A token that went in and came out.
    fn through(text: &str) -> Option<String> {
        let (form, bytes) = Form::packed(text)?;
        let token = Bearer::of(form, &bytes);
        assert!(
            (text.len()..text.len() + 9).contains(&token.room()),
            "{text}"
        );
        Some(token.to_text())
    }

    proptest! {
        #[test]
        fn a_jwt_comes_out_as_it_went_in(
            header in prop::collection::vec(any::<u8>(), 0..40),
            claims in prop::collection::vec(any::<u8>(), 0..400),
            signature in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let text = [header, claims, signature].map(|part| BASE64.encode(part)).join(".");
            prop_assert_eq!(through(&text), Some(text));
        }

        #[test]
        fn whatever_else_is_a_token_does_or_is_left_alone(text in "[A-Za-z0-9._~+/=-]{0,80}") {
            prop_assert!(through(&text).is_none_or(|came| came == text));
        }
    }

    #[test]
    fn what_is_of_one_part_is_packed_and_what_would_come_out_otherwise_is_not() {
        for text in [
            "opaque",
            "opaqu",
            "opaq",
            "eyJh.eyJh",
            "eyJh.eyJh.eyJ",
            "..",
            "",
        ] {
            assert_eq!(through(text).as_deref(), Some(text));
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
            assert_eq!(through(text), None);
            assert_eq!(Bearer::text(text).to_text(), text);
        }
        // As long as Entra's.
        let (_, bytes) = Form::packed(&"a1-_".repeat(450)).expect("base64url");
        assert_eq!(bytes.len(), 1350);
    }
}
