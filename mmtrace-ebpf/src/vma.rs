//! The VMA of an address, in the current task's VMA tree.
//!
//! The tree is a maple tree, whose nodes are freed after an RCU grace period (`MM_MT_FLAGS`). The programs on page faults
//! run with interrupts off, which is a read side of RCU. A writer may replace nodes meanwhile, so a VMA counts only if it
//! contains the address.

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel, macros::map, maps::PerCpuArray};
use mmtrace_common::{VmaFacts, grows_down};

use crate::{args::member, offsets};

/// Words of a node: `struct maple_node` has 256 bytes (include/linux/maple_tree.h).
const WORDS: usize = 32;
/// Words of a VMA that are read at once. Its range and flags are among them on every kernel that was examined.
const VMA_WORDS: usize = 8;
/// Levels of a tree. One of 65,530 VMAs, which is the default limit of a process, has five.
const LEVELS: u32 = 8;
/// How far below a stack an access may make it grow: the usual limit (include/uapi/linux/resource.h:_STK_LIM).
const STACK: u64 = 8 << 20;

/// `S_IFMT` and `S_IFREG` (include/uapi/linux/stat.h), of the 16 bits of `i_mode`.
const IS_KIND: u64 = 0o170_000;
const IS_REGULAR: u64 = 0o100_000;

/// `enum maple_type`.
const LEAF: u64 = 1;
const ALLOC_RANGE: u64 = 3;

/// A copy of the node that is being looked at, and then of a VMA. Programs that run in an interrupt on top of another one
/// may overwrite it; the VMA that is then found does not contain the address.
#[map]
static NODE: PerCpuArray<[u64; WORDS]> = PerCpuArray::with_max_entries(1, 0);

/// Copies words of kernel memory. Returns whether it could.
#[inline(always)]
fn copy(to: *mut [u64; WORDS], words: usize, from: u64) -> bool {
    // SAFETY: the map's value is that long; the helper checks the address.
    unsafe { bpf_probe_read_kernel(to.cast(), 8 * words as u32, from as *const _) == 0 }
}

/// Whether the tree's root is a node, not a VMA (include/linux/xarray.h:xa_is_node). Entries within nodes lack the mark.
#[inline(always)]
const fn is_node(entry: u64) -> bool {
    entry & 3 == 2 && entry > 4096
}

/// Whether an entry is a pointer to a VMA.
#[inline(always)]
const fn is_vma(entry: u64) -> bool {
    entry & 3 == 0 && entry > 4096
}

/// Returns the number of the facts about what is mapped at an address of the mm; 0 if they cannot be told.
#[inline(always)]
pub fn facts_at(mm: u64, addr: u64) -> u32 {
    if mm == 0 || addr >> 63 != 0 {
        return 0;
    }
    let Some(node) = NODE.get_ptr_mut(0) else { return 0 };
    let mut next = member::<false>(mm, offsets::mm_mt() + offsets::tree_root());
    if !is_node(next) {
        return 0;
    }
    let mut level = 0;
    while level < LEVELS {
        let kind = next >> 3 & 15;
        if next <= 4096 || !(LEAF..=ALLOC_RANGE).contains(&kind) || !copy(node, WORDS, next & !0xff) {
            return 0;
        }
        // Behind the parent: 15 pivots and 16 slots, or 9 and 10.
        let pivots = if kind == ALLOC_RANGE { 9 } else { 15 };
        let mut slot = 0;
        while slot < pivots {
            // SAFETY: within the map's value.
            let pivot = unsafe { (*node)[(slot + 1) & (WORDS - 1)] };
            // In a node that is not full, no pivot of 0 comes but behind the last one.
            if pivot >= addr || (slot > 0 && pivot == 0) {
                break;
            }
            slot += 1;
        }
        // SAFETY: within the map's value.
        let (found, above) =
            unsafe { ((*node)[(pivots + 1 + slot) & (WORDS - 1)], (*node)[(pivots + 2 + slot) & (WORDS - 1)]) };
        if kind == LEAF {
            return if found == 0 && slot < pivots {
                nothing(node, above, addr)
            } else if is_vma(found) {
                facts(node, found, addr)
            } else {
                0
            };
        }
        next = found;
        level += 1;
    }
    0
}

/// A VMA's first and end address, and its flags.
#[inline(always)]
fn range(node: *mut [u64; WORDS], vma: u64) -> Option<(u64, u64, u64)> {
    let (start, end, flags) = (offsets::vma_start() / 8, offsets::vma_end() / 8, offsets::vma_flags() / 8);
    if start >= VMA_WORDS || end >= VMA_WORDS || flags >= VMA_WORDS || !copy(node, VMA_WORDS, vma) {
        return None;
    }
    // SAFETY: within the map's value.
    unsafe { Some(((*node)[start & 7], (*node)[end & 7], (*node)[flags & 7])) }
}

#[inline(always)]
fn facts(node: *mut [u64; WORDS], vma: u64, addr: u64) -> u32 {
    let Some((start, end, flags)) = range(node, vma) else { return 0 };
    if addr < start || addr >= end {
        return 0;
    }
    let file = member::<false>(vma, offsets::vma_file());
    let (mut magic, mut past_end) = (0, false);
    if file != 0 {
        let inode = member::<false>(file, offsets::file_inode());
        magic = member::<false>(member::<false>(inode, offsets::inode_sb()), offsets::super_magic());
        // Only a regular file's size says where its pages end.
        if member::<false>(inode, offsets::inode_mode()) & IS_KIND == IS_REGULAR {
            let page = member::<false>(vma, offsets::vma_pgoff()).wrapping_add((addr - start) >> 12);
            past_end = page >= member::<false>(inode, offsets::inode_size()).wrapping_add(0xfff) >> 12;
        }
    }
    VmaFacts::new(flags, member::<false>(vma, offsets::vma_ops()) != 0, file != 0, magic).past_end(past_end).number()
}

/// There is no VMA at the address. `above` is the next one, unless that is in another node.
#[inline(always)]
fn nothing(node: *mut [u64; WORDS], above: u64, addr: u64) -> u32 {
    if !is_vma(above) {
        return 0;
    }
    let Some((start, _, flags)) = range(node, above) else { return 0 };
    if start <= addr {
        0
    } else if !grows_down(flags) {
        VmaFacts::NO_VMA.number()
    } else if start - addr <= STACK {
        VmaFacts::NO_VMA_BELOW_STACK.number()
    } else {
        0
    }
}
