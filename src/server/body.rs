//! Reading the body of a request: bounded in size and time, and JSON by its own word.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};

use super::problem::Problem;
use crate::clock::Clock;

/// The most bytes of a body: enough for a report with the beginning of a provider's answer.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// How long a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(2);

/// The whole body.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Incoming,
    clock: &Clock,
) -> Result<Bytes, Problem> {
    if !is_json(headers) {
        return Err(Problem::unsupported_media_type());
    }
    if body.size_hint().lower() > MOST_BYTES as u64 {
        return Err(Problem::too_large(MOST_BYTES));
    }
    let collected = Limited::new(body, MOST_BYTES).collect();
    tokio::select! {
        // A body is mostly there with its head, and then no timer is set.
        biased;
        body = collected => match body {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large(MOST_BYTES)),
            Err(_) => Err(Problem::invalid("", "the body broke off")),
        },
        () = clock.sleep(DEADLINE) => Err(Problem::too_slow(DEADLINE)),
    }
}

/// Whether the request says that its body is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    if kind == "application/json" {
        return true;
    }
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}
