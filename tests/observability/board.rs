//! Dashboards as their files have them, and the questions that their panels ask.

use serde_json::Value;

use crate::text;

/// The dashboards, by the names of their files.
pub(crate) const BOARDS: [&str; 2] = ["pool", "key"];

/// A dashboard.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) name: &'static str,
    pub(crate) json: Value,
}

/// What a panel, or an annotation, asks Prometheus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) board: &'static str,
    /// The title of the panel.
    pub(crate) panel: String,
    pub(crate) expr: String,
}

impl Board {
    pub(crate) fn read(name: &'static str) -> Self {
        let json = serde_json::from_str(&text(&format!("grafana/dashboards/{name}.json"))).unwrap();
        Self { name, json }
    }

    pub(crate) fn all() -> [Self; 2] {
        BOARDS.map(Self::read)
    }

    /// The panels that are not just the head of a row.
    pub(crate) fn panels(&self) -> impl Iterator<Item = &Value> {
        self.json["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
    }

    pub(crate) fn variables(&self) -> &[Value] {
        self.json["templating"]["list"].as_array().unwrap()
    }

    pub(crate) fn questions(&self) -> Vec<Question> {
        let question = |panel: &Value, title: &str, target: &Value| Question {
            board: self.name,
            panel: panel[title].as_str().unwrap().to_owned(),
            expr: target["expr"].as_str().unwrap().to_owned(),
        };
        let of_panels = self.panels().flat_map(|panel| {
            let targets = panel["targets"].as_array().unwrap();
            targets.iter().map(move |target| question(panel, "title", target))
        });
        let notes = self.json["annotations"]["list"].as_array().unwrap();
        let notes = notes.iter().filter(|note| note["builtIn"] != 1);
        let of_notes = notes.map(|note| question(note, "name", &note["target"]));
        of_panels.chain(of_notes).collect()
    }

    /// What the variables are made of.
    pub(crate) fn variable_queries(&self) -> impl Iterator<Item = &str> {
        self.variables().iter().filter_map(|variable| variable["query"]["query"].as_str())
    }
}

impl Question {
    /// The expression as Grafana sends it for everything that there is, or for `key`.
    pub(crate) fn substituted(&self, key: &str) -> String {
        let chosen = match self.board {
            "key" => key,
            _ => ".+",
        };
        let all = ["$instance", "$provider", "$model"];
        let expr = all.iter().fold(self.expr.clone(), |expr, name| expr.replace(name, ".+"));
        // A scrape a second.
        let expr = expr.replace("$key", chosen).replace("$__rate_interval", "10s");
        let expr = expr.replace("$__interval", "1s").replace("$__range", "60s");
        assert!(!expr.contains('$'), "{self:?}: {expr}");
        expr
    }
}
