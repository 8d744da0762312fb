//! Many cells at once, and the table of them.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::cell::{Cell, LOADS};
use super::figures::Figures;
use super::policy::Policy;
use super::provider::Enforcement;
use super::traffic::Traffic;

/// Simulates `cells` on every processor; the figures are in the order of the cells.
pub(crate) fn run(cells: &[Cell]) -> Vec<Figures> {
    run_with_progress(cells, |_| {})
}

/// The same, telling how many cells are done whenever one is.
fn run_with_progress(cells: &[Cell], mut progress: impl FnMut(usize)) -> Vec<Figures> {
    let next = &AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, Figures)> = Vec::with_capacity(cells.len());
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(place) else { break };
                    sender.send((place, cell.run())).expect("the receiver waits for all");
                }
            });
        }
        drop(sender);
        for figures in receiver {
            done.push(figures);
            progress(done.len());
        }
    });
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, figures)| figures).collect()
}

/// The table of every policy, as Markdown.
#[derive(Debug)]
pub(crate) struct Table {
    cells: Vec<Cell>,
    figures: Vec<Figures>,
}

impl Table {
    /// Simulates every cell, telling how many of how many are done.
    pub(crate) fn simulate(seed: u64, mut progress: impl FnMut(usize, usize)) -> Self {
        let mut cells = Vec::new();
        for enforcement in Enforcement::ALL {
            for traffic in Traffic::ALL {
                for load in LOADS {
                    let cell = |policy| Cell { policy, traffic, load, enforcement, seed };
                    cells.extend(Policy::REAL.map(cell));
                }
            }
        }
        let figures = run_with_progress(&cells, |done| progress(done, cells.len()));
        Self { cells, figures }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policies = Policy::REAL.len();
        write!(f, "| provider counts by | traffic | load % |")?;
        for policy in Policy::REAL {
            write!(f, " {} |", policy.name())?;
        }
        writeln!(f, "\n| --- | --- | ---: |{}", " ---: |".repeat(policies))?;
        for (cells, figures) in self.cells.chunks(policies).zip(self.figures.chunks(policies)) {
            let Cell { enforcement, traffic, load, .. } = cells[0];
            write!(f, "| {} | {} | {load} |", enforcement.name(), traffic.name())?;
            for figures in figures {
                write!(f, " {figures} |")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
