//! The report as text.

use std::io::{self, Write};
use std::time::Duration;

use super::online::Answer;
use super::report::{KeyRow, ModelRow, Report, Sources, Urgency, Verdict};
use crate::cli::table::Table;
use crate::config::USUAL_FILES;
use crate::telemetry::span;

/// Writes the report for people.
pub(super) fn show(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", verdict(&report.verdict))?;
    if !report.advice.is_empty() {
        writeln!(out, "\nTo mend")?;
    }
    for advice in &report.advice {
        let urgency = match advice.urgency {
            Urgency::Error => "error",
            Urgency::Warning => "warning",
            Urgency::Hint => "hint",
        };
        writeln!(out, "  {urgency}: {}", advice.what)?;
        if let Some(mend) = &advice.mend {
            writeln!(out, "    -> {mend}")?;
        }
    }
    section(out, "Keys", &keys(&report.keys))?;
    section(out, "Models", &models(&report.models))?;
    if !report.shared_secrets.is_empty() || !report.shared_quotas.is_empty() {
        writeln!(out, "\nShared")?;
    }
    for keys in &report.shared_secrets {
        writeln!(out, "  one secret: {}", keys.join(", "))?;
    }
    for group in &report.shared_quotas {
        writeln!(out, "  one quota ({}): {}", group.quota_group, group.keys.join(", "))?;
    }
    if let Some(redis) = &report.redis {
        writeln!(out, "\nRedis\n  {}", redis.words())?;
    }
    report.sources.as_ref().map_or(Ok(()), |sources| read(sources, out))
}

fn read(sources: &Sources, out: &mut dyn Write) -> io::Result<()> {
    let none = || "none".to_owned();
    let env_files = sources.env_files.join(", ");
    writeln!(out, "\nRead")?;
    let nowhere = || format!("none: looked for {}", USUAL_FILES.join(", "));
    writeln!(out, "  settings   {}", sources.settings.clone().unwrap_or_else(nowhere))?;
    writeln!(out, "  keys       {}", sources.keys)?;
    writeln!(out, "  env_files  {}", if env_files.is_empty() { none() } else { env_files })?;
    writeln!(out, "  socket     {}", sources.socket)
}

fn verdict(verdict: &Verdict) -> String {
    let count = |errors: usize| match errors {
        1 => "1 error".to_owned(),
        errors => format!("{errors} errors"),
    };
    match verdict {
        Verdict::NoStart { errors } => {
            format!(
                "The configuration is not valid: {}. The daemon would not start.",
                count(*errors)
            )
        }
        Verdict::NoKeys { errors } => format!(
            "The configuration is not valid: {}. The daemon would start and serve no key.",
            count(*errors)
        ),
        Verdict::Serves { rotation, why, serving, keys } => {
            let rotation = if *rotation { "on" } else { "off" };
            let noun = if *keys == 1 { "key" } else { "keys" };
            format!("Rotation is {rotation}: {why}. {serving} of {keys} {noun} can serve.")
        }
    }
}

fn section(out: &mut dyn Write, title: &str, table: &Table) -> io::Result<()> {
    if table.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    table.render().lines().try_for_each(|line| writeln!(out, "  {line}"))
}

fn keys(rows: &[KeyRow]) -> Table {
    let titles =
        ["KEY", "PROVIDER", "MODEL", "RPM", "PRIORITY", "STORE", "SECRET", "AGE", "ONLINE"];
    let mut table = Table::new(titles);
    for row in rows {
        let models = if row.models.is_empty() { "any".to_owned() } else { row.models.join(", ") };
        let number =
            |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let found = if row.found { "found" } else { "MISSING" };
        let inactive = if row.active { "" } else { "inactive, " };
        let secret = format!("{inactive}{found}: {}", row.secret);
        table.row([
            row.key_id.clone(),
            row.provider.clone(),
            models,
            number(row.rpm),
            number(row.priority),
            row.store.to_owned(),
            secret,
            row.age_seconds.map(|age| span(Duration::from_secs(age))).unwrap_or_default(),
            row.online.as_ref().map(Answer::words).unwrap_or_default(),
        ]);
    }
    table
}

fn models(rows: &[ModelRow]) -> Table {
    let mut table = Table::new(["MODEL", "PROVIDER", "KEYS", "REQUESTS A MINUTE"]);
    for row in rows {
        let model = row.model.clone().unwrap_or_else(|| "any other".to_owned());
        let keys = format!("{} of {}", row.serving, row.keys);
        let capacity = row.requests_per_minute.map_or("no limit".to_owned(), |n| n.to_string());
        table.row([model, row.provider.clone(), keys, capacity]);
    }
    table
}
