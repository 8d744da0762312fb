//! The alerts of Grafana are those of Prometheus, rule by rule: they are written from what a
//! Prometheus has read.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use crate::prometheus::Prometheus;
use crate::{project, text};

const PROVISIONED: &str = "grafana/provisioning/alerting/keypool.yaml";

/// The value of one template is `.Value` in Prometheus, and one of several in Grafana.
const VALUE: (&str, &str) = (".Value ", ".Values.query.Value ");

#[test]
fn grafana_has_the_alerts_of_prometheus() {
    let prometheus = Prometheus::start(&[]);
    let written = provisioning(&prometheus.get("/api/v1/rules"));
    #[expect(clippy::disallowed_methods, reason = "asks whether to write the file")]
    if std::env::var_os("KEYPOOL_BLESS").is_some() {
        fs::write(project(PROVISIONED), &written).unwrap();
    }
    assert!(
        text(PROVISIONED) == written,
        "{PROVISIONED} is not what the rules of Prometheus make it; write it anew with \
         KEYPOOL_BLESS=1 cargo test --test observability"
    );
}

/// The file for Grafana: as it imports rules of Prometheus itself, an alert fires for every series
/// that the expression returns, whatever its number.
fn provisioning(answer: &Value) -> String {
    let mut file =
        "# Written from prometheus/keypool.rules.yml by the tests: change that, then run\n\
                    # KEYPOOL_BLESS=1 cargo test --test observability\n\
                    apiVersion: 1\n\ngroups:\n"
            .to_owned();
    for group in answer["data"]["groups"].as_array().unwrap() {
        let name = &group["name"];
        write!(
            file,
            "  - orgId: 1\n    name: {name}\n    folder: \"keypool\"\n    interval: \"1m\"\n    rules:\n"
        )
        .unwrap();
        for rule in group["rules"].as_array().unwrap() {
            write_rule(&mut file, rule);
        }
    }
    file
}

fn write_rule(file: &mut String, rule: &Value) {
    let name = rule["name"].as_str().unwrap();
    let alert = name.strip_prefix("Keypool").unwrap();
    let duration = rule["duration"].as_f64().unwrap();
    write!(
        file,
        "      - uid: \"keypool{}\"\n        title: \"{name}\"\n        condition: \"threshold\"\n        \
         for: \"{duration}s\"\n        noDataState: \"OK\"\n        execErrState: \"Error\"\n        \
         labels: {}\n        annotations:\n",
        kebab(alert),
        rule["labels"],
    )
    .unwrap();
    for (name, text) in rule["annotations"].as_object().unwrap() {
        let text = text.as_str().unwrap().replace(VALUE.0, VALUE.1);
        assert!(
            !text.contains('$'),
            "{alert}: Grafana takes a $ for a variable of the environment"
        );
        writeln!(file, "          {name}: {}", json!(text)).unwrap();
    }
    let number = "is_number($query) || is_nan($query) || is_inf($query)";
    let data = [
        json!({"refId": "query", "datasourceUid": "keypool-prometheus",
               "relativeTimeRange": {"from": 600, "to": 0},
               "model": {"refId": "query", "expr": rule["query"], "instant": true, "range": false}}),
        json!({"refId": "number", "datasourceUid": "__expr__",
               "model": {"refId": "number", "type": "math", "expression": number}}),
        json!({"refId": "threshold", "datasourceUid": "__expr__",
               "model": {"refId": "threshold", "type": "threshold", "expression": "number",
                         "conditions": [{"evaluator": {"type": "gt", "params": [0]}}]}}),
    ];
    writeln!(file, "        data:").unwrap();
    for step in data {
        writeln!(file, "          - {step}").unwrap();
    }
}

/// `DaemonDown` as `-daemon-down`.
fn kebab(name: &str) -> String {
    let dashed = name.chars().flat_map(|c| {
        let dash = c.is_ascii_uppercase().then_some('-');
        dash.into_iter().chain([c.to_ascii_lowercase()])
    });
    dashed.collect()
}
