//! The `Date` of a response: written anew once a second, copied otherwise.

use crate::time::{Civil, Wall};

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`. RFC 9110 §5.6.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpDate([u8; 29]);

impl HttpDate {
    /// The second that `wall` lies in. Years past 9999 are shown modulo 10,000.
    pub fn at(wall: Wall) -> Self {
        let civil = Civil::from_unix(wall.0 / 1000);
        let mut text = *b"Xxx, 00 Xxx 0000 00:00:00 GMT";
        text[..3].copy_from_slice(&name_at(b"SunMonTueWedThuFriSat", civil.weekday));
        write_digits(&mut text[5..7], civil.day);
        let months = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        text[8..11].copy_from_slice(&name_at(months, civil.month - 1));
        write_digits(&mut text[12..16], civil.year);
        write_digits(&mut text[17..19], civil.hour);
        write_digits(&mut text[20..22], civil.minute);
        write_digits(&mut text[23..25], civil.second);
        HttpDate(text)
    }

    /// Its 29 bytes.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The three letters of a day or month.
fn name_at(names: &[u8], index: u64) -> [u8; 3] {
    let start = index as usize * 3;
    [names[start], names[start + 1], names[start + 2]]
}

/// Fills the places with the last digits of a number.
fn write_digits(places: &mut [u8], mut number: u64) {
    for place in places.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The current date, kept for as long as it is the same.
#[derive(Clone, Debug)]
pub struct DateClock {
    second: u64,
    date: HttpDate,
}

impl Default for DateClock {
    fn default() -> Self {
        DateClock {
            second: 0,
            date: HttpDate::at(Wall(0)),
        }
    }
}

impl DateClock {
    /// The date of now.
    pub fn at(&mut self, now: Wall) -> HttpDate {
        let second = now.0 / 1000;
        if second != self.second {
            self.second = second;
            self.date = HttpDate::at(now);
        }
        self.date
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_an_imf_fixdate() {
        let check = |seconds: u64, expected: &str| {
            let date = HttpDate::at(Wall(seconds * 1000 + 999));
            assert_eq!(date.as_bytes(), expected.as_bytes(), "{seconds}");
        };
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT");
        check(1_795_166_400, "Fri, 20 Nov 2026 09:20:00 GMT");
    }

    #[test]
    fn clock_moves_with_the_second() {
        let mut clock = DateClock::default();
        for millis in [0, 999, 1000, 86_400_000, 86_400_999, 5] {
            assert_eq!(clock.at(Wall(millis)), HttpDate::at(Wall(millis)));
        }
    }
}
