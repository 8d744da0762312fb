//! When requests come.

use std::time::Duration;

use super::provider::Random;

/// A kind of traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traffic {
    /// Each request comes by itself.
    Poisson,
    /// Batches come by themselves: [`MEAN_BATCH`] requests on average, within a second.
    Bursty,
}

/// The mean of the geometric sizes of batches.
const MEAN_BATCH: f64 = 30.0;

impl Traffic {
    /// Both kinds.
    pub(crate) const ALL: [Self; 2] = [Self::Poisson, Self::Bursty];

    /// What people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Poisson => "Poisson",
            Self::Bursty => "bursty",
        }
    }

    /// The times, to the millisecond and in order, of `count` requests within `span`.
    ///
    /// Gaps between requests, or batches, are exponential, and then stretched so that exactly
    /// `count` come: a Poisson process of which only that is known is just so. Otherwise the load of
    /// an hour of batches would be off by several percent, now in this and now in that direction.
    pub(crate) fn arrivals(self, count: usize, span: Duration, seed: u64) -> Vec<Duration> {
        let mut random = Random::new(seed);
        let mut start = 0.0;
        let mut requests: Vec<(f64, Duration)> = Vec::new();
        while requests.len() < count {
            start += -(1.0 - random.unit()).ln();
            match self {
                Self::Poisson => requests.push((start, Duration::ZERO)),
                Self::Bursty => {
                    for _ in 0..geometric(&mut random) {
                        requests.push((start, random.millis(0, 999)));
                    }
                }
            }
        }
        requests.truncate(count);
        let end = start - (1.0 - random.unit()).ln();
        let time = |(start, offset): (f64, Duration)| {
            // What of the last batch is over the end comes at the beginning.
            let time = to_the_millisecond(span.mul_f64(start / end)) + offset;
            time.checked_sub(span).unwrap_or(time)
        };
        let mut times: Vec<Duration> = requests.into_iter().map(time).collect();
        times.sort_unstable();
        times
    }
}

fn geometric(random: &mut Random) -> u32 {
    let mut size = 1;
    while random.unit() >= 1.0 / MEAN_BATCH {
        size += 1;
    }
    size
}

fn to_the_millisecond(time: Duration) -> Duration {
    Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_seed_repeats_the_traffic_and_another_does_not() {
        for traffic in Traffic::ALL {
            let times = traffic.arrivals(600, HOUR, 1);
            assert_eq!(times, traffic.arrivals(600, HOUR, 1));
            assert_ne!(times, traffic.arrivals(600, HOUR, 2));
        }
    }

    #[test]
    fn exactly_so_many_requests_come_in_time_and_in_order() {
        for traffic in Traffic::ALL {
            for seed in 0..20 {
                let times = traffic.arrivals(1234, HOUR, seed);
                assert_eq!(times.len(), 1234);
                assert!(times.is_sorted() && times.iter().all(|time| *time < HOUR));
            }
        }
    }

    #[test]
    fn single_requests_come_evenly_over_the_hour() {
        let times = Traffic::Poisson.arrivals(10_000, HOUR, 1);
        let early = times.iter().filter(|time| **time < HOUR / 2).count();
        assert!((4_800..=5_200).contains(&early), "{early}");
    }

    #[test]
    fn batches_of_thirty_come_within_a_second() {
        // One batch a minute, so that few overlap.
        let times = Traffic::Bursty.arrivals(18_000, HOUR * 10, 1);
        let second = Duration::from_secs(1);
        let apart = times.windows(2).filter(|pair| pair[1] > pair[0] + second);
        let batches = 1 + apart.count();
        assert!((530..=670).contains(&batches), "{batches}");
    }
}
