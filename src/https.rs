//! What the HTTPS clients of the daemon have in common.
//!
//! They follow no redirect, heed no proxy and keep no cookie; they trust certificates by rustls
//! with ring alone; they read no more of an answer than they were told; and what goes wrong is
//! told in our own words, because those of libraries may quote what they choked on.

use std::error::Error;
use std::{io, iter};

use reqwest::{ClientBuilder, Response, redirect};
use rustls::CertificateError;
use zeroize::Zeroizing;

const USER_AGENT: &str = concat!("keypool/", env!("CARGO_PKG_VERSION"));

/// Of an answer that does not tell its length, this much is made room for at first.
const FIRST_ROOM: usize = 16 * 1024;

/// The beginnings of a client.
pub(crate) fn client() -> ClientBuilder {
    // The only one in the program; another part may have been first.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
}

/// The first `most` bytes of the body of `response`, or all if there are fewer. They are wiped on
/// drop, and no copies of them are left behind here.
pub(crate) async fn beginning(
    response: &mut Response,
    most: usize,
) -> reqwest::Result<Zeroizing<Vec<u8>>> {
    let told = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = Zeroizing::new(Vec::with_capacity(told.unwrap_or(FIRST_ROOM).min(most)));
    while body.len() < most
        && let Some(piece) = response.chunk().await?
    {
        let piece = &piece[..piece.len().min(most - body.len())];
        let needed = body.len() + piece.len();
        if needed > body.capacity() {
            // A vector that grows by itself does not wipe its former place.
            let mut roomier = Zeroizing::new(Vec::with_capacity((2 * needed).min(most)));
            roomier.extend_from_slice(&body);
            body = roomier;
        }
        body.extend_from_slice(piece);
    }
    Ok(body)
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// It takes too long.
    #[error("timeout")]
    Timeout,
    /// The certificate was good once, or will be.
    #[error("no trust: the certificate has expired, or is not valid yet")]
    Expired,
    /// The certificate is somebody else's.
    #[error("no trust: the certificate is for another name")]
    OtherName,
    /// Nobody we trust vouches for the certificate.
    #[error("no trust: the certificate is of no known authority")]
    UnknownAuthority,
    /// Anything else of TLS.
    #[error("no trust: the certificate or the TLS of the other side is not accepted")]
    NoTrust,
    /// Nobody listens, or the name has no address.
    #[error("no connection")]
    NoConnection,
    /// It ended in the middle, or was no HTTP.
    #[error("the connection broke")]
    Broken,
}

impl Trouble {
    /// What `error` means.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(why)) => Self::of_certificate(why),
            Some(_) => Self::NoTrust,
            None if error.is_connect() => Self::NoConnection,
            None => Self::Broken,
        }
    }

    fn of_certificate(why: &CertificateError) -> Self {
        use CertificateError as Why;
        #[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add more")]
        match why {
            Why::Expired
            | Why::ExpiredContext { .. }
            | Why::NotValidYet
            | Why::NotValidYetContext { .. } => Self::Expired,
            Why::NotValidForName | Why::NotValidForNameContext { .. } => Self::OtherName,
            Why::UnknownIssuer => Self::UnknownAuthority,
            _ => Self::NoTrust,
        }
    }
}

/// What caused `error`, beginning with itself.
pub(crate) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    iter::successors(Some(first), |&error| {
        // What an I/O error holds is not its source, but the source of that is.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source())
    })
}
