//! Names of functions as their authors wrote them.
//!
//! A mangled name may stand for a text that is exponentially longer, so the text is cut while it is written.

use std::fmt::{self, Write as _};

use cpp_demangle::{DemangleOptions, Symbol};
use mmtrace_model::model::mappings::FUNCTION_NAME_MAX;

/// Bytes of a mangled name at most. A longer one is cut, and stays mangled.
const MANGLED_MAX: usize = 1 << 12;
/// The end of a name that was cut.
const DOTS: &str = "...";

/// A text of limited length.
#[derive(Default)]
struct Limited {
    text: String,
    is_cut: bool,
}

impl fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = FUNCTION_NAME_MAX - self.text.len();
        if text.len() <= room {
            self.text.push_str(text);
            return Ok(());
        }
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        self.is_cut = true;
        Err(fmt::Error)
    }
}

impl Limited {
    fn into_text(mut self) -> String {
        if self.is_cut {
            let end = self.text.floor_char_boundary(FUNCTION_NAME_MAX - DOTS.len());
            self.text.truncate(end);
            self.text.push_str(DOTS);
        }
        self.text
    }
}

/// Returns the name of a function for people, cut to the length that travels. C++ names lack the parameters.
pub(super) fn demangled(name: &str) -> String {
    let mut text = Limited::default();
    if name.len() <= MANGLED_MAX {
        if let Ok(rust) = rustc_demangle::try_demangle(name) {
            let _ = write!(text, "{rust:#}");
        } else if name.starts_with("_Z")
            && let Ok(symbol) = Symbol::new(name.as_bytes())
        {
            let whole = symbol.structured_demangle(&mut text, &DemangleOptions::new().no_params().no_return_type());
            if whole.is_err() && !text.is_cut {
                text = Limited::default();
            }
        }
    }
    if text.text.is_empty() {
        let _ = text.write_str(name);
    }
    text.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_their_authors_wrote_them() {
        let names = [
            ("touch_pages", "touch_pages"),
            ("_ZN4core3fmt9Formatter3pad17h1234567890abcdefE", "core::fmt::Formatter::pad"),
            ("_RNvC7mycrate3foo", "mycrate::foo"),
            ("_ZN3Foo3barEi", "Foo::bar"),
            ("_Zgarbage", "_Zgarbage"),
            ("_Z", "_Z"),
            ("", ""),
        ];
        for (mangled, plain) in names {
            assert_eq!(demangled(mangled), plain, "{mangled}");
        }
    }

    /// Each pair names the one before twice.
    #[test]
    fn a_name_that_would_be_exponentially_long_is_cut() {
        let mut bomb = "_Z1fI".to_owned();
        bomb.push_str("1PIiiE");
        for n in 0..28 {
            let last = if n == 0 { "S_".to_owned() } else { format!("S{}_", radix36(n - 1)) };
            bomb.push_str(&format!("1PI{last}{last}E"));
        }
        bomb.push_str("EvT_");
        assert!(demangled(&bomb).len() <= FUNCTION_NAME_MAX);
        let long = "x".repeat(5000);
        assert_eq!(demangled(&long).len(), FUNCTION_NAME_MAX);
        assert!(demangled(&long).ends_with("xxx..."));
        assert!(demangled(&"é".repeat(300)).ends_with("é..."));
    }

    fn radix36(n: u32) -> String {
        let digit = |n: u32| char::from_digit(n, 36).expect("a digit").to_ascii_uppercase();
        if n < 36 { digit(n).to_string() } else { format!("{}{}", radix36(n / 36), digit(n % 36)) }
    }
}
