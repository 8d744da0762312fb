//! `keypool events`

use serde_json::Value;

use super::Screen;
use super::client::{Client, ClientError};
use super::members::{items, words};
use super::table::printable;
use super::units::{counted, short};

/// Show what has happened: rotations, cooldowns, dead keys
///
/// The newest is first; times are UTC.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsArgs {
    /// Show what happens from now on, as it happens: the newest last
    #[arg(long, short)]
    pub follow: bool,
    /// The most events to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, conflicts_with = "follow")]
    pub limit: u32,
}

/// Runs `keypool events`.
pub async fn events(
    args: &EventsArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    if args.follow {
        let show = |data: &str| {
            let event = serde_json::from_str(data).ok().filter(|_| !screen.json);
            let text = event.map(|event| line(&event));
            screen.line(text.as_deref().unwrap_or(data))
        };
        return client.follow("/v1/events", show).await;
    }
    let answer = client.ask(&format!("/v1/events?limit={}", args.limit)).await?;
    screen.show(&answer, |answer, _| match items(&answer["events"]) {
        [] => "no events yet".to_owned(),
        events => events.iter().map(|event| line(event) + "\n").collect(),
    })
}

/// An event as one line: its time, its name, and what it says of itself.
fn line(event: &Value) -> String {
    if let Some(missed) = event["missed"].as_u64() {
        return format!(
            "{} missed: they came faster than they were read",
            counted(missed, "event")
        );
    }
    let time = event["time"].as_str().and_then(short).unwrap_or_default();
    let message = match event["message"].as_str() {
        Some(message) => message.to_owned(),
        None => event.to_string(),
    };
    // The longest names have fourteen letters.
    printable(&format!("{time:<15}  {:<14}  {message}", words(&event["event"])))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::cli::tests::{Daemon, block_on, shown};
    use crate::pool::WallTime;

    const EVENTS: &str = r#"{"events":[
        {"id":2,"time":"2026-11-21T11:59:58.734Z","event":"rotated","key_id":"pro_02","provider":"gemini","from":"pro_01",
         "reason":"rate_limited","message":"rotated from pro_01 to pro_02 after rate_limited"},
        {"id":1,"time":"2026-11-21T11:59:57.1Z","event":"secret_missing","key_id":"pro_01","message":"pro_01 has no secret: x"}]}"#;

    fn screen(json: bool, follow: bool, daemon: Daemon) -> (String, String) {
        let args = EventsArgs { follow, limit: 20 };
        let screen = shown(json, async |screen| events(&args, &daemon.client, screen).await);
        (screen, daemon.request())
    }

    #[test]
    fn people_get_a_line_for_each_event() {
        let (screen, request) = screen(false, false, Daemon::answering(EVENTS));
        assert!(request.starts_with("GET /v1/events?limit=20 HTTP/1.1\r\n"), "{request}");
        assert_eq!(
            screen,
            "11-21 11:59:58Z  rotated         rotated from pro_01 to pro_02 after rate_limited\n\
             11-21 11:59:57Z  secret_missing  pro_01 has no secret: x\n"
        );
    }

    #[test]
    fn programs_get_the_json_as_it_came() {
        assert_eq!(screen(true, false, Daemon::answering(EVENTS)).0, format!("{EVENTS}\n"));
    }

    #[test]
    fn nothing_is_said_to_have_happened() {
        assert_eq!(
            screen(false, false, Daemon::answering(r#"{"events":[]}"#)).0,
            "no events yet\n"
        );
    }

    #[test]
    fn events_are_followed_until_the_stream_ends() {
        let stream = "id: 1\nevent: dead\ndata: {\"event\":\"dead\",\"message\":\"a dead\"}\n\n: ping\n\nevent: missed\ndata: {\"missed\": 3}\n\n";
        let daemon = || Daemon::http(200, "text/event-stream", stream);
        let (text, request) = screen(false, true, daemon());
        assert!(request.contains("accept: text/event-stream\r\n"), "{request}");
        assert_eq!(
            text,
            "                 dead            a dead\n\
             3 events missed: they came faster than they were read\n"
        );
        let (json, _) = screen(true, true, daemon());
        assert_eq!(json, "{\"event\":\"dead\",\"message\":\"a dead\"}\n{\"missed\": 3}\n");
    }

    #[test]
    fn an_event_is_shown_as_it_happens() {
        let (shown, is_shown) = std::sync::mpsc::channel();
        let daemon = Daemon::acting(move |mut stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            write!(stream, "{head}data: {{\"event\":\"revived\"}}\n\n").unwrap();
            // The stream goes on only once the event has been seen.
            is_shown.recv_timeout(Duration::from_secs(10)).unwrap();
        });
        let args = EventsArgs { follow: true, limit: 20 };
        let mut screen = Screen { out: &mut Signal(shown), json: false, now: WallTime::default() };
        block_on(events(&args, &daemon.client, &mut screen)).unwrap();
        daemon.request();
    }

    struct Signal(std::sync::mpsc::Sender<()>);

    impl Write for Signal {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.0.send(()).map_err(std::io::Error::other)
        }
    }
}
