//! Reads what a server answers, strictly: an answer that this does not take is no HTTP.

/// One answer.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// The answers that `bytes` are, to `requests`, which may ask for heads alone.
pub(super) fn responses(bytes: &[u8], requests: &[u8]) -> Vec<Response> {
    let heads_alone = requests.windows(4).any(|window| window == b"HEAD");
    let mut rest = bytes;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (response, after) = response(rest, heads_alone);
        if response.body.starts_with(b"{") {
            let json: Result<serde_json::Value, _> = serde_json::from_slice(&response.body);
            assert!(json.is_ok(), "a body that is no JSON: {}", shown(bytes));
        }
        all.push(response);
        rest = after;
    }
    all
}

fn response(bytes: &[u8], heads_alone: bool) -> (Response, &[u8]) {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("a head without an end: {}", shown(bytes)));
    let (head, rest) = (std::str::from_utf8(&bytes[..end]).unwrap(), &bytes[end + 4..]);
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap();
    let (version, status) = line.split_at(9);
    assert!(["HTTP/1.1 ", "HTTP/1.0 "].contains(&version), "{line}");
    let (status, reason) = status.split_at(3);
    let status: u16 = status.parse().unwrap();
    assert!((100..600).contains(&status) && reason.starts_with(' '), "{line}");
    let mut length = None;
    let mut chunked = false;
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
        assert!(!name.is_empty() && name.chars().all(token), "{line:?}");
        assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line:?}");
        match name.to_ascii_lowercase().as_str() {
            "content-length" => assert!(length.replace(value.parse().unwrap()).is_none()),
            "transfer-encoding" => chunked = value == "chunked",
            _ => {}
        }
    }
    assert!(length.is_none() || !chunked, "two framings: {head}");
    let another = rest.is_empty() || rest.starts_with(b"HTTP/1.");
    let (body, rest) = match length {
        _ if status < 200 || [204, 304].contains(&status) => (Vec::new(), rest),
        _ if heads_alone && another => (Vec::new(), rest),
        _ if chunked => chunks(rest),
        Some(length) => {
            let body = rest.get(..length).unwrap_or_else(|| panic!("short: {}", shown(bytes)));
            (body.to_vec(), &rest[length..])
        }
        None => (rest.to_vec(), &rest[rest.len()..]),
    };
    (Response { status, body }, rest)
}

/// The chunks that `bytes` begin with, up to their end or the connection's.
fn chunks(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n");
        let Some(end) = end else {
            assert!(bytes.is_empty(), "a chunk without its size");
            return (body, bytes);
        };
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let chunk = &bytes[end + 2..];
        assert!(chunk.len() >= size + 2 && &chunk[size..size + 2] == b"\r\n");
        body.extend(&chunk[..size]);
        bytes = &chunk[size + 2..];
        if size == 0 {
            return (body, bytes);
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
