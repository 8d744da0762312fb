//! Who we are to AWS: the SDK's usual chain, given what our environment says.

use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_config::{Region, imds};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

use super::settings::{AccessKey, Settings};
use super::transport::Connections;

/// For each step of asking an instance who it is. It answers at once, or there is none.
const INSTANCE: Duration = Duration::from_secs(1);

/// The region of the profile.
pub(super) async fn region_of_profile(settings: &Settings) -> Option<Region> {
    let files = files(settings);
    let mut profile = ProfileFileRegionProvider::builder().profile_files(files);
    if let Some(name) = &settings.profile {
        profile = profile.profile_name(name);
    }
    profile.build().region().await
}

/// Where the credentials come from: variables, else profile files, else a web identity, else the
/// role of the container, else that of the instance. Nothing is asked yet.
pub(super) fn credentials(
    settings: &Settings,
    region: Region,
    connections: &Connections,
    timeouts: TimeoutConfig,
) -> SharedCredentialsProvider {
    if let Some(key) = &settings.key {
        return SharedCredentialsProvider::new(lasting(key));
    }
    let config = ProviderConfig::without_region()
        .with_region(Some(region))
        .with_http_client(connections.clone())
        .with_timeout_config(timeouts)
        .with_retry_config(RetryConfig::disabled());
    let mut profile =
        ProfileFileCredentialsProvider::builder().configure(&config).profile_files(files(settings));
    if let Some(name) = &settings.profile {
        profile = profile.profile_name(name);
    }
    let mut web_identity = WebIdentityTokenCredentialsProvider::builder().configure(&config);
    if let Some(identity) = &settings.web_identity {
        web_identity = web_identity.static_configuration(StaticConfiguration {
            web_identity_token_file: identity.token_file.clone(),
            role_arn: identity.role.clone(),
            session_name: identity.session.clone(),
        });
    }
    let container = EcsCredentialsProvider::builder().configure(&config).build();
    let chain = CredentialsProviderChain::first_try("profile", profile.build())
        .or_else("web identity", web_identity.build())
        .or_else("container", container);
    if !settings.ask_instance {
        return SharedCredentialsProvider::new(chain);
    }
    let instance = imds::Client::builder()
        .configure(&config)
        .connect_timeout(INSTANCE)
        .read_timeout(INSTANCE)
        .max_attempts(1)
        .build();
    let instance =
        ImdsCredentialsProvider::builder().configure(&config).imds_client(instance).build();
    SharedCredentialsProvider::new(chain.or_else("instance", instance))
}

fn lasting(key: &AccessKey) -> Credentials {
    let token = key.session_token.as_ref().map(|token| token.expose().to_owned());
    Credentials::new(key.id.expose(), key.secret.expose(), token, None, "environment")
}

/// The profile files. Those that are named must be there, the usual ones need not.
fn files(settings: &Settings) -> EnvConfigFiles {
    let files = EnvConfigFiles::builder();
    let files = match &settings.config_file {
        Some(path) => files.with_file(EnvConfigFileKind::Config, path),
        None => files.include_default_config_file(true),
    };
    let files = match &settings.credentials_file {
        Some(path) => files.with_file(EnvConfigFileKind::Credentials, path),
        None => files.include_default_credentials_file(true),
    };
    files.build()
}
