//! Every metric by its name, once: what is exported is made from this list, and what is not on it
//! cannot be exported.

/// One metric: what Prometheus calls a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What kind of numbers it has.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// What kind of numbers a metric has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows, until the process starts anew.
    Counter,
    /// It is what it is at the moment.
    Gauge,
    /// How often a value fell into which range: three names, `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl Kind {
    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A list of families, each of which is a constant as well.
macro_rules! catalogue {
    ($($id:ident = $kind:ident $name:literal $labels:tt $help:literal;)+) => {
        $(pub(super) const $id: Family =
            Family { name: $name, kind: Kind::$kind, labels: &$labels, help: $help };)+

        /// Every metric of this version but [`PROCESS`].
        pub const CATALOGUE: &[Family] = &[$($id),+];
    };
}

catalogue! {
    SELECTS = Counter "keypool_selects_total" ["result"]
        "Selects answered, those of rotations included, by what came of them.";
    SELECT_DURATION = Histogram "keypool_select_duration_seconds" []
        "Time from the parsed head of a select to its answer, without the time in the waiting line.";
    WAIT_DURATION = Histogram "keypool_wait_duration_seconds" []
        "Time in the waiting line of the selects that had to wait, however they were answered.";
    WAITERS = Gauge "keypool_waiters" []
        "Requests in the waiting line.";
    ROTATIONS = Counter "keypool_rotations_total" ["provider", "reason"]
        "Failed attempts that went on with another key, by the provider and the outcome of the attempt.";
    LEASES_EXPIRED = Counter "keypool_leases_expired_total" []
        "Leases that were never reported.";
    READY = Gauge "keypool_ready" []
        "Whether /readyz answers 200: there is a usable key and the daemon is not stopping.";
    CONNECTIONS = Gauge "keypool_connections" []
        "Open connections on the Unix socket that are served.";
    CONNECTIONS_WAITING = Gauge "keypool_connections_waiting" []
        "Open connections on the Unix socket that wait for a place.";
    CONNECTIONS_CUT = Counter "keypool_connections_cut_total" ["reason"]
        "Connections ended because too many waited already, or because the client took no answers.";
    ACCEPT_ERRORS = Counter "keypool_accept_errors_total" []
        "How often no connection could be accepted, for want of descriptors or memory.";
    PEER_DENIED = Counter "keypool_peer_denied_total" ["reason"]
        "Requests refused for who sent them or how they were sent; uid counts connections.";

    KEY_INFO = Gauge "keypool_key_info" ["key_id", "provider", "model", "group_key_id"]
        "Always 1, for each key and each of its models (* for any), with the first key of its quota group.";
    KEY_GRANTS = Counter "keypool_key_grants_total" ["key_id", "provider"]
        "Leases granted.";
    KEY_REPORTS = Counter "keypool_key_reports_total" ["key_id", "provider", "outcome"]
        "Leases reported, by outcome.";
    KEY_TOKENS = Counter "keypool_key_tokens_total" ["key_id", "provider"]
        "Tokens of reported leases: as reported, else as reserved.";
    UNEXPECTED_429 = Counter "keypool_unexpected_429_total" ["key_id", "provider"]
        "Refusals for quota that the counters did not expect and that were not on their way when a cooldown began.";
    KEY_COOLDOWNS = Counter "keypool_key_cooldowns_total" ["key_id", "provider"]
        "Cooldowns that the key's quota group has begun.";
    KEY_STATE = Gauge "keypool_key_state" ["key_id", "provider", "state"]
        "1 for the present state of the key, 0 for the others.";
    KEY_IN_FLIGHT = Gauge "keypool_key_in_flight" ["key_id", "provider"]
        "Open leases of the key's quota group.";
    KEY_COOLDOWN = Gauge "keypool_key_cooldown_seconds" ["key_id", "provider"]
        "How long the key is still cooling; 0 if it is not.";
    KEY_LAST_USED = Gauge "keypool_key_last_used_timestamp_seconds" ["key_id", "provider"]
        "When the key was last granted, in Unix time; 0 if never.";

    QUOTA_LIMIT = Gauge "keypool_quota_limit" ["key_id", "provider", "limit"]
        "A limit of the key's quota group.";
    QUOTA_REMAINING = Gauge "keypool_quota_remaining" ["key_id", "provider", "limit"]
        "What is left of a limit of the key's quota group.";
    QUOTA_USED = Gauge "keypool_quota_used_ratio" ["key_id", "provider", "limit"]
        "The used share of a limit of the key's quota group.";
    QUOTA_RESETS = Gauge "keypool_quota_resets_timestamp_seconds" ["key_id", "provider", "limit"]
        "When the quota of the day begins anew, in Unix time.";
    QUOTA_WARNINGS = Counter "keypool_quota_warnings_total" ["key_id", "limit"]
        "How often a grant of the key crossed the warning threshold of a limit, once a window.";
    QUOTA_WARNING_THRESHOLD = Gauge "keypool_quota_warning_threshold_ratio" []
        "The used share of a limit that is worth a warning.";
    CAPACITY = Gauge "keypool_capacity_requests_per_minute" ["provider"]
        "Requests a minute that the active keys are configured for; absent if one has no limit.";
    CAPACITY_READY = Gauge "keypool_capacity_ready_requests_per_minute" ["provider"]
        "The part of the capacity whose keys are ready or exhausted; absent if one of them has no limit.";
    MODEL_CAPACITY = Gauge "keypool_model_capacity_requests_per_minute" ["provider", "model"]
        "Requests a minute that the active keys of a model are configured for; absent if one has no limit.";
    MODEL_CAPACITY_READY = Gauge "keypool_model_capacity_ready_requests_per_minute" ["provider", "model"]
        "The part of a model's capacity whose keys are ready or exhausted; absent if one of them has no limit.";

    BREAKER_OPEN = Gauge "keypool_provider_breaker_open" ["provider"]
        "Whether nothing but single trials is sent to the provider, because it fails.";
    PROBE_SUCCESS = Gauge "keypool_probe_success" ["key_id", "provider"]
        "Whether the provider accepted the key when it was last probed.";
    PROBE_DURATION = Gauge "keypool_probe_duration_seconds" ["key_id", "provider"]
        "How long the last probe of the key took.";
    PROBES = Counter "keypool_probes_total" ["result"]
        "Probes that have ended, by what they say; keys that share a secret are probed once for all.";

    RELOAD_SUCCESSFUL = Gauge "keypool_config_last_reload_successful" []
        "Whether the configuration was valid when it was last read.";
    RELOAD_SUCCESS_TIME = Gauge "keypool_config_last_reload_success_timestamp_seconds" []
        "When the configuration was last read and valid, in Unix time; 0 if never.";
    RELOADS = Counter "keypool_config_reloads_total" ["result"]
        "Readings of the configuration, the first one included, by what came of them.";
    SECRET_AGE = Gauge "keypool_secret_age_seconds" ["key_id"]
        "Time since the secret of the key was last read.";
    SECRET_MAX_STALE = Gauge "keypool_secret_max_stale_seconds" ["key_id"]
        "The age at which the secret of the key is not used any more, where its store is asked again and again.";
    SECRET_REFRESHES = Counter "keypool_secret_refreshes_total" ["store", "result"]
        "Secrets that were fetched anew, by what came of it.";
    STATE_WRITE_ERRORS = Counter "keypool_state_write_errors_total" []
        "How often the state could not be written.";
    START_TIME = Gauge "keypool_start_time_seconds" []
        "When the daemon was started, in Unix time.";
    BUILD_INFO = Gauge "keypool_build_info" ["version"]
        "Always 1, with the version of the daemon.";
    SHARED_UP = Gauge "keypool_shared_up" []
        "Whether limits are shared with other daemons through Redis at the moment; absent if that is off.";
    SHARED_OWNED_GROUPS = Gauge "keypool_shared_owned_groups" []
        "Quota groups that this daemon holds, and no other grants from; absent if sharing is off.";
    SHARED_PART = Gauge "keypool_shared_part_ratio" []
        "The part of every limit that is this daemon's when it is cut off from Redis; absent if sharing is off.";
    SHARED_WITHHELD = Gauge "keypool_shared_withheld_ratio" []
        "The part of every limit that this daemon leaves to others that may be cut off; absent if sharing is off.";
    SHARED_CALLS = Counter "keypool_shared_calls_total" ["result"]
        "Questions to Redis, by what came of them; absent if sharing is off.";
}

/// What the process collector of the `prometheus` crate exports.
pub const PROCESS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_tells_the_kind_and_stands_once() {
        let names: BTreeSet<&str> = CATALOGUE.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        for family in CATALOGUE {
            let counts = family.name.ends_with("_total");
            assert_eq!(counts, family.kind == Kind::Counter, "{}", family.name);
            assert!(family.name.starts_with("keypool_") && family.help.ends_with('.'));
        }
        assert!(!PROCESS.iter().any(|name| names.contains(name)));
    }
}
