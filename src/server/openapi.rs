//! `GET /openapi.json`: this API for programs that write clients, and for people who read it.
//!
//! The document is written by hand. Tests hold it to the paths, the methods and the codes of the
//! code, to the answers that the daemon gives in every other test, and to what it makes of requests
//! that somebody thought of who knows the document alone.

use std::sync::LazyLock;

use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::answer::{Body, full};

/// The document but for the version.
const DOCUMENT: &str = include_str!("openapi.json");

/// What stands there for the version.
const NO_VERSION: &str = "\"version\": \"0.0.0\"";

static VERSIONED: LazyLock<String> = LazyLock::new(|| {
    let version = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
    DOCUMENT.replacen(NO_VERSION, version, 1)
});

/// The document.
pub(super) fn answer() -> Response<Body> {
    let mut response = Response::new(full(VERSIONED.as_str()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::code::Code;
    use super::super::endpoint::Endpoint;
    use super::*;

    fn document() -> Value {
        serde_json::from_str(&VERSIONED).unwrap()
    }

    /// What `reference` refers to.
    fn at<'d>(document: &'d Value, reference: &str) -> &'d Value {
        document.pointer(&reference[1..]).unwrap()
    }

    /// Shows `told` every reference in `value`.
    fn every_reference(value: &Value, told: &mut impl FnMut(&str)) {
        match value {
            Value::Object(members) => {
                members.get("$ref").and_then(Value::as_str).into_iter().for_each(&mut *told);
                members.values().for_each(|value| every_reference(value, told));
            }
            Value::Array(items) => items.iter().for_each(|item| every_reference(item, told)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn it_is_of_this_version() {
        assert_eq!(DOCUMENT.matches(NO_VERSION).count(), 1);
        assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn it_has_the_paths_and_methods_of_the_code_and_no_other() {
        let document = document();
        let documented: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                let methods = methods.filter(|name| *name != "parameters");
                methods.map(|method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let served: BTreeSet<(String, String)> = Endpoint::ALL
            .into_iter()
            .flat_map(|endpoint| {
                let methods = endpoint.allow().split(", ");
                methods.map(move |method| (endpoint.path().to_owned(), method.to_owned()))
            })
            .collect();
        assert_eq!(documented, served);
    }

    #[test]
    fn it_has_the_codes_of_the_code_and_no_other() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap().values();
        let documented: BTreeSet<(&str, u64)> = schemas
            .filter_map(|schema| {
                let code = schema["properties"]["code"]["const"].as_str()?;
                Some((code, schema["properties"]["status"]["const"].as_u64()?))
            })
            .collect();
        let given: BTreeSet<(&str, u64)> =
            Code::ALL.iter().map(|code| (code.name(), code.status().as_u16().into())).collect();
        assert_eq!(documented, given);
    }

    #[test]
    fn every_problem_is_under_its_status() {
        let document = document();
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|methods| methods.as_object().unwrap().values());
        for (status, response) in
            operations.flat_map(|operation| operation["responses"].as_object().unwrap())
        {
            let response = response["$ref"].as_str().map_or(response, |name| at(&document, name));
            let problem = &response["content"]["application/problem+json"]["schema"];
            every_reference(problem, &mut |name| {
                let of = &at(&document, name)["properties"]["status"]["const"];
                assert_eq!(of.to_string(), *status, "{name}");
            });
        }
    }

    #[test]
    fn everything_that_is_defined_is_used() {
        let document = document();
        let mut used = BTreeSet::new();
        every_reference(&document, &mut |name| {
            at(&document, name);
            used.insert(name.to_owned());
        });
        // These are of paths and methods that are not there.
        let of_nothing = ["NoSuchPath", "MethodNotAllowed"];
        for (kind, defined) in document["components"].as_object().unwrap() {
            for name in defined.as_object().unwrap().keys() {
                let known = used.contains(&format!("#/components/{kind}/{name}"));
                assert!(known || of_nothing.contains(&name.as_str()), "{kind}: {name}");
            }
        }
    }
}
