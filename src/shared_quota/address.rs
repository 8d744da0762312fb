//! What the address of a Redis may look like. Pure.

use url::Url;

/// What it may begin with.
pub const SCHEMES: [&str; 5] =
    ["redis://", "rediss://", "redis+unix://", "unix://", "redis+sentinel://"];

/// What is wrong with an address, in words that hold nothing of it: a password may be anywhere in
/// what is not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressFault {
    /// It begins with none of [`SCHEMES`].
    #[error(
        "expected a URL such as redis://127.0.0.1/; rediss:// is TLS, redis+unix:// a socket, \
         redis+sentinel:// asks sentinels"
    )]
    Scheme,
    /// There is no host.
    #[error("expected a host, as in redis://HOST:PORT/")]
    Host,
    /// Something is not as in a URL.
    #[error(
        "expected redis://USER:PASSWORD@HOST:PORT/DATABASE, of which the host must be; in the \
         password, write %2F for /, %3F for ?, %23 for #, %40 for @ and %25 for %"
    )]
    Form,
    /// The database is no number.
    #[error("expected the number of a database after the host, or nothing: redis://HOST:PORT/0")]
    Database,
    /// There is no path.
    #[error("expected the path of a socket, as in redis+unix:///run/redis/redis.sock")]
    Path,
    /// Sentinels, or the name of their master, are missing.
    #[error(
        "expected sentinels and the name of their master: redis+sentinel://HOST:PORT,HOST:PORT/NAME"
    )]
    Sentinel,
}

/// What is wrong with `address`, if anything is.
pub fn address_fault(address: &str) -> Option<AddressFault> {
    let Some(scheme) = SCHEMES.into_iter().find(|scheme| address.starts_with(scheme)) else {
        return Some(AddressFault::Scheme);
    };
    let rest = &address[scheme.len()..];
    match scheme {
        "redis+sentinel://" => fault_of_sentinels(rest),
        "redis+unix://" | "unix://" => (!rest.starts_with('/')).then_some(AddressFault::Path),
        _ => fault_of_server(address),
    }
}

fn fault_of_server(address: &str) -> Option<AddressFault> {
    let url = match Url::parse(address) {
        Ok(url) => url,
        Err(url::ParseError::EmptyHost) => return Some(AddressFault::Host),
        Err(_) => return Some(AddressFault::Form),
    };
    let database = url.path().trim_start_matches('/');
    if url.host_str().is_none_or(str::is_empty) {
        Some(AddressFault::Host)
    } else if url.fragment().is_some() {
        Some(AddressFault::Form)
    } else if !database.is_empty() && database.parse::<u32>().is_err() {
        Some(AddressFault::Database)
    } else {
        redis::Client::open(address).is_err().then_some(AddressFault::Form)
    }
}

fn fault_of_sentinels(rest: &str) -> Option<AddressFault> {
    let hosts = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
    let Some((hosts, master)) = hosts.split_once('/') else { return Some(AddressFault::Sentinel) };
    if master.is_empty() || master.contains('/') {
        return Some(AddressFault::Sentinel);
    }
    let mut faults = hosts.split(',').map(|host| fault_of_server(&format!("redis://{host}/")));
    faults.any(|fault| fault.is_some()).then_some(AddressFault::Sentinel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_kind_are_understood() {
        for address in [
            "redis://127.0.0.1/",
            "redis://127.0.0.1",
            "redis://[::1]:6379/3",
            "rediss://keypool:fake%2Fword@redis.example.com:6380/",
            "redis://:fake-word@h",
            "redis+unix:///run/redis.sock",
            "unix:///run/redis.sock?db=1",
            "redis+sentinel://a:26379,b:26379/main",
            "redis+sentinel://keypool:fake-word@a,b/main",
        ] {
            assert_eq!(address_fault(address), None, "{address}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (address, fault) in [
            ("", AddressFault::Scheme),
            ("127.0.0.1:6379", AddressFault::Scheme),
            ("http://h/", AddressFault::Scheme),
            ("reddis://h/", AddressFault::Scheme),
            ("redis:///0", AddressFault::Host),
            ("redis://:6379/", AddressFault::Host),
            ("redis://h:port/", AddressFault::Form),
            ("redis://h:99999/", AddressFault::Form),
            ("redis://u:fake#word@h/", AddressFault::Form),
            ("redis://h/first", AddressFault::Database),
            ("unix://run/redis.sock", AddressFault::Path),
            ("redis+sentinel://a:26379", AddressFault::Sentinel),
            ("redis+sentinel://a:26379/", AddressFault::Sentinel),
            ("redis+sentinel://a:26379,:1/main", AddressFault::Sentinel),
        ] {
            assert_eq!(address_fault(address), Some(fault), "{address}");
            let told = fault.to_string();
            assert!(!told.contains("fake"), "{told}");
        }
    }
}
