//! A URL that may be probed.

use std::net::IpAddr;

use url::{Host, Url};

use super::address;

/// A URL that may be probed, as far as it says itself: a name must still be looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint(Url);

/// Why a URL may not be probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndpointRefused {
    /// It is none.
    #[error("expected a URL such as \"https://api.example.com\"")]
    NoUrl,
    /// It has a name or password in it.
    #[error("a URL with a name or a password in it is not probed")]
    UserInfo,
    /// It would send a key in the clear.
    #[error("expected https; probe.allow_private = true permits http")]
    Cleartext,
    /// It names this machine or a private network.
    #[error("is not a public address; probe.allow_private = true permits it")]
    Private,
}

impl Endpoint {
    /// The endpoint at `url`.
    pub fn parse(url: &str, allow_private: bool) -> Result<Self, EndpointRefused> {
        // This reads hosts as a browser does: 0x7f.1 and 2130706433 are 127.0.0.1.
        let url = Url::parse(url).map_err(|_| EndpointRefused::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointRefused::UserInfo);
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_private => {}
            "http" => return Err(EndpointRefused::Cleartext),
            _ => return Err(EndpointRefused::NoUrl),
        }
        let public = match url.host().ok_or(EndpointRefused::NoUrl)? {
            Host::Domain(name) => !is_local(name),
            // Nothing is looked up for a number, so nobody else would check it.
            Host::Ipv4(address) => address::is_public(IpAddr::V4(address)),
            Host::Ipv6(address) => address::is_public(IpAddr::V6(address)),
        };
        if public || allow_private { Ok(Self(url)) } else { Err(EndpointRefused::Private) }
    }

    /// The URL.
    pub(super) fn into_url(self) -> Url {
        self.0
    }
}

/// `localhost` and what is below it always means this machine (RFC 6761).
fn is_local(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> Option<EndpointRefused> {
        Endpoint::parse(url, false).err()
    }

    #[test]
    fn a_public_name_or_address_may_be_probed() {
        for url in
            ["https://api.example.com/v1", "https://8.8.8.8:8443/", "https://[2606:4700::1]/"]
        {
            assert_eq!(refused(url), None, "{url}");
        }
    }

    #[test]
    fn private_addresses_are_refused_however_they_are_written() {
        for url in [
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://127.1/",
            "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
            "https://0/",
            "https://169.254.169.254/latest/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[fd00:ec2::254]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://metadata.localhost:8443/",
        ] {
            assert_eq!(refused(url), Some(EndpointRefused::Private), "{url}");
            assert!(Endpoint::parse(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn keys_are_not_sent_in_the_clear() {
        assert_eq!(refused("http://api.example.com/"), Some(EndpointRefused::Cleartext));
        assert!(Endpoint::parse("http://10.0.0.1/", true).is_ok());
    }

    #[test]
    fn what_is_no_plain_url_is_refused_even_where_private_ones_are_not() {
        let refused = |url: &str| Endpoint::parse(url, true).err();
        for url in ["https://me@example.com/", "https://:word@example.com/"] {
            assert_eq!(refused(url), Some(EndpointRefused::UserInfo), "{url}");
        }
        for url in [
            "",
            "example.com",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://",
            "https://a b/",
        ] {
            assert_eq!(refused(url), Some(EndpointRefused::NoUrl), "{url}");
        }
    }
}
