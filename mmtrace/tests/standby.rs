//! Standby programs that a recording attaches by itself: a profiler in an interrupt makes the kernel skip programs.

use std::{
    fs, io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    process::{Command, Output, Stdio},
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_map_type, bpf_prog_type, perf_event_attr};
use mmtrace_testing::folders::is_root;
use serde_json::Value;

/// Samples of each CPU in a second.
const HZ: u64 = 999;
/// Events of the mmap_lock, which the profiler brings forth.
const LOCK: [&str; 3] = ["mmap_lock_start_locking", "mmap_lock_acquire_returned", "mmap_lock_released"];

fn mmtrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mmtrace"));
    command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command
}

fn descriptor(result: libc::c_long, what: &str) -> OwnedFd {
    let fd = i32::try_from(result).expect("a descriptor");
    assert!(fd >= 0, "{what}: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr, what: &str) -> OwnedFd {
    // SAFETY: `attr` is a whole `union bpf_attr` that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_bpf, command as i32, &raw mut *attr, size_of::<bpf_attr>()) }, what)
}

/// An instruction: its code, registers and number (include/uapi/linux/bpf.h).
const fn instruction(code: u8, to: u8, from: u8, number: u32) -> u64 {
    code as u64 | (to as u64) << 8 | (from as u64) << 12 | (number as u64) << 32
}

/// A continuous profiler that looks for build ids: in the interrupt, it tries to acquire the mmap_lock of the interrupted task.
struct Profiler {
    _parts: Vec<OwnedFd>,
}

impl Profiler {
    fn start() -> Self {
        /// `BPF_F_STACK_BUILD_ID` of a map; `BPF_F_USER_STACK` and `BPF_F_REUSE_STACKID` of the helper.
        const BUILD_IDS: u32 = 1 << 5;
        const USER_STACK: u32 = 1 << 8 | 1 << 10;
        /// `bpf_get_stackid()`
        const GET_STACKID: u32 = 27;
        /// `PERF_EVENT_IOC_SET_BPF`
        const SET_BPF: libc::c_ulong = 0x4004_2408;
        // SAFETY: plain data for which all zeros is the kernel's "nothing asked".
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.__bindgen_anon_1.map_type = bpf_map_type::BPF_MAP_TYPE_STACK_TRACE as u32;
        attr.__bindgen_anon_1.key_size = 4;
        // 32 of `struct bpf_stack_build_id`.
        attr.__bindgen_anon_1.value_size = 32 * 32;
        attr.__bindgen_anon_1.max_entries = 4096;
        attr.__bindgen_anon_1.map_flags = BUILD_IDS;
        let map = bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr, "a map of stacks");
        let code = [
            instruction(0x18, 2, 1, map.as_raw_fd().cast_unsigned()),
            0,
            instruction(0xb7, 3, 0, USER_STACK),
            instruction(0x85, 0, 0, GET_STACKID),
            instruction(0xb7, 0, 0, 0),
            instruction(0x95, 0, 0, 0),
        ];
        // SAFETY: as above.
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.__bindgen_anon_3.prog_type = bpf_prog_type::BPF_PROG_TYPE_PERF_EVENT as u32;
        attr.__bindgen_anon_3.insn_cnt = code.len() as u32;
        attr.__bindgen_anon_3.insns = code.as_ptr() as u64;
        attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
        let program = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr, "a program on samples");
        let mut parts = vec![map];
        for cpu in online() {
            // SAFETY: as above.
            let mut attr: perf_event_attr = unsafe { zeroed() };
            attr.type_ = 1; // PERF_TYPE_SOFTWARE, of which 0 is the clock of a CPU
            attr.size = size_of::<perf_event_attr>() as u32;
            attr.__bindgen_anon_1.sample_freq = HZ;
            attr.set_freq(1);
            attr.sample_type = 1 << 5; // PERF_SAMPLE_CALLCHAIN
            // SAFETY: the kernel reads the struct, which outlives the call.
            let opened = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, cpu, -1, 0_u64) };
            let event = descriptor(opened, "a sampling event");
            // SAFETY: takes numbers only.
            let set = unsafe { libc::ioctl(event.as_raw_fd(), SET_BPF, program.as_raw_fd()) };
            assert_eq!(set, 0, "a program of a sampling event: {}", io::Error::last_os_error());
            parts.push(event);
        }
        parts.push(program);
        Self { _parts: parts }
    }
}

/// CPUs that are online.
fn online() -> impl Iterator<Item = i32> {
    aya::util::online_cpus().expect("CPUs").into_iter().map(|cpu| cpu as i32)
}

/// Records page faults and mappings for some seconds beside the profiler.
fn record(folder: &Path, options: &[&str]) -> (Output, Value) {
    let capture = folder.join("capture");
    let mut record = mmtrace();
    record.args(["record", "--seconds", "5", "--workload", "mmap", "--json", "-o"]).arg(&capture).args(options);
    let output = record.output().expect("it starts");
    let report = serde_json::from_slice(&output.stdout).expect("a report");
    (output, report)
}

/// Records until the kernel has skipped what a test is about: on a slow machine, few interrupts come in the middle of a
/// program.
fn record_until(folder: &Path, options: &[&str], is_enough: impl Fn(&Value) -> bool) -> (Output, Value) {
    const TRIES: u32 = 4;
    for _ in 1..TRIES {
        let (output, report) = record(folder, options);
        if is_enough(&report) {
            return (output, report);
        }
        fs::remove_dir_all(folder.join("capture")).expect("removed");
    }
    record(folder, options)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Events that were missed, by the capture: of all kinds.
fn missed(folder: &Path) -> u64 {
    let dumped = mmtrace().args(["dump", "--csv", "--filter", "kind == missed"]).arg(folder.join("capture")).output();
    let text = String::from_utf8(dumped.expect("it starts").stdout).expect("UTF-8");
    let mut lines = text.lines();
    let column = lines.next().and_then(|head| head.split(',').position(|name| name == "count")).expect("a column");
    lines.map(|line| line.split(',').nth(column).and_then(|n| n.parse::<u64>().ok()).expect("a number")).sum()
}

#[test]
fn a_recording_attaches_standby_programs_where_the_kernel_skips_runs_and_misses_stop() {
    let what = "a recording beside a profiler";
    if !is_root(what) {
        return;
    }
    if !mmtrace().args(["doctor", "--json"]).output().expect("it starts").status.success() {
        eprintln!("not run, since this machine cannot record (mmtrace doctor says why): {what}");
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let _profiler = Profiler::start();
    // Without standby programs, and with the command that says how to get them.
    let (output, report) = record_until(temp.path(), &["--standby", "0"], |report| number(&report["missed"]) > 0);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(report.get("standby_attached").is_none(), "{report:#}");
    let without = number(&report["missed"]);
    assert!(without > 0, "the profiler made the kernel skip nothing: {said}");
    assert!(said.contains("--standby 1"), "{said}");

    fs::remove_dir_all(temp.path().join("capture")).expect("removed");
    let (output, report) = record_until(temp.path(), &[], |report| report.get("standby_attached").is_some());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{without} missed without standby programs, {} with\n{said}", report["missed"]);
    let attached = report["standby_attached"].as_array().unwrap_or_else(|| panic!("none were attached: {said}"));
    println!("{attached:#?}");
    assert!(said.contains("standby programs attached at ") && !said.contains("--standby"), "{said}");
    for event in LOCK {
        let rows: Vec<&Value> = attached.iter().filter(|row| row["event"] == event).collect();
        assert_eq!(rows.len(), 1, "{event} in {attached:?}");
        assert_eq!(number(&rows[0]["standby_programs"]), 1);
        assert_eq!(number(&rows[0]["missed_since"]), 0, "{attached:?}");
    }
    // Nothing is said to be missing that the capture does not have, and nothing was recorded twice: that would be missed too.
    assert_eq!(number(&report["missed"]), missed(temp.path()));
    assert_eq!(report["violations"].as_array().map(Vec::len), Some(0), "{:#}", report["violations"]);
    assert_eq!(number(&report["lost"]), 0, "{said}");
    let replayed = mmtrace().args(["replay", "--json"]).arg(temp.path().join("capture")).output().expect("it starts");
    assert!(replayed.stdout == output.stdout, "replay says something else");
}
