//! The vault's own requests.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::answer::{Answer, Refusal, answer, json_answer};
use super::directory::MISSING;
use super::secrets::Page;
use super::{LOGIN, RESOURCE, State, TENANT};

/// The versions of the API.
const API: [&str; 10] =
    ["2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"];

/// The most of a list in one answer.
const PAGE: usize = 25;

/// A request to the vault.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a HashMap<String, String>,
    pub(super) token: Option<&'a str>,
    pub(super) body: &'a [u8],
    /// Of the vault.
    pub(super) url: &'a str,
    /// Where to log in.
    pub(super) authority: &'a str,
}

impl State {
    pub(super) fn ask(&mut self, asked: &Asked<'_>, now: i64) -> Answer {
        let holder = asked.token.ok_or(MISSING);
        let holder = holder.and_then(|token| self.directory.holder(token, now));
        let holder = match holder {
            Ok(holder) => holder.to_owned(),
            Err(why) => return challenge(asked.authority, RESOURCE, why),
        };
        match self.carry_out(asked, &holder, now) {
            Ok(Value::Null) => answer(204, &[], String::new()),
            // Ids have the address under which the vault was asked.
            Ok(done) => {
                let body = done.to_string().replace("{vault}", asked.url);
                answer(200, &[("content-type", "application/json; charset=utf-8")], body)
            }
            Err(refusal) => refusal.answer(),
        }
    }

    fn carry_out(&mut self, asked: &Asked<'_>, holder: &str, now: i64) -> Result<Value, Refusal> {
        if !asked.query.get("api-version").is_some_and(|api| API.contains(&api.as_str())) {
            let told = "The request URI contains an unsupported or no api-version.";
            return Err(Refusal::bad_parameter(told));
        }
        if !self.directory.permits(holder, asked.method == "GET") {
            return Err(Refusal::NO_ROLE);
        }
        let steps: Vec<_> = asked.path.split('/').filter(|step| !step.is_empty()).collect();
        let is_name = |name: &str| {
            name.len() <= 127
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if steps.get(1).is_some_and(|name| !is_name(name)) {
            return Err(Refusal::bad_parameter("The request URI contains an invalid name."));
        }
        let body = || {
            serde_json::from_slice::<Value>(asked.body)
                .map_err(|_| Refusal::bad_parameter("The request body is not valid JSON."))
        };
        let number = |name: &str| asked.query.get(name).and_then(|text| text.parse().ok());
        let from = number("$skiptoken").unwrap_or(0);
        let most = number("maxresults").unwrap_or(PAGE).clamp(1, PAGE);
        let secrets = &mut self.secrets;
        match (asked.method, steps.as_slice()) {
            ("PUT", ["secrets", name]) => secrets.put(name, &body()?, now),
            ("GET", ["secrets"]) => Ok(listed(asked, most, secrets.list(from, most))),
            ("GET", ["secrets", name]) => secrets.read(name, None),
            ("GET", ["secrets", name, "versions"]) => {
                Ok(listed(asked, most, secrets.list_versions(name, from, most)?))
            }
            ("GET", ["secrets", name, version]) => secrets.read(name, Some(version)),
            ("PATCH", ["secrets", name]) => secrets.update(name, None, &body()?, now),
            ("PATCH", ["secrets", name, version]) => {
                secrets.update(name, Some(version), &body()?, now)
            }
            ("DELETE", ["secrets", name]) => secrets.delete(name, now),
            ("GET", ["deletedsecrets"]) => {
                Ok(listed(asked, most, secrets.list_deleted(from, most)))
            }
            ("GET", ["deletedsecrets", name]) => secrets.read_deleted(name),
            ("POST", ["deletedsecrets", name, "recover"]) => secrets.recover(name),
            ("DELETE", ["deletedsecrets", name]) => secrets.purge(name).map(|()| Value::Null),
            (_, ["secrets" | "deletedsecrets", ..]) => Err(Refusal::NO_SUCH_METHOD),
            _ => Err(Refusal::NO_SUCH_PATH),
        }
    }
}

fn listed(asked: &Asked<'_>, most: usize, (page, next): Page) -> Value {
    let next = next.map(|next| {
        let api = &asked.query["api-version"];
        let path = asked.path;
        format!("{{vault}}{path}?api-version={api}&$skiptoken={next}&maxresults={most}")
    });
    json!({"value": page, "nextLink": next})
}

/// Says where to log in for `resource`.
pub(super) fn challenge(authority: &str, resource: &str, why: &str) -> Answer {
    debug_assert!(authority.contains(LOGIN));
    let told = format!("Bearer authorization=\"{authority}/{TENANT}\", resource=\"{resource}\"");
    let body = json!({"error": {"code": "Unauthorized", "message": why}});
    let mut answer = json_answer(401, &body);
    answer.headers_mut().insert("www-authenticate", told.parse().unwrap());
    answer
}
