//! Days and months in every time zone, from the database that is built in: the machine's own may
//! be missing, as it is in most containers.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::pool::{Calendar, Day, ResetZone, WallTime};

/// The zone called `name`, if there is one: an IANA name such as `America/Los_Angeles`.
pub fn reset_zone(name: &str) -> Option<ResetZone> {
    TimeZone::get(name).is_ok().then(|| ResetZone::new(name))
}

/// The calendar of the whole world.
#[derive(Clone, Copy, Debug, Default)]
pub struct JiffCalendar;

impl Calendar for JiffCalendar {
    fn day(&self, zone: &ResetZone, wall: WallTime) -> Day {
        let zone = time_zone(zone);
        let date = date(&zone, wall);
        let number = (date - Date::constant(1970, 1, 1)).get_days();
        Day {
            number,
            ends: date.tomorrow().ok().map_or(WallTime::NEVER, |date| start(&zone, date)),
        }
    }

    fn month_end(&self, zone: &ResetZone, wall: WallTime) -> WallTime {
        let zone = time_zone(zone);
        let next = date(&zone, wall).first_of_month().checked_add(1.month());
        next.map_or(WallTime::NEVER, |date| start(&zone, date))
    }
}

/// A zone that does not exist counts as UTC; [`reset_zone`] makes none.
fn time_zone(zone: &ResetZone) -> TimeZone {
    TimeZone::get(zone.name()).unwrap_or(TimeZone::UTC)
}

fn date(zone: &TimeZone, wall: WallTime) -> Date {
    zone.to_datetime(super::rfc3339::timestamp(wall)).date()
}

/// The first instant of `date`: where clocks are set at midnight that is not 00:00.
fn start(zone: &TimeZone, date: Date) -> WallTime {
    date.to_zoned(zone.clone()).map_or(WallTime::NEVER, |start| {
        let millis = start.timestamp().as_millisecond();
        WallTime::from_millis(u64::try_from(millis).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{parse_rfc3339, rfc3339};

    fn day_end(zone: &str, wall: &str) -> String {
        let day = JiffCalendar.day(&ResetZone::new(zone), parse_rfc3339(wall).unwrap());
        rfc3339(day.ends)
    }

    fn day_number(zone: &str, wall: &str) -> i32 {
        JiffCalendar.day(&ResetZone::new(zone), parse_rfc3339(wall).unwrap()).number
    }

    #[test]
    fn a_day_ends_at_midnight_in_its_zone() {
        assert_eq!(day_end("UTC", "2026-11-21T12:00:00Z"), "2026-11-22T00:00:00Z");
        let pacific = "America/Los_Angeles";
        assert_eq!(day_end(pacific, "2026-11-21T12:00:00Z"), "2026-11-22T08:00:00Z");
        assert_eq!(day_end(pacific, "2026-07-01T06:59:59.999Z"), "2026-07-01T07:00:00Z");
        assert_eq!(day_end(pacific, "2026-07-01T07:00:00Z"), "2026-07-02T07:00:00Z");
    }

    #[test]
    fn a_day_has_23_or_25_hours_when_clocks_change() {
        let pacific = "America/Los_Angeles";
        assert_eq!(day_end(pacific, "2026-03-08T08:00:00Z"), "2026-03-09T07:00:00Z");
        assert_eq!(day_end(pacific, "2026-11-01T07:00:00Z"), "2026-11-02T08:00:00Z");
    }

    #[test]
    fn a_day_without_a_midnight_begins_with_its_first_instant() {
        // In Santiago, Chile, clocks go from 24:00 to 01:00.
        assert_eq!(day_end("America/Santiago", "2024-09-07T12:00:00Z"), "2024-09-08T04:00:00Z");
    }

    #[test]
    fn days_are_counted_from_the_epoch_in_their_zone() {
        assert_eq!(day_number("UTC", "1970-01-02T00:00:00Z"), 1);
        assert_eq!(day_number("America/Los_Angeles", "1970-01-02T00:00:00Z"), 0);
        assert_eq!(day_number("UTC", "2026-11-21T23:59:59Z"), 20_778);
    }

    #[test]
    fn a_month_ends_on_the_first_of_the_next() {
        let month_end = |zone: &str, wall: &str| {
            rfc3339(JiffCalendar.month_end(&ResetZone::new(zone), parse_rfc3339(wall).unwrap()))
        };
        assert_eq!(month_end("UTC", "2026-12-31T23:59:59Z"), "2027-01-01T00:00:00Z");
        assert_eq!(month_end("UTC", "2024-02-01T00:00:00Z"), "2024-03-01T00:00:00Z");
        let pacific = month_end("America/Los_Angeles", "2026-11-01T05:00:00Z");
        assert_eq!(pacific, "2026-11-01T07:00:00Z");
    }

    #[test]
    fn every_day_ends_after_every_moment_in_it() {
        // Samoa left out 30 December 2011; Cuba and Lebanon change clocks at midnight.
        for zone in ["Pacific/Apia", "America/Havana", "Asia/Beirut", "America/Los_Angeles"] {
            let zone = ResetZone::new(zone);
            let mut wall = parse_rfc3339("2011-01-01T00:00:00Z").unwrap();
            let mut number = i32::MIN;
            for _ in 0..24 * 800 {
                let day = JiffCalendar.day(&zone, wall);
                assert!(day.ends > wall && day.number >= number, "{zone:?} {}", rfc3339(wall));
                number = day.number;
                wall = wall.plus(std::time::Duration::from_mins(30));
            }
        }
    }

    #[test]
    fn the_end_of_time_has_a_day_too() {
        for zone in ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"].map(ResetZone::new) {
            assert_eq!(JiffCalendar.day(&zone, WallTime::NEVER).ends, WallTime::NEVER);
            assert_eq!(JiffCalendar.month_end(&zone, WallTime::NEVER), WallTime::NEVER);
        }
    }

    #[test]
    fn a_zone_exists_or_not() {
        assert_eq!(reset_zone("America/Los_Angeles").unwrap().name(), "America/Los_Angeles");
        assert!(reset_zone("UTC").is_some());
        for name in ["", "America/Los Angeles", "Mars/Olympus", "../etc/passwd"] {
            assert!(reset_zone(name).is_none(), "{name}");
        }
    }
}
