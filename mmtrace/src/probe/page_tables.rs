//! Access of the programs on page faults to the kernel's page tables.
//!
//! A page-table entry has a physical address; the kernel has all memory at one place, the direct map. A way to walk is used
//! only if a word of mmtrace's own memory was found by it, so a wrong address, a number of levels that this kernel does not
//! use, or bits that memory encryption takes for itself cannot give wrong walks: then there are none.

use std::{fs, io};

/// The first argument of `find_page_tables`: go by the kernel's own variable.
const BY_SYMBOL: u64 = u64::MAX;

/// The physical address bits of every entry (arch/x86/include/asm/page_types.h), before the processor's own limit.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Most memory that is looked through for the direct map's begin, GiB.
const GIB_MAX: u64 = 1 << 14;

/// The word that is looked for; it lies on a page of its own.
#[repr(C, align(4096))]
struct Page([u64; 512]);

/// Tries every way to walk, the likeliest first, until one works. `run` runs the program with these arguments. Returns
/// whether one works.
///
/// # Errors
/// The program could not be run.
pub(super) fn find(mut run: impl FnMut(&[u64; 5]) -> io::Result<u32>) -> io::Result<bool> {
    let word = 0x6d6d_7472_6163_6500 ^ u64::from(std::process::id()) << 32 ^ super::sys::monotonic_ns();
    let mut page = Box::new(Page([0; 512]));
    page.0[13] = word;
    let address = (&raw const page.0[13]) as u64;
    let frame = FRAME & frame_limit(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
    let memory = fs::read_to_string("/proc/iomem").unwrap_or_default();
    let end = match gib(&memory) {
        0 => gib_at_most(super::sys::memory_bytes()),
        end => end,
    };
    for below in std::iter::once(BY_SYMBOL).chain(0..=end) {
        for levels in [4, 5] {
            if run(&[below, frame, levels, address, std::hint::black_box(&page).0[13]])? == 1 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The bits that a physical address can have, by the lines of /proc/cpuinfo. With memory encryption, the kernel leaves out
/// the bits that it takes (arch/x86/kernel/cpu/amd.c:early_detect_mem_encrypt, arch/x86/kernel/cpu/intel.c:
/// detect_tme_early).
fn frame_limit(cpuinfo: &str) -> u64 {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("address sizes"));
    let bits = line.and_then(|line| line.trim_start_matches(['\t', ' ', ':']).split(' ').next()?.parse().ok());
    bits.and_then(|bits: u32| 1_u64.checked_shl(bits)).map_or(u64::MAX, |end| end.wrapping_sub(1))
}

/// Returns the end of the machine's memory in GiB, by the lines of /proc/iomem; 0 if they do not tell.
fn gib(iomem: &str) -> u64 {
    let ends = iomem.lines().filter_map(|line| {
        let (range, what) = line.split_once(" : ")?;
        let (_, end) = range.split_once('-')?;
        (what == "System RAM").then(|| u64::from_str_radix(end, 16).ok()).flatten()
    });
    (ends.max().unwrap_or(0) >> 30).min(GIB_MAX)
}

/// Returns where a machine of so much memory has its last GiB, or beyond: what the ranges are is for `CAP_SYS_ADMIN`
/// (kernel/resource.c:r_show). Below 4 GiB, devices take the place of memory, and a machine has as much above.
fn gib_at_most(memory: u64) -> u64 {
    (memory >> 30).saturating_add(5).min(GIB_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_read_from_what_the_kernel_says() {
        let text = "processor\t: 0\naddress sizes\t: 43 bits physical, 48 bits virtual\n";
        assert_eq!(frame_limit(text), (1 << 43) - 1);
        assert_eq!(frame_limit("address sizes\t: 0 bits"), 0);
        for strange in ["", "address sizes", "address sizes\t: 99 bits", "address sizes : x"] {
            assert_eq!(frame_limit(strange), u64::MAX, "{strange}");
        }
        let text =
            "00001000-0009ffff : System RAM\n100000000-63fffffff : System RAM\n  120000000-1207fffff : Kernel code\n";
        assert_eq!(gib(text), 24);
        assert_eq!(gib("00000000-00000000 : System RAM\n"), 0);
        assert_eq!(gib("strange"), 0);
        assert_eq!((gib_at_most(24 << 30), gib_at_most(u64::MAX)), (29, GIB_MAX));
        assert_eq!(gib("0-ffffffffffffffff : System RAM\n"), GIB_MAX);
    }

    #[test]
    fn the_kernels_own_variable_is_tried_first_and_a_way_that_works_ends_the_search() {
        let mut tried = Vec::new();
        let found = find(|arguments| {
            tried.push((arguments[0], arguments[2]));
            Ok(u32::from(tried.len() == 2))
        });
        assert!(found.expect("it runs"));
        assert_eq!(tried, [(BY_SYMBOL, 4), (BY_SYMBOL, 5)]);
        assert!(find(|_| Err(io::Error::other("refused"))).is_err());
    }
}
