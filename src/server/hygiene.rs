//! What no honest client of a Unix socket sends.
//!
//! Somebody who makes an application fetch URLs of his choice, a browser, or a proxy that was put
//! in front: their requests look like these.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{
    FORWARDED, HOST, HeaderMap, HeaderName, ORIGIN, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::{Request, Version};

use super::problem::Problem;
use crate::secrets::Secret;

const FORWARDING: [HeaderName; 5] =
    [FORWARDED, VIA, ORIGIN, UPGRADE, HeaderName::from_static("x-forwarded-for")];

/// A header that every request must have.
#[derive(Clone, Debug)]
pub struct RequiredHeader {
    /// Its name in lower case.
    pub name: String,
    /// Its value, which only those who may ask know.
    pub value: Secret,
}

/// Refuses what no honest client of the socket sends.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    let fetched = |name: &HeaderName| name.as_str().starts_with("sec-fetch-");
    let forwarded =
        request.headers().keys().find(|name| FORWARDING.contains(name) || fetched(name));
    if let Some(name) = forwarded {
        let detail = format!("the header {name} is for proxies and browsers; ask directly");
        return Err(Problem::invalid("", detail));
    }
    check_framing(request)
}

/// Refuses what two readers could read differently.
pub(super) fn check_framing<B>(request: &Request<B>) -> Result<(), Problem> {
    if request.uri().authority().is_some() || request.uri().scheme().is_some() {
        return Err(Problem::invalid("", "expected a path, not a whole URL"));
    }
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(Problem::invalid("", "expected one Host header"));
    }
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(Problem::invalid("", "the only transfer coding is chunked"));
    }
    Ok(())
}

/// Whether every `Host` is an address or `localhost`. A page in a browser can have another name
/// rebound to this machine; an address cannot be.
pub(super) fn names_this_machine(headers: &HeaderMap) -> bool {
    headers.get_all(HOST).iter().all(|host| host.to_str().is_ok_and(is_address_or_localhost))
}

fn is_address_or_localhost(host: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().is_ok();
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        let after = after.is_empty() || after.strip_prefix(':').is_some_and(port);
        return after && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, sound) = match host.split_once(':') {
        Some((name, after)) => (name, port(after)),
        None => (host, true),
    };
    sound && (name.parse::<Ipv4Addr>().is_ok() || name.eq_ignore_ascii_case("localhost"))
}

/// Whether the required header, if there is one, is there, once and right. The comparison takes as
/// long for a wrong value as for the right one.
pub(super) fn has_required(headers: &HeaderMap, required: Option<&RequiredHeader>) -> bool {
    let Some(required) = required else { return true };
    let mut given = headers.get_all(required.name.as_str()).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return false };
    let (value, wanted) = (value.as_bytes(), required.value.expose().as_bytes());
    let differences = value.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    value.len() == wanted.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_localhost_is_this_machine_and_no_other_name_is() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "10.1.2.3:9464",
            "[::1]",
            "[::1]:9464",
            "localhost",
            "LocalHost:9464",
        ] {
            assert!(is_address_or_localhost(host), "{host}");
        }
        for host in [
            "",
            "attacker.example",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example:9464",
            "127.0.0.1:",
            "127.0.0.1:x",
            "127.1",
            "[::1",
            "[::1]x",
            "[attacker.example]",
            "::1",
            "localhost@attacker.example",
        ] {
            assert!(!is_address_or_localhost(host), "{host}");
        }
    }
}
