//! `maple_tree:ma_write`, restricted to VMA stores into the current task's tree.
//!
//! One store passes several functions that all emit the event; only
//! `mas_store_prealloc` is kept, so that each store is seen once.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use core::ptr::addr_of_mut;
use mmtrace_common::{Kind, event, spec};

use super::{probe, record};
use crate::{
    args::{Args, arg, current_mm, member},
    offsets,
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

#[inline(always)]
fn write<const TYPED: bool>(args: Args) {
    if !is_store(args.field::<FUNCTION_NAME>()) {
        return;
    }
    // The `ma_state` stands in the mm's place.
    let mas = args.mm();
    let mm = current_mm();
    if mm == 0 || member::<TYPED>(mas, offsets::mas_tree()) != mm + offsets::mm_mt() as u64 {
        return;
    }
    record!(
        mm,
        event::MaWrite {
            addr: member::<TYPED>(mas, offsets::mas_index()),
            end: member::<TYPED>(mas, offsets::mas_last()),
            vma: arg!(args, MaWrite, Vma),
        }
    );
}

probe!(Kind::MaWrite, ma_write, ma_write_raw, POS_MA_WRITE, write);
