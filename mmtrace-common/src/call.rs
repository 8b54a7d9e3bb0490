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

/// Largest number of a system call that can be told, plus one.
pub const SYSCALLS_MAX: u16 = 1 << 12;

const COMPAT: u16 = SYSCALLS_MAX;
const X32: u16 = 2 * SYSCALLS_MAX;
const OTHERS: u16 = 3 * SYSCALLS_MAX;

impl Call {
    /// Bits of a [`Call::number`].
    pub const BITS: u8 = 16;

    /// Entries that are no system calls.
    pub const OTHERS: [Self; 6] =
        [Self::UserTrap, Self::KernelThread, Self::UserWorker, Self::Exiting, Self::Interrupt, Self::Unknown];

    /// Returns the number that stands for it in a record.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::System(number) => number % SYSCALLS_MAX,
            Self::Compat(number) => COMPAT + number % SYSCALLS_MAX,
            Self::X32(number) => X32 + number % SYSCALLS_MAX,
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
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_leads_back_to_the_entry_that_it_stands_for() {
        let calls = [Call::System(10), Call::System(4095), Call::Compat(0), Call::Compat(125), Call::X32(520)];
        for call in calls.into_iter().chain(Call::OTHERS) {
            assert_eq!(Call::of_number(call.number().into()), call);
        }
        for nonsense in [OTHERS.into(), 0xffff, u64::MAX].map(|n: u64| n + 9 * u64::from(n != u64::MAX)) {
            assert_eq!(Call::of_number(nonsense), Call::Unknown);
        }
    }
}
