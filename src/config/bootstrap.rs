//! What the daemon cannot start without: keypool.toml, variables and flags, read into
//! [`Settings`]. Errors here end the daemon; errors in the keys file or a `.env` file do not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::again::{Blank, is_blank};
use super::flags::Flags;
use super::problem::{Problem, Problems};
use super::rotation::{Wish, wish};
use super::settings::{CooldownSettings, QuotaSettings, SecretSettings, ServerSettings, Settings};
use super::sources::{Document, Sources};
use super::text::Position;
use super::value::{LARGEST, Value};
use super::{env_files, provider_sections, shared};
use crate::health::ProbeSettings;
use crate::secrets::{
    Content, Environment, Process, RefreshRules, Store, StoreName, StorePlaces, Stores,
    read_protected,
};
use crate::server::ConnectionLimits;
use crate::telemetry::logging::LogFormat;

/// Where keypool.toml is looked for, in this order, when nobody names it.
pub const USUAL_FILES: [&str; 2] = ["config/keypool.toml", "/etc/keypool/keypool.toml"];

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// Everything but the keys.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The settings.
    pub settings: Settings,
    /// keypool.toml, if there is one.
    pub file: Option<Arc<Path>>,
    /// The environment with its files, and what else secrets are fetched with.
    pub stores: Stores,
    /// What is worth a word in keypool.toml and the variables.
    pub warnings: Vec<Problem>,
    /// What is wrong with the `.env` files, or worth a word.
    pub(super) env_problems: Vec<Problem>,
    /// The files that were read and have no text.
    pub(super) blank: Blank,
    /// Whether somebody asked for rotation.
    pub(super) wish: Option<Wish>,
}

/// Reads keypool.toml, the `.env` files it names, the variables and `flags`.
pub fn bootstrap(flags: &Flags, process: &Process) -> Result<Bootstrap, Problems> {
    let mut problems = Vec::new();
    let file = settings_file(flags, process);
    let text = match &file {
        Some(file) => read_text(file, process, &mut problems)?,
        None => String::new(),
    };
    of_text(file, &text, flags, process, problems)
}

/// What `text` says, which is that of `file`, with everything that may stand over or beside it.
pub(crate) fn of_text(
    file: Option<Arc<Path>>,
    text: &str,
    flags: &Flags,
    process: &Process,
    mut problems: Vec<Problem>,
) -> Result<Bootstrap, Problems> {
    let document = file.as_ref().map(|file| Document::parse(file, text)).transpose();
    let document = document.map_err(Problems)?;

    // The names of the files come first, because the files hold variables.
    let nothing = Environment::default();
    let mut names = Sources::new(Vec::new(), &nothing, document);
    let paths = names.read_list("env_files", Value::path);
    let env_files::Read { environment, problems: env_problems, mut blank } =
        env_files::read(&paths, process);
    blank.extend(file.clone().filter(|_| is_blank(text.as_bytes())));

    let mut sources = names.with(flags.settings(), &environment);
    let settings = read_settings(&mut sources, paths, &environment, process);
    sources.report_unknown();
    problems.append(&mut sources.problems);
    let wish = wish(&environment).map_err(|problem| problems.push(problem)).unwrap_or_default();
    let stores = Stores { environment, process: process.clone() };
    let warnings = Vec::new();
    let built = Bootstrap { settings, file, stores, warnings, env_problems, blank, wish };
    let (built, warnings) = Problems::unless_errors(built, problems)?;
    Ok(Bootstrap { warnings, ..built })
}

/// The first of `--config`, `$KEYPOOL_CONFIG` and the usual files that exist.
fn settings_file(flags: &Flags, process: &Process) -> Option<Arc<Path>> {
    let variable = process.variable("KEYPOOL_CONFIG").filter(|path| !path.is_empty());
    let named = flags.config.clone().or_else(|| variable.map(PathBuf::from));
    let usual = || USUAL_FILES.iter().map(PathBuf::from).find(|path| path.exists());
    named.or_else(usual).map(Into::into)
}

fn read_text(
    file: &Arc<Path>,
    process: &Process,
    problems: &mut Vec<Problem>,
) -> Result<String, Problems> {
    let read = read_protected(file, Content::Configuration, process)
        .map_err(|refusal| Problem::error(refusal.to_string()).in_file(file))?;
    let warning =
        |warning: &crate::secrets::FileWarning| Problem::warning(warning.to_string()).in_file(file);
    problems.extend(read.warnings.iter().map(warning));
    std::str::from_utf8(&read.bytes).map(str::to_owned).map_err(|error| {
        let valid = String::from_utf8_lossy(&read.bytes[..error.valid_up_to()]);
        let position = Position::of(&valid, valid.len());
        Problem::error("expected UTF-8 text").in_file(file).at(position).into()
    })
}

fn read_settings(
    from: &mut Sources<'_>,
    env_files: Vec<PathBuf>,
    environment: &Environment,
    process: &Process,
) -> Settings {
    let systemd = || process.variable("STATE_DIRECTORY").and_then(|list| list.split(':').next());
    let state_dir = from.read("state_dir", Value::optional_path);
    let metrics_addr = from.read("metrics_addr", Value::optional_address);
    let probe = probe(from);
    let quota = quota(from);
    let shared = shared::read(from, quota.share);
    let format = |value: &Value| value.one_of(&LogFormat::ALL, LogFormat::name);
    Settings {
        socket: from.read("socket", Value::path).unwrap_or("/run/keypool/keypool.sock".into()),
        keys: from.read("keys", Value::path).unwrap_or("/etc/keypool/keys.json".into()),
        env_files,
        state_dir: state_dir.unwrap_or_else(|| {
            Some(systemd().filter(|dir| !dir.is_empty()).unwrap_or("/var/lib/keypool").into())
        }),
        metrics_addr: metrics_addr.unwrap_or_else(|| Some(([127, 0, 0, 1], 9464).into())),
        log: from.read("log", Value::log_levels).unwrap_or("info".into()),
        log_format: from.read("log_format", format).unwrap_or_default(),
        quota,
        cooldown: cooldown(from),
        lease_ttl: duration(from, "lease.ttl", 10 * MINUTE, MILLISECOND, 7 * DAY),
        wait_max: duration(from, "wait.max", 30 * SECOND, Duration::ZERO, HOUR),
        probe,
        secrets: secrets(from, environment, process),
        server: server(from),
        shared,
        providers: provider_sections::read(from, probe),
    }
}

fn duration(
    from: &mut Sources<'_>,
    path: &str,
    usual: Duration,
    least: Duration,
    most: Duration,
) -> Duration {
    from.read(path, |value| value.duration(least..=most)).unwrap_or(usual)
}

fn quota(from: &mut Sources<'_>) -> QuotaSettings {
    QuotaSettings {
        delay_guard: duration(from, "quota.delay_guard", SECOND / 2, Duration::ZERO, MINUTE),
        default_tokens: from.read("quota.default_tokens", |v| v.whole(0..=LARGEST)).unwrap_or(0),
        reset_zone: from.read_map(&["quota", "reset_zone"], |_, value| value.zone()),
        adaptive: from.read("quota.adaptive", Value::switch).unwrap_or(true),
        share: from.read("quota.share", Value::part).unwrap_or(1.0),
    }
}

fn cooldown(from: &mut Sources<'_>) -> CooldownSettings {
    let first = duration(from, "cooldown.first", 30 * SECOND, MILLISECOND, YEAR);
    let max = duration(from, "cooldown.max", HOUR, MILLISECOND, YEAR);
    if first > max {
        let message = "expected a time that is not longer than cooldown.max";
        from.complain("cooldown.first", Problem::error(message));
    }
    CooldownSettings { first, max }
}

fn probe(from: &mut Sources<'_>) -> ProbeSettings {
    ProbeSettings {
        enabled: from.read("probe.enabled", Value::switch).unwrap_or(true),
        timeout: duration(from, "probe.timeout", 5 * SECOND, MILLISECOND, HOUR),
        concurrency: from.read("probe.concurrency", |v| v.count(1..=1024)).unwrap_or(8),
        allow_private: from.read("probe.allow_private", Value::switch).unwrap_or(false),
    }
}

fn secrets(from: &mut Sources<'_>, environment: &Environment, process: &Process) -> SecretSettings {
    let places = StorePlaces::new(from.read("secrets.dir", Value::path), environment, process);
    let name = |value: &Value| value.one_of(&StoreName::ALL, StoreName::name);
    let name = from.read("secrets.store", name).unwrap_or(StoreName::Env);
    let store = places.store(name).unwrap_or_else(|message| {
        from.complain("secrets.store", Problem::error(message));
        Store::Env
    });
    let refresh = RefreshRules {
        every: duration(from, "secrets.refresh", 5 * MINUTE, SECOND, YEAR),
        max_stale: duration(from, "secrets.max_stale", DAY, Duration::ZERO, YEAR),
    };
    SecretSettings { store, places, refresh }
}

fn server(from: &mut Sources<'_>) -> ServerSettings {
    let users = from.read_list("server.allow_uids", Value::id);
    let groups = from.read_list("server.allow_gids", Value::id);
    let admin_group = from.read("server.admin_group", |v| v.text().map(str::to_owned));
    ServerSettings {
        mode: from.read("server.mode", Value::mode).unwrap_or(0o660),
        group: from.read("server.group", |value| value.text().map(str::to_owned)),
        allow_uids: users,
        allow_gids: groups,
        admin_group,
        require_header: from.read("server.require_header", Value::required_header),
        connections: connections(from),
        grace: duration(from, "server.grace", 10 * SECOND, Duration::ZERO, HOUR),
    }
}

fn connections(from: &mut Sources<'_>) -> ConnectionLimits {
    let in_all = from.read("server.max_connections", |v| v.count(1..=65536)).unwrap_or(1024);
    let per_uid = from.read("server.max_connections_per_uid", |v| v.count(1..=65536));
    let per_uid = per_uid.unwrap_or(ConnectionLimits::usual_per_uid(in_all));
    if per_uid > in_all {
        let message = "expected a number that is not above server.max_connections";
        from.complain("server.max_connections_per_uid", Problem::error(message));
    }
    ConnectionLimits { in_all, per_uid }
}

#[cfg(test)]
mod tests;
