//! One run of QEMU.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mmtrace::workload::swap_header;
use xtask::guest::{
    RESULTS, SWAP,
    archive::{self, Contents},
};

use crate::{process, workspace::program};

/// QEMU for the kernels that are tested.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// Size of the disk for results; only what is written takes room.
const DISK_BYTES: u64 = 4 << 30;
/// Pages of the disk to swap to.
const SWAP_PAGES: u32 = 64 << 8;
/// Longest time that a kernel may take to say its first word, with an accelerator that works.
const FIRST_WORD: Duration = Duration::from_secs(15);
/// Longest time that a kernel that panics may take to end the machine.
const LAST_WORD: Duration = Duration::from_secs(10);
/// Time between two looks at the machine.
const TICK: Duration = Duration::from_millis(100);

/// The part of the host that runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's compiler: works everywhere, an order of magnitude slower.
    Tcg,
    /// The same with one thread for all processors, so that no two of them change code at once.
    TcgOneThread,
}

impl Accelerator {
    /// The best one that might work. Whether KVM does, only a boot shows: within another virtual machine, it may be
    /// there and do nothing.
    pub(crate) fn best() -> Self {
        let openable = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let extension = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
        if openable && extension { Self::Kvm } else { Self::Tcg }
    }

    /// As QEMU calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::TcgOneThread => "tcg, one thread",
        }
    }

    const fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
            Self::TcgOneThread => "tcg,thread=single",
        }
    }
}

/// The parts of a machine.
pub(super) struct Machine<'a> {
    /// Its files go here: disk, console.
    pub(super) folder: &'a Path,
    /// The kernel.
    pub(super) vmlinuz: &'a Path,
    /// The initramfs that it starts with.
    pub(super) initramfs: &'a Path,
    /// Longest time that it may run.
    pub(super) limit: Duration,
}

/// The results of a machine that has ended.
pub(super) struct Remains {
    /// Files that its first process wrote.
    pub(super) results: Contents,
    /// Text of the kernel's console.
    pub(super) console: String,
    /// Reason why it did not end by itself, or why QEMU failed.
    pub(super) trouble: Option<String>,
}

enum End {
    /// It ended, or was ended for this reason.
    Ended(Option<String>),
    /// The accelerator does not work: why.
    Dead(String),
}

impl Machine<'_> {
    /// Starts it and waits for its end. With an accelerator that turns out not to work, it is started again without.
    pub(super) fn run(&self, accelerator: &mut Accelerator) -> Result<Remains> {
        let (disk, swap, console) = (self.folder.join("disk"), self.folder.join("swap"), self.folder.join("console"));
        let trouble = loop {
            // A disk of before would be read for this one's.
            let _ = fs::remove_file(&disk);
            make(&disk, &[], DISK_BYTES)?;
            let header = swap_header(SWAP_PAGES);
            make(&swap, &header, u64::from(SWAP_PAGES) * header.len() as u64)?;
            fs::write(&console, "")?;
            let mut child = self.start(*accelerator, &[(RESULTS, &disk), (SWAP, &swap)], &console)?;
            let end = self.watch(&mut child, *accelerator, &console);
            // It may have ended by itself; an error must not leave it behind.
            let _ = child.kill();
            child.wait()?;
            match end? {
                End::Ended(trouble) => break trouble,
                End::Dead(why) => {
                    say!("KVM is here and does not work ({why}): without it");
                    *accelerator = Accelerator::Tcg;
                }
            }
        };
        let results = archive::read(BufReader::new(File::open(&disk)?))?;
        let _ = fs::remove_file(&disk);
        let _ = fs::remove_file(&swap);
        Ok(Remains { results, console: text(&console), trouble })
    }

    fn start(&self, accelerator: Accelerator, disks: &[(&str, &Path)], console: &Path) -> Result<Child> {
        let mut qemu = process::command(QEMU, self.folder);
        qemu.args([
            "-machine",
            "q35",
            "-cpu",
            "max",
            "-accel",
            accelerator.option(),
            "-smp",
            "2,sockets=2",
            "-m",
            "2G",
        ]);
        for node in 0..2 {
            qemu.arg("-object").arg(format!("memory-backend-ram,id=m{node},size=1G"));
            qemu.arg("-numa").arg(format!("node,memdev=m{node},cpus={node}"));
        }
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        qemu.arg("-serial").arg(option("file:", console));
        // NVMe is built into Debian's cloud kernels, virtio is a module.
        for (name, file) in disks {
            qemu.arg("-drive").arg(option(&format!("if=none,id={name},format=raw,cache=writeback,file="), file));
            qemu.arg("-device").arg(format!("nvme,drive={name},serial={name}"));
        }
        qemu.arg("-kernel").arg(self.vmlinuz).arg("-initrd").arg(self.initramfs);
        // A panic ends the machine. The first process says on the console which step it is at.
        qemu.args(["-append", "console=ttyS0 panic=-1 oops=panic printk.devkmsg=on"]);
        let log = File::create(self.folder.join("qemu.log"))?;
        qemu.stdout(Stdio::null()).stderr(log);
        qemu.spawn().with_context(|| format!("cannot run {}", process::typed(&qemu)))
    }

    fn watch(&self, child: &mut Child, accelerator: Accelerator, console: &Path) -> Result<End> {
        let start = Instant::now();
        let mut panicked: Option<Instant> = None;
        loop {
            let status = child.try_wait()?;
            let silent = fs::metadata(console)?.len() == 0;
            if accelerator == Accelerator::Kvm && silent && (status.is_some() || start.elapsed() > FIRST_WORD) {
                let log = text(&self.folder.join("qemu.log"));
                return Ok(End::Dead(log.lines().next().unwrap_or("the kernel says nothing").to_owned()));
            }
            if let Some(status) = status {
                let log = text(&self.folder.join("qemu.log"));
                return Ok(End::Ended(
                    (!status.success()).then(|| format!("{QEMU} ended with {status}: {}", log.trim())),
                ));
            }
            if panicked.is_none() && text(console).contains("Kernel panic") {
                panicked = Some(Instant::now());
            }
            if panicked.is_some_and(|since| since.elapsed() > LAST_WORD) {
                return Ok(End::Ended(Some("it did not end after its panic, and was ended".to_owned())));
            }
            if start.elapsed() > self.limit {
                let last = last_words(&text(console));
                let limit = self.limit.as_secs();
                return Ok(End::Ended(Some(format!("it had not ended after {limit} s, and was ended; last: {last}"))));
            }
            thread::sleep(TICK);
        }
    }
}

/// A file that begins like this and is that long.
fn make(path: &Path, start: &[u8], bytes: u64) -> Result<()> {
    let made = File::create(path).and_then(|mut file| {
        file.write_all(start)?;
        file.set_len(bytes)
    });
    made.with_context(|| format!("cannot make {}", path.display()))
}

/// In an option of QEMU a comma within a value is doubled.
fn option(start: &str, path: &Path) -> String {
    format!("{start}{}", path.display().to_string().replace(',', ",,"))
}

fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    // A file that cannot be read says nothing.
    let _ = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_words(console: &str) -> String {
    console.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}

/// Texts with which kernels say that something is wrong with them.
const ALARMS: [&str; 13] = [
    "Kernel panic",
    "BUG:",
    "WARNING:",
    "Oops:",
    "kernel BUG at",
    "general protection fault",
    "soft lockup",
    "hard LOCKUP",
    "rcu: INFO",
    "blocked for more than",
    "Out of memory",
    "oom-kill:",
    "page allocation failure",
];

/// The alarms on a console: how often each was raised, and the first line of it.
pub(super) fn alarms(console: &str) -> Vec<String> {
    let raised = |alarm: &&str| {
        let mut lines = console.lines().filter(|line| line.contains(alarm));
        let first = lines.next()?.trim();
        let more = lines.count();
        Some(if more == 0 { first.to_owned() } else { format!("{first} (and {more} more of this sort)") })
    };
    ALARMS.iter().filter_map(raised).collect()
}

/// Whether the emulator is to blame: QEMU's compiler, with a thread for each CPU, can go on executing a breakpoint that
/// the kernel has just removed from its code (it puts one there while it changes a function's first instruction, as
/// programs come and go), when another CPU compiled that code at that moment. Processors do not, nor does KVM.
pub(super) fn is_stale_breakpoint(console: &str, accelerator: Accelerator) -> bool {
    accelerator == Accelerator::Tcg && console.contains("Oops: int3: 0000")
}

/// Returns the path of QEMU. The inner error says what to do where there is none.
pub(crate) fn qemu() -> Result<PathBuf, String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the kernels that are tested are for x86-64, and this machine is not".to_owned());
    }
    program(QEMU, &[]).ok_or_else(|| {
        format!(
            "there is no {QEMU} here, so no kernel can be booted: cargo xtask setup, or apt-get install qemu-system-x86"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_counted_and_other_lines_are_not() {
        let console = "[ 0.1] Linux version 6.1\n[ 9.1] WARNING: CPU: 0 PID: 1 at mm/x.c:1\n[ 9.2] WARNING: CPU: 1\n\
                       [ 9.3] Oops: 0000 [#1]\ncommand line: oops=panic panic=-1\n";
        assert_eq!(
            alarms(console),
            ["[ 9.1] WARNING: CPU: 0 PID: 1 at mm/x.c:1 (and 1 more of this sort)", "[ 9.3] Oops: 0000 [#1]"]
        );
        assert!(alarms("[ 0.1] all is well\n").is_empty());
        let stale = "[ 9.3] Oops: int3: 0000 [#1] SMP NOPTI\n";
        assert!(is_stale_breakpoint(stale, Accelerator::Tcg) && !is_stale_breakpoint(stale, Accelerator::Kvm));
        assert!(!is_stale_breakpoint(console, Accelerator::Tcg));
    }

    #[test]
    fn commas_in_paths_are_no_options() {
        assert_eq!(option("file:", Path::new("/a,b")), "file:/a,,b");
    }
}
