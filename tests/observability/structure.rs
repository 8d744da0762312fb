//! The dashboards are whole: every panel has what a reader needs, and nothing lies on another.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::board::Board;
use crate::text;

/// The panels that grafatui imports, too, so that the dashboards can be looked at without Grafana.
const TYPES: [&str; 4] = ["timeseries", "stat", "bargauge", "table"];

fn string<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn every_panel_has_a_title_a_description_a_unit_thresholds_and_legends() {
    for board in Board::all() {
        for panel in board.panels() {
            let title = string(panel, "title");
            assert!(TYPES.contains(&string(panel, "type")), "{title}");
            assert!(string(panel, "description").ends_with('.'), "{title}");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(!defaults["thresholds"]["steps"].as_array().unwrap().is_empty(), "{title}");
            if panel["type"] != "table" {
                assert!(!string(defaults, "unit").is_empty(), "{title}");
            }
            for target in panel["targets"].as_array().unwrap() {
                let legend = string(target, "legendFormat");
                let needs_one = matches!(string(panel, "type"), "timeseries" | "bargauge");
                assert!(!needs_one || legend != "__auto", "{title}: {target}");
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            }
        }
    }
}

#[test]
fn titles_and_ids_stand_once_and_panels_lie_side_by_side() {
    for board in Board::all() {
        let panels = board.json["panels"].as_array().unwrap();
        let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for panel in panels {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
            assert!(titles.insert(string(panel, "title")), "{panel}");
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{panel}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(cells.insert((x, y)), "{} lies on another", string(panel, "title"));
                }
            }
        }
    }
}

#[test]
fn dashboards_are_of_grafana_11_and_lead_to_each_other() {
    for (board, other) in Board::all().iter().zip(["keypool-key", "keypool-pool"]) {
        let json = &board.json;
        assert_eq!(string(json, "uid"), format!("keypool-{}", board.name));
        assert!(json["schemaVersion"].as_u64().unwrap() >= 39);
        assert_eq!(json["tags"], serde_json::json!(["keypool"]));
        assert!(json["id"].is_null(), "an id belongs to one Grafana");
        let links = json["links"].as_array().unwrap();
        assert!(links.iter().any(|link| string(link, "url") == format!("/d/{other}")));
        let names: Vec<&str> = board.variables().iter().map(|one| string(one, "name")).collect();
        assert_eq!(names, ["datasource", "instance", "provider", "model", "key"]);
    }
}

#[test]
fn no_colour_is_made_for_one_theme_alone() {
    // Named colours are another shade in each theme; this grey is readable on both.
    for board in Board::all() {
        let text = board.json["panels"].to_string();
        for (at, _) in text.match_indices("\"#") {
            assert_eq!(&text[at..at + 9], "\"#8e8e8e\"");
        }
        for word in ["rgb(", "\"black\"", "\"white\"", "color-background"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}

#[test]
fn everybody_means_the_same_data_source() {
    let uid = "keypool-prometheus";
    let source = text("grafana/provisioning/datasources/keypool.yaml");
    assert!(source.contains(&format!("uid: {uid}\n")));
    for board in Board::all() {
        assert_eq!(board.variables()[0]["current"]["value"], uid);
    }
    assert!(text("grafana/provisioning/alerting/keypool.yaml").contains(uid));
}
