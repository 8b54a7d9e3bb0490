//! Tests of what is known of mappings after which events.

use mmtrace_common::{Record, View};

use super::*;
use crate::context::Kernel;

const MM: u64 = 0xffff_8880_0000_1000;
const CHILD: u64 = 0xffff_8880_0000_2000;
const MS: u64 = 1_000_000;
const MMAP: Call = Call::System(9);
const MPROTECT: Call = Call::System(10);
const BRK: Call = Call::System(12);
const PRCTL: Call = Call::System(157);
const CLONE: Call = Call::System(56);

/// A stream of events of one task, a millisecond apart.
struct Stream {
    mappings: Mappings,
    now: u64,
}

impl Stream {
    fn new() -> Self {
        let context = Context::with_every_probe(Kernel::default());
        Self { mappings: Mappings::new(&context), now: 1_000 * MS }
    }

    fn say<E: View>(&mut self, mm: u64, event: E) -> &mut Self {
        self.now += MS;
        let mut record = Record { ts: self.now, mm, tid: 7, tgid: 7, ..Record::default() };
        event.write(&mut record);
        self.mappings.apply(&record);
        self
    }

    fn lock(&mut self, mm: u64, call: Call) -> &mut Self {
        self.say(mm, event::StartLocking { write: true, call: call.number().into() })
    }

    /// A call stores private anonymous memory.
    fn anonymous(&mut self, addr: u64, end: u64, call: Call) -> &mut Self {
        self.lock(MM, call).say(MM, event::MaWrite { addr, end, vma: 1, vm_flags: 3, anonymous: true, ..stored() })
    }

    fn file(&mut self, addr: u64, end: u64, ino: u64) -> &mut Self {
        self.lock(MM, MMAP).say(MM, event::MaWrite { addr, end, vma: 2, vm_flags: 1, ino, dev: 1, ..stored() })
    }

    /// Takes a reading of /proc/PID/maps that began just now and shows `lines`.
    fn read(&mut self, lines: &[(u64, u64, &[u8])], whole: bool) -> &mut Self {
        let since = self.now;
        self.read_since(since, lines, whole)
    }

    fn read_since(&mut self, since: u64, lines: &[(u64, u64, &[u8])], whole: bool) -> &mut Self {
        for (addr, end, name) in lines {
            if !name.is_empty() {
                name_records(MM, *addr, name, self.now).iter().for_each(|record| self.mappings.apply(record));
            }
            let (addr, end) = (*addr, *end);
            let vm_flags = if *name == b"[stack]" { 3 | VM_GROWSDOWN } else { 3 };
            let anonymous = !name.starts_with(b"[v");
            self.say(MM, event::Mapping { addr, end, since, vm_flags, anonymous, ..event::Mapping::default() });
        }
        self.say(MM, event::MapsRead { since, whole })
    }

    /// The kernel has shown one mapping, just now.
    fn read_one(&mut self, addr: u64, end: u64, name: &[u8]) -> &mut Self {
        if !name.is_empty() {
            name_records(MM, addr, name, self.now).iter().for_each(|record| self.mappings.apply(record));
        }
        let since = self.now;
        self.say(MM, event::Mapping { addr, end, since, vm_flags: 3, anonymous: true, ..event::Mapping::default() })
    }

    fn fault(&mut self, mm: u64, addr: u64) -> String {
        self.say(mm, event::PageFaultUser { addr, ..event::PageFaultUser::default() });
        self.mappings.text(self.mappings.label(mm, *self.mappings.faulted()))
    }
}

fn stored() -> event::MaWrite {
    event::MaWrite::default()
}

fn named(base: &[u8], ino: u64) -> event::FileName {
    let [name, name_2, name_3, name_4, name_5] = parts(base)[0];
    event::FileName { ino, name, name_2, name_3, name_4, name_5, dev: 1 }
}

#[test]
fn an_address_belongs_to_what_was_stored_there_last() {
    let mut s = Stream::new();
    s.say(MM, named(b"libc.so.6", 5)).file(0x10000, 0x1ffff, 5).anonymous(0x14000, 0x15fff, MMAP);
    for (addr, name) in [(0x10000, "libc.so.6"), (0x14000, "anonymous"), (0x15fff, "anonymous"), (0x16000, "libc.so.6")]
    {
        assert_eq!(s.fault(MM, addr), name, "{addr:#x}");
    }
    assert_eq!(s.fault(MM, 0x20000), "unknown mapping");
    assert_eq!(s.fault(CHILD, 0x10000), "unknown mapping", "another mm");
    // The tree has nothing there any more.
    s.say(MM, event::MaWrite { addr: 0x10000, end: 0x13fff, ..stored() });
    assert_eq!(s.fault(MM, 0x10000), "unknown mapping");
    assert_eq!(s.fault(MM, 0x14000), "anonymous");
}

#[test]
fn flags_say_what_else_a_mapping_is() {
    let mut s = Stream::new();
    let shared = |vm_flags| event::MaWrite { addr: 0x1000, end: 0x1fff, vma: 9, ino: 3, dev: 1, vm_flags, ..stored() };
    s.say(MM, named(b"memfd:frames", 3)).say(MM, shared(VM_SHARED));
    assert_eq!(s.fault(MM, 0x1000), "memfd:frames, shared");
    s.say(MM, shared(VM_SHARED | 0x40_0000));
    assert_eq!(s.fault(MM, 0x1000), "memfd:frames, shared, hugetlb");
    s.say(MM, event::UserfaultfdSetCtx { vma: 9, ctx: 1, vm_flags: VM_SHARED | 0x200 });
    assert_eq!(s.fault(MM, 0x1000), "memfd:frames, shared, hugetlb, userfaultfd");
    s.say(MM, event::UserfaultfdSetCtx { vma: 9, ctx: 0, vm_flags: VM_SHARED });
    assert_eq!(s.fault(MM, 0x1000), "memfd:frames, shared, hugetlb");
    s.say(MM, event::MaWrite { addr: 0x1000, end: 0x1fff, vma: 9, vm_flags: 5, ..stored() });
    assert_eq!(s.fault(MM, 0x1000), "special mapping of the kernel");
}

#[test]
fn brk_makes_the_heap_and_mprotect_leaves_it_the_heap() {
    let mut s = Stream::new();
    s.anonymous(0x1000, 0x8fff, BRK).anonymous(0x2000, 0x2fff, MPROTECT).anonymous(0x4000, 0x4fff, MMAP);
    assert_eq!([0x1000, 0x2000, 0x3000].map(|addr| s.fault(MM, addr)), ["[heap]"; 3]);
    assert_eq!(s.fault(MM, 0x4000), "anonymous", "mapped over a part of it");
}

#[test]
fn a_stack_takes_the_addresses_below_it_once_all_mappings_are_known() {
    let mut s = Stream::new();
    s.read(&[(0x7000, 0x7fff, b"")], false);
    let stack =
        event::MaWrite { addr: 0xf000, end: 0xffff, vma: 3, vm_flags: VM_GROWSDOWN, anonymous: true, ..stored() };
    s.say(MM, stack);
    assert_eq!([0xf000, 0xe000].map(|addr| s.fault(MM, addr)), ["[stack]", "unknown mapping"]);
    s.read(&[(0x7000, 0x7fff, b""), (0xf000, 0xffff, b"[stack]")], true);
    assert_eq!([0xe000, 0x8000].map(|addr| s.fault(MM, addr)), ["[stack]"; 2]);
    assert_eq!([0x6000, 0x10000].map(|addr| s.fault(MM, addr)), ["outside every mapping"; 2]);
}

#[test]
fn a_reading_fills_in_what_was_not_stored_and_takes_away_what_is_gone() {
    let mut s = Stream::new();
    s.say(MM, named(b"a", 5)).file(0x1000, 0x1fff, 5).file(0x3000, 0x3fff, 5);
    s.read(&[(0x1000, 0x1fff, b""), (0x5000, 0x5fff, b"[vdso]"), (0x6000, 0x6fff, b"[heap]")], true);
    assert_eq!(s.fault(MM, 0x1000), "anonymous", "something else is there by now");
    assert_eq!(s.fault(MM, 0x3000), "outside every mapping", "it was unmapped, which no event shows");
    assert_eq!([0x5000, 0x6000].map(|addr| s.fault(MM, addr)), ["[vdso]", "[heap]"]);
}

#[test]
fn what_is_stored_while_maps_is_read_stays() {
    let mut s = Stream::new();
    let since = s.now;
    s.say(MM, named(b"new", 5)).file(0x1000, 0x1fff, 5).file(0x9000, 0x9fff, 5);
    s.read_since(since, &[(0x0, 0x3fff, b"[anon:old]")], true);
    assert_eq!([0x0, 0x1000, 0x2000].map(|addr| s.fault(MM, addr)), ["[anon:old]", "new", "[anon:old]"]);
    assert_eq!(s.fault(MM, 0x9000), "new");
}

#[test]
fn a_name_of_anonymous_memory_holds_until_prctl_may_have_changed_it() {
    let mut s = Stream::new();
    s.read(&[(0x1000, 0x8fff, b"[anon:one]")], true);
    assert_eq!(s.fault(MM, 0x1000), "[anon:one]");
    s.anonymous(0x2000, 0x2fff, MPROTECT).anonymous(0x3000, 0x3fff, MMAP);
    assert_eq!([0x2000, 0x3000].map(|addr| s.fault(MM, addr)), ["[anon:one]", "anonymous"]);
    s.lock(MM, PRCTL);
    assert_eq!(s.fault(MM, 0x1000), "anonymous");
    assert_eq!(s.mappings.asked(), [(7, MM)], "it may have a name");
    s.read(&[(0x1000, 0x8fff, b"[anon:two]")], true);
    assert_eq!([0x1000, 0x3000].map(|addr| s.fault(MM, addr)), ["[anon:two]"; 2]);
    s.say(0, event::Loss { lost_kind: Kind::StartLocking as u64, count: 1, until: s.now });
    assert_eq!(s.fault(MM, 0x1000), "anonymous", "a call of prctl may be missing");
}

/// After a prctl(), names are asked for one by one where the kernel can be asked so.
#[test]
fn where_single_mappings_can_be_asked_for_the_others_are_not_read_again() {
    let context = Context::with_every_probe(Kernel { release: "6.12.0".to_owned(), ..Kernel::default() });
    let mut s = Stream { mappings: Mappings::new(&context), now: 1_000 * MS };
    s.read(&[(0x1000, 0x1fff, b"[anon:one]"), (0x3000, 0x3fff, b"[anon:x]"), (0x5000, 0x5fff, b"")], true);
    s.lock(MM, PRCTL);
    for addr in [0x1234, 0x1000, 0x3000, 0x5000] {
        assert_eq!(s.fault(MM, addr), "anonymous");
    }
    let asked = |s: &mut Stream| s.mappings.asked_ones().iter().map(|one| one.addr).collect::<Vec<_>>();
    assert_eq!(asked(&mut s), [0x1234, 0x3000, 0x5000], "each mapping once");
    s.read_one(0x1000, 0x1fff, b"[anon:two]").read_one(0x5000, 0x5fff, b"");
    s.now += AGAIN_NS;
    assert_eq!([0x1000, 0x3000, 0x5000].map(|addr| s.fault(MM, addr)), ["[anon:two]", "anonymous", "anonymous"]);
    assert_eq!(asked(&mut s), [0x3000], "the others are known, be it that they have no name");
    assert_eq!(s.mappings.asked(), [], "not all of them");
    // Of very many, all are read.
    let many: Vec<(u64, u64, &[u8])> =
        (0x100..0x200).map(|at| (at << 13, (at << 13) + 0xfff, &b"[anon:y]"[..])).collect();
    s.read(&many, true);
    s.lock(MM, PRCTL);
    for (addr, ..) in many {
        s.fault(MM, addr);
    }
    assert!(asked(&mut s).len() <= ONES_MAX);
    assert_eq!(s.mappings.asked(), [(7, MM)]);
}

#[test]
fn a_fork_copies_what_is_known() {
    let mut s = Stream::new();
    s.anonymous(0x1000, 0x1fff, BRK).lock(MM, CLONE).lock(CHILD, CLONE);
    assert_eq!(s.fault(CHILD, 0x1000), "[heap]");
    // The two are apart from now on.
    s.anonymous(0x1000, 0x1fff, MMAP);
    assert_eq!([MM, CHILD].map(|mm| s.fault(mm, 0x1000)), ["anonymous", "[heap]"]);
    s.say(CHILD, event::ExitMmap {});
    assert_eq!(s.fault(CHILD, 0x1000), "unknown mapping");
}

/// A filter does not know the child's mm yet when its lock is taken.
#[test]
fn a_fork_under_a_filter_copies_what_the_parent_had_when_it_was_copied() {
    let mut s = Stream::new();
    s.anonymous(0x1000, 0x1fff, BRK).lock(MM, CLONE).say(MM, event::Released { write: true });
    // Another thread of the parent stores before the child is born.
    let other = Record { ts: s.now, mm: MM, tid: 8, tgid: 7, ..Record::default() };
    let mut locks = other;
    event::StartLocking { write: true, call: MMAP.number().into() }.write(&mut locks);
    let mut stores = other;
    event::MaWrite { addr: 0x1000, end: 0x1fff, vma: 5, anonymous: true, ..stored() }.write(&mut stores);
    [locks, stores].iter().for_each(|record| s.mappings.apply(record));
    s.say(CHILD, event::Fork { child_pid: 9, child_tid: 9, cgroup_id: 0 });
    assert_eq!([MM, CHILD].map(|mm| s.fault(mm, 0x1000)), ["anonymous", "[heap]"]);
    // A thread is no copy.
    s.say(MM, event::Fork { child_pid: 7, child_tid: 10, cgroup_id: 0 });
    assert_eq!(s.fault(MM, 0x1000), "anonymous");
}

#[test]
fn a_missing_store_makes_all_unknown_until_they_are_read() {
    let mut s = Stream::new();
    s.anonymous(0x1000, 0x1fff, BRK);
    let until = s.now + 10 * MS;
    s.say(0, event::Loss { lost_kind: Kind::MaWrite as u64, count: 1, until });
    s.anonymous(0x1000, 0x1fff, BRK);
    assert_eq!(s.fault(MM, 0x1000), "unknown mapping", "the missing one may come after this one");
    s.read(&[(0x1000, 0x1fff, b"")], true);
    assert_eq!(s.fault(MM, 0x1000), "unknown mapping", "it was read too early");
    s.now = until + MS;
    s.read(&[(0x1000, 0x1fff, b"")], true);
    assert_eq!(s.fault(MM, 0x1000), "anonymous");
    s.say(0, event::Gap { count: 0, until: s.now });
    s.now += MS;
    assert_eq!(s.fault(MM, 0x1000), "unknown mapping");
}

#[test]
fn an_mm_is_asked_for_now_and_then() {
    let mut s = Stream::new();
    (0..10).for_each(|_| assert_eq!(s.fault(MM, 0x1000), "unknown mapping"));
    assert_eq!(s.mappings.asked(), [(7, MM)]);
    s.now += AGAIN_NS;
    s.fault(MM, 0x1000);
    assert_eq!(s.mappings.asked(), [(7, MM)]);
    s.now += AGAIN_NS;
    s.fault(MM, 0x1000);
    assert_eq!(s.mappings.asked(), [], "each time it waits twice as long");
    s.fault(MM, 1 << 63);
    s.fault(0, 0x1000);
    assert_eq!(s.mappings.asked(), [], "neither has a mapping");
}

#[test]
fn events_that_do_not_say_what_is_stored_tell_nothing() {
    let mut context = Context::with_every_probe(Kernel::default());
    let probe = context.probes.iter_mut().find(|probe| probe.event == "ma_write").expect("a probe");
    probe.absent.push("ino".to_owned());
    let mut s = Stream { mappings: Mappings::new(&context), now: 0 };
    s.anonymous(0x1000, 0x1fff, BRK);
    assert_eq!(s.fault(MM, 0x1000), "unknown mapping");
    assert!(!s.mappings.is_told() && s.mappings.asked().is_empty() && s.mappings.records(9).is_empty());
}

/// The records that a segment of a flight recorder begins with say all that was known.
#[test]
fn what_is_repeated_is_what_was_known() {
    let mut s = Stream::new();
    s.say(MM, named(b"libc.so.6", 5)).file(0x1000, 0x1fff, 5).anonymous(0x3000, 0x3fff, BRK);
    s.read(&[(0x5000, 0x5fff, b"[anon:x]"), (0x8000, 0x8fff, b"[stack]"), (0x9000, 0x9fff, b"[vdso]")], false);
    let mut later = Stream::new();
    s.now += MS;
    for record in s.mappings.records(s.now) {
        later.mappings.apply(&record);
    }
    later.now = s.now;
    for addr in (0x0..0xa000).step_by(0x1000) {
        assert_eq!(later.fault(MM, addr), s.fault(MM, addr), "{addr:#x}");
    }
    let before: Vec<String> = (0x0..0xa000).step_by(0x1000).map(|addr| s.fault(MM, addr)).collect();
    s.mappings.records(s.now).iter().for_each(|record| s.mappings.apply(record));
    let after: Vec<String> = (0x0..0xa000).step_by(0x1000).map(|addr| s.fault(MM, addr)).collect();
    assert_eq!(before, after, "to say it again changes nothing");
}

#[test]
fn strange_bytes_show_as_escapes() {
    let mut s = Stream::new();
    s.say(MM, named(b"\x1b[31m\xff\n\xe2\x80\xae.so", 5)).file(0x1000, 0x1fff, 5);
    assert_eq!(s.fault(MM, 0x1000), "\\u{1b}[31m\\xff\\n\\u{202e}.so");
    s.read(&[(0x3000, 0x3fff, b"[anon:a\x07\x80b]")], false);
    assert_eq!(s.fault(MM, 0x3000), "[anon:a\\u{7}\\x80b]");
}

#[test]
fn hostile_ranges_do_no_harm() {
    let mut s = Stream::new();
    for (addr, end) in [(0, u64::MAX), (u64::MAX, u64::MAX), (5, 4), (0, 0), (u64::MAX, 0)] {
        for vma in [0, 1] {
            s.say(MM, event::MaWrite { addr, end, vma, anonymous: true, ..stored() });
            s.read(&[(addr, end, b"[x]")], true);
            s.fault(MM, addr);
            let _ = s.mappings.within(MM, addr, end);
        }
    }
    s.say(MM, event::MappingName { part: 7, ..event::MappingName::default() });
    s.say(MM, event::FilePath { part: 3, ..event::FilePath::default() });
    s.say(MM, event::MapsRead { since: u64::MAX, whole: true });
    s.say(MM, event::Loss { lost_kind: u64::MAX, count: 1, until: u64::MAX });
    assert_eq!(s.fault(MM, 5), "unknown mapping");
}

#[test]
fn an_mm_with_too_many_mappings_is_unknown() {
    let mut s = Stream::new();
    for at in 0..(1 << 16) + 2_u64 {
        s.say(MM, event::MaWrite { addr: at << 13, end: at << 13 | 0xfff, vma: 1, anonymous: true, ..stored() });
    }
    assert_eq!(s.fault(MM, 0), "unknown mapping");
    assert_eq!(s.mappings.asked(), []);
}
