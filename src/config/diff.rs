//! What two readings of the settings differ in.

use super::settings::{ServerSettings, Settings, SharedSettings};
use crate::secrets::Secret;

/// What two readings of the settings differ in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingsDiff {
    /// Whether a setting differs that a reload can change.
    pub reloadable: bool,
    /// The settings that differ and need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Settings {
    /// What `other` has otherwise.
    pub fn diff(&self, other: &Self) -> SettingsDiff {
        // Named one by one, so that a new setting cannot be forgotten here.
        let Self {
            socket,
            keys,
            env_files,
            state_dir,
            metrics_addr,
            log,
            log_format,
            quota,
            cooldown,
            lease_ttl,
            wait_max,
            probe,
            secrets,
            server,
            shared,
            providers,
        } = self;
        let reloadable = *keys != other.keys
            || *env_files != other.env_files
            || *quota != other.quota
            || *cooldown != other.cooldown
            || *lease_ttl != other.lease_ttl
            || *wait_max != other.wait_max
            || *probe != other.probe
            || *secrets != other.secrets
            || *providers != other.providers;
        let fixed = [
            ("socket", *socket != other.socket),
            ("state_dir", *state_dir != other.state_dir),
            ("metrics_addr", *metrics_addr != other.metrics_addr),
            ("log", *log != other.log),
            ("log_format", *log_format != other.log_format),
        ];
        let differs = fixed.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name);
        let mut needs_restart: Vec<_> = differs.collect();
        needs_restart.extend(server.diff(&other.server));
        needs_restart.extend(shared.diff(&other.shared));
        SettingsDiff { reloadable, needs_restart }
    }
}

impl ServerSettings {
    fn diff(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let Self {
            mode,
            group,
            allow_uids,
            allow_gids,
            admin_group,
            require_header,
            connections,
            grace,
        } = self;
        let header = match (require_header, &other.require_header) {
            (Some(one), Some(other)) => one.name != other.name || !one.value.same_as(&other.value),
            (one, other) => one.is_some() != other.is_some(),
        };
        let settings = [
            ("server.mode", *mode != other.mode),
            ("server.group", *group != other.group),
            ("server.allow_uids", *allow_uids != other.allow_uids),
            ("server.allow_gids", *allow_gids != other.allow_gids),
            ("server.admin_group", *admin_group != other.admin_group),
            ("server.require_header", header),
            ("server.max_connections", connections.in_all != other.connections.in_all),
            ("server.max_connections_per_uid", connections.per_uid != other.connections.per_uid),
            ("server.grace", *grace != other.grace),
        ];
        settings.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name)
    }
}

impl SharedSettings {
    fn diff(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let Self { redis_url, on_failure, pool, timeout, redis_timeout } = self;
        let url = !same(redis_url.as_ref(), other.redis_url.as_ref());
        let settings = [
            ("shared.redis_url", url),
            ("shared.on_failure", *on_failure != other.on_failure),
            ("shared.pool", *pool != other.pool),
            ("shared.timeout", *timeout != other.timeout),
            ("shared.redis_timeout", *redis_timeout != other.redis_timeout),
        ];
        settings.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name)
    }
}

fn same(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same_as(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Flags, bootstrap};
    use crate::secrets::Process;

    fn settings(toml: &str) -> Settings {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), toml).unwrap();
        let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        bootstrap(&flags, &Process::new([])).unwrap().settings
    }

    fn diff(before: &str, after: &str) -> (bool, Vec<&'static str>) {
        let SettingsDiff { reloadable, needs_restart } = settings(before).diff(&settings(after));
        (reloadable, needs_restart)
    }

    #[test]
    fn the_same_settings_do_not_differ() {
        for text in ["", "[server]\nrequire_header = \"x-a: fake\"\n[providers.x]\n"] {
            assert_eq!(diff(text, text), (false, Vec::new()));
        }
    }

    #[test]
    fn what_a_reload_can_change_is_told_from_what_needs_a_restart() {
        for text in [
            "keys = \"k\"",
            "env_files = [\"a\"]",
            "[quota]\nshare = 0.5",
            "[cooldown]\nmax = \"2h\"",
            "[lease]\nttl = \"1m\"",
            "[wait]\nmax = \"1s\"",
            "[probe]\nenabled = false",
            "[secrets]\ndir = \"d\"",
            "[providers.x]\nauth_header = {name = \"x-token\"}",
        ] {
            assert_eq!(diff("", text), (true, Vec::new()), "{text}");
        }
        for (text, name) in [
            ("socket = \"s\"", "socket"),
            ("state_dir = \"\"", "state_dir"),
            ("metrics_addr = \"\"", "metrics_addr"),
            ("log = \"debug\"", "log"),
            ("log_format = \"json\"", "log_format"),
            ("[server]\nmode = \"0600\"", "server.mode"),
            ("[server]\ngrace = \"1s\"", "server.grace"),
            ("[server]\nrequire_header = \"x-a: fake\"", "server.require_header"),
            ("[shared]\ntimeout = \"1s\"", "shared.timeout"),
        ] {
            assert_eq!(diff("", text), (false, vec![name]), "{text}");
        }
        let both = "[wait]\nmax = \"1s\"\n[server]\nmode = \"0600\"\ngrace = \"1s\"";
        assert_eq!(diff("", both), (true, vec!["server.mode", "server.grace"]));
    }

    #[test]
    fn another_word_in_the_required_header_is_a_difference() {
        let header = |word| format!("[server]\nrequire_header = \"x-a: {word}\"");
        assert_eq!(diff(&header("fake"), &header("other")).1, ["server.require_header"]);
    }
}
