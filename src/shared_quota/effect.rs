//! What the ledger and other daemons say, done to the pool. Pure: it may be anything.

use super::wire::TakenOne;
#[cfg(any(doc, fuzzing, test))]
use super::wire::{Message, Reply};
use crate::pool::{DayParcel, GroupName, Instant, KeyId, Letter, News, Now, Parcel, Pool, Taken};

/// Takes over the groups that the ledger has given; they are held until `until`.
pub(super) fn take_over(pool: &mut Pool, given: &[TakenOne], until: Instant, now: Now) {
    let taken = given.iter().map(|one| taken(one, now.at)).collect();
    pool.take_over(taken, until, now);
    for one in given {
        let name = GroupName::from(one.name.as_str());
        for letter in mail(one).unwrap_or_default() {
            pool.read_letter(&name, &letter, now);
        }
    }
}

/// Believes what was learnt about keys.
pub(super) fn hear(pool: &mut Pool, news: &[(String, News)], now: Now) {
    for (key, news) in news {
        if let Some(key) = KeyId::parse(key) {
            pool.hear(&key, news, now);
        }
    }
}

/// Reads letters; gives back those that are for another daemon.
pub(super) fn read_letters(
    pool: &mut Pool,
    letters: Vec<(String, Letter)>,
    now: Now,
) -> Vec<(GroupName, Letter)> {
    let letters = letters.into_iter().map(|(name, letter)| (GroupName::from(name), letter));
    letters.filter(|(name, letter)| !pool.read_letter(name, letter, now)).collect()
}

fn taken(one: &TakenOne, now: Instant) -> Taken {
    let ago = |micros: u64| {
        let nanos = micros.saturating_add(1).saturating_mul(1000);
        Instant::from_nanos(now.as_nanos().saturating_sub(nanos))
    };
    let handed_over = ago(one.ago);
    // What cannot be read may have been anything: the group counts as used up at the handover.
    let read = parcel(one);
    let sound = read.is_ok() && mail(one).is_ok();
    let unread = (!sound).then_some(handed_over);
    Taken {
        name: one.name.as_str().into(),
        epoch: one.epoch,
        parcel: counted_of_day(one, read.unwrap_or_default()),
        handed_over,
        doubted_until: one.doubt.map(ago).max(unread),
    }
}

/// What the last holder handed over, if there was one.
fn parcel(one: &TakenOne) -> serde_json::Result<Option<Parcel>> {
    one.parcel.as_deref().map(serde_json::from_str).transpose()
}

/// What others have written to the holder.
fn mail(one: &TakenOne) -> serde_json::Result<Vec<Letter>> {
    one.mail.as_deref().map_or(Ok(Vec::new()), serde_json::from_str)
}

/// The parcel, with what the last holder said since of the requests of the day.
fn counted_of_day(one: &TakenOne, parcel: Option<Parcel>) -> Option<Parcel> {
    let counted = one.day.as_deref().and_then(|day| {
        let (number, used) = day.split_once('|')?;
        Some(DayParcel { number: number.parse().ok()?, used: used.parse().ok()?, late: 0 })
    });
    let Some(counted) = counted else { return parcel };
    let mut parcel = parcel.unwrap_or_default();
    if counted.number > parcel.day.number {
        parcel.day = counted;
    } else if counted.number == parcel.day.number {
        parcel.day.used = parcel.day.used.max(counted.used);
    }
    Some(parcel)
}

/// Does what `text` says as an answer of the ledger and as a message, as far as it is one.
#[cfg(any(doc, fuzzing, test))]
pub(crate) fn obey(pool: &mut Pool, text: &str, until: Instant, now: Now) {
    if let Ok(reply) = serde_json::from_str::<Reply>(text) {
        hear(pool, &reply.news, now);
        take_over(pool, &reply.taken, until, now);
        let lost: Vec<GroupName> = reply.lost.iter().map(|name| name.as_str().into()).collect();
        pool.handed_over(&lost, now);
    }
    if let Ok(message) = serde_json::from_str::<Message>(text) {
        hear(pool, &message.news, now);
        read_letters(pool, message.letters, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parcel: Option<&str>, mail: Option<&str>) -> Taken {
        let one = TakenOne {
            name: "g".into(),
            parcel: parcel.map(Into::into),
            mail: mail.map(Into::into),
            ago: 999,
            ..TakenOne::default()
        };
        taken(&one, Instant::from_nanos(5_000_000))
    }

    #[test]
    fn what_cannot_be_read_may_have_been_used_until_the_handover() {
        let handover = Instant::from_nanos(4_000_000);
        assert_eq!(read(Some("{}"), Some("[]")).doubted_until, None);
        assert_eq!(read(None, None).doubted_until, None);
        for (parcel, mail) in [("", "[]"), ("[", "[]"), ("{\"requests\":7}", "[]"), ("{}", "{")] {
            let read = read(Some(parcel), Some(mail));
            assert_eq!(read.doubted_until, Some(handover), "{parcel} {mail}");
        }
    }

    #[test]
    fn a_day_that_was_counted_on_counts() {
        let parcel = |day: &str| {
            let day = Some(day.to_owned());
            counted_of_day(&TakenOne { day, ..TakenOne::default() }, None)
        };
        assert_eq!(parcel("7|12").map(|parcel| parcel.day.used), Some(12));
        assert_eq!(parcel("7"), None);
    }
}
