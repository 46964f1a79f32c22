//! What a value without parts means: the core schema of YAML 1.2, with strict booleans.

/// A value without parts, typed by how it is written; quoted text is always a string.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'d> {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A negative whole number.
    Signed(i64),
    /// A number with a fraction, or one too large for 64 bits.
    Float(f64),
    /// Anything else.
    String(&'d str),
}

impl<'d> Value<'d> {
    /// The value of a text; `plain` text is written without quotes (YAML 1.2.2, section 10.3.2).
    pub fn new(text: &'d str, plain: bool) -> Self {
        if !plain {
            return Self::String(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Self::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => Self::Float(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => Self::Float(f64::NAN),
            _ => number(text).unwrap_or(Self::String(text)),
        }
    }
}

fn number<'d>(text: &str) -> Option<Value<'d>> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && digits.bytes().all(|byte| char::from(byte).is_digit(radix))
        {
            return u64::from_str_radix(digits, radix).ok().map(Value::Unsigned);
        }
    }
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) {
        let whole = if negative {
            text.parse().ok().map(|number: i64| match u64::try_from(number) {
                Ok(zero) => Value::Unsigned(zero),
                Err(_) => Value::Signed(number),
            })
        } else {
            rest.parse().ok().map(Value::Unsigned)
        };
        return whole.or_else(|| text.parse().ok().map(Value::Float));
    }
    is_float(rest).then(|| text.parse().ok().map(Value::Float)).flatten()
}

/// `(\.[0-9]+ | [0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let number = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !number.is_empty() && digits(number)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_fits && digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

#[cfg(test)]
mod tests {
    use super::Value::{self, Bool, Float, Null, Signed, String, Unsigned};
    use proptest::prelude::*;

    #[test]
    #[expect(clippy::approx_constant, reason = "a version, not pi")]
    fn plain_text_is_typed_by_the_core_schema() {
        for (text, value) in [
            ("", Null),
            ("~", Null),
            ("null", Null),
            ("nULL", String("nULL")),
            ("true", Bool(true)),
            ("True", String("True")),
            ("yes", String("yes")),
            ("on", String("on")),
            ("0", Unsigned(0)),
            ("-0", Unsigned(0)),
            ("007", Unsigned(7)),
            ("+12", Unsigned(12)),
            ("-12", Signed(-12)),
            ("0x1F", Unsigned(31)),
            ("0o17", Unsigned(15)),
            ("18446744073709551615", Unsigned(u64::MAX)),
            ("18446744073709551616", Float(18_446_744_073_709_551_616.0)),
            ("3.14", Float(3.14)),
            (".5", Float(0.5)),
            ("1.", Float(1.0)),
            ("1e3", Float(1000.0)),
            ("1.2.3", String("1.2.3")),
            ("10.0.0.1:8080", String("10.0.0.1:8080")),
            ("1:30", String("1:30")),
            (".", String(".")),
            ("e5", String("e5")),
            ("1e", String("1e")),
            ("-", String("-")),
            ("+-1", String("+-1")),
            ("inf", String("inf")),
            (".inf", Float(f64::INFINITY)),
            ("0x", String("0x")),
        ] {
            assert_eq!(Value::new(text, true), value, "{text}");
        }
        assert_eq!(Value::new("1", false), String("1"));
    }

    proptest! {
        #[test]
        fn whole_numbers_are_read_back(number: i64, other: u64) {
            let expected = u64::try_from(number).map_or(Signed(number), Unsigned);
            let (number, unsigned) = (number.to_string(), other.to_string());
            prop_assert_eq!(Value::new(&number, true), expected);
            prop_assert_eq!(Value::new(&unsigned, true), Unsigned(other));
        }
    }
}
