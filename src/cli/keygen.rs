//! `switchbox keygen`: an API key, and nothing else, on stdout.

use super::{Exit, Stop};
use rustix::rand::GetRandomFlags;
use std::ffi::OsString;

/// Random bytes of a key: 256 bits.
const KEY_RANDOM_BYTES: usize = 32;

/// Makes a key: `NAME.` and 64 hexadecimal digits. The name is shown in logs, the rest never.
pub fn run(arguments: &[OsString]) -> Result<String, Stop> {
    let name = match arguments {
        [] => "key".to_string(),
        [name] => name.to_string_lossy().into_owned(),
        [_, other, ..] => {
            let message = format!("unexpected argument {other:?}");
            return Err(Stop::usage("keygen", message));
        }
    };
    let fits = (1..=32).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        && !name.starts_with('-');
    if !fits {
        let message = format!("{name:?} is no name of 1 to 32 letters, digits, '-' and '_'");
        return Err(Stop::usage("keygen", message));
    }
    let mut random = [0; KEY_RANDOM_BYTES];
    let taken =
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty()).map_err(|error| Stop {
            exit: Exit::Failed,
            message: format!("randomness of the kernel: {error}"),
        })?;
    // Requests of up to 256 bytes are never cut short, getrandom(2).
    assert_eq!(taken, random.len(), "the kernel gave less randomness");
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{name}.{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_name_and_differ() {
        let (one, other) = (run(&["ci".into()]).unwrap(), run(&["ci".into()]).unwrap());
        assert!(one.starts_with("ci.") && one.len() == 3 + 2 * KEY_RANDOM_BYTES);
        assert_ne!(one, other);
    }

    #[test]
    fn names_that_would_break_a_key_are_refused() {
        for name in ["", "a.b", "a b", "-x", "ü", "--help-me"] {
            assert!(run(&[name.into()]).is_err(), "{name}");
        }
    }
}
