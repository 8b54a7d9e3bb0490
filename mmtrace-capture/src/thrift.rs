//! The outer shape of Parquet's headers, which are Thrift's compact protocol: enough of it to see how much a header
//! claims before the decoder that believes it does.

/// Deepest nesting of structs and lists. The deepest in a footer is file, row group, column, statistics.
const DEPTH_MAX: usize = 16;

/// Reason why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It goes on beyond these bytes.
    Cut,
    /// It makes no sense, or claims too much: a sentence about the file.
    Wrong(String),
}

/// The type of a field, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type(u8);

impl Type {
    pub(super) const I32: Self = Self(5);
    pub(super) const STRUCT: Self = Self(12);
}

/// Reads values one after the other.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Most elements of a list.
    list_max: u64,
}

fn wrong<T>(what: &str) -> Result<T, Refusal> {
    Err(Refusal::Wrong(what.to_owned()))
}

impl<'a> Thrift<'a> {
    pub(super) const fn new(bytes: &'a [u8], list_max: u64) -> Self {
        Self { bytes, at: 0, list_max }
    }

    /// Counts the bytes read so far.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        let byte = *self.bytes.get(self.at).ok_or(Refusal::Cut)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_bytes(&mut self, n: u64) -> Result<(), Refusal> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n)).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or(Refusal::Cut)?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Refusal> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        wrong("a number in its headers never ends")
    }

    /// Reads a signed number of any width.
    pub(super) fn int(&mut self) -> Result<i64, Refusal> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Reads the head of a struct's next field: its number and type; `None` at its end.
    pub(super) fn field(&mut self, last: i64) -> Result<Option<(i64, Type)>, Refusal> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        let id = match byte >> 4 {
            0 => self.int()?,
            delta => last.saturating_add(i64::from(delta)),
        };
        Ok(Some((id, Type(byte & 0xf))))
    }

    /// Reads the head of a list: how many elements, and of which type.
    pub(super) fn list(&mut self) -> Result<(u64, Type), Refusal> {
        let byte = self.byte()?;
        let size = match byte >> 4 {
            0xf => self.varint()?,
            size => u64::from(size),
        };
        if size > self.list_max {
            return Err(Refusal::Wrong(format!("a list of {size} in its headers")));
        }
        Ok((size, Type(byte & 0xf)))
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, ty: Type) -> Result<(), Refusal> {
        self.skip_within(ty, 0, false)
    }

    fn skip_within(&mut self, ty: Type, depth: usize, in_list: bool) -> Result<(), Refusal> {
        if depth > DEPTH_MAX {
            return wrong("its headers are nested too deeply");
        }
        match ty.0 {
            // In a struct, the type is the value.
            1 | 2 if in_list => self.skip_bytes(1),
            1 | 2 => Ok(()),
            3 => self.skip_bytes(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip_bytes(8),
            8 => self.varint().and_then(|n| self.skip_bytes(n)),
            9 | 10 => {
                let (size, ty) = self.list()?;
                (0..size).try_for_each(|_| self.skip_within(ty, depth + 1, true))
            }
            12 => {
                let mut last = 0;
                while let Some((id, ty)) = self.field(last)? {
                    self.skip_within(ty, depth + 1, false)?;
                    last = id;
                }
                Ok(())
            }
            _ => wrong("its headers hold a type that there is not"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_is_passed_over_field_by_field() {
        // 1: i32 -1; 2: list of two binaries; 20: true.
        let bytes = [0x15, 0x01, 0x19, 0x28, 1, b'a', 0, 0x01, 40, 0];
        let mut thrift = Thrift::new(&bytes, 16);
        assert_eq!(thrift.field(0), Ok(Some((1, Type::I32))));
        assert_eq!(thrift.int(), Ok(-1));
        let Ok(Some((2, ty))) = thrift.field(1) else { panic!("the list") };
        thrift.skip(ty).expect("a list");
        assert_eq!(thrift.field(2), Ok(Some((20, Type(1)))));
        assert_eq!((thrift.field(20), thrift.at()), (Ok(None), bytes.len()));
        for cut in 0..bytes.len() {
            assert_eq!(Thrift::new(&bytes[..cut], 16).skip(Type::STRUCT), Err(Refusal::Cut), "{cut}");
        }
    }

    #[test]
    fn long_lists_deep_structs_and_endless_numbers_are_refused() {
        let refused = |bytes: &[u8], ty| matches!(Thrift::new(bytes, 16).skip(ty), Err(Refusal::Wrong(_)));
        assert!(refused(&[0xf5, 17], Type(9)));
        assert!(refused(&[0x1c; 64], Type::STRUCT));
        assert!(refused(&[0xff; 16], Type::I32));
    }
}
