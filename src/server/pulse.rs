//! Whether the serving loop goes round: it answers who asks, between two connections.

use tokio::sync::{mpsc, oneshot};

/// Where to ask the serving loop. Clones ask the same loop.
#[derive(Clone, Debug)]
pub struct Pulse(mpsc::Sender<Question>);

/// The end of the serving loop: what it was asked.
#[derive(Debug)]
pub(super) struct Rounds(mpsc::Receiver<Question>);

/// Somebody waits to hear of the loop.
#[derive(Debug)]
pub(super) struct Question(oneshot::Sender<()>);

/// The two ends of a pulse.
pub(super) fn pulse() -> (Pulse, Rounds) {
    let (questions, asked) = mpsc::channel(1);
    (Pulse(questions), Rounds(asked))
}

impl Pulse {
    /// Waits until the loop has answered; false if it has ended.
    pub async fn felt(&self) -> bool {
        let (question, answer) = oneshot::channel();
        self.0.send(Question(question)).await.is_ok() && answer.await.is_ok()
    }
}

impl Rounds {
    /// The next question.
    pub(super) async fn asked(&mut self) -> Question {
        match self.0.recv().await {
            Some(question) => question,
            // Nobody can ask any more.
            None => std::future::pending().await,
        }
    }
}

impl Question {
    pub(super) fn answer(self) {
        // Who has gone does not want to know.
        self.0.send(()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_felt_while_the_loop_goes_round() {
        let (pulse, mut rounds) = pulse();
        let turn = async {
            for _ in 0..2 {
                rounds.asked().await.answer();
            }
        };
        let felt = async { pulse.felt().await && pulse.felt().await };
        assert_eq!(tokio::join!(turn, felt), ((), true));
    }

    #[tokio::test]
    async fn it_is_not_felt_once_the_loop_has_ended() {
        let (pulse, rounds) = pulse();
        drop(rounds);
        assert!(!pulse.felt().await);
    }
}
