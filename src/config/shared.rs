//! `[shared]`: how limits are shared with the daemons of other hosts.

use std::cell::Cell;
use std::time::Duration;

use super::problem::Problem;
use super::settings::SharedSettings;
use super::sources::Sources;
use super::text::did_you_mean;
use super::value::Value;
use crate::secrets::Secret;
use crate::shared_quota::{AddressFault, OnFailure, SCHEMES, address_fault};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A Redis that is silent for longer than this is not noticed before the leases of 15 s end.
const LONGEST_SILENCE: Duration = Duration::from_secs(7);

/// Reads the section, beside `quota.share`. What makes no sense together is a warning.
pub(super) fn read(from: &mut Sources<'_>, share: f64) -> SharedSettings {
    let is_named = Cell::new(false);
    let url = |value: &Value| {
        is_named.set(true);
        redis_url(value)
    };
    let redis_url = from.read("shared.redis_url", url);
    let on_failure = |value: &Value| value.one_of(&OnFailure::ALL, OnFailure::name);
    let on_failure = from.read("shared.on_failure", on_failure);
    let pool = from.read("shared.pool", pool_name);
    let timeout = from.read("shared.timeout", |value| value.duration(MILLISECOND..=MINUTE));
    let redis_timeout =
        from.read("shared.redis_timeout", |value| value.duration_or_seconds(MILLISECOND..=MINUTE));
    let settings = SharedSettings {
        redis_url,
        pool: pool.unwrap_or_else(|| "default".to_owned()),
        on_failure: on_failure.unwrap_or_default(),
        timeout: timeout.unwrap_or(50 * MILLISECOND),
        redis_timeout: redis_timeout.unwrap_or(Duration::from_secs(5)),
    };
    if is_named.get() {
        weigh(&settings, share, from);
    }
    settings
}

/// Warns about times and parts that make no sense together.
fn weigh(settings: &SharedSettings, share: f64, from: &mut Sources<'_>) {
    if settings.timeout > settings.redis_timeout {
        let warning = "is longer than shared.redis_timeout, after which no answer is awaited";
        from.complain("shared.timeout", Problem::warning(warning));
    }
    if settings.redis_timeout > LONGEST_SILENCE {
        let warning = "is so long that the leases of quota groups, which are of 15 s, end before a \
                       Redis that hangs is noticed; write 7s or less";
        from.complain("shared.redis_timeout", Problem::warning(warning));
    }
    if share < 1.0 {
        let warning = "lowers every limit once more, although the daemons share them through \
                       Redis; it is for fleets without one: take it out";
        from.complain("quota.share", Problem::warning(warning));
    }
}

/// The address of a Redis. What is wrong with it is told without it.
fn redis_url(value: &Value) -> Result<Secret, String> {
    let url = value.text().unwrap_or_default();
    match address_fault(url) {
        None => Ok(Secret::new(url)),
        Some(AddressFault::Scheme) => {
            let end = url.find("://").map_or(url.len().min(20), |end| end + 3);
            let scheme = url.get(..end).unwrap_or_default();
            Err(format!("{}{}", AddressFault::Scheme, did_you_mean(scheme, SCHEMES)))
        }
        Some(fault) => Err(fault.to_string()),
    }
}

/// A name that can be part of a key in Redis, and of its hash tag.
fn pool_name(value: &Value) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let name = value
        .text()
        .ok()
        .filter(|name| (1..=64).contains(&name.len()) && name.bytes().all(allowed));
    name.map(str::to_owned).ok_or_else(|| "expected a name of [A-Za-z0-9_.-]{1,64}".to_owned())
}
