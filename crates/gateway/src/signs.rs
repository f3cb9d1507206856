//! Every `@` of a JSON text, however it is written, found many bytes at a time.

use fearless_simd::{Level, Simd, dispatch, mask8x64, prelude::*, u8x64};

/// How an `@` may be written otherwise (RFC 8259, section 7).
const ESCAPED: &[u8] = br"\u0040";
/// A sign that begins in so many bytes at the end of a text may not all be there.
pub(crate) const TAIL: usize = ESCAPED.len() - 1;
/// So many bytes are looked at together.
const BLOCK: usize = 64;
/// And so many blocks, as long as there is nothing in them.
const BLOCKS: usize = 2;
/// Of an escaped sign the `u` is looked for, with the `4` behind it at this distance: in texts that
/// hold identifiers and dates, any other two of its bytes stand so too often.
const AHEAD: usize = 3;
/// What must be there to look at blocks.
const REACH: usize = BLOCK * BLOCKS + AHEAD;

/// Tells where each sign in a text begins and ends, in order, some of them twice. Says how far it
/// looked: up to the tail, in which it may miss some, or not at all where the text is too short.
#[inline]
pub(crate) fn each(text: &[u8], from: usize, found: impl FnMut(usize, usize)) -> usize {
    dispatch!(Level::new(), simd => each_by(simd, text, from, found))
}

#[inline(always)]
fn each_by<S: Simd>(
    simd: S,
    text: &[u8],
    from: usize,
    mut found: impl FnMut(usize, usize),
) -> usize {
    let Some(last) = text.len().checked_sub(REACH).filter(|last| from <= *last) else {
        return from;
    };
    let mut start = from;
    loop {
        let blocks = &text[start..start + REACH];
        let first = mask(simd, &blocks[..BLOCK + AHEAD]);
        let second = mask(simd, &blocks[BLOCK..]);
        if (first | second).any_true() {
            let (mut bits, mut later) = (first.to_bitmask(), second.to_bitmask());
            let mut block = start;
            loop {
                if bits == 0 {
                    if later == 0 {
                        break;
                    }
                    (bits, later) = (later, 0);
                    block += BLOCK;
                }
                let at = block + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let escaped = text[at] != b'@';
                if escaped && !is_escaped(text, at) {
                    continue;
                }
                let (sign, name) = if escaped {
                    (at - 1, at + TAIL)
                } else {
                    (at, at + 1)
                };
                found(sign, name);
            }
        }
        if start == last {
            return text.len() - TAIL;
        }
        start = (start + BLOCK * BLOCKS).min(last);
    }
}

/// Whether the `u` of an escaped sign is here.
#[cold]
fn is_escaped(text: &[u8], at: usize) -> bool {
    at > 0 && text[at - 1..].starts_with(ESCAPED)
}

/// With which bytes a sign may begin, or its `u` be reached.
#[inline(always)]
fn mask<S: Simd>(simd: S, text: &[u8]) -> mask8x64<S> {
    let here = u8x64::from_slice(simd, &text[..BLOCK]);
    let ahead = u8x64::from_slice(simd, &text[AHEAD..AHEAD + BLOCK]);
    here.simd_eq(b'@') | (here.simd_eq(b'u') & ahead.simd_eq(b'4'))
}
