//! The entry into the kernel through which a task came to an event.

/// How the current task entered the kernel, as its programs tell it from `current->flags` and the saved registers.
///
/// It travels as a number of 16 bits: see [`Call::number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// A system call of x86-64, by its number (arch/x86/entry/syscalls/syscall_64.tbl).
    System(u16),
    /// A 32-bit system call of a task in compatibility mode, by its number (arch/x86/entry/syscalls/syscall_32.tbl).
    Compat(u16),
    /// A system call of the x32 ABI, by its number without `__X32_SYSCALL_BIT`.
    X32(u16),
    /// A system call of x86-64 on a file below /proc/PID that is about an address space: one of [`Call::ON_PROC`], by its
    /// number. Only events that say so tell it from [`Call::System`].
    OnProc(u16, ProcFile),
    /// An exception or interrupt in user mode: the saved `orig_ax` is -1 (arch/x86/include/asm/idtentry.h).
    UserTrap,
    /// None: a kernel thread (`PF_KTHREAD`).
    KernelThread,
    /// None: a worker thread that io_uring or vhost made of a process (`PF_IO_WORKER`, `PF_USER_WORKER`).
    UserWorker,
    /// The task is exiting (`PF_EXITING`), whichever entry led there.
    Exiting,
    /// None: an interrupt in the kernel; the current task is whoever was interrupted.
    Interrupt,
    /// The program could not tell.
    Unknown,
}

macro_rules! proc_files {
    ($($file:ident $name:literal;)*) => {
        /// A file below /proc/PID that is about an address space (fs/proc/base.c:tgid_base_stuff).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ProcFile { $(#[doc = concat!("`", $name, "`")] $file),* }

        impl ProcFile {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$file),*];

            /// Returns its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$file => $name),* }
            }

            /// Returns the file whose name these 16 bytes begin with, as two words in the order of this machine; bytes
            /// behind the name's 0 are ignored.
            #[inline(always)]
            #[must_use]
            pub const fn of_words(words: [u64; 2]) -> Option<Self> {
                $(
                    const { assert!($name.len() < 16) };
                    let (name, mask) = const { (words_of($name), mask_of($name)) };
                    if words[0] & mask[0] == name[0] && words[1] & mask[1] == name[1] {
                        return Some(Self::$file);
                    }
                )*
                None
            }
        }
    };
}

proc_files! {
    ClearRefs "clear_refs";
    Cmdline "cmdline";
    Environ "environ";
    Maps "maps";
    Mem "mem";
    NumaMaps "numa_maps";
    Pagemap "pagemap";
    Smaps "smaps";
    SmapsRollup "smaps_rollup";
}

/// The bytes of a name, with zeros behind it.
const fn words_of(name: &str) -> [u64; 2] {
    let mut bytes = [[0; 8]; 2];
    let mut i = 0;
    while i < name.len() {
        bytes[i / 8][i % 8] = name.as_bytes()[i];
        i += 1;
    }
    [u64::from_ne_bytes(bytes[0]), u64::from_ne_bytes(bytes[1])]
}

/// The bits of a name's bytes, and of the 0 behind it.
const fn mask_of(name: &str) -> [u64; 2] {
    let mut bytes = [[0; 8]; 2];
    let mut i = 0;
    while i <= name.len() {
        bytes[i / 8][i % 8] = 0xff;
        i += 1;
    }
    [u64::from_ne_bytes(bytes[0]), u64::from_ne_bytes(bytes[1])]
}

/// Largest number of a system call that can be told, plus one.
pub const SYSCALLS_MAX: u16 = 1 << 12;

const COMPAT: u16 = SYSCALLS_MAX;
const X32: u16 = 2 * SYSCALLS_MAX;
const OTHERS: u16 = 3 * SYSCALLS_MAX;
const FILES: u16 = 4 * SYSCALLS_MAX;
/// Files of one call that have a number.
const FILES_MAX: u16 = 16;
const _: () = assert!(ProcFile::ALL.len() <= FILES_MAX as usize);

impl Call {
    /// Bits of a [`Call::number`].
    pub const BITS: u8 = 16;

    /// Entries that are no system calls.
    pub const OTHERS: [Self; 6] =
        [Self::UserTrap, Self::KernelThread, Self::UserWorker, Self::Exiting, Self::Interrupt, Self::Unknown];

    /// System calls that read or write a file whose descriptor is their first argument: `read`, `write`, `pread64`,
    /// `pwrite64`, `readv`, `writev`, `preadv`, `pwritev`.
    pub const ON_PROC: [u16; 8] = [0, 1, 17, 18, 19, 20, 295, 296];

    /// Returns the place of a system call in [`Call::ON_PROC`].
    #[inline(always)]
    #[must_use]
    pub const fn place_on_proc(number: u16) -> Option<u16> {
        let mut place = 0;
        while place < Self::ON_PROC.len() {
            if Self::ON_PROC[place] == number {
                return Some(place as u16);
            }
            place += 1;
        }
        None
    }

    /// Returns the number that stands for it in a record.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::System(number) => number % SYSCALLS_MAX,
            Self::Compat(number) => COMPAT + number % SYSCALLS_MAX,
            Self::X32(number) => X32 + number % SYSCALLS_MAX,
            Self::OnProc(number, file) => match Self::place_on_proc(number) {
                Some(place) => FILES + place * FILES_MAX + file as u16,
                None => number % SYSCALLS_MAX,
            },
            Self::UserTrap => OTHERS,
            Self::KernelThread => OTHERS + 1,
            Self::UserWorker => OTHERS + 2,
            Self::Exiting => OTHERS + 3,
            Self::Interrupt => OTHERS + 4,
            Self::Unknown => OTHERS + 5,
        }
    }

    /// Returns the entry that a number stands for; [`Call::Unknown`] for a number that no program writes.
    #[inline]
    #[must_use]
    pub const fn of_number(number: u64) -> Self {
        if number >= u16::MAX as u64 {
            return Self::Unknown;
        }
        let number = number as u16;
        let of = number % SYSCALLS_MAX;
        match (number / SYSCALLS_MAX, of) {
            (0, _) => Self::System(of),
            (1, _) => Self::Compat(of),
            (2, _) => Self::X32(of),
            (3, 0) => Self::UserTrap,
            (3, 1) => Self::KernelThread,
            (3, 2) => Self::UserWorker,
            (3, 3) => Self::Exiting,
            (3, 4) => Self::Interrupt,
            (4, _) => Self::of_file(of),
            _ => Self::Unknown,
        }
    }

    /// The call on a file that a number above [`FILES`] stands for.
    #[inline]
    const fn of_file(number: u16) -> Self {
        let (place, file) = (number / FILES_MAX, number % FILES_MAX);
        if place as usize >= Self::ON_PROC.len() || file as usize >= ProcFile::ALL.len() {
            return Self::Unknown;
        }
        Self::OnProc(Self::ON_PROC[place as usize], ProcFile::ALL[file as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_leads_back_to_the_entry_that_it_stands_for() {
        let calls = [Call::System(10), Call::System(4095), Call::Compat(0), Call::Compat(125), Call::X32(520)];
        let files = ProcFile::ALL.iter().flat_map(|file| Call::ON_PROC.map(|call| Call::OnProc(call, *file)));
        for call in calls.into_iter().chain(Call::OTHERS).chain(files) {
            assert_eq!(Call::of_number(call.number().into()), call);
        }
        for nonsense in [OTHERS.into(), 0xffff, u64::MAX].map(|n: u64| n + 9 * u64::from(n != u64::MAX)) {
            assert_eq!(Call::of_number(nonsense), Call::Unknown);
        }
        // A ninth call, and a file that is none.
        for nonsense in [FILES + 8 * FILES_MAX, FILES + ProcFile::ALL.len() as u16] {
            assert_eq!(Call::of_number(nonsense.into()), Call::Unknown);
        }
    }

    #[test]
    fn a_file_is_known_by_its_whole_name() {
        let words = |name: &[u8]| {
            let mut bytes = [b'x'; 16];
            bytes[..name.len()].copy_from_slice(name);
            let (words, _) = bytes.as_chunks::<8>();
            [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
        };
        for file in ProcFile::ALL {
            let name = [file.name().as_bytes(), b"\0"].concat();
            assert_eq!(ProcFile::of_words(words(&name)), Some(*file));
        }
        for name in [&b"map\0"[..], b"mapsx\0", b"smaps_rollu\0", b"smaps_rollups\0", b"\0"] {
            assert_eq!(ProcFile::of_words(words(name)), None);
        }
    }
}
