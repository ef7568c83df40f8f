//! The few date formats that chat templates ask for.
//!
//! Some models (Llama 3.1 and later) put today's date into their system message through `strftime_now`. UTC, English
//! names, no locale: a prompt must not depend on the machine's settings. Pure: the time is passed in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Formats a point in time like C's `strftime`, in UTC. Unknown directives stay as they are.
pub(crate) fn strftime(format: &str, time: SystemTime) -> String {
    let moment = Moment::of(time);
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some(directive) => text.push_str(&moment.directive(directive)),
            None => text.push('%'),
        }
    }
    text
}

struct Moment {
    year: i64,
    month: usize,
    day: i64,
    day_of_year: i64,
    weekday: usize,
    second_of_day: i64,
}

impl Moment {
    fn of(time: SystemTime) -> Self {
        // A clock before 1970 is a broken clock; the date is decoration, so it becomes the epoch.
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        let seconds = i64::try_from(seconds).unwrap_or(0);
        let days = seconds / DAY_S;
        let mut year = 1970;
        let mut day_of_year = days;
        while day_of_year >= days_in_year(year) {
            day_of_year -= days_in_year(year);
            year += 1;
        }
        let mut month = 0;
        let mut day = day_of_year;
        while day >= days_in_month(year, month) {
            day -= days_in_month(year, month);
            month += 1;
        }
        // 1970-01-01 was a Thursday.
        let weekday = usize::try_from((days + 4) % 7).unwrap_or(0);
        Self {
            year,
            month,
            day: day + 1,
            day_of_year: day_of_year + 1,
            weekday,
            second_of_day: seconds % DAY_S,
        }
    }

    fn directive(&self, directive: char) -> String {
        let (hour, minute, second) = (
            self.second_of_day / 3600,
            self.second_of_day / 60 % 60,
            self.second_of_day % 60,
        );
        match directive {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month + 1),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year),
            'B' => MONTHS[self.month].to_owned(),
            'b' | 'h' => MONTHS[self.month][..3].to_owned(),
            'A' => WEEKDAYS[self.weekday].to_owned(),
            'a' => WEEKDAYS[self.weekday][..3].to_owned(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month + 1, self.day),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'Z' => "UTC".to_owned(),
            '%' => "%".to_owned(),
            other => format!("%{other}"),
        }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: i64, month: usize) -> i64 {
    if month == 1 && is_leap(year) {
        29
    } else {
        DAYS[month]
    }
}

const DAY_S: i64 = 24 * 60 * 60;
const DAYS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, format: &str) -> String {
        strftime(format, UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn known_moments() {
        assert_eq!(at(0, "%A %d %B %Y %T"), "Thursday 01 January 1970 00:00:00");
        // 29 February of a leap year that is a multiple of 400.
        assert_eq!(
            at(951_782_400, "%a %d %b %Y, day %j"),
            "Tue 29 Feb 2000, day 060"
        );
        assert_eq!(
            at(1_735_689_599, "%F %I:%M:%S %p %Z"),
            "2024-12-31 11:59:59 PM UTC"
        );
        assert_eq!(at(4_107_542_400, "%d/%m/%y"), "01/03/00");
    }

    #[test]
    fn what_is_not_known_stays() {
        assert_eq!(at(0, "100%% %Q %"), "100% %Q %");
    }

    #[test]
    fn a_clock_before_1970_does_not_break_the_prompt() {
        assert_eq!(strftime("%Y", UNIX_EPOCH - Duration::from_secs(5)), "1970");
    }
}
