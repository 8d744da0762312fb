//! What the environment says of AWS.

use std::path::PathBuf;

use url::{Host, Url};

use super::super::super::{Environment, Secret};
use super::super::Failure;

/// The region of `AWS_REGION`, and of the SDKs that came before.
const REGION: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// Another address than that of the region: the one for this service first.
const ENDPOINT: [&str; 2] = ["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"];

/// What the environment says of AWS.
#[derive(Debug)]
pub(super) struct Settings {
    /// The name of the region, if it is set here. A profile may have one, too.
    pub(super) region: Option<String>,
    /// Another address than that of the region.
    pub(super) endpoint: Option<String>,
    /// Who we are, if that is set here.
    pub(super) key: Option<AccessKey>,
    /// The profile to use.
    pub(super) profile: Option<String>,
    /// Another place of `~/.aws/config`.
    pub(super) config_file: Option<PathBuf>,
    /// Another place of `~/.aws/credentials`.
    pub(super) credentials_file: Option<PathBuf>,
    /// A token that AWS gives a role for.
    pub(super) web_identity: Option<WebIdentity>,
    /// Whether an EC2 instance may be asked who it is.
    pub(super) ask_instance: bool,
}

/// A lasting or temporary access key.
#[derive(Debug)]
pub(super) struct AccessKey {
    pub(super) id: Secret,
    pub(super) secret: Secret,
    pub(super) session_token: Option<Secret>,
}

/// A token that AWS gives a role for.
#[derive(Debug)]
pub(super) struct WebIdentity {
    pub(super) token_file: PathBuf,
    pub(super) role: String,
    pub(super) session: String,
}

impl Settings {
    /// Reads them from `environment`. A variable that is empty is not set.
    pub(super) fn parse(environment: &Environment) -> Result<Self, Failure> {
        let value = |name: &str| {
            let value = environment.lookup(name)?.value;
            (!value.expose().trim().is_empty()).then_some(value)
        };
        let text = |name: &str| value(name).map(|value| value.expose().trim().to_owned());
        let key = match (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Some(AccessKey {
                id: id.clone(),
                secret: secret.clone(),
                session_token: value("AWS_SESSION_TOKEN").cloned(),
            }),
            (None, None) => None,
            (Some(_), None) => return Err(half("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
            (None, Some(_)) => return Err(half("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
        };
        let web_identity = match (text("AWS_WEB_IDENTITY_TOKEN_FILE"), text("AWS_ROLE_ARN")) {
            (Some(token_file), Some(role)) => Some(WebIdentity {
                token_file: token_file.into(),
                role,
                session: text("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "keypool".to_owned()),
            }),
            _ => None,
        };
        Ok(Self {
            region: first_of(REGION, text).map(region).transpose()?,
            endpoint: first_of(ENDPOINT, text).map(endpoint).transpose()?,
            key,
            profile: text("AWS_PROFILE"),
            config_file: text("AWS_CONFIG_FILE").map(PathBuf::from),
            credentials_file: text("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from),
            web_identity,
            ask_instance: !text("AWS_EC2_METADATA_DISABLED")
                .is_some_and(|text| text.eq_ignore_ascii_case("true")),
        })
    }
}

/// The first of `names` that is set, and its value.
fn first_of(
    names: [&'static str; 2],
    text: impl Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, text(name)?)))
}

fn half(set: &str, unset: &str) -> Failure {
    Failure::unset(format!("cannot be fetched: {set} is set, and {unset} is not"))
}

fn region((name, text): (&str, String)) -> Result<String, Failure> {
    if is_region(&text) {
        Ok(text)
    } else {
        Err(Failure::unset(format!(
            "cannot be fetched: {name} is not the name of a region, such as us-east-1"
        )))
    }
}

/// Whether `text` can be the name of a region. It becomes part of a host name.
pub(super) fn is_region(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-')
}

fn endpoint((name, text): (&str, String)) -> Result<String, Failure> {
    let refused = |what| Failure::unset(format!("cannot be fetched: {name} is {what}"));
    let url = Url::parse(&text).map_err(|_| refused("no URL"))?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match url.scheme() {
        _ if !is_bare => Err(refused("no bare URL: expected https://HOST")),
        "https" => Ok(text),
        "http" if is_this_machine(&url) => Ok(text),
        _ => Err(refused("no https URL; http is for addresses of this machine alone")),
    }
}

/// Whether `url` leads to this machine and no further.
pub(super) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::{EnvFile, Process};
    use super::*;

    /// The settings of `process` over a `.env` file.
    fn settings(process: &[(&str, &str)], file: &str) -> Result<Settings, String> {
        let variables = process.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut environment = Environment::new(&Process::new(variables));
        environment.add_file(EnvFile::parse("a.env".as_ref(), file.as_bytes()).0);
        Settings::parse(&environment).map_err(|failure| failure.to_string())
    }

    fn endpoint_of(name: &str, url: &str) -> Result<String, String> {
        settings(&[(name, url)], "").map(|settings| settings.endpoint.unwrap())
    }

    #[test]
    fn a_file_counts_as_much_as_the_process_and_the_process_wins() {
        let file = "AWS_REGION=eu-west-1\nAWS_ACCESS_KEY_ID=fake-id\n\
            AWS_SECRET_ACCESS_KEY=fake-secret\nAWS_SESSION_TOKEN=fake-token\nAWS_PROFILE=prod\n";
        let read = settings(&[("AWS_REGION", "us-east-1")], file).unwrap();
        assert_eq!(read.region.as_deref(), Some("us-east-1"));
        assert_eq!(read.profile.as_deref(), Some("prod"));
        let key = read.key.as_ref().unwrap();
        assert_eq!((key.id.expose(), key.secret.expose()), ("fake-id", "fake-secret"));
        assert_eq!(key.session_token.as_ref().unwrap().expose(), "fake-token");
        let shown = format!("{read:?}");
        assert!(!shown.contains("fake-"), "{shown}");
    }

    #[test]
    fn what_is_empty_is_not_set() {
        let read = settings(&[("AWS_REGION", ""), ("AWS_ENDPOINT_URL", " ")], "").unwrap();
        assert_eq!((read.region, read.endpoint, read.ask_instance), (None, None, true));
        let read = settings(&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "eu-north-1")], "");
        assert_eq!(read.unwrap().region.as_deref(), Some("eu-north-1"));
    }

    #[test]
    fn half_an_access_key_is_told_and_not_passed_over() {
        let told = settings(&[("AWS_ACCESS_KEY_ID", "fake-id")], "").unwrap_err();
        let half = "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not";
        assert_eq!(told, format!("cannot be fetched: {half}"));
    }

    #[test]
    fn a_region_cannot_lead_to_another_host() {
        for region in ["example.com/", "us-east-1.example.com", "US-EAST-1", "-", "a b", "ä"] {
            let told = settings(&[("AWS_REGION", region)], "").unwrap_err();
            assert!(told.contains("AWS_REGION is not the name of a region"), "{told}");
            assert!(!told.contains(region) || region == "-", "{told}");
        }
    }

    #[test]
    fn an_endpoint_is_https_or_this_machine() {
        let name = "AWS_ENDPOINT_URL";
        for url in ["https://vpce-1.example.com", "http://127.0.0.1:5055", "http://localhost:1"] {
            assert_eq!(endpoint_of(name, url).unwrap(), url);
        }
        for url in ["http://example.com", "http://10.0.0.1", "ftp://127.0.0.1", "127.0.0.1:5055"] {
            let told = endpoint_of(name, url).unwrap_err();
            assert!(told.starts_with("cannot be fetched: AWS_ENDPOINT_URL is no "), "{told}");
        }
        for url in ["https://fake:fake@example.com", "https://example.com/?fake", "https://a/#fake"]
        {
            let told = endpoint_of(name, url).unwrap_err();
            assert!(told.ends_with("no bare URL: expected https://HOST"), "{told}");
        }
    }

    #[test]
    fn the_endpoint_of_this_service_wins() {
        let both = [
            ("AWS_ENDPOINT_URL", "https://a.example"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://b.example"),
        ];
        assert_eq!(settings(&both, "").unwrap().endpoint.unwrap(), "https://b.example");
    }
}
