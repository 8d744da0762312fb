//! The connection to Redis: a server, the one of a cluster that has the pool, or whoever a sentinel
//! names.
//!
//! All names of a pool are under one hash tag, and so at one server of a cluster. Each of the others
//! says which one that is, and a daemon is connected with that one alone: what befalls the others is
//! nothing to the pool. A client of the whole cluster would wait for all of them when it comes, and
//! have all of them load each script.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo, RedisError, ScriptInvocation, ServerErrorKind, Value,
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
    /// It is still loading, has no master, or has just given the pool to another server.
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
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain,
            ) => Self::NotReady,
            _ if matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM") => Self::Refused,
            _ if code == "OOM" || says("OOM") => Self::OutOfMemory,
            _ if code == "READONLY" || says("READONLY") => Self::ReadOnly,
            // A master that wants more replicas, or cannot save, takes no writes either.
            _ if matches!(code, "NOREPLICAS" | "MISCONF") => Self::ReadOnly,
            _ if code == "WRONGTYPE" || says("WRONGTYPE") => Self::WrongType,
            _ => Self::Garbage,
        }
    }
}

/// A connection to Redis.
#[derive(Clone)]
pub(super) struct Link(MultiplexedConnection);

/// How many servers of a cluster are asked, one after the other, which of them has the pool. Those
/// that have not heard of a move send on to the last owner, who knows.
const MOST_ASKED: usize = 4;

/// A place to be connected with: `redis://`, `rediss://` (TLS), `redis+unix://` and `unix://` name
/// a server, or one of a cluster; `redis+sentinel://HOST:PORT,HOST:PORT/NAME` asks sentinels for
/// the master `NAME`.
pub(super) struct Place<'a> {
    url: &'a Secret,
    /// What is kept there.
    name: &'a str,
}

impl<'a> Place<'a> {
    /// The place at `url` where what is called `name` is kept.
    pub(super) fn new(url: &'a Secret, name: &'a str) -> Self {
        Self { url, name }
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
        let mut client = self.client().await?;
        for _ in 0..MOST_ASKED {
            let mut link = single(&client, connect, answer).await?;
            let asked = link.query::<Value>(redis::cmd("HGET").arg(self.name).arg("")).await;
            let Err(error) = asked else { return Ok(link) };
            client = sent_on(&client, &error).ok_or_else(|| Trouble::from(&error))?;
        }
        Err(Trouble::NotReady)
    }

    async fn client(&self) -> Result<Client, Trouble> {
        let url = self.url.expose();
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
    Ok(Link(connected.map_err(|error| Trouble::from(&error))?))
}

/// The server that has what `client` was asked for, if that is another one of its cluster.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the addresses of a library, which may add more"
)]
fn sent_on(client: &Client, error: &RedisError) -> Option<Client> {
    if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
        return None;
    }
    let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
    let info = client.get_connection_info().clone();
    let mut address = info.addr().clone();
    match &mut address {
        ConnectionAddr::Tcp(own_host, own_port)
        | ConnectionAddr::TcpTls { host: own_host, port: own_port, .. } => {
            // A server that does not know how it is called means the host that was asked.
            if !matches!(host, "" | "?") {
                host.clone_into(own_host);
            }
            *own_port = port.parse().ok()?;
        }
        _ => address = ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?),
    }
    Client::open(info.set_addr(address)).ok()
}

impl Link {
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Trouble> {
        self.query(command).await.map_err(|error| Trouble::from(&error))
    }

    pub(super) async fn query<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        command.query_async(&mut self.0).await
    }

    pub(super) async fn run(&mut self, script: &ScriptInvocation<'_>) -> Result<String, Trouble> {
        script.invoke_async(&mut self.0).await.map_err(|error| Trouble::from(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(answer: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{answer}\r\n").as_bytes()).unwrap();
        answer.extract_error().unwrap_err()
    }

    #[test]
    fn a_server_that_refuses_says_why() {
        let cases = [
            ("READONLY You can't write against a read only replica.", Trouble::ReadOnly),
            ("NOREPLICAS Not enough good replicas to write.", Trouble::ReadOnly),
            ("MISCONF Redis is configured to save RDB snapshots, but", Trouble::ReadOnly),
            ("OOM command not allowed when used memory > 'maxmemory'.", Trouble::OutOfMemory),
            ("WRONGTYPE Operation against a key holding", Trouble::WrongType),
            ("MOVED 11094 127.0.0.1:7002", Trouble::NotReady),
            ("ASK 11094 127.0.0.1:7002", Trouble::NotReady),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Trouble::NotReady),
            ("CLUSTERDOWN Hash slot not served", Trouble::NotReady),
            ("NOPERM this user has no permissions to run", Trouble::Refused),
            ("ERR unknown command", Trouble::Garbage),
        ];
        for (answer, trouble) in cases {
            assert_eq!(Trouble::from(&refusal(answer)), trouble, "{answer}");
        }
    }

    #[test]
    fn a_server_of_a_cluster_sends_on_to_another() {
        let sent = |url: &str, answer: &str| {
            let next = sent_on(&Client::open(url).unwrap(), &refusal(answer))?;
            Some(next.get_connection_info().addr().to_string())
        };
        let cases = [
            ("redis://a:7000/", "MOVED 11094 10.0.0.2:7002", Some("10.0.0.2:7002")),
            ("redis://a:7000/", "MOVED 11094 ::1:7002", Some("::1:7002")),
            ("redis://a:7000/", "MOVED 11094 :7002", Some("a:7002")),
            ("redis://a:7000/", "MOVED 11094 ?:7002", Some("a:7002")),
            ("rediss://a:7000/", "MOVED 11094 b:7002", Some("b:7002")),
            ("unix:///a.sock", "MOVED 11094 b:7002", Some("b:7002")),
            ("redis://a:7000/", "MOVED 11094 b", None),
            ("redis://a:7000/", "ASK 11094 b:7002", None),
            ("redis://a:7000/", "CLUSTERDOWN Hash slot not served", None),
        ];
        for (url, answer, there) in cases {
            assert_eq!(sent(url, answer).as_deref(), there, "{url} {answer}");
        }
    }
}
