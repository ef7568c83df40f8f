//! Calculates what a question needs, exactly: `0.1 + 0.2` is `0.3`.
//!
//! Fractions of whole numbers; roots and broken powers are rounded, and say so. Pure, bounded in length and depth, never
//! panics. Start at [`calculate`].

mod fraction;

use fraction::Fraction;

/// Longest expression, in bytes: more than anybody types.
const MOST_BYTES: usize = 200;
/// Deepest nesting of brackets and signs.
const MOST_DEPTH: usize = 32;

/// The value of an expression, as it is written: `3`, `0.3`, `≈ 1.4142135624`.
///
/// Knows `+ - * / ^ %`, brackets, `sqrt`, `abs`, `round`, `min` and `max`; `20 % of 85` is 17. Thousands may be set off
/// by commas, as in `1,200`.
///
/// # Errors
/// Words about what is not understood, or why there is no value.
pub(super) fn calculate(expression: &str) -> Result<String, String> {
    if expression.len() > MOST_BYTES {
        return Err("the expression is too long".to_owned());
    }
    let text = expression.trim().trim_end_matches('=').trim_end();
    let mut reader = Reader {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let value = reader.sum()?;
    if reader.at < reader.tokens.len() {
        return Err("something is left over at its end".to_owned());
    }
    Ok(value.to_string())
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(Fraction),
    Name(String),
    Sign(char),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    // Between the brackets of a function a comma parts its arguments.
    let mut in_call: Vec<bool> = Vec::new();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            _ if first.is_whitespace() => first.len_utf8(),
            '0'..='9' | '.' => {
                let may_group = !in_call.contains(&true);
                let (number, len) = number(rest, may_group)?;
                tokens.push(Token::Number(number));
                len
            }
            _ if first.is_alphabetic() => {
                let len = rest
                    .find(|c: char| !c.is_alphabetic())
                    .unwrap_or(rest.len());
                match rest[..len].to_lowercase().as_str() {
                    "of" | "x" | "times" => tokens.push(Token::Sign('*')),
                    name => tokens.push(Token::Name(name.to_owned())),
                }
                len
            }
            _ => {
                let sign = match first {
                    '×' | '·' => '*',
                    '÷' | ':' => '/',
                    '−' | '–' => '-',
                    '+' | '-' | '*' | '/' | '^' | '%' | '(' | ')' | ',' => first,
                    _ => return Err(format!("“{first}” is not understood")),
                };
                if sign == '(' {
                    in_call.push(matches!(tokens.last(), Some(Token::Name(_))));
                } else if sign == ')' {
                    in_call.pop();
                }
                tokens.push(Token::Sign(sign));
                first.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    Ok(tokens)
}

/// A number at the beginning of a text, and how many bytes it takes.
fn number(text: &str, may_group: bool) -> Result<(Fraction, usize), String> {
    let wrong = || "a number in it is not understood".to_owned();
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let mut len = digits(text);
    let mut whole = text[..len].to_owned();
    // Groups of exactly three digits belong to one number.
    let may_group = may_group && (1..=3).contains(&len);
    while may_group && text[len..].starts_with(',') {
        let group = digits(&text[len + 1..]);
        if group != 3 {
            return Err(wrong());
        }
        whole += &text[len + 1..len + 4];
        len += 4;
    }
    let mut decimals = "";
    if text[len..].starts_with('.') {
        let count = digits(&text[len + 1..]);
        decimals = &text[len + 1..len + 1 + count];
        len += 1 + count;
    }
    if whole.is_empty() && decimals.is_empty() {
        return Err(wrong());
    }
    let number = Fraction::of_decimal(&whole, decimals).ok_or_else(too_large)?;
    Ok((number, len))
}

fn too_large() -> String {
    "its numbers are too large".to_owned()
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn sum(&mut self) -> Result<Fraction, String> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err("it has too many brackets".to_owned());
        }
        let mut value = self.product()?;
        loop {
            if self.takes('+') {
                value = value.plus(self.product()?).ok_or_else(too_large)?;
            } else if self.takes('-') {
                let next = self.product()?;
                value = value.plus(next.negated()).ok_or_else(too_large)?;
            } else {
                self.depth -= 1;
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Fraction, String> {
        let mut value = self.signed()?;
        loop {
            if self.takes('*') {
                value = value.times(self.signed()?).ok_or_else(too_large)?;
            } else if self.takes('/') {
                let by = self.signed()?;
                let by = by.inverse().ok_or("it divides by zero")?;
                value = value.times(by).ok_or_else(too_large)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn signed(&mut self) -> Result<Fraction, String> {
        let mut is_negative = false;
        loop {
            if self.takes('-') {
                is_negative = !is_negative;
            } else if !self.takes('+') {
                break;
            }
        }
        let value = self.power()?;
        Ok(if is_negative { value.negated() } else { value })
    }

    fn power(&mut self) -> Result<Fraction, String> {
        let base = self.percent()?;
        if !self.takes('^') {
            return Ok(base);
        }
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err("it has too many powers".to_owned());
        }
        let exponent = self.signed()?;
        self.depth -= 1;
        base.to_the(exponent)
            .ok_or_else(|| "this power has no value that can be given".to_owned())
    }

    fn percent(&mut self) -> Result<Fraction, String> {
        let mut value = self.single()?;
        while self.takes('%') {
            value = value.times(Fraction::HUNDREDTH).ok_or_else(too_large)?;
        }
        Ok(value)
    }

    fn single(&mut self) -> Result<Fraction, String> {
        match self.next() {
            Some(Token::Number(number)) => Ok(number),
            Some(Token::Sign('(')) => {
                let value = self.sum()?;
                self.close()?;
                Ok(value)
            }
            Some(Token::Name(name)) => self.call(&name),
            Some(Token::Sign(sign)) => Err(format!("a number is missing before “{sign}”")),
            None => Err("a number is missing at its end".to_owned()),
        }
    }

    fn call(&mut self, name: &str) -> Result<Fraction, String> {
        if !self.takes('(') {
            return Err(format!("“{name}” is not understood"));
        }
        let mut values = vec![self.sum()?];
        while self.takes(',') {
            values.push(self.sum()?);
        }
        self.close()?;
        let no_value = || format!("{name} has no value there");
        match (name, values.as_slice()) {
            ("sqrt", [value]) => value.root().ok_or_else(no_value),
            ("abs", [value]) => Ok(value.abs()),
            ("round", [value]) => value.rounded(0).ok_or_else(too_large),
            ("round", [value, places]) => value
                .rounded(places.whole().ok_or_else(no_value)?)
                .ok_or_else(no_value),
            ("min", values) => Ok(values.iter().copied().fold(values[0], Fraction::smaller)),
            ("max", values) => Ok(values.iter().copied().fold(values[0], Fraction::larger)),
            ("sqrt" | "abs" | "round", _) => Err(format!("{name} takes another number of values")),
            _ => Err(format!("“{name}” is not understood")),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        if self.takes(')') {
            Ok(())
        } else {
            Err("a closing bracket is missing".to_owned())
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, sign: char) -> bool {
        let is_next = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(is_next);
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_exact_and_as_written() {
        for (expression, value) in [
            ("0.1 + 0.2", "0.3"),
            ("2 + 3 * 4 - 5", "9"),
            ("(2 + 3) * 4 / 8", "2.5"),
            ("-2^2", "-4"),
            ("2^-2", "0.25"),
            ("2^3^2", "512"),
            ("1 / 3", "≈ 0.3333333333"),
            ("1,200.50 * 3", "3601.5"),
            ("412,000 / 1,000,000", "0.412"),
            ("20 % of 85", "17"),
            ("85 + 85 * 19%", "101.15"),
            ("max(1, 200) + min(3,4,2)", "202"),
            ("round(2.5) + round(-2.5)", "0"),
            ("round(3.14159, 2)", "3.14"),
            ("sqrt(144)", "12"),
            ("sqrt(2)", "≈ 1.4142135624"),
            ("abs(3 - 10) × 2 ÷ 7 =", "2"),
            ("10^20 + 1", "100000000000000000001"),
            ("--4", "4"),
            (".5", "0.5"),
        ] {
            assert_eq!(calculate(expression).as_deref(), Ok(value), "{expression}");
        }
    }

    #[test]
    fn what_has_no_value_is_told_in_words() {
        for (expression, word) in [
            ("", "missing"),
            ("2 +", "missing"),
            ("2 2", "left over"),
            ("(1", "bracket"),
            ("1 / 0", "zero"),
            ("1 / (2 - 2)", "zero"),
            ("rm -rf", "not understood"),
            ("sin(1)", "not understood"),
            ("sqrt(-1)", "no value"),
            ("sqrt(1, 2)", "values"),
            ("10^100", "no value"),
            ("99999999999999999999 * 99999999999999999999", "large"),
            ("1,2", "number"),
            ("12 €", "€"),
        ] {
            let error = calculate(expression).unwrap_err();
            assert!(error.contains(word), "{expression}: {error}");
        }
        assert!(
            calculate(&"(".repeat(150))
                .unwrap_err()
                .contains("brackets")
        );
        assert!(calculate(&"1+".repeat(150)).unwrap_err().contains("long"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[-0-9+*/^%(),.a-z ]{0,60}|.{0,60}") {
            drop(calculate(&text));
        }

        #[test]
        fn it_agrees_with_the_processor(a in -99_999i64..99_999, b in -99_999i64..99_999) {
            prop_assert_eq!(calculate(&format!("{a} + {b} * {a}")), Ok((a + b * a).to_string()));
        }
    }
}
