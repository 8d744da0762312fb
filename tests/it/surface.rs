//! Bad HTTP: each gets its error, and the next request is served.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::{EIGHT_KEYS, TestDaemon, exchange, send};

/// The status of the answer to `request`, in which a line break stands for CR LF.
fn status(daemon: &TestDaemon, request: &str) -> u16 {
    status_of_bytes(daemon, request.replace('\n', "\r\n").as_bytes())
}

fn status_of_bytes(daemon: &TestDaemon, bytes: &[u8]) -> u16 {
    let answer = exchange(&daemon.socket(), bytes, true);
    assert_eq!(daemon.get("/livez").status, 200, "the next request is served");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn other_methods_are_405_and_say_which_are_not() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    for method in ["TRACE", "OPTIONS", "PUT", "DELETE", "PATCH", "BREW"] {
        let answer = send(&daemon.socket(), method, "/v1/select", None);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("post")), "{method}");
    }
    let answer = send(&daemon.socket(), "GET", "/v1/select", None);
    assert_eq!((answer.status, answer.code()), (405, "method_not_allowed".into()));
    let answer = daemon.post("/v1/usage", &json!({}));
    assert_eq!(answer.header("allow"), Some("get, head"));
    for (method, path, allow) in [
        ("PATCH", "/v1/keys", "get, head, post"),
        ("POST", "/v1/keys/flash_01", "get, head, patch, delete"),
        ("GET", "/v1/keys/flash_01/probe", "post"),
        ("PUT", "/nothing", "get, head, post, patch, delete"),
    ] {
        let answer = send(&daemon.socket(), method, path, None);
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(status(&daemon, "CONNECT evil:443 HTTP/1.1\nHost: evil:443\n\n"), 405);
}

#[test]
fn unknown_paths_are_404() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    for path in ["/", "/v1", "/v1/", "/v1/keys/", "/v1/keys/a/b", "/v2/select", "/v1/select/"] {
        let answer = daemon.get(path);
        assert_eq!((answer.status, answer.code()), (404, "not_found".into()), "{path}");
    }
}

#[test]
fn whole_urls_and_marks_of_proxies_and_browsers_are_400() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    assert_eq!(status(&daemon, "GET http://169.254.169.254/ HTTP/1.1\nHost: x\n\n"), 400);
    for header in [
        "X-Forwarded-For: 10.0.0.1",
        "Forwarded: for=10.0.0.1",
        "Via: 1.1 proxy",
        "Origin: https://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Upgrade: websocket",
    ] {
        let request = format!("GET /livez HTTP/1.1\nHost: x\n{header}\n\n");
        assert_eq!(status(&daemon, &request), 400, "{header}");
    }
    assert_eq!(status(&daemon, "GET /livez HTTP/1.1\n\n"), 400, "no Host");
    assert_eq!(status(&daemon, "GET /livez HTTP/1.1\nHost: x\nHost: y\n\n"), 400, "two Hosts");
}

#[test]
fn what_two_readers_could_read_differently_is_400() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let post = |framing: &str, body: &str| {
        status(&daemon, &format!("POST /v1/select HTTP/1.1\nHost: x\n{framing}\n\n{body}"))
    };
    assert_eq!(post("Content-Length: 2\nTransfer-Encoding: chunked", "0\n\n"), 400);
    assert_eq!(post("Content-Length: 2\nContent-Length: 3", "{}"), 400);
    assert_eq!(post("Transfer-Encoding: gzip, chunked", "0\n\n"), 400);
    assert_eq!(post("Content-Length: 2\nX-A: b\n folded", "{}"), 400);
    assert_eq!(
        status_of_bytes(&daemon, b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n"),
        400
    );
    assert_eq!(status_of_bytes(&daemon, b"GET /livez HTTP/1.1\nHost: x\n\n"), 400);
    let trailers = b"POST /v1/select HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                     2\r\n{}\r\n0\r\nA: b\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let answers = exchange(&daemon.socket(), trailers, true);
    assert!(answers.starts_with("HTTP/1.1 400"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
    assert_eq!(post("Content-Length: 2", "{}"), 200);
    assert_eq!(post("Content-Length: 4", "{\n}"), 200, "a line break in a body is fine");
}

#[test]
fn heads_that_are_too_large_are_431() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let lines = |count| "X-A: y\n".repeat(count);
    assert_eq!(status(&daemon, &format!("GET /livez HTTP/1.1\nHost: x\n{}\n", lines(31))), 200);
    assert_eq!(status(&daemon, &format!("GET /livez HTTP/1.1\nHost: x\n{}\n", lines(33))), 431);
    let long = "a".repeat(9000);
    assert_eq!(status(&daemon, &format!("GET /livez HTTP/1.1\nHost: x\nX-A: {long}\n\n")), 431);
    assert_eq!(status(&daemon, &format!("GET /{long}{long} HTTP/1.1\nHost: x\n\n")), 431);
}

#[test]
fn bodies_that_are_too_large_are_413_however_they_come() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let large = "x".repeat(261 * 1024);
    let answer = send(&daemon.socket(), "POST", "/v1/select", Some(&large));
    assert_eq!((answer.status, answer.code()), (413, "too_large".into()));
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let head = "POST /v1/select HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status_of_bytes(&daemon, format!("{head}{chunk}").as_bytes()), 413);
}

#[test]
fn bodies_that_are_no_json_are_400_or_415() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    for body in ["{", "[]", "nonsense", "{} {}", "\"x\"", "{\"model\": \"\\ud800\"}"] {
        let answer = send(&daemon.socket(), "POST", "/v1/select", Some(body));
        assert_eq!((answer.status, answer.code()), (400, "invalid_request".into()), "{body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(send(&daemon.socket(), "POST", "/v1/select", Some(&deep)).status, 400);
    let form = "POST /v1/select HTTP/1.1\nHost: x\nContent-Type: application/x-www-form-urlencoded\n\
                Content-Length: 2\n\n{}";
    assert_eq!(status(&daemon, form), 415);
}

#[test]
fn a_body_that_does_not_arrive_is_408() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let head = b"POST /v1/select HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
            exchange(&daemon.socket(), head, false)
        });
        while !slow.is_finished() {
            daemon.pass(Duration::from_millis(500));
            thread::yield_now();
        }
        let answer = slow.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    });
}

#[test]
fn who_sends_no_head_in_time_is_closed() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    for beginning in ["", "GET /livez HT"] {
        thread::scope(|scope| {
            let silent = scope.spawn(|| exchange(&daemon.socket(), beginning.as_bytes(), false));
            while !silent.is_finished() {
                daemon.pass(Duration::from_secs(1));
                thread::yield_now();
            }
            let answer = silent.join().unwrap();
            assert!(!answer.contains(" 200 "), "{answer}");
        });
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_closed_at_the_same_deadline() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let begun = daemon.clock.now().at;
    let head = format!("GET /livez HTTP/1.1\r\nX-Slow: {}", "x".repeat(100));
    for byte in head.bytes() {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
        daemon.pass(Duration::from_secs(1));
    }
    let passed = daemon.clock.now().at.since(begun);
    assert!((30..60).contains(&passed.as_secs()), "{passed:?}");
    assert_eq!(daemon.get("/livez").status, 200);
}

#[test]
fn a_client_that_closes_its_side_gets_its_answer() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    for _ in 0..200 {
        let get = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
        assert!(exchange(&daemon.socket(), get, true).ends_with("{\"live\":true}"));
        let post = b"POST /v1/select HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        let answer = exchange(&daemon.socket(), post, true);
        assert!(answer.ends_with('}'), "{answer}");
    }
}

#[test]
fn what_is_not_http_is_refused() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".as_slice();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let noise: Vec<u8> =
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [hello, preface, &noise, b"\r\n\r\n\r\n"] {
        let status = status_of_bytes(&daemon, bytes);
        assert!([0, 400, 405, 431, 505].contains(&status), "{status}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let one = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(&daemon.socket(), format!("{one}{one}{last}").as_bytes(), false);
    assert_eq!(answer.matches("200 OK").count(), 3);
    assert!(answer.ends_with("{\"ready\":true}"));
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let daemon =
        TestDaemon::with(EIGHT_KEYS, "[server]\nmax_connections = 3\nmax_connections_per_uid = 3");
    let request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let ask = |stream: &mut UnixStream| {
        stream.write_all(request).unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).map(|()| answer == *b"HTTP/1.1 200 OK")
    };
    let mut open: Vec<UnixStream> =
        (0..3).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    for stream in &mut open {
        assert!(ask(stream).unwrap());
    }
    let mut fourth = UnixStream::connect(daemon.socket()).unwrap();
    fourth.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(ask(&mut fourth).is_err(), "all three places are taken");
    open.pop();
    fourth.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = [0; 15];
    fourth.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[test]
fn without_the_required_header_everything_is_403() {
    let toml = "[server]\nrequire_header = \"x-keypool: fake-secret-word\"";
    let daemon = TestDaemon::with(EIGHT_KEYS, toml);
    let ask = |headers: &str| {
        let request = format!("GET /livez HTTP/1.1\nHost: x\nConnection: close\n{headers}\n");
        let answer = exchange(&daemon.socket(), request.replace('\n', "\r\n").as_bytes(), false);
        assert!(!answer.to_lowercase().contains("keypool"), "no hint which: {answer}");
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(ask("X-Keypool: fake-secret-word\n"), "200");
    assert_eq!(ask(""), "403");
    assert_eq!(ask("X-Keypool: fake-secret-ward\n"), "403");
    assert_eq!(ask("X-Keypool: fake-secret-word\nX-Keypool: fake-secret-word\n"), "403");
}

#[test]
fn head_is_get_without_the_body() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let answer = send(&daemon.socket(), "HEAD", "/v1/status", None);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn event_lists_take_a_limit_and_nothing_else() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    assert_eq!(daemon.get("/v1/events").status, 200);
    assert_eq!(daemon.get("/v1/events?limit=5").status, 200);
    for query in ["limit=0", "limit=-1", "limit=x", "limit=1001", "limits=5"] {
        assert_eq!(daemon.get(&format!("/v1/events?{query}")).status, 400, "{query}");
    }
}
