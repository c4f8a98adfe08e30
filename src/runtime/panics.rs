//! Panics of handlers: caught, told, and paid for by one connection.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

thread_local! {
    /// Whether a panic of this thread will be caught by [`caught`].
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
    /// What the last one said, and where.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has panics that are going to be caught remembered rather than printed. Called once.
pub(super) fn install_hook() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| match EXPECTED.get() {
        true => LAST.set(Some(describe(info))),
        false => print(info),
    }));
}

/// The same for tests, of which many run in one process.
#[cfg(test)]
pub(super) fn install_hook_for_tests() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(install_hook);
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    format!("{} at {place}", words(info.payload()))
}

fn words(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("panic")
}

/// What `work` returns, or what it panicked with.
///
/// What `work` was changing is left as it is: the caller closes the connection concerned. Costs two
/// writes to thread-local memory.
pub(super) fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    EXPECTED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(false);
    result.map_err(|payload| LAST.take().unwrap_or_else(|| words(&*payload).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_returned_as_text() {
        let found = caught(|| panic!("number {}", 7));
        assert!(found.unwrap_err().starts_with("number 7"));
        assert_eq!(caught(|| 7), Ok(7));
    }
}
