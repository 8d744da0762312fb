//! What the environment says of the vault and of the identity that may read it.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::super::super::{Environment, Process, Secret};
use super::super::Failure;

/// Where to log in if nothing else is set: Azure's public cloud.
const PUBLIC_CLOUD: &str = "https://login.microsoftonline.com";

/// What the environment says of the vault.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The vault: https, without anything after the host.
    pub(super) vault: Url,
    /// Who asks.
    pub(super) identity: Identity,
    /// Where applications log in: https.
    pub(super) authority: Url,
    /// Certificates that are trusted besides those of the system.
    pub(super) ca_file: Option<PathBuf>,
    /// What answers in the place of the machine's metadata service.
    pub(super) metadata: Option<Url>,
    /// Which files may be read.
    pub(super) process: Process,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    /// An application with a secret.
    ClientSecret {
        /// The directory it is in.
        tenant: Arc<str>,
        /// The application.
        client: Arc<str>,
        /// Its secret.
        secret: Secret,
    },
    /// A pod whose service account is trusted.
    Workload {
        /// The directory that trusts it.
        tenant: Arc<str>,
        /// The application it acts for.
        client: Arc<str>,
        /// Where Kubernetes keeps its token.
        token_file: PathBuf,
    },
    /// The machine itself, as the platform vouches for it.
    Managed {
        /// Which of its identities, if not the one that the system gave it.
        client: Option<Arc<str>>,
    },
}

impl Settings {
    /// The settings in `environment`; files are read as `process` may.
    pub(super) fn of(environment: &Environment, process: &Process) -> Result<Self, Failure> {
        let variables = Variables(environment);
        let vault = variables.url("AZURE_VAULT_URL", "https://NAME.vault.azure.net", &["https"])?;
        let authority = variables.url("AZURE_AUTHORITY_HOST", PUBLIC_CLOUD, &["https"])?;
        let metadata = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
        let metadata = variables.url(metadata, "http://127.0.0.1:8080", &["http", "https"])?;
        Ok(Self {
            vault: vault.ok_or_else(|| not_set("AZURE_VAULT_URL"))?,
            identity: variables.identity()?,
            authority: match authority {
                Some(authority) => authority,
                None => PUBLIC_CLOUD.parse().map_err(|_| not_set("AZURE_AUTHORITY_HOST"))?,
            },
            ca_file: variables.text("AZURE_CA_FILE").map(PathBuf::from),
            metadata,
            process: process.clone(),
        })
    }
}

/// The environment, where a variable without text is none.
struct Variables<'a>(&'a Environment);

impl<'a> Variables<'a> {
    fn secret(&self, name: &str) -> Option<&'a Secret> {
        let found = self.0.lookup(name)?.value;
        (!found.expose().is_empty()).then_some(found)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.secret(name).map(Secret::expose)
    }

    /// The URL in `name`, of a host and nothing more.
    fn url(&self, name: &str, such_as: &str, schemes: &[&str]) -> Result<Option<Url>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let is_host = |url: &Url| {
            schemes.contains(&url.scheme())
                && url.has_host()
                && url.path() == "/"
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let url = text.parse().ok().filter(is_host).ok_or_else(|| {
            Failure::unset(format!("cannot be fetched: {name} is not a URL such as {such_as}"))
        })?;
        Ok(Some(url))
    }

    /// A GUID or, of a directory, a domain.
    fn id(&self, name: &str) -> Result<Arc<str>, Failure> {
        let id = self.text(name).ok_or_else(|| not_set(name))?;
        if id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.') {
            Ok(id.into())
        } else {
            Err(Failure::unset(format!("cannot be fetched: {name} is not an id")))
        }
    }

    fn identity(&self) -> Result<Identity, Failure> {
        if let Some(secret) = self.secret("AZURE_CLIENT_SECRET") {
            let tenant = self.id("AZURE_TENANT_ID")?;
            let client = self.id("AZURE_CLIENT_ID")?;
            return Ok(Identity::ClientSecret { tenant, client, secret: secret.clone() });
        }
        if let Some(token_file) = self.text("AZURE_FEDERATED_TOKEN_FILE") {
            let tenant = self.id("AZURE_TENANT_ID")?;
            let client = self.id("AZURE_CLIENT_ID")?;
            return Ok(Identity::Workload { tenant, client, token_file: token_file.into() });
        }
        let named = self.text("AZURE_CLIENT_ID").is_some();
        let client = named.then(|| self.id("AZURE_CLIENT_ID")).transpose()?;
        Ok(Identity::Managed { client })
    }
}

fn not_set(name: &str) -> Failure {
    Failure::unset(format!("cannot be fetched: {name} is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: (&str, &str) = ("AZURE_VAULT_URL", "https://pool.vault.azure.net");
    const TENANT: (&str, &str) = ("AZURE_TENANT_ID", "contoso.example");
    const CLIENT: (&str, &str) = ("AZURE_CLIENT_ID", "keypool");
    const SECRET: (&str, &str) = ("AZURE_CLIENT_SECRET", "fake-secret-client");
    const TOKEN: (&str, &str) = ("AZURE_FEDERATED_TOKEN_FILE", "/run/token");

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let process = Process::new(variables);
        Settings::of(&Environment::new(&process), &process).map_err(|failure| failure.to_string())
    }

    fn identity(variables: &[(&str, &str)]) -> &'static str {
        match settings(variables).unwrap().identity {
            Identity::ClientSecret { .. } => "client secret",
            Identity::Workload { .. } => "workload",
            Identity::Managed { client: Some(_) } => "user-assigned",
            Identity::Managed { client: None } => "system-assigned",
        }
    }

    #[test]
    fn the_identity_is_the_first_that_the_environment_describes() {
        assert_eq!(identity(&[VAULT, TENANT, CLIENT, SECRET, TOKEN]), "client secret");
        assert_eq!(identity(&[VAULT, TENANT, CLIENT, TOKEN]), "workload");
        assert_eq!(identity(&[VAULT, TENANT, CLIENT]), "user-assigned");
        assert_eq!(identity(&[VAULT, TENANT]), "system-assigned");
        assert_eq!(identity(&[VAULT, ("AZURE_CLIENT_SECRET", "")]), "system-assigned");
    }

    #[test]
    fn what_is_missing_is_told_by_name() {
        let missing = |variables: &[(&str, &str)]| settings(variables).unwrap_err();
        assert_eq!(missing(&[]), "cannot be fetched: AZURE_VAULT_URL is not set");
        let told = "cannot be fetched: AZURE_TENANT_ID is not set";
        assert_eq!(missing(&[VAULT, CLIENT, SECRET]), told);
        let told = "cannot be fetched: AZURE_CLIENT_ID is not set";
        assert_eq!(missing(&[VAULT, TENANT, TOKEN]), told);
    }

    #[test]
    fn a_url_that_is_no_https_host_is_refused_without_being_quoted() {
        for url in [
            "http://fake.vault.azure.net",
            "fake.vault.azure.net",
            "https://user:fake@pool.vault.azure.net",
            "https://pool.vault.azure.net/secrets/fake",
            "https://pool.vault.azure.net?fake",
        ] {
            let told = settings(&[("AZURE_VAULT_URL", url)]).unwrap_err();
            let expected = "cannot be fetched: AZURE_VAULT_URL is not a URL such as \
                            https://NAME.vault.azure.net";
            assert_eq!(told, expected, "{url}");
        }
        let told = settings(&[VAULT, ("AZURE_AUTHORITY_HOST", "http://login.example")]);
        let expected = "cannot be fetched: AZURE_AUTHORITY_HOST is not a URL such as \
                        https://login.microsoftonline.com";
        assert_eq!(told.unwrap_err(), expected);
        assert!(settings(&[VAULT, ("AZURE_TENANT_ID", "a/b"), CLIENT, SECRET]).is_err());
    }

    #[test]
    fn the_public_cloud_is_where_applications_log_in_by_default() {
        assert_eq!(settings(&[VAULT]).unwrap().authority.as_str(), format!("{PUBLIC_CLOUD}/"));
        let debug = format!("{:?}", settings(&[VAULT, TENANT, CLIENT, SECRET]).unwrap());
        assert!(!debug.contains("fake-secret"), "{debug}");
    }
}
