//! What is counted.

use keypool::pool::SelectRequest;

use crate::counted::measured;
use crate::keys;
use crate::socket;
use crate::traffic::{Kind, Meter, Traffic};

/// A part of the hot path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Selects of every kind on eight keys at 95 % of what these allow.
    SelectOfFew,
    /// The same on 400 keys.
    SelectOfMany,
    /// The same at 150 %: a third is refused.
    SelectOfTooMuch,
    /// Nothing but refusals, on 400 keys.
    Refusal,
    /// The reports between selects on 400 keys.
    Report,
    /// A select on a connection that is kept, from the bytes of the request to those of the
    /// answer, with state file and metrics.
    SocketSelect,
    /// A select and the report of its lease.
    SocketSelectAndReport,
}

const FEW: usize = 8;
const MANY: usize = 400;

/// How many calls are counted: enough for a mean that the luck of the draws does not move.
const CALLS: usize = 2000;
const CALLS_OVER_THE_SOCKET: usize = 200;

impl Scenario {
    pub(crate) const ALL: [Self; 7] = [
        Self::SelectOfFew,
        Self::SelectOfMany,
        Self::SelectOfTooMuch,
        Self::Refusal,
        Self::Report,
        Self::SocketSelect,
        Self::SocketSelectAndReport,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SelectOfFew => "select_8_keys_95_percent",
            Self::SelectOfMany => "select_400_keys_95_percent",
            Self::SelectOfTooMuch => "select_400_keys_150_percent",
            Self::Refusal => "refusal_400_keys",
            Self::Report => "report_400_keys",
            Self::SocketSelect => "socket_select",
            Self::SocketSelectAndReport => "socket_select_and_report",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// How many calls [`Scenario::run`] has counted.
    pub(crate) fn calls(self) -> usize {
        match self {
            Self::SelectOfFew
            | Self::SelectOfMany
            | Self::SelectOfTooMuch
            | Self::Refusal
            | Self::Report => CALLS,
            Self::SocketSelect | Self::SocketSelectAndReport => CALLS_OVER_THE_SOCKET,
        }
    }

    /// Makes the calls that are counted, and those that lead to them.
    pub(crate) fn run(self) {
        match self {
            Self::SelectOfFew => traffic(FEW, 95, CALLS, &mut Selects),
            Self::SelectOfMany => traffic(MANY, 95, CALLS, &mut Selects),
            Self::SelectOfTooMuch => traffic(MANY, 150, CALLS, &mut Selects),
            Self::Refusal => refusals(),
            // Some of the leases are reported after the last select, and not at all here.
            Self::Report => traffic(MANY, 95, CALLS + CALLS / 2, &mut Reports { left: CALLS }),
            Self::SocketSelect => socket::selects(CALLS_OVER_THE_SOCKET, false),
            Self::SocketSelectAndReport => socket::selects(CALLS_OVER_THE_SOCKET, true),
        }
    }
}

fn traffic(keys: usize, load: u32, selects: usize, meter: &mut impl Meter) {
    let mut traffic = Traffic::on(keys);
    traffic.settle_at(load, keys);
    traffic.run(selects, meter);
}

/// Refusals of a pool that is exhausted and stays so.
fn refusals() {
    let (mut pool, now) = keys::pool(keys::settings(MANY));
    while pool.select(SelectRequest::default(), None, now).is_ok() {}
    for _ in 0..CALLS {
        measured(&mut || assert!(pool.select(SelectRequest::default(), None, now).is_err()));
    }
}

/// Counts selects.
struct Selects;

impl Meter for Selects {
    fn select(&mut self, _kind: Kind, call: &mut dyn FnMut() -> bool) {
        measured(&mut || {
            call();
        });
    }

    fn report(&mut self, call: &mut dyn FnMut()) {
        call();
    }
}

/// Counts so many reports.
struct Reports {
    left: usize,
}

impl Meter for Reports {
    fn select(&mut self, _kind: Kind, call: &mut dyn FnMut() -> bool) {
        call();
    }

    fn report(&mut self, call: &mut dyn FnMut()) {
        if self.left > 0 {
            self.left -= 1;
            measured(call);
        } else {
            call();
        }
    }
}
