//! The document of the API as a judge: what the daemon answers must be what the document says, and
//! what it takes must be what the document lets one ask.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

use super::http::Answer;

/// The document as it is in the project.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../src/server/openapi.json")).unwrap()
});

/// What the document is called where its schemas refer to each other.
const NAME: &str = "keypool:openapi";

static REGISTRY: LazyLock<Registry<'static>> =
    LazyLock::new(|| Registry::new().add(NAME, &*DOCUMENT).unwrap().prepare().unwrap());

/// Headers that belong to HTTP and not to this API.
const OF_HTTP: [&str; 5] =
    ["content-type", "content-length", "transfer-encoding", "date", "connection"];

/// What was asked, as far as the document knows of it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    /// The body, if it is known.
    pub(crate) body: Option<&'a str>,
}

/// Panics if `answer` is not what the document says of what was `asked`.
#[track_caller]
pub(crate) fn judge(asked: Asked<'_>, answer: &Answer) {
    // It was no HTTP, or too much of it, and nobody looked at it.
    let unread = [400, 431].contains(&answer.status) && answer.header("content-type").is_none();
    if unread {
        assert_eq!(answer.body, "", "{answer:?}");
        return;
    }
    let place = place_of(asked, answer.status).unwrap_or_else(|| {
        let Asked { method, target, .. } = asked;
        panic!("not in openapi.json: {method} {target} gives {answer:?}")
    });
    judge_headers(&place, answer);
    judge_body(&place, asked.method, answer);
    if let (200, Some(body)) = (answer.status, asked.body) {
        judge_request(asked, body);
    }
}

/// Where the document tells of this answer.
fn place_of(asked: Asked<'_>, status: u16) -> Option<String> {
    let operation = operation(asked);
    if let Some(operation) = operation {
        return resolved(&format!("{operation}/responses/{status}"));
    }
    let name = match status {
        400 => "InvalidRequest",
        403 => "Forbidden",
        404 if path_of(asked).is_none() => "NoSuchPath",
        405 => "MethodNotAllowed",
        _ => return None,
    };
    resolved(&format!("/components/responses/{name}"))
}

/// Where the document tells of what is asked, if it does.
fn operation(asked: Asked<'_>) -> Option<String> {
    let path = path_of(asked)?.replace('/', "~1");
    resolved(&format!("/paths/{path}/{}", asked.method.to_lowercase()))
}

/// The path of the document that is meant.
fn path_of(asked: Asked<'_>) -> Option<&'static str> {
    let path = asked.target.split('?').next()?;
    let fits = |template: &&String| {
        let (mut wanted, mut given) = (template.split('/'), path.split('/'));
        let mut pairs = wanted.by_ref().zip(given.by_ref());
        let same = pairs.all(|(wanted, given)| {
            wanted == given || (wanted.starts_with('{') && !given.is_empty())
        });
        same && template.split('/').count() == path.split('/').count()
    };
    DOCUMENT["paths"].as_object().unwrap().keys().find(fits).map(String::as_str)
}

/// `place`, or the place that it refers to; none if there is nothing.
fn resolved(place: &str) -> Option<String> {
    let found = DOCUMENT.pointer(place)?;
    let reference = found.get("$ref").and_then(Value::as_str);
    Some(reference.map_or(place, |reference| &reference[1..]).to_owned())
}

fn judge_headers(place: &str, answer: &Answer) {
    let told = DOCUMENT.pointer(&format!("{place}/headers")).and_then(Value::as_object);
    for name in told.into_iter().flat_map(|told| told.keys()) {
        let header = resolved(&format!("{place}/headers/{name}")).unwrap();
        let Some(value) = answer.header(&name.to_lowercase()) else {
            let required = DOCUMENT.pointer(&format!("{header}/required"));
            assert_ne!(required, Some(&Value::Bool(true)), "no {name}: {answer:?}");
            continue;
        };
        let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
        judge_value(&format!("{header}/schema"), &value, &format!("{name} of {answer:?}"));
    }
    for (name, _) in answer.head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        let told = told.is_some_and(|told| told.keys().any(|told| told.to_lowercase() == name));
        assert!(told || OF_HTTP.contains(&name), "{name} is not in openapi.json: {answer:?}");
    }
}

fn judge_body(place: &str, method: &str, answer: &Answer) {
    let content = DOCUMENT.pointer(&format!("{place}/content")).and_then(Value::as_object);
    let kind = answer.header("content-type");
    assert_eq!(content.is_some(), kind.is_some(), "Content-Type of {answer:?}");
    let Some(kind) = kind else { return };
    assert!(content.is_some_and(|kinds| kinds.contains_key(kind)), "Content-Type of {answer:?}");
    if method == "HEAD" {
        assert_eq!(answer.body, "");
    } else if kind.ends_with("json") {
        let schema = format!("{place}/content/{}/schema", kind.replace('/', "~1"));
        judge_value(&schema, &answer.json(), &format!("{answer:?}"));
    }
}

/// What was granted must be what the document lets one ask.
fn judge_request(asked: Asked<'_>, body: &str) {
    let place = format!("{}/requestBody", operation(asked).unwrap());
    let Some(told) = DOCUMENT.pointer(&place) else { return };
    if body.trim().is_empty() {
        assert_eq!(told["required"], false, "{} takes an empty body", asked.target);
        return;
    }
    let schema = format!("{place}/content/application~1json/schema");
    let body: Value = serde_json::from_str(body).unwrap();
    judge_value(&schema, &body, &format!("the request {} {body}", asked.target));
}

/// Panics if `value` is not of the schema at `place`.
pub(crate) fn judge_value(place: &str, value: &Value, what: &str) {
    static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let known = KNOWN.lock().unwrap().get(place).cloned();
    let schema = known.unwrap_or_else(|| {
        let schema = Arc::new(schema_at(place));
        KNOWN.lock().unwrap().insert(place.to_owned(), schema.clone());
        schema
    });
    let errors: Vec<String> = schema
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "not as openapi.json says at {place}: {errors:#?}\n{what}");
}

fn schema_at(place: &str) -> Validator {
    let options = jsonschema::options().with_draft(Draft::Draft202012);
    let options = options.with_registry(&REGISTRY).should_validate_formats(true);
    let fragment = place.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D");
    options.build(&json!({"$ref": format!("{NAME}#{fragment}")})).unwrap()
}
