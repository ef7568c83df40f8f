//! Numbers as people read them.
//!
//! Start at [`size`] and [`time`].

/// `1 laptop`, `3 laptops`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// A number of bytes in the unit that suits it: `785 B`, `12 KiB`, `93.8 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// A number of weights as the names of models have it: `135M`, `4.0B`.
#[must_use]
pub fn weights(number: u64) -> String {
    match number {
        0..1_000_000_000 => format!("{:.0}M", number as f64 / 1e6),
        _ => format!("{:.1}B", number as f64 / 1e9),
    }
}

/// A time, in milliseconds since 1970, where the user is: `2026-11-23 06:42`.
#[must_use]
pub fn time(at_ms: i64) -> String {
    time_in(at_ms, jiff::tz::TimeZone::system())
}

fn time_in(at_ms: i64, zone: jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(time) => time.to_zoned(zone).strftime("%Y-%m-%d %H:%M").to_string(),
        // Another laptop may say anything.
        Err(_) => "at no time there is".to_owned(),
    }
}

/// As [`time`], where it may not be known.
#[must_use]
pub fn time_or_unknown(at_ms: Option<i64>) -> String {
    at_ms.map_or_else(|| "time not known".to_owned(), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_days_and_minutes_where_the_user_is() {
        use jiff::tz::{TimeZone, offset};
        assert_eq!(time_in(0, TimeZone::UTC), "1970-01-01 00:00");
        let west = TimeZone::fixed(offset(-8));
        assert_eq!(time_in(951_782_400_000, west), "2000-02-28 16:00");
        assert_eq!(time_in(i64::MAX, TimeZone::UTC), "at no time there is");
    }

    #[test]
    fn sizes_have_the_unit_that_suits_them() {
        assert_eq!(size(785), "785 B");
        assert_eq!(size(12 << 10), "12 KiB");
        assert_eq!(size(3 << 19), "1.5 MiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
    }
}
