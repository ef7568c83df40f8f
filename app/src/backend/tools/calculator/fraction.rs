//! Exact numbers: fractions of whole ones, as long as they fit.
//!
//! Pure. `None` means that a value does not fit, or that there is none. Start at [`Fraction`].

use std::cmp::Ordering;
use std::fmt;

/// Decimals that are shown of a value that has no end.
const SHOWN_DECIMALS: usize = 10;
/// Largest whole exponent.
const MOST_EXPONENT: i128 = 128;

/// A fraction in its lowest terms; `below` is positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fraction {
    above: i128,
    below: i128,
    /// It was rounded on the way.
    is_rounded: bool,
}

impl Fraction {
    pub(super) const HUNDREDTH: Self = Self {
        above: 1,
        below: 100,
        is_rounded: false,
    };

    fn new(above: i128, below: i128) -> Option<Self> {
        // The smallest number of all has no opposite.
        if below == 0 || above == i128::MIN {
            return None;
        }
        let divisor = gcd(above.unsigned_abs(), below.unsigned_abs());
        let divisor = i128::try_from(divisor).ok()?;
        let (above, below) = (above / divisor, below / divisor);
        let (above, below) = if below < 0 {
            (above.checked_neg()?, below.checked_neg()?)
        } else {
            (above, below)
        };
        Some(Self {
            above,
            below,
            is_rounded: false,
        })
    }

    /// The number with these digits before and behind its point.
    pub(super) fn of_decimal(whole: &str, decimals: &str) -> Option<Self> {
        let digits = format!("0{whole}{decimals}").parse().ok()?;
        Self::new(digits, power_of_ten(decimals.len())?)
    }

    fn of_float(value: f64) -> Option<Self> {
        // Twelve digits are what a rounded value is good for.
        let text = format!("{value:.12e}");
        let (digits, exponent) = text.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let (whole, decimals) = digits.split_once('.')?;
        let above: i128 = format!("{whole}{decimals}").parse().ok()?;
        let places = usize::try_from(decimals.len() as i32 - exponent);
        let value = match places {
            Ok(places) => Self::new(above, power_of_ten(places)?)?,
            Err(_) => {
                let zeros = usize::try_from(exponent - decimals.len() as i32).ok()?;
                Self::new(above.checked_mul(power_of_ten(zeros)?)?, 1)?
            }
        };
        Some(Self {
            is_rounded: true,
            ..value
        })
    }

    fn float(self) -> f64 {
        self.above as f64 / self.below as f64
    }

    fn or_rounded(self, others: &[Self]) -> Self {
        let is_rounded = self.is_rounded || others.iter().any(|other| other.is_rounded);
        Self { is_rounded, ..self }
    }

    pub(super) fn plus(self, other: Self) -> Option<Self> {
        let left = self.above.checked_mul(other.below)?;
        let right = other.above.checked_mul(self.below)?;
        let sum = Self::new(
            left.checked_add(right)?,
            self.below.checked_mul(other.below)?,
        )?;
        Some(sum.or_rounded(&[self, other]))
    }

    pub(super) fn times(self, other: Self) -> Option<Self> {
        let above = self.above.checked_mul(other.above)?;
        let product = Self::new(above, self.below.checked_mul(other.below)?)?;
        Some(product.or_rounded(&[self, other]))
    }

    pub(super) fn negated(self) -> Self {
        Self {
            above: -self.above,
            ..self
        }
    }

    pub(super) fn inverse(self) -> Option<Self> {
        Some(Self::new(self.below, self.above)?.or_rounded(&[self]))
    }

    pub(super) fn abs(self) -> Self {
        Self {
            above: self.above.abs(),
            ..self
        }
    }

    /// Its value where that is a whole number.
    pub(super) fn whole(self) -> Option<i128> {
        (self.below == 1).then_some(self.above)
    }

    pub(super) fn to_the(self, exponent: Self) -> Option<Self> {
        let Some(whole) = exponent.whole() else {
            let value = self.float().powf(exponent.float());
            return value.is_finite().then(|| Self::of_float(value)).flatten();
        };
        if whole.abs() > MOST_EXPONENT {
            return None;
        }
        let base = if whole < 0 { self.inverse()? } else { self };
        let mut value = Self::new(1, 1)?;
        for _ in 0..whole.abs() {
            value = value.times(base)?;
        }
        Some(value)
    }

    pub(super) fn root(self) -> Option<Self> {
        if self.above < 0 {
            return None;
        }
        let exact = |number: i128| {
            let near = number.isqrt();
            (near.checked_mul(near)? == number).then_some(near)
        };
        match (exact(self.above), exact(self.below)) {
            (Some(above), Some(below)) => Some(Self::new(above, below)?.or_rounded(&[self])),
            _ => Self::of_float(self.float().sqrt()),
        }
    }

    /// Rounded to so many decimals, halves away from zero.
    pub(super) fn rounded(self, places: i128) -> Option<Self> {
        let places = usize::try_from(places)
            .ok()
            .filter(|places| *places <= SHOWN_DECIMALS)?;
        let scale = power_of_ten(places)?;
        let scaled = self.times(Self::new(scale, 1)?)?;
        let twice = scaled.above.checked_mul(2)?;
        let half = twice.signum().checked_mul(scaled.below)?;
        let whole = twice.checked_add(half)? / scaled.below.checked_mul(2)?;
        Self::new(whole, scale)
    }

    pub(super) fn smaller(self, other: Self) -> Self {
        if self.compare(other) == Ordering::Greater {
            other
        } else {
            self
        }
    }

    pub(super) fn larger(self, other: Self) -> Self {
        if self.compare(other) == Ordering::Less {
            other
        } else {
            self
        }
    }

    fn compare(self, other: Self) -> Ordering {
        match self.plus(other.negated()) {
            Some(difference) => difference.above.cmp(&0),
            None => self.float().total_cmp(&other.float()),
        }
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut twos_and_fives) = (self.below, 0);
        for prime in [2, 5] {
            let mut count = 0;
            while rest % prime == 0 {
                rest /= prime;
                count += 1;
            }
            twos_and_fives = twos_and_fives.max(count);
        }
        let has_end = rest == 1 && !self.is_rounded && twos_and_fives <= SHOWN_DECIMALS;
        let places = if has_end {
            twos_and_fives
        } else {
            f.write_str("≈ ")?;
            SHOWN_DECIMALS
        };
        let exact = power_of_ten(places)
            .and_then(|scale| Some((self.rounded(places as i128)?, scale)))
            .and_then(|(value, scale)| value.above.checked_mul(scale / value.below));
        let Some(scaled) = exact else {
            return write!(f, "{}", self.float());
        };
        let digits = format!("{:0>width$}", scaled.unsigned_abs(), width = places + 1);
        let (whole, decimals) = digits.split_at(digits.len() - places);
        let decimals = decimals.trim_end_matches('0');
        let sign = if scaled < 0 { "-" } else { "" };
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{decimals}")
    }
}

fn gcd(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one.max(1)
}

fn power_of_ten(exponent: usize) -> Option<i128> {
    10i128.checked_pow(u32::try_from(exponent).ok()?)
}
