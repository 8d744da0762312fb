//! Who may log in, and the tokens they were given: the login service of Entra ID, and the metadata
//! service of a machine with identities.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::answer::{Answer, json_answer};
use super::{LOGIN, RESOURCE};

/// The directory.
pub(crate) const TENANT: &str = "00000000-0000-4000-8000-00000000000a";
/// An application that may read secrets, and the identity of the machine.
pub(crate) const READER: &str = "00000000-0000-4000-8000-00000000000b";
/// The secret of the reader.
pub(crate) const READER_SECRET: &str = "fake-secret-client-01";
/// An application that may do everything, with the secret of the reader.
pub(crate) const OFFICER: &str = "00000000-0000-4000-8000-00000000000c";
/// What Kubernetes says of a pod that acts for the reader.
pub(crate) const ASSERTION: &str = "fake-secret-assertion-01";

/// What App Service gives its applications to ask for tokens with.
pub(crate) const IDENTITY_HEADER: &str = "fake-secret-header-01";

/// For how long a token is good, in seconds.
const LIFE: i64 = 3600;

/// Tokens, and who may do what.
#[derive(Debug)]
pub(super) struct Directory {
    tokens: HashMap<String, Token>,
    reader_may_read: bool,
}

#[derive(Clone, Debug)]
struct Token {
    application: String,
    audience: String,
    ends: i64,
}

/// The headers that only who means to ask for a token sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark<'a> {
    pub(super) metadata: Option<&'a str>,
    pub(super) identity: Option<&'a str>,
}

/// What is wrong with a token.
pub(super) const MISSING: &str = "AKV10000: Request is missing a Bearer or PoP token.";
const UNKNOWN: &str = "AKV10001: Error validating token: the signature is invalid.";
const AUDIENCE: &str = "AKV10022: Invalid audience.";
const ENDED: &str = "AKV10002: Error validating token: its lifetime is over.";

impl Default for Directory {
    fn default() -> Self {
        Self { tokens: HashMap::new(), reader_may_read: true }
    }
}

impl Directory {
    pub(super) fn permit_reader(&mut self, may_read: bool) {
        self.reader_may_read = may_read;
    }

    pub(super) fn end_tokens(&mut self, now: i64) {
        self.tokens.values_mut().for_each(|token| token.ends = now);
    }

    /// Who holds `token` at a vault.
    pub(super) fn holder(&self, token: &str, now: i64) -> Result<&str, &'static str> {
        let token = self.tokens.get(token).ok_or(UNKNOWN)?;
        if token.audience != RESOURCE {
            return Err(AUDIENCE);
        }
        if token.ends <= now {
            return Err(ENDED);
        }
        Ok(&token.application)
    }

    /// Whether `application` may read secrets, or do more with them.
    pub(super) fn permits(&self, application: &str, to_read: bool) -> bool {
        application == OFFICER || (application == READER && to_read && self.reader_may_read)
    }

    /// Answers as the login service at `authority`.
    pub(super) fn log_in(
        &mut self,
        (method, path): (&str, &str),
        form: &HashMap<String, String>,
        authority: &str,
        now: i64,
    ) -> Answer {
        let steps: Vec<_> = path.split('/').filter(|step| !step.is_empty()).collect();
        match (method, steps.as_slice()) {
            ("POST", [tenant, "oauth2", "v2.0", "token"]) => match self.grant(tenant, form, now) {
                Ok(token) => json_answer(
                    200,
                    &json!({"token_type": "Bearer", "expires_in": LIFE, "ext_expires_in": LIFE,
                            "access_token": token}),
                ),
                Err(refused) => refused.answer(),
            },
            ("GET", [tenant, "v2.0", ".well-known", "openid-configuration"]) => {
                json_answer(200, &configuration(authority, tenant))
            }
            ("GET", ["common", "discovery", "instance"]) => {
                let tenant = format!("{authority}/{TENANT}/v2.0/.well-known/openid-configuration");
                let metadata = json!([{"preferred_network": LOGIN, "preferred_cache": LOGIN,
                                       "aliases": [LOGIN]}]);
                let found = json!({"tenant_discovery_endpoint": tenant, "api-version": "1.1",
                                   "metadata": metadata});
                json_answer(200, &found)
            }
            _ => json_answer(404, &json!({"error": "not_found"})),
        }
    }

    fn grant(
        &mut self,
        tenant: &str,
        form: &HashMap<String, String>,
        now: i64,
    ) -> Result<String, Refused> {
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if tenant != TENANT {
            return Err(Refused(400, "invalid_request", 90_002, "Tenant not found."));
        }
        if field("grant_type") != "client_credentials" {
            return Err(Refused(400, "unsupported_grant_type", 70_003, "No such grant."));
        }
        let application = field("client_id");
        if ![READER, OFFICER].contains(&application) {
            let told = "Application was not found in the directory.";
            return Err(Refused(400, "unauthorized_client", 700_016, told));
        }
        let is_proven = match field("client_assertion_type") {
            "" => field("client_secret") == READER_SECRET,
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" => {
                field("client_assertion") == ASSERTION
            }
            _ => false,
        };
        if !is_proven {
            let told = "Invalid client secret provided.";
            return Err(Refused(401, "invalid_client", 7_000_215, told));
        }
        let Some(audience) = field("scope").strip_suffix("/.default") else {
            return Err(Refused(400, "invalid_scope", 70_011, "The scope is not valid."));
        };
        if audience != RESOURCE {
            let told = "The resource principal was not found in the tenant.";
            return Err(Refused(400, "invalid_resource", 500_011, told));
        }
        Ok(self.token(application, audience, now))
    }

    /// Answers as the metadata service, or as what App Service has in its place. `mark` is the
    /// header that shows that a request was not tricked out of its sender.
    pub(super) fn vouch(
        &mut self,
        path: &str,
        query: &HashMap<String, String>,
        mark: Mark<'_>,
        now: i64,
    ) -> Answer {
        let refused = |told: &str| {
            json_answer(400, &json!({"error": "invalid_request", "error_description": told}))
        };
        let field = |name: &str| query.get(name).map(String::as_str);
        match path {
            "/metadata/identity/oauth2/token" if mark.metadata != Some("true") => {
                return refused("Required metadata header not specified");
            }
            "/msi/token" if mark.identity != Some(IDENTITY_HEADER) => {
                return refused("X-IDENTITY-HEADER is missing or wrong");
            }
            "/metadata/identity/oauth2/token" | "/msi/token" => {}
            _ => return json_answer(404, &json!({"error": "Not found"})),
        }
        if !matches!(field("api-version"), Some("2018-02-01" | "2019-08-01")) {
            return refused("Required query variable 'api-version' is missing or unsupported");
        }
        if !matches!(field("client_id"), None | Some(READER)) {
            return refused("Identity not found");
        }
        let Some(resource) = field("resource") else {
            return refused("Required query variable 'resource' is missing");
        };
        let token = self.token(READER, resource, now);
        let text = |number: i64| number.to_string();
        json_answer(
            200,
            &json!({"access_token": token, "client_id": READER, "expires_in": text(LIFE),
                    "expires_on": text(now + LIFE), "ext_expires_in": text(LIFE),
                    "not_before": text(now), "resource": resource, "token_type": "Bearer"}),
        )
    }

    fn token(&mut self, application: &str, audience: &str, now: i64) -> String {
        let text = format!("fake-secret-token-{}", self.tokens.len());
        let token = Token {
            application: application.to_owned(),
            audience: audience.to_owned(),
            ends: now + LIFE,
        };
        self.tokens.insert(text.clone(), token);
        text
    }
}

fn configuration(authority: &str, tenant: &str) -> Value {
    json!({
        "token_endpoint": format!("{authority}/{tenant}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{authority}/{tenant}/oauth2/v2.0/authorize"),
        "issuer": format!("{authority}/{tenant}/v2.0"),
        "jwks_uri": format!("{authority}/{tenant}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
    })
}

/// A refused login: the status, the error, its number and its text.
struct Refused(u16, &'static str, u32, &'static str);

impl Refused {
    fn answer(self) -> Answer {
        let Self(status, error, number, told) = self;
        let description = format!("AADSTS{number}: {told}");
        json_answer(
            status,
            &json!({"error": error, "error_description": description, "error_codes": [number],
                    "timestamp": "2026-11-21 12:00:00Z",
                    "trace_id": "00000000-0000-4000-8000-000000000001",
                    "correlation_id": "00000000-0000-4000-8000-000000000002"}),
        )
    }
}
