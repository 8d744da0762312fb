//! The connection to Redis: one server, a cluster or whoever a sentinel names.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError,
    ScriptInvocation, ServerErrorKind,
};

use crate::secrets::Secret;

/// Why Redis does not do what it was asked, in our own words: those of libraries may quote what
/// they choked on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// The URL is none.
    #[error("the setting shared.redis_url is not understood")]
    Url,
    /// It was not asked yet.
    #[error("not connected yet")]
    NotYet,
    /// Nothing listens there, or the connection broke.
    #[error("no connection")]
    NoConnection,
    /// Daemons of another version have the pool.
    #[error(
        "daemons of another version of keypool share this pool, with layout {theirs} of what they \
         keep in Redis; this one has layout {ours}"
    )]
    OtherLayout {
        /// What they speak.
        theirs: u32,
        /// What this daemon speaks.
        ours: u32,
    },
    /// Its certificate is not one that this machine trusts, or is of another name.
    #[error("its certificate is not accepted (SSL_CERT_FILE may name those to be trusted)")]
    Certificate,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The user or the password is wrong, or may not do this.
    #[error("user or password refused, or commands missing from the user's ACL")]
    Refused,
    /// It takes no writes.
    #[error("it is read-only")]
    ReadOnly,
    /// It is still loading, or has no master.
    #[error("it is not ready")]
    NotReady,
    /// It has no memory left.
    #[error("it is out of memory")]
    OutOfMemory,
    /// Something else is stored under our names.
    #[error("something else is stored under the names of this pool")]
    WrongType,
    /// What it answers makes no sense.
    #[error("its answer is not understood")]
    Garbage,
}

impl Trouble {
    /// The layout of the daemons that have the pool, if that is what is the matter.
    pub const fn other_layout(self) -> Option<u32> {
        match self {
            Self::OtherLayout { theirs, .. } => Some(theirs),
            Self::Url
            | Self::NotYet
            | Self::NoConnection
            | Self::Certificate
            | Self::Timeout
            | Self::Refused
            | Self::ReadOnly
            | Self::NotReady
            | Self::OutOfMemory
            | Self::WrongType
            | Self::Garbage => None,
        }
    }
}

impl From<&RedisError> for Trouble {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of a library, of which it adds more"
    )]
    fn from(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        let says = |word: &str| error.to_string().contains(word);
        if error.is_io_error() && says("certificate") {
            return Self::Certificate;
        }
        if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal() {
            return Self::NoConnection;
        }
        let code = error.code().unwrap_or_default();
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Refused
            }
            ErrorKind::InvalidClientConfig => Self::Url,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::ReadOnly,
            ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain,
            ) => Self::NotReady,
            _ if matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM") => Self::Refused,
            _ if code == "OOM" || says("OOM") => Self::OutOfMemory,
            _ if code == "READONLY" || says("READONLY") => Self::ReadOnly,
            _ if code == "WRONGTYPE" || says("WRONGTYPE") => Self::WrongType,
            _ => Self::Garbage,
        }
    }
}

/// A connection to Redis.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A place to be connected with: `redis://`, `rediss://` (TLS), `redis+unix://` and `unix://` name
/// a server, or one of a cluster; `redis+sentinel://HOST:PORT,HOST:PORT/NAME` asks sentinels for
/// the master `NAME`.
pub(super) struct Place<'a>(&'a Secret);

impl<'a> Place<'a> {
    pub(super) fn new(url: &'a Secret) -> Self {
        Self(url)
    }

    /// A new connection, made within `connect`, whose answers take at most `answer`.
    pub(super) async fn connect(
        &self,
        connect: Duration,
        answer: Duration,
    ) -> Result<Link, Trouble> {
        // The only provider in the program; another part may have been first.
        rustls::crypto::ring::default_provider().install_default().ok();
        let connecting = self.connect_slowly(connect, answer);
        tokio::time::timeout(connect, connecting).await.map_err(|_| Trouble::NoConnection)?
    }

    /// A new connection to the very server that is named, or that the sentinels name.
    pub(super) async fn connect_single(
        &self,
        connect: Duration,
        answer: Duration,
    ) -> Result<Link, Trouble> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let connecting = async {
            let client = self.client().await?;
            single(&client, connect, answer).await
        };
        tokio::time::timeout(connect, connecting).await.map_err(|_| Trouble::NoConnection)?
    }

    async fn connect_slowly(&self, connect: Duration, answer: Duration) -> Result<Link, Trouble> {
        let client = self.client().await?;
        let mut link = single(&client, connect, answer).await?;
        let about: String = link.ask(redis::cmd("INFO").arg("server")).await?;
        if !about.lines().any(|line| line.trim() == "redis_mode:cluster") {
            return Ok(link);
        }
        let node = client.get_connection_info().clone();
        let cluster = ClusterClientBuilder::new([node])
            .connection_timeout(connect)
            .response_timeout(answer)
            .retries(1)
            .build();
        let cluster = cluster.map_err(|error| Trouble::from(&error))?;
        let connected = cluster.get_async_connection().await;
        Ok(Link::Cluster(connected.map_err(|error| Trouble::from(&error))?))
    }

    async fn client(&self) -> Result<Client, Trouble> {
        let url = self.0.expose();
        let Some(rest) = url.strip_prefix("redis+sentinel://") else {
            return Client::open(url).map_err(|_| Trouble::Url);
        };
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let (hosts, master) = rest.split_once('/').ok_or(Trouble::Url)?;
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let sentinels = hosts.split(',').map(|host| format!("redis://{login}{host}/"));
        let info = format!("redis://{login}localhost/").into_connection_info();
        let info = info.map_err(|_| Trouble::Url)?;
        let node = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(info.redis_settings().clone());
        let sentinel = SentinelClient::build(
            sentinels.collect(),
            master,
            Some(node),
            SentinelServerType::Master,
        );
        let mut sentinel = sentinel.map_err(|_| Trouble::Url)?;
        sentinel.async_get_client().await.map_err(|error| Trouble::from(&error))
    }
}

async fn single(client: &Client, connect: Duration, answer: Duration) -> Result<Link, Trouble> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect))
        .set_response_timeout(Some(answer));
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    Ok(Link::Single(connected.map_err(|error| Trouble::from(&error))?))
}

impl Link {
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Trouble> {
        self.query(command).await.map_err(|error| Trouble::from(&error))
    }

    pub(super) async fn query<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        match self {
            Self::Single(link) => command.query_async(link).await,
            Self::Cluster(link) => command.query_async(link).await,
        }
    }

    pub(super) async fn run(&mut self, script: &ScriptInvocation<'_>) -> Result<String, Trouble> {
        let answer = match self {
            Self::Single(link) => script.invoke_async(link).await,
            Self::Cluster(link) => script.invoke_async(link).await,
        };
        answer.map_err(|error| Trouble::from(&error))
    }
}
