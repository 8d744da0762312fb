//! Figures: what of many measurements is told, and whether it is within its bounds.

use std::process::ExitCode;
use std::time::Duration;

/// The value that `share` of `sorted` are not above.
pub(crate) fn percentile(sorted: &[u32], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place among some millions"
    )]
    let place = (last as f64 * share).round() as usize;
    Duration::from_nanos(sorted.get(place).copied().unwrap_or(0).into())
}

/// The one in the middle.
pub(crate) fn median<T: PartialOrd + Copy>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("figures are numbers"));
    sorted[sorted.len() / 2]
}

/// What was demanded and missed.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    missed: Vec<String>,
}

impl Bounds {
    /// `what` is `figure`, and may be at most `most`.
    pub(crate) fn at_most(&mut self, what: &str, figure: f64, most: f64, unit: &str) {
        if figure > most {
            self.missed.push(format!("{what} is {figure:.2}{unit}, and may be {most}{unit}"));
        }
    }

    /// `what` is `figure`, and must be at least `least`.
    #[allow(dead_code, reason = "not every bench has such a bound")]
    pub(crate) fn at_least(&mut self, what: &str, figure: f64, least: f64, unit: &str) {
        if figure < least {
            self.missed.push(format!("{what} is {figure:.2}{unit}, and must be {least}{unit}"));
        }
    }

    /// Says what was missed. It is a failure unless the arguments of the process take it.
    pub(crate) fn judge(self) -> ExitCode {
        for missed in &self.missed {
            println!("MISSED: {missed}");
        }
        let told_not_to = std::env::args().any(|argument| argument == "--no-bounds");
        if self.missed.is_empty() || told_not_to { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
