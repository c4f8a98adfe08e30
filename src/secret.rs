//! Values that must not be printed.
//!
//! A [`Secret`] shows as `***` whatever asks it, compares in time that depends on the lengths alone,
//! and gives its content only to who calls [`Secret::expose`], which is easy to search for.

use std::fmt;

/// A value that neither `Debug` nor `Display` will show.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Takes the value into custody.
    pub const fn new(value: T) -> Self {
        Secret(value)
    }

    /// The value itself, for the one place that sends or compares it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether two byte strings are equal, in time that depends on their lengths alone.
///
/// Every byte is looked at whatever the first difference; `black_box` keeps the compiler from
/// returning early.
pub fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let difference = left
        .iter()
        .zip(right)
        .fold(0u8, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_never_shown() {
        let key = Secret::new("hunter2".to_string());
        assert_eq!(format!("{key} {key:?}"), "*** ***");
    }

    #[test]
    fn comparison_agrees_with_equality() {
        let check = |a: &str, b: &str| {
            assert_eq!(equal_in_constant_time(a.as_bytes(), b.as_bytes()), a == b);
        };
        check("", "");
        check("a", "");
        check("abc", "abc");
        check("abc", "abd");
        check("xbc", "abc");
    }
}
