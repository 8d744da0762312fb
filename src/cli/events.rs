//! `keypool events`

use serde_json::Value;

use super::client::{Client, ClientError};
use super::table::printable;
use super::{Screen, fields};
use crate::pool::WallTime;

/// Shows what happened to the keys, the newest first.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsArgs {
    /// Show what happens from now on, as it happens
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
            let text = event.map(|event| line(&event, screen.now));
            screen.line(text.as_deref().unwrap_or(data))
        };
        return client.follow("/v1/events", show).await;
    }
    let answer = client.ask(&format!("/v1/events?limit={}", args.limit)).await?;
    screen.show(&answer, |answer, now| {
        let events = answer["events"].as_array().map_or(&[][..], Vec::as_slice);
        if events.is_empty() {
            return "no events yet".to_owned();
        }
        events.iter().map(|event| line(event, now) + "\n").collect()
    })
}

/// An event as one line: its time, its name, and the rest of its members.
fn line(event: &Value, now: WallTime) -> String {
    let mut rest = event.clone();
    let mut take = |names: &[&str]| {
        let found = names.iter().find(|name| rest[**name].is_string());
        found.and_then(|name| rest.as_object_mut()?.remove(*name))
    };
    let known = [take(&["at", "time", "timestamp"]), take(&["event", "kind", "type"])];
    let known = known.iter().flatten().filter_map(Value::as_str).map(printable);
    let rest = fields::summary(&rest, now);
    known.chain([rest]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::cli::tests::{Daemon, block_on, shown};

    const EVENTS: &str = r#"{"events":[
        {"at":"2026-11-21T11:59:58Z","kind":"rotated","from":"pro_01","to":"pro_02","reason":"429"},
        {"at":"2026-11-21T11:59:57Z","kind":"cooling","key_id":"pro_01","until":"2026-11-21T12:00:27Z","none":null}]}"#;

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
            "2026-11-21T11:59:58Z  rotated  from=pro_01 reason=429 to=pro_02\n\
             2026-11-21T11:59:57Z  cooling  key_id=pro_01 until=2026-11-21T12:00:27Z (in 27 s)\n"
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
        let stream = "event: rotated\ndata: {\"kind\":\"rotated\",\"to\":\"pro_02\"}\n\n: ping\n\ndata: {\"kind\":\"ready\"}\n\n";
        let daemon = || Daemon::http(200, "text/event-stream", stream);
        let (text, request) = screen(false, true, daemon());
        assert!(request.contains("accept: text/event-stream\r\n"), "{request}");
        assert_eq!(text, "rotated  to=pro_02\nready\n");
        let (json, _) = screen(true, true, daemon());
        assert_eq!(json, "{\"kind\":\"rotated\",\"to\":\"pro_02\"}\n{\"kind\":\"ready\"}\n");
    }

    #[test]
    fn an_event_is_shown_as_it_happens() {
        let (shown, is_shown) = std::sync::mpsc::channel();
        let daemon = Daemon::acting(move |mut stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            write!(stream, "{head}data: {{\"kind\":\"ready\"}}\n\n").unwrap();
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
