//! The load: one thread that keeps some connections busy, as cheaply as it can, so that what is
//! measured is the server.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::daemon::{Client, report, select};
use crate::process::processor_time;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// Keys. The answer to an echo is the request.
    Select { echoed: bool },
    /// Keys, and what came of each is reported before the next.
    SelectAndReport,
}

/// What came of a round.
#[derive(Debug)]
pub(crate) struct Round {
    /// How long each request took, in nanoseconds, from the shortest to the longest.
    pub(crate) took: Vec<u32>,
    pub(crate) span: Duration,
    pub(crate) processor: Duration,
    /// What was granted and not reported.
    leases: Vec<String>,
}

/// More than any answer has.
const ANSWER: usize = 4096;

/// How many requests are sent before the first of their answers is read, where it is not measured.
const PIPELINED: usize = 50;

const LENGTH: &[u8] = b"content-length: ";
const LEASE: &[u8] = b"{\"lease_id\":\"";

struct Connection {
    stream: UnixStream,
    sent: Instant,
    filled: usize,
    reports: bool,
    buffer: [u8; ANSWER],
}

/// Where things stand in an answer: where they stood in the last one, for a start.
#[derive(Default)]
struct Places {
    length: usize,
    body: usize,
}

/// Keeps `connections` busy at `socket`, whose server is the process `pid`: first for `warming`,
/// then measured for `span`.
pub(crate) fn load(
    socket: &Path,
    pid: u32,
    connections: usize,
    asked: Asked,
    [warming, span]: [Duration; 2],
) -> Round {
    let select = select();
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut open: Vec<Connection> = (0..connections).map(|_| Connection::to(socket)).collect();
    for (number, connection) in open.iter_mut().enumerate() {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&ready, &connection.stream, data, epoll::EventFlags::IN).unwrap();
        connection.send(&select);
    }
    let mut places = Places::default();
    let mut round = Round { took: Vec::new(), span, processor: Duration::ZERO, leases: Vec::new() };
    let mut begun = Instant::now();
    let mut processor = None;
    let mut events = Vec::with_capacity(connections);
    let mut busy = connections;
    let mut over = false;
    while busy > 0 {
        events.clear();
        epoll::wait(&ready, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        for event in &events {
            let connection = &mut open[usize::try_from(event.data.u64()).unwrap()];
            let sent = connection.sent;
            let Some(answer) = connection.receive(asked, select.len(), &mut places) else {
                continue;
            };
            let now = Instant::now();
            if processor.is_some() && !over {
                let took = now.duration_since(sent).as_nanos();
                round.took.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
            if over {
                round.leases.extend(answer.lease().map(str::to_owned));
                busy -= 1;
                continue;
            }
            match answer.lease() {
                Some(lease) if asked == Asked::SelectAndReport => {
                    let report = report(lease);
                    connection.reports = true;
                    connection.send(&report);
                }
                lease => {
                    round.leases.extend(lease.map(str::to_owned));
                    connection.reports = false;
                    connection.send(&select);
                }
            }
        }
        let passed = begun.elapsed();
        if let Some(before) = processor {
            if !over && passed >= span {
                over = true;
                round.span = passed;
                round.processor = processor_time(pid).saturating_sub(before);
            }
        } else if passed >= warming {
            processor = Some(processor_time(pid));
            begun = Instant::now();
        }
    }
    round.took.sort_unstable();
    round
}

impl Round {
    /// Reports what was not reported, so that the next round finds the server as this one did.
    pub(crate) fn report(&mut self, socket: &Path) {
        let mut client = Client::new(socket);
        for leases in self.leases.chunks(PIPELINED) {
            let reports: Vec<u8> = leases.iter().flat_map(|lease| report(lease)).collect();
            client.send(&reports);
            for _ in leases {
                client.answer();
            }
        }
        self.leases.clear();
    }
}

/// An answer that is there as a whole.
struct Answer<'a> {
    body: &'a [u8],
    reports: bool,
}

impl Answer<'_> {
    /// The lease it grants.
    fn lease(&self) -> Option<&str> {
        if self.reports {
            return None;
        }
        let rest = self.body.strip_prefix(LEASE)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        std::str::from_utf8(&rest[..end]).ok()
    }
}

impl Connection {
    fn to(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_nonblocking(true).unwrap();
        let buffer = [0; ANSWER];
        Self { stream, sent: Instant::now(), filled: 0, reports: false, buffer }
    }

    fn send(&mut self, request: &[u8]) {
        self.filled = 0;
        self.sent = Instant::now();
        // The kernel takes some hundred bytes at once.
        assert_eq!(self.stream.write(request).unwrap(), request.len());
    }

    /// Reads what is there; the answer if it is there as a whole.
    fn receive(&mut self, asked: Asked, request: usize, places: &mut Places) -> Option<Answer<'_>> {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => panic!("the server has closed a connection"),
            Ok(length) => self.filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        }
        let (bytes, reports) = (&self.buffer[..self.filled], self.reports);
        if asked == (Asked::Select { echoed: true }) {
            return (bytes.len() == request).then_some(Answer { body: &[], reports });
        }
        let body = places.body_in(bytes)?;
        assert!(bytes.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(bytes));
        Some(Answer { body, reports })
    }
}

impl Places {
    /// The body of the answer that `bytes` are, if it is there as a whole.
    fn body_in<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let at = |place: usize, text: &[u8]| bytes.get(place..)?.starts_with(text).then_some(());
        if at(self.length, LENGTH).is_none() || at(self.body.wrapping_sub(4), b"\r\n\r\n").is_none()
        {
            let find = |text: &[u8]| bytes.windows(text.len()).position(|window| window == text);
            (self.length, self.body) = (find(LENGTH)?, find(b"\r\n\r\n")? + 4);
        }
        let digits = bytes[self.length + LENGTH.len()..].iter().take_while(|b| b.is_ascii_digit());
        let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
        bytes.get(self.body..self.body + length)
    }
}
