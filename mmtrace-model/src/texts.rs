//! Texts that travel in parts, and names that are kept once.

use rustc_hash::FxHashMap;

/// Bytes of a text that most records carry.
pub(crate) const PART: usize = 40;
/// Parts that a text has at most. Its last byte is 0.
pub(crate) const PARTS_MAX: usize = 8;
/// Names that are kept.
const NAMES_MAX: usize = 1 << 14;

/// The words that records carry of one part of a text.
pub(crate) type Words = [u64; PART / 8];

/// Returns the parts of a text, of `N` words each: the last one ends with a zero. Of a text that is too long, the
/// beginning is left out, and three dots stand for it: the end of a path says more.
pub(crate) fn parts<const N: usize>(text: &[u8]) -> Vec<[u64; N]> {
    const DOTS: &[u8] = b"...";
    let most = 8 * N * PARTS_MAX - 1;
    let cut = text.len().saturating_sub(most);
    let mut bytes = if cut == 0 { text.to_vec() } else { [DOTS, &text[cut + DOTS.len()..]].concat() };
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(8 * N), 0);
    bytes.chunks(8 * N).map(words).collect()
}

fn words<const N: usize>(part: &[u8]) -> [u64; N] {
    let (eights, _) = part.as_chunks::<8>();
    let mut words = [0; N];
    words.iter_mut().zip(eights).for_each(|(word, eight)| *word = u64::from_ne_bytes(*eight));
    words
}

/// Returns the bytes of a part, up to the first zero.
pub(crate) fn bytes<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect()
}

/// A text whose parts come one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assembly<K> {
    /// Key of the thing that the text names, and the parts so far.
    begun: Option<(K, Vec<u8>)>,
}

impl<K: PartialEq + Copy> Assembly<K> {
    /// Takes the next part. Returns the text once it is whole; a part that does not follow on the one before is left out.
    pub(crate) fn take<const N: usize>(&mut self, of: K, part: u32, words: [u64; N]) -> Option<Vec<u8>> {
        let size = 8 * N;
        let new = bytes(words);
        let part = part as usize;
        let mut text = match self.begun.take() {
            _ if part == 0 => Vec::new(),
            Some((before, text)) if before == of && text.len() == part * size => text,
            _ => return None,
        };
        let whole = new.len() < size || part + 1 >= PARTS_MAX;
        text.extend(new);
        if whole {
            return Some(text);
        }
        self.begun = Some((of, text));
        None
    }
}

/// A name's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(u32);

/// Names, each kept once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    numbers: FxHashMap<Box<[u8]>, NameId>,
    names: Vec<Box<[u8]>>,
}

impl Names {
    /// Returns the number of a name; `None` if there are too many.
    pub(crate) fn number(&mut self, name: &[u8]) -> Option<NameId> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.names.len() >= NAMES_MAX {
            return None;
        }
        let number = NameId(self.names.len() as u32);
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        Some(number)
    }

    /// Returns a name.
    pub(crate) fn name(&self, number: NameId) -> &[u8] {
        self.names.get(number.0 as usize).map_or(&[], |name| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travelled(text: &[u8]) -> Option<Vec<u8>> {
        let mut assembly = Assembly::default();
        let mut whole = None;
        for (part, words) in parts::<5>(text).into_iter().enumerate() {
            assert_eq!(whole, None, "a part too many");
            whole = assembly.take(7, part as u32, words);
        }
        whole
    }

    #[test]
    fn a_text_of_any_length_arrives() {
        for length in [0, 1, 39, 40, 41, 79, 80, 318, 319] {
            let text: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
            assert_eq!(travelled(&text).as_deref(), Some(&text[..]), "{length} bytes");
        }
        let long: Vec<u8> = (0..5000).map(|at| b'a' + (at % 26) as u8).collect();
        let arrived = travelled(&long).expect("whole");
        assert_eq!(arrived.len(), 319);
        assert!(arrived.starts_with(b"...") && long.ends_with(&arrived[3..]));
    }

    #[test]
    fn parts_that_do_not_belong_together_make_no_text() {
        let text = [b'x'; 100];
        let parts = parts::<5>(&text);
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(1, 1, parts[1]), None, "its beginning is missing");
        assert_eq!(assembly.take(1, 0, parts[0]), None);
        assert_eq!(assembly.take(2, 1, parts[1]), None, "another's part");
        assert_eq!(assembly.take(1, 2, parts[2]), None);
    }
}
