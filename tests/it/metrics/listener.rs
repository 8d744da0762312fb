//! The listener of their own.

use super::*;

#[test]
fn the_socket_and_the_listener_serve_the_same_text() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    daemon.select(&json!({}));
    let answer = over_tcp(address, "GET /metrics", "Host: localhost\n");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let of_keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("keypool_key_"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(of_keys(&answer.body), of_keys(&scrape(&daemon).text));
    assert_eq!(over_tcp(address, "GET /livez", "Host: localhost\n").status, 200);
    assert_eq!(over_tcp(address, "GET /readyz", "Host: localhost\n").status, 200);
}

#[test]
fn the_listener_serves_three_paths_and_nothing_else() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    let status = |line: &str| over_tcp(address, line, "Host: 127.0.0.1\n").status;
    for path in
        ["/v1/keys", "/v1/status", "/v1/events", "/v1/select", "/", "/metrics/", "/openapi.json"]
    {
        assert_eq!(status(&format!("GET {path}")), 404, "{path}");
    }
    assert_eq!(status("POST /v1/select"), 404);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = over_tcp(address, &format!("{method} /metrics"), "Host: 127.0.0.1\n");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("get, head")), "{method}");
    }
    assert_eq!(status("GET http://169.254.169.254/metrics"), 400);
    let bare = exchange_over(address, b"GET /metrics HTTP/1.1\nHost: localhost\n\n");
    assert_eq!(bare.status, 400, "a line feed without a carriage return");
}

#[test]
fn the_listener_answers_no_name_that_dns_may_have_rebound() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    let status = |host: &str| over_tcp(address, "GET /metrics", &format!("Host: {host}\n")).status;
    for host in ["attacker.example", "attacker.example:9464", "127.0.0.1.attacker.example", ""] {
        assert_eq!(status(host), 403, "{host}");
    }
    for host in ["127.0.0.1:9090", "localhost", "[::1]:9464", "10.0.0.7:1"] {
        assert_eq!(status(host), 200, "{host}");
    }
    let without = exchange_over(address, b"GET /livez HTTP/1.0\r\n\r\n");
    assert_eq!(without.status, 200, "HTTP/1.0 needs no Host");
    let two = over_tcp(address, "GET /metrics", "Host: localhost\nHost: attacker.example\n");
    assert_eq!(two.status, 403);
    let seen = scrape(&daemon);
    assert_eq!(seen.number("keypool_peer_denied_total{reason=\"host\"}"), Some(5.0));
}

#[test]
fn head_is_get_without_the_body() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    for path in ["/metrics", "/livez", "/readyz"] {
        let answer = over_tcp(address, &format!("HEAD {path}"), "Host: localhost\n");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
        assert!(answer.header("content-length").is_some());
    }
    assert_eq!(send(&daemon.socket(), "HEAD", "/metrics", None).status, 200);
}

#[test]
fn the_listener_says_that_no_key_is_usable_and_not_why() {
    let daemon =
        TestDaemon::with(r#"{"keys": [{"key_id": "a", "secret_name": "away"}]}"#, OVER_TCP);
    let address = address(&daemon);
    let answer = over_tcp(address, "GET /readyz", "Host: localhost\n");
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_usable_key"));
    assert!(!answer.body.contains("away") && daemon.get("/readyz").body.contains("away"));
    assert_eq!(scrape(&daemon).number("keypool_ready"), Some(0.0));
}

#[test]
fn keys_are_served_while_the_address_is_taken_and_metrics_once_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let daemon = TestDaemon::with(EIGHT_KEYS, &format!("metrics_addr = \"{address}\""));
    let metrics = || daemon.get("/v1/status").json()["metrics"].clone();
    until("the daemon has tried", || !metrics()["error"].is_null());
    assert!(metrics()["error"].as_str().unwrap().contains("in use"), "{}", metrics());
    daemon.select(&json!({}));
    drop(taken);
    until("the daemon tries again", || {
        daemon.pass(Duration::from_secs(1));
        metrics()["error"].is_null()
    });
    assert_eq!(over_tcp(address, "GET /metrics", "Host: localhost\n").status, 200);
}

#[test]
fn connections_beyond_the_limit_of_the_listener_wait_and_idle_ones_end_with_the_daemon() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    let mut idle: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ask = |stream: &mut TcpStream| {
        stream.write_all(request).unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).is_ok_and(|()| answer == *b"HTTP/1.1 200 OK")
    };
    assert!(idle.iter_mut().all(ask));
    let mut one_more = TcpStream::connect(address).unwrap();
    one_more.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(!ask(&mut one_more), "every place is taken");
    idle.pop();
    one_more.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = [0; 15];
    one_more.read_exact(&mut answer).unwrap();
    // Dropping the daemon joins it: idle connections must not keep it.
    drop(daemon);
}
