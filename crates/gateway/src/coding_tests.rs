use http::HeaderValue;

use super::*;

fn headers(name: header::HeaderName, values: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name.clone(), HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn dynamics_is_asked_for_what_the_client_takes_and_we_can_undo() {
    for (values, asked) in [
        (&[][..], "identity"),
        (&["gzip, deflate, br, zstd"], "gzip, deflate"),
        (&["br"], "identity"),
        (&["GZIP;q=0.5", "br"], "gzip"),
        (&["x-gzip"], "gzip"),
        (&["gzip;q=0, deflate"], "deflate"),
        (&["*"], "gzip, deflate"),
        (&["*;q=0"], "identity"),
        (&["gzip; Q=0.000, *"], "deflate"),
        (&["identity"], "identity"),
        (&[""], "identity"),
    ] {
        let headers = headers(header::ACCEPT_ENCODING, values);
        let accepted = Accepted::of(&headers, Marks::of(&headers));
        assert_eq!(accepted.for_upstream(), asked, "{values:?}");
    }
}

#[test]
fn a_body_is_coded_once_or_otherwise() {
    for (values, coded) in [
        (&[][..], Coded::Plain),
        (&["identity"], Coded::Plain),
        (&["gzip"], Coded::As(Coding::Gzip)),
        (&["X-GZip"], Coded::As(Coding::Gzip)),
        (&["deflate"], Coded::As(Coding::Deflate)),
        (&["br"], Coded::Otherwise),
        (&["gzip, gzip"], Coded::Otherwise),
        (&["gzip", "gzip"], Coded::Otherwise),
    ] {
        let seen = {
            let headers = headers(header::CONTENT_ENCODING, values);
            Coded::of(&headers, Marks::of(&headers))
        };
        assert_eq!(seen, coded, "{values:?}");
    }
}

fn sample() -> Vec<u8> {
    (0..9_000_u32)
        .flat_map(|number| {
            format!("{{\"row\":{}}},", number.wrapping_mul(2_654_435_761)).into_bytes()
        })
        .collect()
}

fn encoded(coding: Coding, plain: &[u8], piece: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(coding);
    let mut coded = Vec::new();
    for (number, piece) in plain.chunks(piece).enumerate() {
        coded.extend(encoder.push(piece).expect("room"));
        if number % 3 == 0 {
            coded.extend(encoder.flush().expect("room"));
        }
    }
    coded.extend(encoder.finish().expect("room"));
    coded
}

fn decoded(coding: Coding, coded: &[u8], piece: usize) -> io::Result<Vec<u8>> {
    let mut decoder = Decoder::new(coding);
    let mut plain = Vec::new();
    for piece in coded.chunks(piece) {
        plain.extend(decoder.push(piece)?);
    }
    decoder.finish()?;
    Ok(plain)
}

#[test]
fn what_is_done_can_be_undone_in_pieces_of_any_size() {
    let plain = sample();
    for coding in [Coding::Gzip, Coding::Deflate] {
        for piece in [700, 4096, 1 << 20] {
            let coded = encoded(coding, &plain, piece);
            assert!(coded.len() < plain.len() / 2, "{coding:?} {piece}");
            for piece in [1, 777, 4096] {
                assert_eq!(decoded(coding, &coded, piece).expect("whole"), plain);
            }
        }
    }
}

#[test]
fn other_encoders_are_understood() {
    use flate2::write::{DeflateEncoder, GzEncoder};
    use std::io::Write as _;
    let plain = sample();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&plain).expect("memory");
    let gzip = gzip.finish().expect("memory");
    assert_eq!(decoded(Coding::Gzip, &gzip, 4096).expect("whole"), plain);
    // Several members are one document.
    let twice = decoded(Coding::Gzip, &gzip.repeat(2), 4096).expect("whole");
    assert_eq!(twice, plain.repeat(2));
    // Without zlib's frame.
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
    bare.write_all(&plain).expect("memory");
    let bare = bare.finish().expect("memory");
    assert_eq!(decoded(Coding::Deflate, &bare, 4096).expect("whole"), plain);
}

#[test]
fn what_was_cut_off_or_spoilt_is_never_whole() {
    let plain = sample();
    for coding in [Coding::Gzip, Coding::Deflate] {
        let coded = encoded(coding, &plain, 1 << 20);
        for end in [1, 9, 1000, coded.len() / 2, coded.len() - 1] {
            assert!(
                decoded(coding, &coded[..end], 4096).is_err(),
                "{coding:?} {end}"
            );
        }
        // A checksum that is wrong.
        let mut spoilt = coded.clone();
        let at = spoilt.len() - if coding == Coding::Gzip { 6 } else { 2 };
        spoilt[at] ^= 1;
        assert!(decoded(coding, &spoilt, 4096).is_err(), "{coding:?}");
    }
    assert!(decoded(Coding::Gzip, b"plain text", 4096).is_err());
    // An answer without a body has nothing to be cut off.
    assert_eq!(decoded(Coding::Gzip, b"", 1).expect("nothing"), b"");
}
