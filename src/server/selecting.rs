//! The account of one select: what came of it, how long it took and how long it waited.

use std::time::Duration;

use super::problem::Problem;
use super::service::Service;
use crate::pool::{Instant, Refusal};
use crate::telemetry::metrics::SelectResult;

/// One select, from its parsed head to its answer. It is counted when this is dropped, so that one
/// whose caller goes away is counted as well.
pub(super) struct Selecting<'a> {
    service: &'a Service,
    begun: Instant,
    /// When the pool was asked.
    asked: Instant,
    waiting_since: Option<Instant>,
    waited: Duration,
    /// None while it is not a select.
    result: Option<SelectResult>,
}

impl<'a> Selecting<'a> {
    /// A request that may become a select.
    pub(super) fn begin(service: &'a Service) -> Self {
        let begun = service.clock.instant();
        Self {
            service,
            begun,
            asked: begun,
            waiting_since: None,
            waited: Duration::ZERO,
            result: None,
        }
    }

    /// It is one; unless more is said, it is rejected.
    pub(super) fn is_select(&mut self) {
        self.result = Some(SelectResult::Rejected);
    }

    /// The pool is asked at `now`: if there is no key, it waits from here on.
    pub(super) fn asks(&mut self, now: Instant) {
        self.asked = now;
    }

    /// It has its key.
    pub(super) fn granted(&mut self) {
        self.result = Some(SelectResult::Granted);
    }

    /// The pool gives no key.
    pub(super) fn refused(&mut self, refusal: &Refusal) -> Problem {
        self.result = Some(refusal.into());
        super::select::refused(self.service, refusal)
    }

    /// It waits in line.
    pub(super) fn waits(&mut self) {
        self.waiting_since = Some(self.asked);
    }

    /// It has left the line.
    pub(super) fn leaves_the_line(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited = self.service.clock.instant().since(since);
            self.service.metrics.waited(self.waited);
        }
    }
}

impl Drop for Selecting<'_> {
    fn drop(&mut self) {
        self.leaves_the_line();
        if let Some(result) = self.result {
            let took = self.service.clock.instant().since(self.begun);
            self.service.metrics.selected(result, took.saturating_sub(self.waited));
        }
    }
}
