//! `maple_tree:ma_write`, restricted to VMA stores into the current task's tree.
//!
//! One store passes several functions that all emit the event; only
//! `mas_store_prealloc` is kept, so that each store is seen once. `brk()` stores a
//! new heap by `mas_store_gfp`, which emits none (mm/vma.c:do_brk_flags): in that
//! call, what the functions below it emit is kept as well. They emit none where a
//! node is split.

use aya_ebpf::{
    helpers::{bpf_probe_read_kernel, bpf_probe_read_kernel_str_bytes},
    macros::map,
    maps::LruHashMap,
};
use core::ptr::addr_of_mut;
use mmtrace_common::{Call, Kind, event, spec};

use super::probe;
use crate::{
    args::{Args, arg, current_mm, member, member32},
    call::call,
    filter::wanted,
    offsets,
    ring::emit,
};

/// `"mas_store_prealloc"` as three words.
const NAME: [u64; 3] = {
    let mut words = [0u8; 24];
    let name = b"mas_store_prealloc";
    let mut i = 0;
    while i < name.len() {
        words[i] = name[i];
        i += 1;
    }
    let (chunks, _) = words.as_chunks::<8>();
    [u64::from_ne_bytes(chunks[0]), u64::from_ne_bytes(chunks[1]), u64::from_ne_bytes(chunks[2])]
};

/// The place of the parameter `fn`, the name of the function that stores. It is not recorded, so it stands behind the
/// parameters of the fields.
const FUNCTION_NAME: usize = spec(Kind::MaWrite).fields.len();
const _: () = assert!(spec(Kind::MaWrite).site.also.len() == 1);

/// Address of the kernel's string, once it has been met: the name is then
/// compared by one load instead of a helper call.
#[unsafe(no_mangle)]
static mut MAS_STORE_PREALLOC: u64 = 0;

#[inline(always)]
fn is_store(name: u64) -> bool {
    let known = addr_of_mut!(MAS_STORE_PREALLOC);
    // SAFETY: a word of ours; a race stores the same value.
    if unsafe { known.read_volatile() } == name {
        return true;
    }
    // SAFETY: the helper checks the address.
    let Ok(words) = (unsafe { bpf_probe_read_kernel(name as *const [u64; 3]) }) else { return false };
    // The bytes after the terminating zero are not the name's.
    let tail = 0x00ff_ffff;
    if words[0] != NAME[0] || words[1] != NAME[1] || words[2] & tail != NAME[2] & tail {
        return false;
    }
    // SAFETY: as above.
    unsafe { known.write_volatile(name) };
    true
}

/// Whether the current task is in `brk()`.
#[inline(always)]
fn is_brk(args: Args) -> bool {
    const NUMBERS: [u16; 3] = [Call::System(12).number(), Call::X32(12).number(), Call::Compat(45).number()];
    // Where a kernel lacks what this takes, its offsets are 0.
    if offsets::regs_orig_ax() == 0 {
        return false;
    }
    let number = call(args.context()) as u16;
    number == NUMBERS[0] || number == NUMBERS[1] || number == NUMBERS[2]
}

/// Files whose names are written already, each as its inode and device, and the hash of its name: the name of a file that
/// was renamed, or that has got the inode of another one, is written again.
#[map]
static NAMED_FILES: LruHashMap<[u64; 3], u8> = LruHashMap::with_max_entries(1 << 14, 0);

/// A member of something that no parameter's type tells of: the tree stores its entries as untyped pointers.
#[inline(always)]
fn through(base: u64, offset: usize) -> u64 {
    member::<false>(base, offset)
}

/// Writes the base name of a file, if it was not written before.
#[inline(always)]
fn name(mm: u64, file: u64, ino: u64, dev: u32) {
    if offsets::path_dentry() == 0 || offsets::dentry_name() == 0 || offsets::qstr_name() == 0 {
        return;
    }
    let dentry = through(file, offsets::file_path() + offsets::path_dentry());
    let hash = member32::<false>(dentry, offsets::dentry_name() + offsets::qstr_hash());
    let key = [ino, u64::from(dev), hash];
    // SAFETY: the value is not read.
    if unsafe { NAMED_FILES.get(key) }.is_some() {
        return;
    }
    let text = through(dentry, offsets::dentry_name() + offsets::qstr_name());
    let mut bytes = [0u8; 40];
    // SAFETY: the helper checks the address.
    if unsafe { bpf_probe_read_kernel_str_bytes(text as *const u8, &mut bytes) }.is_err() {
        return;
    }
    let (words, _) = bytes.as_chunks::<8>();
    let word = |at: usize| u64::from_ne_bytes(words[at]);
    // Another task that comes at the same time writes it once more.
    let _ = NAMED_FILES.insert(key, 0, 0);
    emit(
        mm,
        event::FileName { ino, dev, name: word(0), name_2: word(1), name_3: word(2), name_4: word(3), name_5: word(4) },
    );
}

#[inline(always)]
fn write<const TYPED: bool>(args: Args) {
    let is_store = is_store(args.field::<FUNCTION_NAME>());
    let vma = arg!(args, MaWrite, Vma);
    if !is_store && vma == 0 {
        return;
    }
    // The `ma_state` stands in the mm's place.
    let mas = args.mm();
    let mm = current_mm();
    if mm == 0 || member::<TYPED>(mas, offsets::mas_tree()) != mm + offsets::mm_mt() as u64 {
        return;
    }
    if !is_store && !is_brk(args) || !wanted(Kind::MaWrite, mm) {
        return;
    }
    let mut stored = event::MaWrite {
        addr: member::<TYPED>(mas, offsets::mas_index()),
        end: member::<TYPED>(mas, offsets::mas_last()),
        vma,
        ..event::MaWrite::default()
    };
    if vma != 0 {
        stored.vm_flags = through(vma, offsets::vma_flags());
        stored.pgoff = through(vma, offsets::vma_pgoff());
        let file = through(vma, offsets::vma_file());
        if file == 0 {
            stored.anonymous = through(vma, offsets::vma_ops()) == 0;
        } else {
            let inode = through(file, offsets::file_inode());
            stored.ino = through(inode, offsets::inode_ino());
            stored.dev = member32::<false>(through(inode, offsets::inode_sb()), offsets::super_dev()) as u32;
            name(mm, file, stored.ino, stored.dev);
        }
    }
    emit(mm, stored);
}

probe!(Kind::MaWrite, ma_write, ma_write_raw, POS_MA_WRITE, write);
