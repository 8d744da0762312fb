//! What no honest client of a Unix socket sends.
//!
//! Somebody who makes an application fetch URLs of his choice, a browser, or a proxy that was put
//! in front: their requests look like these.

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

/// Refuses what no honest client sends.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    if request.uri().authority().is_some() || request.uri().scheme().is_some() {
        return Err(Problem::invalid("", "expected a path, not a whole URL"));
    }
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(Problem::invalid("", "expected one Host header"));
    }
    let fetched = |name: &HeaderName| name.as_str().starts_with("sec-fetch-");
    let forwarded =
        request.headers().keys().find(|name| FORWARDING.contains(name) || fetched(name));
    if let Some(name) = forwarded {
        let detail = format!("the header {name} is for proxies and browsers; ask directly");
        return Err(Problem::invalid("", detail));
    }
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(Problem::invalid("", "the only transfer coding is chunked"));
    }
    Ok(())
}

/// Whether the required header, if there is one, is there, once and right. The comparison takes as long for a wrong value as
/// for the right one.
pub(super) fn has_required(headers: &HeaderMap, required: Option<&RequiredHeader>) -> bool {
    let Some(required) = required else { return true };
    let mut given = headers.get_all(required.name.as_str()).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return false };
    let (value, wanted) = (value.as_bytes(), required.value.expose().as_bytes());
    let differences = value.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    value.len() == wanted.len() && differences == 0
}
