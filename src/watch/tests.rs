use std::fs;
use std::path::Path;

use super::*;
use crate::clock::ManualClock;
use crate::control::{Asked, controls};

/// A watch over one file on a hand-moved clock.
struct Watched {
    clock: ManualClock,
    asked: Asked,
    known: watch::Sender<Arc<Looks>>,
    mode: watch::Receiver<Mode>,
    path: PathBuf,
    stop: CancellationToken,
}

impl Watched {
    fn start(path: &Path) -> Self {
        let clock = ManualClock::default();
        let (controls, asked) = controls();
        let looks = Arc::new(Looks::at([path.to_owned()]));
        let (known, receiver) = watch::channel(looks);
        let (sender, mode) = watch::channel(Mode::Poll);
        let stop = CancellationToken::new();
        let watch = Watch::new(Clock::Manual(clock.clone()), controls, receiver, sender);
        #[expect(clippy::disallowed_methods, reason = "a test stands in for `app`")]
        tokio::spawn(watch.run(stop.clone()));
        Self { clock, asked, known, mode, path: path.to_owned(), stop }
    }

    /// Lets `span` pass in small steps; how often it asked for a reload, which is answered.
    async fn reloads_within(&mut self, span: Duration) -> usize {
        let mut reloads = 0;
        let end = self.clock.now().at.plus(span);
        while self.clock.now().at < end {
            self.clock.advance(Duration::from_millis(50));
            // inotify and the threads that look take real time.
            let moment = Duration::from_millis(10);
            if tokio::time::timeout(moment, self.asked.reload()).await.is_ok() {
                reloads += 1;
                self.known.send_replace(Arc::new(Looks::at([self.path.clone()])));
            }
        }
        reloads
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_change_is_one_reload_and_a_touch_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    fs::write(&path, "a").unwrap();
    let mut watched = Watched::start(&path);
    assert_eq!(watched.reloads_within(Duration::from_secs(3)).await, 0);
    assert_eq!(*watched.mode.borrow(), Mode::InotifyAndPoll);
    fs::write(&path, "b").unwrap();
    assert_eq!(watched.reloads_within(Duration::from_secs(2)).await, 1);
    fs::write(&path, "b").unwrap();
    fs::read(&path).unwrap();
    assert_eq!(watched.reloads_within(Duration::from_secs(3)).await, 0);
}

#[tokio::test]
async fn a_file_that_is_away_for_less_than_a_second_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    fs::write(&path, "a").unwrap();
    let mut watched = Watched::start(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(watched.reloads_within(Duration::from_millis(500)).await, 0);
    fs::write(&path, "a").unwrap();
    assert_eq!(watched.reloads_within(Duration::from_secs(3)).await, 0);
    fs::remove_file(&path).unwrap();
    assert_eq!(watched.reloads_within(Duration::from_secs(3)).await, 1);
}

#[test]
fn a_change_is_taken_when_it_rests_or_when_patience_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let look = |text: Option<&str>| {
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        Looks::at([path.clone()])
    };
    let at = |millis| Instant::ZERO.plus(Duration::from_millis(millis));
    let known = look(Some("old"));
    let (first, second) = (look(Some("new")), look(Some("newer")));
    let seen = |looks: &Looks| Some(Unsettled { since: at(0), looks: looks.clone() });
    assert!(!takes(None, &first, &known, at(0)));
    assert!(takes(seen(&first).as_ref(), &first, &known, at(100)));
    assert!(!takes(seen(&first).as_ref(), &second, &known, at(900)));
    assert!(takes(seen(&first).as_ref(), &second, &known, at(1000)));
    let gone = look(None);
    assert!(!takes(seen(&gone).as_ref(), &gone, &known, at(900)));
    assert!(takes(seen(&gone).as_ref(), &gone, &known, at(1000)));
}
