//! Calculates with dates: which day it is, what day of the week, how long between two, and so much later or earlier.
//!
//! Pure: today is given. Start at [`date`].

use jiff::civil::Date;
use jiff::{Span, Unit};

/// Longest wish, in bytes.
const MOST_BYTES: usize = 120;
/// Forms in which dates are written, beside `2026-11-24`.
const FORMS: [&str; 6] = [
    "%d %B %Y",
    "%d. %B %Y",
    "%B %d, %Y",
    "%B %d %Y",
    "%d.%m.%Y",
    "%d %b %Y",
];

/// What a wish about dates comes to: `2027-02-22, a Monday`, `90 days (12 weeks and 6 days)`.
///
/// Understands a date (`today`, `2026-12-24`, `24 December 2026`, `24.12.2026`), a date `+` or `-` a span
/// (`90 days`, `3 weeks`, `2 months`, `1 year`), and two dates with `-`, `to` or `until` between them.
///
/// # Errors
/// Words about what is not understood.
pub(super) fn date(wish: &str, today: Date) -> Result<String, String> {
    if wish.len() > MOST_BYTES {
        return Err("it is too long".to_owned());
    }
    let wish = wish.trim().trim_end_matches(['?', '.']);
    for (word, sign) in [(" + ", 1), (" - ", -1), (" plus ", 1), (" minus ", -1)] {
        let Some((left, right)) = wish.split_once(word) else {
            continue;
        };
        let begin = read(left, today)?;
        if let Some(span) = span(right) {
            let span = span?;
            let there = if sign > 0 {
                begin.checked_add(span)
            } else {
                begin.checked_sub(span)
            };
            let there = there.map_err(|_| "that day is beyond the calendar".to_owned())?;
            return Ok(named(there));
        }
        if sign < 0 {
            // `later - earlier`, as with numbers.
            return between(read(right, today)?, begin);
        }
    }
    for word in [" to ", " until ", " and ", " till "] {
        let parts = wish.strip_prefix("between ").unwrap_or(wish);
        let parts = parts.strip_prefix("from ").unwrap_or(parts);
        if let Some((left, right)) = parts.split_once(word) {
            return between(read(left, today)?, read(right, today)?);
        }
    }
    read(wish, today).map(named)
}

fn named(date: Date) -> String {
    format!("{date}, a {}", date.strftime("%A"))
}

fn between(begin: Date, end: Date) -> Result<String, String> {
    let span = begin
        .until((Unit::Day, end))
        .map_err(|error| error.to_string())?;
    let days = span.get_days();
    let mut words = count(days, "day");
    if days.abs() >= 7 {
        let (weeks, rest) = (days / 7, days % 7);
        words += &format!(" ({} and {})", count(weeks, "week"), count(rest, "day"));
    }
    let calendar = begin.until((Unit::Year, end));
    if let Ok(calendar) = calendar.map_err(drop)
        && (calendar.get_years() != 0 || calendar.get_months() != 0)
    {
        let parts = [
            (i32::from(calendar.get_years()), "year"),
            (calendar.get_months(), "month"),
            (calendar.get_days(), "day"),
        ];
        let parts = parts.iter().filter(|(number, _)| *number != 0);
        let parts: Vec<String> = parts.map(|(number, what)| count(*number, what)).collect();
        words += &format!(", that is {}", parts.join(", "));
    }
    Ok(words)
}

fn count(number: i32, what: &str) -> String {
    let plural = if number.abs() == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn read(text: &str, today: Date) -> Result<Date, String> {
    let text = text.trim();
    match text.to_lowercase().as_str() {
        "today" | "now" => return Ok(today),
        "tomorrow" => return today.tomorrow().map_err(|error| error.to_string()),
        "yesterday" => return today.yesterday().map_err(|error| error.to_string()),
        _ => {}
    }
    let iso = text.parse::<Date>().ok();
    let read = iso.or_else(|| {
        let mut forms = FORMS.iter();
        forms.find_map(|form| Date::strptime(form, text).ok())
    });
    read.ok_or_else(|| format!("“{text}” is not a date; write it as 2026-12-24"))
}

/// `None` where a text is not a number and a unit.
fn span(text: &str) -> Option<Result<Span, String>> {
    let (number, unit) = text.trim().split_once(' ')?;
    let number: i64 = number.parse().ok()?;
    let span = match unit.trim().to_lowercase().trim_end_matches('s') {
        "day" => Span::new().try_days(number),
        "week" => Span::new().try_weeks(number),
        "month" => Span::new().try_months(number),
        "year" => Span::new().try_years(number),
        _ => return None,
    };
    Some(span.map_err(|_| "that day is beyond the calendar".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(wish: &str) -> Result<String, String> {
        date(wish, jiff::civil::date(2026, 11, 24))
    }

    #[test]
    fn days_are_found_and_counted() {
        for (wish, found) in [
            ("today", "2026-11-24, a Tuesday"),
            ("tomorrow", "2026-11-25, a Wednesday"),
            ("24 December 2026", "2026-12-24, a Thursday"),
            ("December 24, 2026", "2026-12-24, a Thursday"),
            ("24.12.2026", "2026-12-24, a Thursday"),
            ("today + 90 days", "2027-02-22, a Monday"),
            ("2024-01-31 + 1 month", "2024-02-29, a Thursday"),
            ("2024-02-29 plus 1 year", "2025-02-28, a Friday"),
            ("2026-03-01 - 3 weeks", "2026-02-08, a Sunday"),
            ("today - 2026-11-20", "4 days"),
            (
                "2026-11-24 to 2027-02-22",
                "90 days (12 weeks and 6 days), that is 2 months, 29 days",
            ),
            (
                "between 24 December 2025 and today",
                "335 days (47 weeks and 6 days), that is 11 months",
            ),
            ("from 2027-01-01 until 2026-12-31?", "-1 day"),
        ] {
            assert_eq!(of(wish).as_deref(), Ok(found), "{wish}");
        }
    }

    #[test]
    fn what_is_no_date_is_told() {
        for (wish, word) in [
            ("", "not a date"),
            ("soon", "not a date"),
            ("2026-02-30", "not a date"),
            ("today + some days", "not a date"),
            ("today + 99999999 years", "calendar"),
            ("9999-12-31 + 1 day", "calendar"),
        ] {
            let error = of(wish).unwrap_err();
            assert!(error.contains(word), "{wish}: {error}");
        }
        assert!(of(&"9".repeat(200)).unwrap_err().contains("long"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(wish in "(today|[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}|.{0,9})( [-+] | to | and |)(-?[0-9]{1,19} (days?|weeks|months|years)|.{0,20})") {
            drop(of(&wish));
        }
    }
}
