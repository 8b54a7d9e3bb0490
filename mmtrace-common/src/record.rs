//! The record as it travels through the ring buffer.

/// Most argument words a record can carry.
pub const ARGS_MAX: usize = 6;

/// Words (8 bytes) before the arguments.
pub const HEADER_WORDS: usize = 4;

/// Length of the per-CPU loss counter array; larger than every wire [`Kind`](crate::Kind).
pub const LOST_KINDS: usize = 104;

/// One event, as the eBPF side writes it: four header words, then as many
/// argument words as the event's kind has.
///
/// | word | content |
/// |---|---|
/// | 0 | time: `bpf_ktime_get_ns()`, nanoseconds of `CLOCK_MONOTONIC` |
/// | 1 | the event's mm (pointer), 0 where the tracepoint has none |
/// | 2 | tgid in the upper half, tid in the lower: `bpf_get_current_pid_tgid()` |
/// | 3 | [`header_word`]: kind, cpu, aux |
/// | 4… | arguments |
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub ts: u64,
    /// `struct mm_struct *` of the event, 0 where it has none. Taken from the
    /// tracepoint's argument; from the faulting task for page faults.
    pub mm: u64,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// [`Kind`](crate::Kind) as a number.
    pub kind: u16,
    /// CPU that ran the probe.
    pub cpu: u16,
    /// Small arguments, packed: see [`Slot::Aux`](crate::Slot).
    pub aux: u32,
    /// Argument words; those beyond the kind's own are 0.
    pub args: [u64; ARGS_MAX],
}

const _: () = assert!(size_of::<Record>() == 8 * (HEADER_WORDS + ARGS_MAX));

/// Packs word 3 of a record.
#[inline(always)]
#[must_use]
pub const fn header_word(kind: u16, cpu: u16, aux: u32) -> u64 {
    kind as u64 | (cpu as u64) << 16 | (aux as u64) << 32
}

impl Record {
    /// Parses a record as it lies in the ring buffer. `None` when its length is
    /// not a whole number of words within bounds: a record that no program of
    /// ours wrote.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return None;
        }
        let (header, args) = words.split_at_checked(HEADER_WORDS)?;
        if args.len() > ARGS_MAX {
            return None;
        }
        let who = u64::from_ne_bytes(header[2]);
        let what = u64::from_ne_bytes(header[3]);
        let mut record = Self {
            ts: u64::from_ne_bytes(header[0]),
            mm: u64::from_ne_bytes(header[1]),
            tgid: (who >> 32) as u32,
            tid: who as u32,
            kind: what as u16,
            cpu: (what >> 16) as u16,
            aux: (what >> 32) as u32,
            args: [0; ARGS_MAX],
        };
        for (to, from) in record.args.iter_mut().zip(args) {
            *to = u64::from_ne_bytes(*from);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_what_a_program_writes_and_nothing_else() {
        let words: [u64; 6] = [7, 8, (9 << 32) | 10, header_word(3, 2, 5), 11, 12];
        let mut bytes = [0u8; 48];
        for (to, from) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        let record = Record::parse(&bytes).expect("a whole record");
        assert_eq!(
            record,
            Record { ts: 7, mm: 8, tgid: 9, tid: 10, kind: 3, cpu: 2, aux: 5, args: [11, 12, 0, 0, 0, 0] }
        );
        for short in 0..32 {
            assert_eq!(Record::parse(&bytes[..short]), None, "{short} bytes");
        }
        assert_eq!(Record::parse(&bytes[..33]), None);
        assert_eq!(Record::parse(&[0; 88]), None);
    }
}
