//! Names of entries into the kernel.

use std::{borrow::Cow, sync::LazyLock};

use mmtrace_common::{Call, ProcFile};
use syscalls::{x86::Sysno as Compat, x86_64::Sysno as System};

/// Returns the name of an entry: of a system call as `mprotect`, `mprotect (32-bit)` or `mprotect (x32)`; of one on a file
/// below /proc/PID as `read smaps`; of one that is newer than this build as `syscall 470`; of the others in words.
#[must_use]
pub fn call_name(call: Call) -> Cow<'static, str> {
    let numbered = |number: u16| Cow::Owned(format!("syscall {number}"));
    let system = |number: u16| System::new(number.into()).map_or_else(|| numbered(number), |call| call.name().into());
    match call {
        Call::System(number) => system(number),
        Call::Compat(number) => {
            let name = Compat::new(number.into()).map_or_else(|| numbered(number), |call| call.name().into());
            format!("{name} (32-bit)").into()
        }
        // Numbers from 512 on are of calls that exist twice (arch/x86/entry/syscalls/syscall_64.tbl).
        Call::X32(number) => format!("{} (x32)", system(number)).into(),
        Call::OnProc(number, file) => format!("{} {}", system(number), file.name()).into(),
        Call::UserTrap => "page fault".into(),
        Call::KernelThread => "kernel thread".into(),
        Call::UserWorker => "worker thread".into(),
        Call::Exiting => "exit of the task".into(),
        Call::Interrupt => "interrupt".into(),
        Call::Unknown => "unknown".into(),
    }
}

/// Every entry that has a name of its own, with the name.
pub static CALLS: LazyLock<Vec<(Call, Cow<'static, str>)>> = LazyLock::new(|| {
    let system = System::iter().map(|call| Call::System(call.id() as u16));
    let compat = Compat::iter().map(|call| Call::Compat(call.id() as u16));
    let files = ProcFile::ALL.iter().flat_map(|file| Call::ON_PROC.map(|call| Call::OnProc(call, *file)));
    let calls = system.chain(compat).chain(files).chain(Call::OTHERS);
    calls.map(|call| (call, call_name(call))).collect()
});

/// Returns the entry of a name; `None` if no entry is called that.
#[must_use]
pub fn call_of_name(name: &str) -> Option<Call> {
    if let Some((call, _)) = CALLS.iter().find(|(_, known)| known == name) {
        return Some(*call);
    }
    let (name, make): (_, fn(u16) -> Call) = if let Some(name) = name.strip_suffix(" (32-bit)") {
        (name, Call::Compat)
    } else if let Some(name) = name.strip_suffix(" (x32)") {
        (name, Call::X32)
    } else {
        (name, Call::System)
    };
    match name.strip_prefix("syscall ") {
        Some(number) => number.parse().ok().map(make),
        None => System::iter().find(|call| call.name() == name).map(|call| make(call.id() as u16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_names_that_their_tables_give_them() {
        for (call, name) in [
            (Call::System(10), "mprotect"),
            (Call::System(435), "clone3"),
            (Call::System(4000), "syscall 4000"),
            (Call::Compat(125), "mprotect (32-bit)"),
            (Call::Compat(4000), "syscall 4000 (32-bit)"),
            (Call::X32(9), "mmap (x32)"),
            (Call::X32(520), "syscall 520 (x32)"),
            (Call::OnProc(0, ProcFile::SmapsRollup), "read smaps_rollup"),
            (Call::OnProc(18, ProcFile::Mem), "pwrite64 mem"),
            (Call::UserTrap, "page fault"),
        ] {
            assert_eq!(call_name(call), name);
            assert_eq!(call_of_name(name), Some(call), "{name}");
        }
        assert_eq!(call_of_name("no such call"), None);
    }

    #[test]
    fn no_name_is_given_twice() {
        for (call, name) in CALLS.iter() {
            assert_eq!(call_of_name(name), Some(*call));
        }
    }
}
