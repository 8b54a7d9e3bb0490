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
/// Words of a VMA that are read at once. All that is asked for is among them on every kernel that was examined.
const VMA_WORDS: usize = 16;
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

/// What the VMA tree has at an address.
#[derive(Clone, Copy)]
pub struct Mapping {
    /// First address of the VMA.
    pub start: u64,
    /// Where it ends; 0: there is no VMA, or it could not be told.
    pub end: u64,
    /// The number of the [`VmaFacts`], but for [`VmaFacts::past_end`]; 0: they cannot be told.
    pub facts: u32,
    /// Its file's inode, if that is a regular file: only its size says where pages end.
    pub inode: u64,
    /// The page of the file that would lie at address 0; it wraps.
    pub page_of_0: u64,
}

impl Mapping {
    const UNKNOWN: Self = Self::without_vma(0);

    #[inline(always)]
    const fn without_vma(facts: u32) -> Self {
        Self { start: 0, end: 0, facts, inode: 0, page_of_0: 0 }
    }

    /// Returns the number of the facts about an address within it.
    #[inline(always)]
    pub fn facts_at(self, addr: u64) -> u32 {
        let Some(facts) = VmaFacts::of_number(self.facts) else { return 0 };
        if self.inode == 0 {
            return self.facts;
        }
        let pages = member::<false>(self.inode, offsets::inode_size()).wrapping_add(0xfff) >> 12;
        facts.past_end(self.page_of_0.wrapping_add(addr >> 12) >= pages).number()
    }
}

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

/// Returns what is mapped at an address of the mm.
#[inline(always)]
pub fn mapping_at(mm: u64, addr: u64) -> Mapping {
    let Some(node) = NODE.get_ptr_mut(0) else { return Mapping::UNKNOWN };
    let mut next = member::<true>(mm, offsets::mm_mt() + offsets::tree_root());
    if !is_node(next) {
        return Mapping::UNKNOWN;
    }
    let mut level = 0;
    while level < LEVELS {
        let kind = next >> 3 & 15;
        if next <= 4096 || !(LEAF..=ALLOC_RANGE).contains(&kind) || !copy(node, WORDS, next & !0xff) {
            return Mapping::UNKNOWN;
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
                Mapping::without_vma(nothing(node, above, addr))
            } else if is_vma(found) {
                mapping(node, found, addr)
            } else {
                Mapping::UNKNOWN
            };
        }
        next = found;
        level += 1;
    }
    Mapping::UNKNOWN
}

/// Copies a VMA; [`word`] then reads its members.
#[inline(always)]
fn copy_vma(node: *mut [u64; WORDS], vma: u64) -> bool {
    copy(node, VMA_WORDS, vma)
}

/// A member of the VMA that [`copy_vma`] has copied; 0 on a kernel where it lies further behind.
#[inline(always)]
fn word(node: *mut [u64; WORDS], offset: usize) -> u64 {
    // SAFETY: within the map's value.
    if offset / 8 < VMA_WORDS { unsafe { (*node)[(offset / 8) & (VMA_WORDS - 1)] } } else { 0 }
}

#[inline(always)]
fn mapping(node: *mut [u64; WORDS], vma: u64, addr: u64) -> Mapping {
    if [offsets::vma_ops(), offsets::vma_file(), offsets::vma_pgoff()].iter().any(|at| at / 8 >= VMA_WORDS)
        || !copy_vma(node, vma)
    {
        return Mapping::UNKNOWN;
    }
    let (start, end) = (word(node, offsets::vma_start()), word(node, offsets::vma_end()));
    if addr < start || addr >= end {
        return Mapping::UNKNOWN;
    }
    let (flags, ops) = (word(node, offsets::vma_flags()), word(node, offsets::vma_ops()));
    let (file, pgoff) = (word(node, offsets::vma_file()), word(node, offsets::vma_pgoff()));
    let (mut magic, mut regular) = (0, 0);
    if file != 0 {
        let inode = member::<false>(file, offsets::file_inode());
        magic = member::<false>(member::<false>(inode, offsets::inode_sb()), offsets::super_magic());
        if member::<false>(inode, offsets::inode_mode()) & IS_KIND == IS_REGULAR {
            regular = inode;
        }
    }
    let facts = VmaFacts::new(flags, ops != 0, file != 0, magic).number();
    Mapping { start, end, facts, inode: regular, page_of_0: pgoff.wrapping_sub(start >> 12) }
}

/// There is no VMA at the address. `above` is the next one, unless that is in another node.
#[inline(always)]
fn nothing(node: *mut [u64; WORDS], above: u64, addr: u64) -> u32 {
    if !is_vma(above) || !copy_vma(node, above) {
        return 0;
    }
    let (start, flags) = (word(node, offsets::vma_start()), word(node, offsets::vma_flags()));
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
