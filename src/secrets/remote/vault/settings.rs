//! Where the vault is and who we are to it, from the variables that Vault's own tools read.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use reqwest::header::HeaderValue;
use url::{Host, Url};

use super::super::super::{Environment, Process, Secret};
use super::super::Failure;

/// What the environment says of the vault.
#[derive(Debug)]
pub(super) struct Settings {
    /// The address, to which paths are added.
    pub(super) address: Url,
    /// The namespace of every request.
    pub(super) namespace: Option<HeaderValue>,
    /// The path of the secrets engine; otherwise the first segment of a secret's name.
    pub(super) mount: Option<String>,
    /// The file of the only authorities to trust; otherwise those of the machine.
    pub(super) authorities: Option<PathBuf>,
    /// Who we are.
    pub(super) identity: Identity,
    /// Whose rights count for files.
    pub(super) process: Process,
}

/// Who we are to the vault.
#[derive(Debug)]
pub(super) enum Identity {
    /// The holder of a token.
    Token(Secret),
    /// The holder of the token in a file, which somebody else may replace at any time.
    TokenFile(PathBuf),
    /// A program that logs in.
    AppRole(AppRole),
}

/// What a login takes.
#[derive(Debug)]
pub(super) struct AppRole {
    /// The path of the auth method.
    pub(super) mount: String,
    /// Which role.
    pub(super) role_id: Secret,
    /// Its password.
    pub(super) secret_id: SecretId,
}

/// The password of a role.
#[derive(Debug)]
pub(super) enum SecretId {
    /// Itself.
    Text(Secret),
    /// In a file, which somebody else may replace at any time.
    File(PathBuf),
}

impl Settings {
    /// The settings in `environment`. An empty variable counts as one that is not set.
    pub(super) fn of(environment: &Environment, process: &Process) -> Result<Self, Failure> {
        Ok(Self {
            address: address(environment)?,
            namespace: namespace(environment)?,
            mount: mount(environment, "VAULT_KV_MOUNT")?,
            authorities: text(environment, "VAULT_CACERT").map(PathBuf::from),
            identity: Identity::of(environment)?,
            process: Process { variables: BTreeMap::new(), ..*process },
        })
    }
}

impl Identity {
    fn of(environment: &Environment) -> Result<Self, Failure> {
        let secret = |name| variable(environment, name);
        if let Some(token) = secret("VAULT_TOKEN") {
            return match token.usable() {
                Ok(()) => Ok(Self::Token(token.clone())),
                Err(why) => Err(unset(&format!("VAULT_TOKEN {why}"))),
            };
        }
        if let Some(path) = text(environment, "VAULT_TOKEN_FILE") {
            return Ok(Self::TokenFile(path.into()));
        }
        let Some(role_id) = secret("VAULT_ROLE_ID") else {
            return Err(unset("none of VAULT_TOKEN, VAULT_TOKEN_FILE and VAULT_ROLE_ID is set"));
        };
        let secret_id = match (secret("VAULT_SECRET_ID"), text(environment, "VAULT_SECRET_ID_FILE"))
        {
            (Some(text), _) => SecretId::Text(text.clone()),
            (None, Some(path)) => SecretId::File(path.into()),
            (None, None) => {
                return Err(unset(
                    "VAULT_ROLE_ID is set, but neither VAULT_SECRET_ID nor VAULT_SECRET_ID_FILE",
                ));
            }
        };
        let mount = mount(environment, "VAULT_APPROLE_MOUNT")?;
        let mount = mount.unwrap_or_else(|| "approle".to_owned());
        Ok(Self::AppRole(AppRole { mount, role_id: role_id.clone(), secret_id }))
    }
}

/// Whether `path` can be part of a path on a server as it stands.
pub(super) fn is_plain(path: &str) -> bool {
    path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

fn address(environment: &Environment) -> Result<Url, Failure> {
    let text = text(environment, "VAULT_ADDR").ok_or_else(|| unset("VAULT_ADDR is not set"))?;
    let url = Url::parse(text).ok().filter(Url::has_host);
    let url = url.ok_or_else(|| unset("VAULT_ADDR is not a URL such as https://vault:8200"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_here(&url) => {}
        "http" => {
            return Err(unset(
                "VAULT_ADDR is not https, and would show the token to everybody on the way",
            ));
        }
        _ => return Err(unset("VAULT_ADDR is neither https nor http")),
    }
    let bare = url.username().is_empty() && url.password().is_none();
    if !bare || url.query().is_some() || url.fragment().is_some() {
        return Err(unset("VAULT_ADDR has more than a host, a port and a path"));
    }
    Ok(url)
}

/// Whether what is sent to `url` stays on this machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback()
                || address.to_ipv4_mapped().as_ref().is_some_and(Ipv4Addr::is_loopback)
        }
        None => false,
    }
}

fn namespace(environment: &Environment) -> Result<Option<HeaderValue>, Failure> {
    let namespace = text(environment, "VAULT_NAMESPACE").map(HeaderValue::from_str).transpose();
    namespace.map_err(|_| unset("VAULT_NAMESPACE has a control character"))
}

fn mount(environment: &Environment, name: &str) -> Result<Option<String>, Failure> {
    let Some(path) = text(environment, name) else { return Ok(None) };
    let path = path.trim_matches('/');
    if is_plain(path) {
        Ok(Some(path.to_owned()))
    } else {
        Err(unset(&format!("{name} is not a path such as team/kv")))
    }
}

fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a Secret> {
    let value = environment.lookup(name)?.value;
    (!value.expose().is_empty()).then_some(value)
}

fn text<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    variable(environment, name).map(Secret::expose)
}

fn unset(why: &str) -> Failure {
    Failure::unset(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::FailureClass;
    use super::*;

    const ADDR: (&str, &str) = ("VAULT_ADDR", "https://vault.example:8200");
    const TOKEN: (&str, &str) = ("VAULT_TOKEN", "fake-token");

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let process = Process::new(variables);
        Settings::of(&Environment::new(&process), &process).map_err(|failure| {
            assert_eq!(failure.class, FailureClass::Unset);
            failure.to_string()
        })
    }

    fn told(variables: &[(&str, &str)]) -> String {
        settings(variables).unwrap_err()
    }

    #[test]
    fn an_address_and_a_token_are_enough() {
        let settings = settings(&[ADDR, TOKEN, ("VAULT_NAMESPACE", "")]).unwrap();
        assert_eq!(settings.address.as_str(), "https://vault.example:8200/");
        assert!(matches!(settings.identity, Identity::Token(_)));
        assert!(settings.namespace.is_none() && settings.mount.is_none());
    }

    #[test]
    fn what_is_missing_is_told_by_its_variable() {
        assert_eq!(told(&[TOKEN]), "VAULT_ADDR is not set");
        assert_eq!(told(&[("VAULT_ADDR", ""), TOKEN]), "VAULT_ADDR is not set");
        let nobody = "none of VAULT_TOKEN, VAULT_TOKEN_FILE and VAULT_ROLE_ID is set";
        assert_eq!(told(&[ADDR]), nobody);
        let half = "VAULT_ROLE_ID is set, but neither VAULT_SECRET_ID nor VAULT_SECRET_ID_FILE";
        assert_eq!(told(&[ADDR, ("VAULT_ROLE_ID", "fake-role")]), half);
    }

    #[test]
    fn a_token_goes_in_clear_over_loopback_alone() {
        let with = |address| settings(&[("VAULT_ADDR", address), TOKEN]);
        for address in ["http://127.0.0.1:8200", "http://[::1]", "http://localhost:8200/prefix"] {
            assert!(with(address).is_ok(), "{address}");
        }
        for address in ["http://vault.example", "http://10.0.0.1:8200", "http://localhost.example"]
        {
            assert!(with(address).unwrap_err().contains("is not https"), "{address}");
        }
    }

    #[test]
    fn an_address_with_more_in_it_is_refused_without_being_repeated() {
        for address in [
            "vault.example:8200",
            "unix:///run/vault.sock",
            "https://user:canary@vault.example",
            "https://vault.example?token=canary",
            "canary",
        ] {
            let told = told(&[("VAULT_ADDR", address), TOKEN]);
            assert!(told.starts_with("VAULT_ADDR ") && !told.contains("canary"), "{told}");
        }
    }

    #[test]
    fn a_token_wins_over_a_file_and_a_file_over_a_role() {
        let file = ("VAULT_TOKEN_FILE", "/run/token");
        let role = [("VAULT_ROLE_ID", "fake-role"), ("VAULT_SECRET_ID", "fake-secret-id")];
        let identity =
            |more: &[(&str, &str)]| settings(&[&[ADDR], more].concat()).unwrap().identity;
        assert!(matches!(identity(&[TOKEN, file, role[0]]), Identity::Token(_)));
        assert!(matches!(identity(&[file, role[0]]), Identity::TokenFile(_)));
        assert!(
            matches!(identity(&role), Identity::AppRole(AppRole { mount, .. }) if mount == "approle")
        );
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let role = [("VAULT_ROLE_ID", "canary-role"), ("VAULT_SECRET_ID", "canary-id")];
        let shown = format!("{:?}", settings(&[&[ADDR], &role[..]].concat()).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }
}
