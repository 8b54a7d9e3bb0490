//! Typed views of records: what follows from a row of the event table, for whoever reads or writes an event.

use super::{Field, Slot};
use crate::Record;

/// A value as it travels: zero-extended bits.
pub(super) trait Bits {
    fn of_bits(bits: u64) -> Self;
    fn to_bits(self) -> u64;
}

impl Bits for u64 {
    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        bits
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        self
    }
}

impl Bits for u32 {
    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        bits as Self
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        self.into()
    }
}

impl Bits for i32 {
    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        bits as Self
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        self.cast_unsigned().into()
    }
}

impl Bits for bool {
    #[inline(always)]
    fn of_bits(bits: u64) -> Self {
        bits != 0
    }

    #[inline(always)]
    fn to_bits(self) -> u64 {
        self.into()
    }
}

impl Slot {
    /// The value in a record, as zero-extended bits.
    #[inline(always)]
    #[must_use]
    pub const fn get(self, record: &Record) -> u64 {
        match self {
            Self::Arg(index) => record.args[index as usize],
            Self::Aux { shift, bits } => (record.aux >> shift & mask(bits)) as u64,
        }
    }

    /// Puts a value into aux bits or argument words, cut to the slot's width.
    #[inline(always)]
    pub const fn put(self, value: u64, aux: &mut u32, words: &mut [u64]) {
        match self {
            Self::Arg(index) => words[index as usize] = value,
            Self::Aux { shift, bits } => *aux = *aux & !(mask(bits) << shift) | (value as u32 & mask(bits)) << shift,
        }
    }
}

impl Slot {
    /// Aux bits and argument words with a value put into them.
    #[inline(always)]
    pub(super) const fn with<const N: usize>(self, mut packed: (u32, [u64; N]), value: u64) -> (u32, [u64; N]) {
        self.put(value, &mut packed.0, &mut packed.1);
        packed
    }
}

const fn mask(bits: u8) -> u32 {
    if bits >= 32 { u32::MAX } else { (1 << bits) - 1 }
}

/// Returns how many argument words these fields take.
pub(super) const fn words(fields: &[Field]) -> usize {
    let (mut words, mut i) = (0, 0);
    while i < fields.len() {
        if let Slot::Arg(index) = fields[i].slot
            && index as usize >= words
        {
            words = index as usize + 1;
        }
        i += 1;
    }
    words
}

/// Makes the kinds, the table, and a view of each kind, of the rows.
macro_rules! events {
    ($(
        $(#[doc = $doc:literal])+
        $kind:ident = $number:literal, $name:literal, $site:expr, $class:ident, $unknown:expr => { $(
            $field:ident: $type:ty, $slot:expr, $column:ident, $source:expr;
        )* }
    )*) => {
        /// A kind of event. The numbers are the wire format; a number is never reused.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[doc = $doc])+ $kind = $number),* }

        /// Every event there is: tracepoints, functions, synthetic ones.
        pub const SPECS: &[Spec] = &[$(Spec {
            kind: Kind::$kind,
            name: $name,
            site: $site,
            class: Class::$class,
            unknown: $unknown,
            fields: <event::$kind>::FIELDS,
            doc: concat!($($doc),+).trim_ascii(),
        }),*];

        /// The values of each kind of event, by name.
        pub mod event {
            use super::*;

            $(
                $(#[doc = $doc])+
                #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
                pub struct $kind {
                    $(#[doc = concat!("See [`Column::", stringify!($column), "`].")] pub $field: $type),*
                }

                impl $kind {
                    pub(super) const FIELDS: &[Field] = &[$(Field {
                        column: Column::$column,
                        source: $source.0,
                        slot: $slot,
                        required: $source.1,
                    }),*];
                    const WORDS: usize = crate::spec::view::words(Self::FIELDS);

                    /// The place of a column's value among the event's fields.
                    ///
                    /// # Panics
                    /// The event has no such column: at compile time, where it is a constant.
                    #[must_use]
                    pub const fn field(column: Column) -> usize {
                        crate::spec::field_of(Self::FIELDS, column)
                    }
                }

                impl View for $kind {
                    const KIND: Kind = Kind::$kind;
                    type Words = [u64; Self::WORDS];

                    #[inline(always)]
                    fn of(_record: &Record) -> Self {
                        Self { $($field: <$type>::of_bits($slot.get(_record))),* }
                    }

                    #[inline(always)]
                    fn pack(&self) -> (u32, Self::Words) {
                        let packed = (0, [0; Self::WORDS]);
                        $(let packed = $slot.with(packed, self.$field.to_bits());)*
                        packed
                    }
                }
            )*
        }

        /// One event of any kind, with its values by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event { $($(#[doc = $doc])+ $kind(event::$kind)),* }

        impl Event {
            /// Reads a record; `None` if this build does not know its kind.
            #[inline]
            #[must_use]
            pub fn of(record: &Record) -> Option<Self> {
                Some(match record.kind()? { $(Kind::$kind => Self::$kind(event::$kind::of(record))),* })
            }

            /// Returns the kind of the event.
            #[inline]
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind),* }
            }
        }
    };
}
pub(super) use events;
