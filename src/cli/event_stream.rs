//! The `text/event-stream` format (WHATWG HTML, 9.2), as much of it as the daemon speaks.

/// Cuts a stream of bytes into the data of its events.
#[derive(Default)]
pub(super) struct EventStream {
    line: Vec<u8>,
    data: Vec<String>,
}

impl EventStream {
    /// The data of the events that `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                events.extend(self.end_line());
            } else {
                self.line.push(*byte);
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then(|| data.join("\n"));
        }
        if let Some(data) = line.strip_prefix("data:") {
            self.data.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_wherever_the_bytes_are() {
        let text = ": hello\n\nid: 1\nevent: rotated\ndata: {\"a\":\"é\"}\n\ndata:x\r\ndata: y\r\n\r\ndata: half";
        for size in [1, 3, 1000] {
            let mut stream = EventStream::default();
            let events = text.as_bytes().chunks(size).flat_map(|bytes| stream.push(bytes));
            assert_eq!(events.collect::<Vec<_>>(), ["{\"a\":\"é\"}", "x\ny"], "{size}");
        }
    }
}
