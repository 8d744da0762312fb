//! The rules of Prometheus: they are good, each fires and keeps silent when it should, and tells
//! what to do.

use crate::prometheus::promtool;
use crate::text;

const RULES: &str = "grafana/prometheus/keypool.rules.yml";

/// The alerts, each with the lines of its rule.
fn rules() -> Vec<(String, String)> {
    let text = text(RULES);
    let rules = text.split("- alert: ").skip(1);
    rules.map(|rule| (rule.lines().next().unwrap().to_owned(), rule.to_owned())).collect()
}

/// What follows `name:` on its line, without quotes.
fn value<'a>(rule: &'a str, name: &str) -> &'a str {
    let line = rule.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {rule}")).trim_matches('"')
}

#[test]
fn promtool_finds_nothing_wrong_with_the_configuration_and_the_rules() {
    let said = promtool(&["check", "config", "grafana/prometheus/prometheus.yml"]);
    assert!(said.contains("is valid prometheus config file syntax"), "{said}");
    let said = promtool(&["check", "rules", RULES]);
    assert!(said.contains(&format!("SUCCESS: {} rules found", rules().len())), "{said}");
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    promtool(&["test", "rules", "tests/observability/alerts.test.yml"]);
    let cases = text("tests/observability/alerts.test.yml");
    for (alert, _) in rules() {
        assert!(
            cases.contains(&format!("name: \"{alert} fires ")),
            "no case in which {alert} fires"
        );
        assert!(
            cases.contains(&format!("name: \"{alert} is silent")),
            "no case in which {alert} is silent"
        );
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let readme = text("README.md");
    let headings = readme.lines().filter_map(|line| line.strip_prefix('#'));
    let anchors: Vec<String> =
        headings.map(|heading| anchor(heading.trim_start_matches('#'))).collect();
    for (alert, rule) in rules() {
        assert!(["critical", "warning"].contains(&value(&rule, "severity")), "{alert}");
        assert!(value(&rule, "summary").len() > 20, "{alert}");
        assert!(value(&rule, "description").len() > 100, "{alert}");
        let runbook = value(&rule, "runbook_url").strip_prefix("README.md#").unwrap();
        assert!(runbook.starts_with("runbook-"), "{alert}");
        assert!(anchors.iter().any(|anchor| anchor == runbook), "README.md has no {runbook}");
    }
}

/// Where a heading is found in a page.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
