//! A number of JSON by its value, without the loss that a float brings.

use super::parse;

/// A number, so that equal ones are equal however they are written, and no digit is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    /// Without zeros on either side; empty for zero.
    digits: String,
    /// How many zeros follow the digits; if below zero, how many of the digits follow the point.
    exponent: i64,
}

/// Digits of a number that is written out. The longest of 64 bits has as many.
const DIGITS_MAX: usize = 20;

impl Decimal {
    /// The number that JSON writes so; `None` if it is none, or of an exponent past all measure.
    pub fn parse(text: &str) -> Option<Decimal> {
        let whole = parse::check(text.as_bytes()).ok()?;
        let begins = matches!(text.as_bytes()[0], b'-' | b'0'..=b'9');
        if !begins || whole.end != text.len() {
            return None;
        }
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (above, below) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [above, below].concat();
        let digits = all.trim_end_matches('0');
        let zeros = (all.len() - digits.len()) as i64 - below.len() as i64;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Decimal {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        Some(Decimal {
            negative,
            digits,
            exponent: exponent.parse::<i64>().ok()?.checked_add(zeros)?,
        })
    }

    /// The integer in plain digits; `None` if it is none, or has more than twenty.
    pub fn plain(&self) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".into());
        }
        let zeros = usize::try_from(self.exponent).ok()?;
        if self.digits.len().checked_add(zeros)? > DIGITS_MAX {
            return None;
        }
        Some(format!(
            "{}{}{}",
            self.sign(),
            self.digits,
            "0".repeat(zeros)
        ))
    }

    /// The one text that stands for the number: plain where it can be, else digits and an exponent.
    pub fn canonical(&self) -> String {
        self.plain()
            .unwrap_or_else(|| format!("{}{}e{}", self.sign(), self.digits, self.exponent))
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_one_text() {
        let check = |expected: &str, spellings: &[&str]| {
            for text in spellings {
                let number = Decimal::parse(text).unwrap();
                assert_eq!(number.canonical(), expected, "{text}");
                assert_eq!(Decimal::parse(expected), Some(number), "{text}");
            }
        };
        check("0", &["0", "-0", "0.000", "0e5", "0e99999999999999999999"]);
        check("42", &["42", "42.0", "4.2e1", "420E-1", "0.042e+3"]);
        check("-1000", &["-1000", "-1e3", "-1000.00"]);
        check("15e-1", &["1.5", "1.50", "15e-1"]);
        check("-5e-3", &["-0.005", "-5E-3"]);
        check("9007199254740993", &["9007199254740993"]);
        check("18446744073709551615", &["18446744073709551615.0"]);
        check("1e400", &["1e400", "10e399", "0.1e401"]);
        check("123456789012345678901", &[]);
        check(
            "123456789012345678901e0",
            &["123456789012345678901", "123456789012345678901.0"],
        );
    }

    #[test]
    fn what_json_does_not_call_a_number_is_none() {
        for text in [
            "",
            "+1",
            "01",
            "1.",
            ".5",
            "1e",
            "0x1",
            "1_0",
            " 1",
            "1 ",
            "NaN",
            "\"1\"",
            "true",
            "[1]",
            "1e99999999999999999999",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
