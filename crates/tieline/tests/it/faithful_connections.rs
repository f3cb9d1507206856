//! Connections to Dynamics: what is sent while an answer comes, and what may never become part of
//! another one.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc;

use crate::line::line;
use crate::upstream::{News, Seen, Upstream, answer, read_body};

const JSON: &str = "Content-Type: application/json\r\n";
/// More than is kept of a body, and more than fits between two ends of a connection.
const LARGE: usize = 24 << 20;

fn write(stream: &mut BufReader<&TcpStream>, bytes: &[u8]) {
    // Whoever has gone away does not listen.
    let _ = stream.get_mut().write_all(bytes);
}

fn chunked(pieces: &[&str], trailers: &str) -> String {
    let chunk = |piece: &&str| format!("{:x}\r\n{piece}\r\n", piece.len());
    let chunks: String = pieces.iter().map(chunk).collect();
    format!("{chunks}0\r\n{trailers}\r\n")
}

#[test]
fn what_comes_behind_an_answer_is_never_part_of_another() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for first in [
        "Content-Length: 5\r\n\r\nfirst",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::talking(move |seen, stream| {
            let own = match seen.line.contains("first") {
                true => format!("HTTP/1.1 200 OK\r\n{first}{poison}"),
                false => "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond".to_owned(),
            };
            write(stream, own.as_bytes());
        });
        let line = line(&upstream);
        for _ in 0..3 {
            let answered = line.get("/api/data/v9.2/first", "");
            assert!(answered.ends_with("\r\n\r\nfirst"), "{answered}");
            let answered = line.get("/api/data/v9.2/second", "");
            assert!(answered.ends_with("\r\n\r\nsecond"), "{answered}");
        }
    }
}

#[test]
fn what_comes_unasked_is_never_an_answer() {
    let (said, hears) = mpsc::channel();
    let upstream = Upstream::talking(move |seen, stream| {
        let name = seen.line.split(['/', ' ']).nth(5).unwrap().to_owned();
        let own = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        );
        write(stream, own.as_bytes());
        // The next request would find it waiting.
        write(
            stream,
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        );
        let _ = said.send(());
    });
    let line = line(&upstream);
    for name in ["first", "second", "third"] {
        let answered = line.get(&format!("/api/data/v9.2/{name}"), "");
        assert!(answered.ends_with(&format!("\r\n\r\n{name}")), "{answered}");
        hears.recv().unwrap();
    }
}

#[test]
fn an_answer_may_come_before_all_of_the_request() {
    let (close, closes) = mpsc::channel::<()>();
    let closes = Mutex::new(closes);
    let upstream = Upstream::talking(move |_, stream| {
        write(stream, &answer("413 Content Too Large", JSON, "{\"no\":1}"));
        // Nothing of the body is read, and the connection stays.
        let _ = closes.lock().unwrap().recv();
    });
    let line = line(&upstream);
    let head = line.request(
        "POST /api/data/v9.2/x",
        &format!("Content-Length: {LARGE}\r\n"),
        "",
    );
    let mut stream = line.connect();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; 2 << 20]).unwrap();
    let mut answered = [0; 12];
    stream.read_exact(&mut answered).unwrap();
    assert_eq!(&answered, b"HTTP/1.1 413");
    drop((stream, close));
}

#[test]
fn the_rest_of_a_request_goes_on_while_its_answer_comes() {
    let upstream = Upstream::talking(|seen, stream| {
        write(
            stream,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n\
              3\r\nso \r\n",
        );
        let length = read_body(stream, seen)
            .map_or(0, |body| body.len())
            .to_string();
        write(stream, chunked(&[&length], "").as_bytes());
    });
    let line = line(&upstream);
    let body = "x".repeat(LARGE);
    let answered = line.raw(&line.request("POST /api/data/v9.2/x", "", &body));
    let expected = chunked(&["so ", &LARGE.to_string()], "");
    assert!(answered.ends_with(&expected), "{answered}");
}

#[test]
fn a_body_in_chunks_arrives_whole_with_what_follows_it() {
    let upstream = Upstream::talking(|seen, stream| {
        let body = read_body(stream, seen).unwrap_or_default();
        let end = String::from_utf8_lossy(&body[body.len().min(LARGE)..]).into_owned();
        let same = body[..body.len().min(LARGE)]
            .iter()
            .all(|byte| *byte == b'x');
        write(
            stream,
            &answer("200 OK", "", &format!("{} {same} {end}", body.len())),
        );
    });
    let line = line(&upstream);
    let headers = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n";
    let head = line.request("POST /api/data/v9.2/x", headers, "");
    let piece = "x".repeat(LARGE / 64);
    let trailers = "X-Sum: 6\r\nContent-Length: 7\r\nAuthorization: Bearer mine\r\n";
    let body = chunked(&[piece.as_str(); 64], trailers);
    let answered = line.raw(&format!("{head}{body}"));
    let expected = format!("\r\n\r\n{} true x-sum: 6", LARGE + "x-sum: 6".len());
    assert!(answered.ends_with(&expected), "{answered}");
}

#[test]
fn a_request_that_was_cut_is_never_whole() {
    let (tell, told) = mpsc::channel();
    let upstream = Upstream::talking(move |seen: &Seen, stream| {
        let _ = tell.send(read_body(stream, seen).is_some());
    });
    let line = line(&upstream);
    for headers in [
        format!("Content-Length: {LARGE}\r\n"),
        "Transfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let head = line.request("POST /api/data/v9.2/x", &headers, "");
        let mut stream = line.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let piece = "x".repeat(4 << 20);
        let begun = match headers.contains("chunked") {
            true => format!("{:x}\r\n{piece}\r\n", piece.len()),
            false => piece,
        };
        stream.write_all(begun.as_bytes()).unwrap();
        upstream.wait_for(News::Called);
        drop(stream);
        assert!(!told.recv().unwrap(), "{headers}");
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_passes_whole() {
    let upstream = Upstream::start(|_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + (1 << 20), b'x');
        bytes.extend_from_slice(b"CUT");
        bytes
    });
    let line = line(&upstream);
    for _ in 0..3 {
        let request = line.request("GET /api/data/v9.2/x", "", "");
        let answered = line.raw(&request.replace("HTTP/1.1", "HTTP/1.0"));
        let (_, body) = answered.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), (1 << 20) + 3);
    }
}

#[test]
fn chunks_that_are_cut_or_spoilt_are_never_passed_on_as_whole() {
    let upstream = Upstream::start(|seen| {
        let rest = match seen.line.split(['/', ' ']).nth(5).unwrap() {
            "cut" => "5\r\nabcCUT",
            "endless" => "3\r\nabc\r\nCUT",
            "unsized" => "3\r\nabc\r\n\r\n\r\n",
            "longer" => "3\r\nabcd\r\n0\r\n\r\n",
            "trailing" => "3\r\nabc\r\n0\r\nX: 1\r\nCUT",
            _ => "3\r\nabc\r\n-0\r\n\r\n",
        };
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{rest}").into_bytes()
    });
    let line = line(&upstream);
    for case in ["cut", "endless", "unsized", "longer", "trailing", "signed"] {
        let answered = line.get(&format!("/api/data/v9.2/{case}"), "");
        assert!(
            answered.starts_with("HTTP/1.1 200 OK\r\n"),
            "{case}: {answered}"
        );
        assert!(!answered.ends_with("0\r\n\r\n"), "{case}: {answered}");
    }
}
