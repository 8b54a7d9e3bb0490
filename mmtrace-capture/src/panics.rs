//! Panics that a decoder of foreign bytes is allowed.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// A panic on this thread will be caught, and is nobody's business.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder of foreign bytes. The decoders check much, but not everything: `None` after a panic, which says
/// nothing and leaves the terminal as it is. Everything that the decoder touched must be thrown away then.
pub fn guarded<T>(decoder: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !is_guarded() {
                before(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(decoder));
    GUARDED.set(outer);
    done.ok()
}

/// Returns whether a panic on this thread will be caught.
#[must_use]
pub fn is_guarded() -> bool {
    GUARDED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_panic_is_caught_and_guarding_ends_with_it() {
        assert_eq!(guarded(|| 7), Some(7));
        assert_eq!(guarded(|| -> u32 { panic!("foreign bytes") }), None);
        assert!(!is_guarded());
        guarded(|| {
            assert_eq!(guarded(|| -> u32 { panic!("within another") }), None);
            assert!(is_guarded(), "the outer one is not over");
        });
    }
}
