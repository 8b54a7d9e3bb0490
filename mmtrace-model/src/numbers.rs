//! Numbers and durations as people read them.

/// A number with a comma after every three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration of so many nanoseconds, with three digits and a unit.
#[must_use]
pub fn duration(nanoseconds: u64) -> String {
    let ns = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (ns / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// A size of so many bytes, in whole units if it is below ten of the next one.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * unit) >= 10 << 10 {
        unit += 1;
    }
    format!("{} {}", grouped(bytes >> (10 * unit)), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_durations_have_units() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let sizes = [4096, 16 << 10, 132 << 10, 9 << 20, 64 << 20, 300 << 40].map(bytes);
        assert_eq!(sizes, ["4,096 bytes", "16 KiB", "132 KiB", "9,216 KiB", "64 MiB", "300 TiB"]);
        assert_eq!([7, 1_500, 42_000_000, 1_234_000_000].map(duration), ["7 ns", "1.50 us", "42.0 ms", "1.23 s"]);
    }
}
