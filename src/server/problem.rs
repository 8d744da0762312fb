//! Errors as `application/problem+json` (RFC 9457): the one place where they become a status.

use std::time::Duration;

use hyper::Response;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value, json};

use super::answer::{Body, full};
use super::code::Code;
use crate::clock::rfc3339;
use crate::control::NotEdited;
use crate::health::NotProbed;
use crate::pool::{KeyState, LeaseGone, NoUse, Now, Refusal, Unusable, WaitsFor};
use crate::shared_quota::Trouble;

/// An error answer.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Problem {
    code: Code,
    title: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    more: Map<String, Value>,
}

impl Problem {
    fn new(code: Code, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { code, title, detail, retry_after: None, allow: None, more: Map::new() }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The stable name of the error.
    pub(super) fn code(&self) -> &'static str {
        self.code.name()
    }

    /// A request that cannot be understood; `field` is the one to mend.
    pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let title = "The request is not valid";
        if field.is_empty() {
            return Self::new(Code::InvalidRequest, title, detail);
        }
        let detail = format!("{field}: {detail}");
        Self::new(Code::InvalidRequest, title, detail).with("field", field)
    }

    pub(super) fn forbidden() -> Self {
        Self::new(Code::Forbidden, "Forbidden", "this is not for you")
    }

    pub(super) fn not_administrator() -> Self {
        let detail = "this is for the user that the daemon runs as, for root, and for the members of \
                      server.admin_group";
        Self::new(Code::Forbidden, "Forbidden", detail)
    }

    pub(super) fn not_found() -> Self {
        let detail = "there is nothing at this path; the API begins with /v1/";
        Self::new(Code::NotFound, "Not found", detail)
    }

    pub(super) fn no_such_key(keys: Vec<String>) -> Self {
        let detail = "no key has this key_id; those of the pool are in keys";
        Self::new(Code::NoSuchKey, "No such key", detail).with("keys", keys)
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path takes {allow}");
        let title = "Method not allowed";
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, title, detail) }
    }

    pub(super) fn unsupported_media_type() -> Self {
        let detail = "send the header Content-Type: application/json (curl: --json in place of -d)";
        Self::new(Code::UnsupportedMediaType, "The body must be JSON", detail)
    }

    pub(super) fn too_large(most: usize) -> Self {
        let detail = format!("a body has at most {most} bytes");
        Self::new(Code::TooLarge, "The body is too large", detail)
    }

    pub(super) fn too_slow(most: Duration) -> Self {
        let detail = format!("the body did not arrive within {} s", most.as_secs());
        Self::new(Code::TooSlow, "The body is too slow", detail)
    }

    pub(super) fn internal() -> Self {
        let detail = "this is a bug of keypool; the log has the place";
        Self::new(Code::InternalError, "Internal error", detail)
    }

    pub(super) fn draining() -> Self {
        let detail = "ask again in a second";
        Self::new(Code::Draining, "The daemon is stopping", detail)
            .retry_after(Duration::from_secs(1))
    }

    pub(super) fn rotation_off(why: &str) -> Self {
        let detail = format!(
            "{why}, and neither GEMINI_API_KEY nor OPENAI_API_KEY nor ANTHROPIC_API_KEY is set; \
             `keypool check` tells more"
        );
        Self::new(Code::RotationOff, "Rotation is off and there is no single key", detail)
    }

    /// There is no fleet.
    pub(super) fn not_shared() -> Self {
        let detail = "this daemon shares its limits with nobody: REDIS_URL is not set, nor redis_url \
                      under [shared] in keypool.toml";
        Self::new(Code::NotShared, "Limits are not shared", detail)
    }

    /// Redis does not tell of the fleet.
    pub(super) fn redis_unavailable(trouble: Trouble) -> Self {
        let title = "Redis does not tell of the fleet";
        Self::new(Code::RedisUnavailable, title, trouble.to_string())
            .retry_after(Duration::from_secs(1))
    }

    /// The keys file was rejected, so that there is no key at all.
    pub(super) fn no_keys(detail: impl Into<String>, errors: &[String]) -> Self {
        let title = "The pool has no keys";
        Self::new(Code::NoUsableKey, title, detail).with("errors", errors.to_vec())
    }

    /// There is no usable key, and why is not for everybody.
    pub(super) fn not_ready() -> Self {
        let detail = "no key is usable; `keypool status` tells why";
        Self::new(Code::NoUsableKey, "Not ready", detail)
    }

    /// Why a lease cannot be reported.
    pub(super) fn gone(gone: LeaseGone) -> Self {
        match gone {
            LeaseGone::AlreadyReported => {
                let detail = "a lease is reported once, by report or by rotate";
                let title = "The lease was reported before";
                Self::new(Code::AlreadyReported, title, detail)
            }
            LeaseGone::Expired => {
                let detail = "it was not reported before its expires_at, or is of a daemon that \
                              has been restarted since";
                Self::new(Code::LeaseExpired, "The lease has expired", detail)
            }
            LeaseGone::Unknown => {
                let detail = "this lease_id was never given out";
                Self::new(Code::NotFound, "No such lease", detail)
            }
        }
    }

    /// Why a change of the keys file was not made; `no_such_key` tells which keys there are.
    pub(super) fn not_edited(why: NotEdited, no_such_key: impl FnOnce() -> Self) -> Self {
        match why {
            NotEdited::NoSuchKey => no_such_key(),
            NotEdited::KeyExists => {
                let detail = "change it with PATCH, or choose another key_id".to_owned();
                Self::new(Code::KeyExists, "There is a key with this key_id", detail)
            }
            NotEdited::UnknownField { name, hint } => {
                Self::invalid(&name, format!("unknown field{hint}"))
            }
            NotEdited::Invalid { errors } => {
                let detail = match errors.as_slice() {
                    [one] => one.clone(),
                    several => format!("{} errors, which are in errors", several.len()),
                };
                let title = "The keys file would not be valid";
                Self::new(Code::InvalidRequest, title, detail).with("errors", errors)
            }
            NotEdited::NotEditable(why) => {
                Self::new(Code::NotEditable, "The keys cannot be changed here", why)
            }
            NotEdited::Conflict => {
                let detail =
                    "the keys file was changed by somebody else at the same time; nothing \
                              is written; ask again"
                        .to_owned();
                Self::new(Code::Conflict, "The keys file has changed", detail)
            }
            NotEdited::NotWritten(why) => {
                Self::new(Code::NotWritten, "The keys file cannot be written", why)
            }
        }
    }

    /// Why a key was not probed; `no_such_key` tells which keys there are.
    pub(super) fn not_probed(why: NotProbed, no_such_key: impl FnOnce() -> Self) -> Self {
        let (code, title, detail) = match why {
            NotProbed::NoSuchKey => return no_such_key(),
            NotProbed::NoSecret => (
                Code::MissingSecret,
                "The key has no secret",
                "`keypool keys` tells what is looked up",
            ),
            NotProbed::NoProbe => (
                Code::NoProbe,
                "The provider has no probe",
                "nothing that costs nothing is known to be asked there; give one as probe in \
                 [providers.NAME]",
            ),
        };
        Self::new(code, title, detail)
    }

    /// A rotation that makes no sense: another key would fare alike.
    pub(super) fn not_retryable(outcome: &str, state: &KeyState) -> Self {
        let detail = format!("{outcome}: another key would fare alike; the report is noted");
        let title = "Another key cannot help";
        let conflict = Self::new(Code::NotRetryable, title, detail);
        conflict.with("outcome", outcome).with("state", state.name())
    }

    /// Why the pool gives no key.
    pub(super) fn refusal(refusal: &Refusal, now: Now) -> Self {
        match refusal {
            Refusal::Exhausted { free_at, waits_for: Some(WaitsFor::Provider), .. } => {
                let after = free_at.since(now.at);
                let detail = format!(
                    "the provider fails for several keys alike; the next trial is in {:.1} s",
                    after.as_secs_f64()
                );
                let title = "The provider is unavailable";
                Self::new(Code::ProviderUnavailable, title, detail)
                    .retry_after(after)
                    .with("resets_at", rfc3339(now.wall_at(*free_at)))
            }
            Refusal::Exhausted { free_at, waits_for, waiting } => {
                let after = free_at.since(now.at);
                let reason = waits_for.map_or("turn", waiting_for);
                let line = match waiting {
                    0 => String::new(),
                    1 => ", after one request that waits already".to_owned(),
                    more => format!(", after {more} requests that wait already"),
                };
                let detail = format!(
                    "the first matching key can pay in {:.1} s{line} ({reason})",
                    after.as_secs_f64()
                );
                let problem = Self::new(Code::Exhausted, "No matching key can pay now", detail);
                problem
                    .retry_after(after)
                    .with("waits_for", reason)
                    .with("resets_at", rfc3339(now.wall_at(*free_at)))
            }
            Refusal::NoSuchModel { offered } => {
                let offered: Vec<&str> = offered.iter().map(|model| &**model).collect();
                let detail = format!("the keys offer {}", offered.join(", "));
                let title = "No key offers this model";
                Self::new(Code::NoSuchModel, title, detail).with("offered", offered)
            }
            Refusal::NoUsableKey { why } => {
                let told =
                    |(id, why): &(_, NoUse)| json!({"key_id": id_of(id), "reason": no_use(why)});
                let keys: Vec<Value> = why.iter().map(told).collect();
                let detail = match why.first() {
                    Some((id, first)) => format!("{id}: {}", no_use(first)),
                    None => "no key offers what is asked for".to_owned(),
                };
                let title = "No matching key is usable";
                Self::new(Code::NoUsableKey, title, detail).with("keys", keys)
            }
            Refusal::TooManyTokens { most } => {
                Self::invalid("tokens", format!("no matching key can pay more than {most} at once"))
            }
        }
    }

    /// The answer.
    pub(super) fn response(mut self) -> Response<Body> {
        let mut members = Map::new();
        members.insert("type".into(), "about:blank".into());
        members.insert("status".into(), self.code.status().as_u16().into());
        members.insert("title".into(), self.title.into());
        members.insert("detail".into(), self.detail.into());
        members.insert("code".into(), self.code.name().into());
        if let Some(after) = self.retry_after {
            members.insert("retry_after_ms".into(), whole(after.as_nanos().div_ceil(1_000_000)));
        }
        members.append(&mut self.more);
        let mut response = Response::new(full(Value::Object(members).to_string()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_nanos().div_ceil(1_000_000_000);
            headers.insert(RETRY_AFTER, u64::try_from(seconds).unwrap_or(u64::MAX).into());
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

fn whole(number: u128) -> Value {
    u64::try_from(number).unwrap_or(u64::MAX).into()
}

fn id_of(id: &crate::pool::KeyId) -> &str {
    id.as_str()
}

/// What a key waits for, in a word.
pub(super) fn waiting_for(waits_for: WaitsFor) -> &'static str {
    match waits_for {
        WaitsFor::Limit(limit) => limit.name(),
        WaitsFor::Cooldown => "cooldown",
        WaitsFor::Trial => "trial",
        WaitsFor::OtherDaemon => "other_daemon",
        WaitsFor::Provider => "provider",
        WaitsFor::Model => "model_refused",
    }
}

fn no_use(why: &NoUse) -> String {
    match why {
        NoUse::Mismatch(reason) => reason.clone(),
        NoUse::Unusable(Unusable::Inactive) => "inactive".to_owned(),
        NoUse::Unusable(Unusable::MissingSecret(reason)) => format!("missing secret: {reason}"),
        NoUse::Unusable(Unusable::Dead(detail)) => format!("dead: {detail}"),
        NoUse::Unusable(Unusable::Excluded) => "excluded by the request".to_owned(),
    }
}
