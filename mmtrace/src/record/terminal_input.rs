//! What keeps a command from typing into the terminal that it was started on.
//!
//! A command of another user shares the terminal of who started it. With `TIOCSTI` it could put a line into the input, which
//! root's shell reads once the command has ended; with `TIOCLINUX`, paste on a console.

use std::io;

/// Requests of ioctl(2) that put input into a terminal.
const REQUESTS: [u32; 2] = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32];
/// Numbers of ioctl(2) by machine (include/uapi/linux/audit.h): a 64-bit kernel runs 32-bit programs too, and x86-64 has one
/// number more for x32.
const CALLS: [(u32, u32); 6] = [
    (0xc000_003e, 16),  // AUDIT_ARCH_X86_64
    (0xc000_003e, 514), // the same, x32
    (0x4000_0003, 54),  // AUDIT_ARCH_I386
    (0xc000_00b7, 29),  // AUDIT_ARCH_AARCH64
    (0x4000_0028, 54),  // AUDIT_ARCH_ARM
    (0xc000_00f3, 29),  // AUDIT_ARCH_RISCV64
];
/// Instructions for each of them.
const OF_CALL: usize = 5;
/// `__X32_SYSCALL_BIT`
const X32: u32 = 0x4000_0000;
/// Offsets in `struct seccomp_data`: number, machine, and the low half of the second argument, which is all that the kernel
/// looks at.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const REQUEST: u32 = if cfg!(target_endian = "little") { 24 } else { 28 };

/// A filter of system calls that refuses such input with EPERM and allows everything else.
pub(super) struct NoInput(Vec<libc::sock_filter>);

impl NoInput {
    /// Puts the filter together.
    pub(super) fn new() -> Self {
        let (load, equal) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
        let step =
            |code, jt: usize, jf: usize, k| libc::sock_filter { code: code as u16, jt: jt as u8, jf: jf as u8, k };
        let answer = |answer| step(libc::BPF_RET | libc::BPF_K, 0, 0, answer);
        let mut steps = Vec::new();
        for (index, (machine, call)) in CALLS.into_iter().enumerate() {
            // Behind the last one is the answer to all other calls, and behind that the look at the request.
            let to_request = (CALLS.len() - 1 - index) * OF_CALL + 1;
            steps.extend([
                step(load, 0, 0, MACHINE),
                step(equal, 0, OF_CALL - 2, machine),
                step(load, 0, 0, NUMBER),
                step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, !X32),
                step(equal, to_request, 0, call),
            ]);
        }
        steps.extend([answer(libc::SECCOMP_RET_ALLOW), step(load, 0, 0, REQUEST)]);
        for (index, request) in REQUESTS.into_iter().enumerate() {
            steps.push(step(equal, REQUESTS.len() - index, 0, request));
        }
        steps.extend([answer(libc::SECCOMP_RET_ALLOW), answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32)]);
        Self(steps)
    }

    /// Holds the calling thread to it, and all that it starts. Takes `CAP_SYS_ADMIN`, so that the command can still run
    /// sudo. Makes system calls only.
    ///
    /// # Errors
    /// The kernel has no filters, or does not allow it.
    pub(super) fn enter(&self) -> io::Result<()> {
        let program = libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the kernel reads as many instructions as there are, all of which outlive the call.
        let entered = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if entered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd as _, thread};

    use super::*;

    #[test]
    fn input_of_a_terminal_is_refused_and_other_requests_are_not() {
        if mmtrace_capture::effective_uid() != 0 {
            eprintln!("not run, since only root can: put a filter into force without no_new_privs");
            return;
        }
        // The filter is a thread's.
        let tried = thread::spawn(|| {
            let file = File::open("/dev/null").expect("open");
            let ask = |request: libc::c_ulong| {
                // SAFETY: the file is no terminal, so that the kernel does not look at the argument.
                unsafe { libc::syscall(libc::SYS_ioctl, file.as_raw_fd(), request, c"x".as_ptr()) };
                io::Error::last_os_error().raw_os_error()
            };
            NoInput::new().enter().expect("in force");
            for request in [libc::TIOCSTI, libc::TIOCLINUX] {
                assert_eq!(ask(request), Some(libc::EPERM));
                assert_eq!(ask(request | 0xdead_0000_0000), Some(libc::EPERM), "the kernel ignores the upper half");
            }
            assert_eq!([libc::TCGETS, libc::TIOCGWINSZ, libc::FIOCLEX].map(ask)[..2], [Some(libc::ENOTTY); 2]);
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("read");
            assert!(status.contains("NoNewPrivs:\t0"), "{status}");
        });
        tried.join().expect("as it should be");
    }

    #[test]
    fn every_jump_leads_to_an_instruction() {
        let NoInput(steps) = NoInput::new();
        for (index, step) in steps.iter().enumerate() {
            assert!(index + 1 + usize::from(step.jt.max(step.jf)) <= steps.len(), "{index}");
        }
    }
}
