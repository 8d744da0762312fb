//! Metrics for Prometheus: one method for each fact, and one text for each scrape.
//!
//! What the pool knows is read from the pool when somebody asks (`reading`, `exposition`): it
//! needs no second bookkeeping, costs a select nothing, and is gone with its key. What happens
//! outside of the pool is counted here, by handles that are looked up once, when [`Metrics`] is
//! made. Names stand in `catalogue` alone; the values of labels are of closed sets (`labels`) or of
//! the configuration.

mod catalogue;
mod labels;
mod reading;
mod exposition;
mod capacity;
mod ages;
mod text;

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use ages::{LastRead, SecretAges};
pub use catalogue::{CATALOGUE, Family, Kind, PROCESS};
pub use exposition::{SharedQuota, Surroundings};
pub use labels::{Cut, Denial, Refresh, SelectResult};
pub use reading::Reading;

use crate::control::ReloadOutcome;
use crate::pool::{Change, ProbeVerdict, Transition, WallTime};
use exposition::unix_seconds;
use text::Text;

/// Seconds of a select: its path takes from 5 µs to 10 ms.
const SELECT_BUCKETS: [f64; 12] = [
    0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01,
    0.05,
];

/// Seconds in the waiting line, up to the longest that is usual.
const WAIT_BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// How many scrapes are made at once: each reads all keys.
const SCRAPES: usize = 2;

/// Everything that is counted and measured outside of the pool.
#[derive(Debug)]
pub struct Metrics {
    /// How old the secrets in use are.
    pub secrets: SecretAges,
    registry: Registry,
    scrapes: Arc<Semaphore>,
    selects: Counters<5>,
    select_duration: Histogram,
    wait_duration: Histogram,
    leases_expired: IntCounter,
    connections: IntGauge,
    connections_waiting: IntGauge,
    cuts: Counters<2>,
    accept_errors: IntCounter,
    denials: Counters<5>,
    probes: Counters<4>,
    reloads: Counters<4>,
    reload_successful: IntGauge,
    reload_success_time: Gauge,
    refreshes: IntCounterVec,
}

/// A counter for each value of a label, none of which is looked up again.
#[derive(Debug)]
struct Counters<const N: usize>([(&'static str, IntCounter); N]);

/// A connection that counts as open, or as waiting, until it is dropped.
#[derive(Debug)]
pub struct Connected(IntGauge);

impl Metrics {
    /// Nothing has happened yet, in a daemon that was started at `started`.
    pub fn new(started: WallTime) -> Self {
        let registry = Registry::new();
        let mut add = Registering(&registry);
        add.process();
        add.gauge(&catalogue::START_TIME).set(unix_seconds(started));
        add.build_info();
        Self {
            secrets: SecretAges::default(),
            scrapes: Arc::new(Semaphore::new(SCRAPES)),
            selects: add.counters(&catalogue::SELECTS, SelectResult::NAMES),
            select_duration: add.histogram(&catalogue::SELECT_DURATION, &SELECT_BUCKETS),
            wait_duration: add.histogram(&catalogue::WAIT_DURATION, &WAIT_BUCKETS),
            leases_expired: add.counter(&catalogue::LEASES_EXPIRED),
            connections: add.int_gauge(&catalogue::CONNECTIONS),
            connections_waiting: add.int_gauge(&catalogue::CONNECTIONS_WAITING),
            cuts: add.counters(&catalogue::CONNECTIONS_CUT, Cut::NAMES),
            accept_errors: add.counter(&catalogue::ACCEPT_ERRORS),
            denials: add.counters(&catalogue::PEER_DENIED, Denial::NAMES),
            probes: add.counters(&catalogue::PROBES, ProbeVerdict::NAMES),
            reloads: add.counters(&catalogue::RELOADS, ReloadOutcome::NAMES),
            reload_successful: add.int_gauge(&catalogue::RELOAD_SUCCESSFUL),
            reload_success_time: add.gauge(&catalogue::RELOAD_SUCCESS_TIME),
            refreshes: add.counter_vec(&catalogue::SECRET_REFRESHES),
            registry,
        }
    }

    /// A select was answered, after `took` without the time in the waiting line.
    pub fn selected(&self, result: SelectResult, took: Duration) {
        self.selects.count(result.name());
        self.select_duration.observe(took.as_secs_f64());
    }

    /// A request has left the waiting line after `span`.
    pub fn waited(&self, span: Duration) {
        self.wait_duration.observe(span.as_secs_f64());
    }

    /// A call of the pool has changed this. What the pool counts itself is not counted again.
    pub fn changed(&self, transitions: &[Transition]) {
        for transition in transitions {
            if let Change::LeaseExpired { .. } = transition.change {
                self.leases_expired.inc();
            }
        }
    }

    /// Somebody has connected.
    pub fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// Somebody has connected who has to wait for a place.
    pub fn connection_waits(&self) -> Connected {
        self.connections_waiting.inc();
        Connected(self.connections_waiting.clone())
    }

    /// A connection was ended before its client ended it.
    pub fn cut(&self, cut: Cut) {
        self.cuts.count(cut.name());
    }

    /// No connection could be accepted.
    pub fn accept_failed(&self) {
        self.accept_errors.inc();
    }

    /// A request was refused for who sent it or how.
    pub fn denied(&self, denial: Denial) {
        self.denials.count(denial.name());
    }

    /// A probe has ended.
    pub fn probed(&self, verdict: &ProbeVerdict) {
        self.probes.count(verdict.name());
    }

    /// The configuration was read at `now`.
    pub fn reloaded(&self, outcome: &ReloadOutcome, now: WallTime) {
        self.reloads.count(outcome.name());
        let valid = !matches!(outcome, ReloadOutcome::Kept { .. });
        self.reload_successful.set(i64::from(valid));
        if valid {
            self.reload_success_time.set(unix_seconds(now));
        }
    }

    /// A secret was fetched anew from `store`.
    pub fn secret_refreshed(&self, store: &'static str, result: Refresh) {
        self.refreshes.with_label_values(&[store, result.name()]).inc();
    }

    /// Waits for a place among those who may scrape at once.
    pub async fn scrape_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.scrapes.clone().acquire_owned().await.ok()
    }

    /// Everything, in Prometheus's text format, in pieces of about `piece` bytes.
    pub fn text(&self, reading: &Reading, around: &Surroundings, piece: usize) -> Vec<String> {
        let mut text = Text::in_pieces(piece);
        reading.write(around, &self.secrets, &mut text);
        // It fails on families without a name or a sample, and gathers none of these.
        TextEncoder::new().encode_utf8(&self.registry.gather(), text.last()).ok();
        text.into_pieces()
    }
}

impl<const N: usize> Counters<N> {
    fn count(&self, value: &str) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == value) {
            counter.inc();
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Makes the metrics of the catalogue.
struct Registering<'a>(&'a Registry);

impl Registering<'_> {
    fn counters<const N: usize>(
        &mut self,
        family: &Family,
        values: [&'static str; N],
    ) -> Counters<N> {
        let vec = self.counter_vec(family);
        Counters(values.map(|value| (value, vec.with_label_values(&[value]))))
    }

    fn counter_vec(&mut self, family: &Family) -> IntCounterVec {
        self.add(IntCounterVec::new(opts(family), family.labels))
    }

    fn counter(&mut self, family: &Family) -> IntCounter {
        self.add(IntCounter::with_opts(opts(family)))
    }

    fn int_gauge(&mut self, family: &Family) -> IntGauge {
        self.add(IntGauge::with_opts(opts(family)))
    }

    fn gauge(&mut self, family: &Family) -> Gauge {
        self.add(Gauge::with_opts(opts(family)))
    }

    fn histogram(&mut self, family: &Family, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(family.name, family.help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(opts))
    }

    fn build_info(&mut self) {
        let family = &catalogue::BUILD_INFO;
        let info = self.add(GaugeVec::new(opts(family), family.labels));
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    }

    fn process(&mut self) {
        // Under `/proc` with `subset=pid` some of its numbers are missing; nothing fails.
        self.0.register(Box::new(ProcessCollector::for_self())).ok();
    }

    fn add<C: Collector + Clone + 'static>(&mut self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("the catalogue holds sound names and labels");
        self.0.register(Box::new(metric.clone())).expect("each name stands in the catalogue once");
        metric
    }
}

fn opts(family: &Family) -> Opts {
    Opts::new(family.name, family.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(metrics: &Metrics, name: &str) -> u64 {
        let text = TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
        let number = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    #[test]
    fn what_is_counted_outside_of_the_pool_is_there_from_the_start() {
        let metrics = Metrics::new(WallTime::from_millis(1_500));
        assert_eq!(counted(&metrics, "keypool_selects_total{result=\"granted\"}"), 0);
        metrics.selected(SelectResult::Granted, Duration::from_micros(7));
        assert_eq!(counted(&metrics, "keypool_selects_total{result=\"granted\"}"), 1);
        let bucket = "keypool_select_duration_seconds_bucket{le=\"0.00001\"}";
        assert_eq!(counted(&metrics, bucket), 1);
    }

    #[test]
    fn a_connection_is_open_until_it_is_dropped() {
        let metrics = Metrics::new(WallTime::default());
        let connected = [metrics.connected(), metrics.connected()];
        assert_eq!(counted(&metrics, "keypool_connections "), 2);
        drop(connected);
        assert_eq!(counted(&metrics, "keypool_connections "), 0);
    }

    #[test]
    fn a_refresh_is_counted_by_its_store_and_result() {
        let metrics = Metrics::new(WallTime::default());
        metrics.secret_refreshed("vault", Refresh::Denied);
        let series = "keypool_secret_refreshes_total{result=\"denied\",store=\"vault\"}";
        assert_eq!(counted(&metrics, series), 1);
    }
}
