//! Just enough HTTP: requests to the daemon, and a provider that answers probes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::day::{Day, KEYS};

/// What the daemon answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(
    socket: &Path,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer { status: status.unwrap_or(0), body: body.to_owned() })
}

/// Answers probes as the script of `day` says; the address.
pub(crate) async fn serve_probes(day: Rc<Day>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let day = day.clone();
            // A probe that is given up is the daemon's affair.
            tokio::task::spawn_local(async move { answer_probe(stream, &day).await.ok() });
        }
    });
    Ok(address)
}

async fn answer_probe(mut stream: TcpStream, day: &Day) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let revoked = KEYS
        .iter()
        .any(|(id, _)| day.is_revoked(id) && head.contains(&format!("fake-secret-{id}")));
    let (status, body) = if revoked {
        let reason = r#"{"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}}"#;
        ("400 Bad Request", reason)
    } else {
        ("200 OK", r#"{"data": [], "models": []}"#)
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await
}
