//! The script: when callers come, what they ask for, and how the providers answer.

use std::time::Duration;

use keypool::clock::ManualClock;
use keypool::pool::Instant;
use serde_json::{Value, json};

/// The day so far.
#[derive(Debug)]
pub(crate) struct Day {
    clock: ManualClock,
    start: Instant,
}

/// What the configuration on disk is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnDisk {
    /// As in the morning.
    Valid,
    /// Somebody saved keys.json with a comma too many.
    Broken,
    /// With a key more.
    Extended,
}

/// What callers ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    Flash,
    Pro,
    Gpt,
    Claude,
}

/// What a provider answers: a status and a body, after a while.
#[derive(Clone, Debug)]
pub(crate) struct ProviderAnswer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) after: Duration,
    pub(crate) tokens: u64,
}

/// From this hour on, and to that one, of the day.
type Hours = (f64, f64);

/// The provider openai answers 503.
const OUTAGE: Hours = (9.2, 9.5);
/// `pro_03` is revoked, until somebody notices and renews it.
const REVOKED: Hours = (10.5, 15.0);
/// Somebody else uses `claude_01`.
const SHARED: Hours = (17.0, 18.5);
/// keys.json is not valid.
const BROKEN: Hours = (14.0, 14.4);
/// Everybody comes at once.
const RUSH: Hours = (12.0, 13.25);

impl Wish {
    pub(crate) const ALL: [Self; 4] = [Self::Flash, Self::Pro, Self::Gpt, Self::Claude];

    pub(crate) const fn model(self) -> &'static str {
        match self {
            Self::Flash => "gemini-2.0-flash",
            Self::Pro => "gemini-2.5-pro",
            Self::Gpt => "gpt-5-mini",
            Self::Claude => "claude-sonnet-4-5",
        }
    }

    /// How many requests a minute there are at the height of a usual day.
    const fn most(self) -> f64 {
        match self {
            Self::Flash => 17.0,
            Self::Pro => 150.0,
            Self::Gpt => 60.0,
            Self::Claude => 22.0,
        }
    }
}

impl Day {
    /// A day that begins now.
    pub(crate) fn new(clock: ManualClock) -> Self {
        let start = clock.now().at;
        Self { clock, start }
    }

    pub(crate) const fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// How much of it is over.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.now().at.since(self.start)
    }

    fn hour(&self) -> f64 {
        self.elapsed().as_secs_f64() / 3600.0
    }

    fn is_in(&self, (from, to): Hours) -> bool {
        (from..to).contains(&self.hour())
    }

    /// How many a minute ask for `wish` now: few at night, most in the afternoon, and a rush.
    pub(crate) fn demand(&self, wish: Wish) -> f64 {
        let hour = self.hour();
        // A hill around 14:00, and some that never sleep.
        let hill = (-(hour - 14.0).powi(2) / 28.0).exp();
        let rush = match wish {
            Wish::Pro if self.is_in(RUSH) => 2.4,
            Wish::Flash if self.is_in(RUSH) => 3.2,
            Wish::Flash | Wish::Pro | Wish::Gpt | Wish::Claude => 1.0,
        };
        // It breathes: a wave of seven minutes.
        let breath = 1.0 + 0.15 * (hour * 60.0 / 7.0 * std::f64::consts::TAU).sin();
        wish.most() * (0.12 + 0.88 * hill) * rush * breath
    }

    /// What is on disk.
    pub(crate) fn on_disk(&self) -> OnDisk {
        if self.is_in(BROKEN) {
            OnDisk::Broken
        } else if self.hour() < BROKEN.1 {
            OnDisk::Valid
        } else {
            OnDisk::Extended
        }
    }

    /// What the provider answers to a request with `key_id`. `chance` is in `[0, 1)`.
    pub(crate) fn answer(&self, wish: Wish, key_id: &str, chance: f64) -> ProviderAnswer {
        let tokens = 400.0 + 3000.0 * chance;
        let after = Duration::from_secs_f64(1.0 + 9.0 * chance * chance);
        let error = |status, body| ProviderAnswer {
            status,
            body,
            after: Duration::from_millis(300),
            tokens: 0,
        };
        match wish {
            Wish::Gpt if self.is_in(OUTAGE) => {
                let message = "The server is currently overloaded.";
                error(503, json!({"error": {"message": message, "type": "server_error"}}))
            }
            Wish::Pro if self.is_revoked(key_id) => {
                let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                                  "reason": "API_KEY_INVALID", "domain": "googleapis.com"});
                let error_body = json!({"code": 400, "status": "INVALID_ARGUMENT",
                    "message": "API key not valid.", "details": [info]});
                error(400, json!({ "error": error_body }))
            }
            Wish::Claude if self.is_in(SHARED) && key_id == "claude_01" && chance < 0.12 => {
                let message = "This request would exceed your organization's rate limit.";
                let body = json!({"type": "rate_limit_error", "message": message});
                error(429, json!({"type": "error", "error": body}))
            }
            Wish::Flash | Wish::Pro | Wish::Gpt | Wish::Claude if chance > 0.998 => {
                error(500, json!({"error": {"message": "internal"}}))
            }
            Wish::Flash | Wish::Pro | Wish::Gpt | Wish::Claude => {
                // The range of the product is that of `u64` by far.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let tokens = tokens as u64;
                ProviderAnswer { status: 200, body: json!({}), after, tokens }
            }
        }
    }

    /// Whether the provider rejects `key_id` now.
    pub(crate) fn is_revoked(&self, key_id: &str) -> bool {
        key_id == "pro_03" && self.is_in(REVOKED)
    }
}

/// The keys, of which `gpt_03` comes later.
pub(crate) fn keys_json(on_disk: OnDisk) -> String {
    let key = |id: &str, provider: &str, wish: Wish, limits: Value| {
        let mut key = json!({"key_id": id, "provider": provider, "model_name": wish.model()});
        if let (Some(key), Value::Object(limits)) = (key.as_object_mut(), limits) {
            key.extend(limits);
        }
        key
    };
    let flash =
        || json!({"rpm": 15, "tpm": 1_000_000, "rpd": 5000, "burst_capacity": 5, "priority": 3});
    let pro = |priority| json!({"rpm": 60, "tpm": 2_000_000, "rpd": 40_000, "burst_capacity": 10, "priority": priority});
    let gpt = || json!({"rpm": 50, "tpm": 200_000, "rpd": 14_000, "max_concurrent": 20});
    let claude = |priority| json!({"rpm": 50, "tpm": 80_000, "priority": priority});
    let mut keys = vec![
        key("flash_01", "gemini", Wish::Flash, flash()),
        key("flash_02", "gemini", Wish::Flash, flash()),
        key("flash_03", "gemini", Wish::Flash, flash()),
        key("pro_01", "gemini", Wish::Pro, pro(1)),
        key("pro_02", "gemini", Wish::Pro, pro(1)),
        key("pro_03", "gemini", Wish::Pro, pro(1)),
        key("pro_04", "gemini", Wish::Pro, pro(2)),
        key("pro_05", "gemini", Wish::Pro, pro(2)),
        key("gpt_01", "openai", Wish::Gpt, gpt()),
        key("gpt_02", "openai", Wish::Gpt, gpt()),
        key("claude_01", "anthropic", Wish::Claude, claude(1)),
        key("claude_spare", "anthropic", Wish::Claude, claude(9)),
    ];
    if on_disk == OnDisk::Extended {
        keys.push(key("gpt_03", "openai", Wish::Gpt, gpt()));
    }
    let text = json!({"keys": keys, "rotation_strategy": "least_utilized"}).to_string();
    match on_disk {
        OnDisk::Valid | OnDisk::Extended => text,
        OnDisk::Broken => text.replacen(',', ",,", 1),
    }
}

/// Every `key_id` of the day, with its provider.
pub(crate) const KEYS: [(&str, &str); 13] = [
    ("flash_01", "GEMINI"),
    ("flash_02", "GEMINI"),
    ("flash_03", "GEMINI"),
    ("pro_01", "GEMINI"),
    ("pro_02", "GEMINI"),
    ("pro_03", "GEMINI"),
    ("pro_04", "GEMINI"),
    ("pro_05", "GEMINI"),
    ("gpt_01", "OPENAI"),
    ("gpt_02", "OPENAI"),
    ("gpt_03", "OPENAI"),
    ("claude_01", "ANTHROPIC"),
    ("claude_spare", "ANTHROPIC"),
];
