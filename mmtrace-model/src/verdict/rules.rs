//! The rules that a stream of events is held against: one row each.
//!
//! A new rule is a row here, and the place in `model/` that knows when it is
//! evaluated. `mmtrace rules`, `mmtrace explain` and `docs/rules.md` come from the
//! rows.

use mmtrace_common::Kind::*;

use super::rule::{Rule, Severity};
use crate::{examined_kernels::FIRST_EXAMINED, kernel_version::KernelVersion};

/// What was given, or else the default.
macro_rules! first {
    ($given:expr, $default:expr) => {
        $given
    };
    ($default:expr) => {
        $default
    };
}

macro_rules! option {
    ($given:expr) => {
        Some($given)
    };
    () => {
        None
    };
}

macro_rules! rules {
    ($($(#[$attr:meta])* $id:ident $severity:ident $title:literal {
        statement: $statement:literal,
        why: $why:literal,
        source: $source:literal,
        sound: $sound:literal,
        meaning: $meaning:literal,
        example: $example:literal,
        needs: [$($kind:ident),*],
        $(since: ($since_major:literal, $since_minor:literal),)?
        $(before: ($before_major:literal, $before_minor:literal),)?
        $(whole_system: $whole:literal,)?
        $(x86_64: $x86:literal,)?
    })*) => {
        /// Names a rule. The numbers L01 to L34, H01 to H07 and M01 to M07 are those of the rule catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RuleId { $(#[doc = $title] $id),* }

        /// Every rule.
        pub const RULES: &[Rule] = &[$(Rule {
            id: RuleId::$id,
            name: stringify!($id),
            title: $title,
            severity: Severity::$severity,
            statement: $statement,
            why: $why,
            source: $source,
            sound: $sound,
            meaning: $meaning,
            example: $example,
            needs: &[$($kind),*],
            since: first!($(KernelVersion::new($since_major, $since_minor),)? FIRST_EXAMINED),
            before: option!($(KernelVersion::new($before_major, $before_minor))?),
            whole_system: first!($($whole,)? false),
            x86_64: first!($($x86,)? false),
        }),*];
    };
}

rules! {
    L01 Violation "mmap_lock: one writer at a time" {
        statement: "Two observed write holds of one mm's mmap_lock never overlap.",
        why: "The writer changes the VMA tree and page tables as if nobody else did; two of them corrupt both.",
        source: "Documentation/mm/process_addrs.rst (7.2), lock exclusivity; include/linux/mmap_lock.h",
        sound: "acquire_returned is emitted after the acquisition and released before the release, so an observed hold lies inside the true one: if the observed ones overlap, the true ones do. An overlap of 2 us or less is put down to clocks. After a loss every hold is forgotten.",
        meaning: "The rw_semaphore let two writers in, or a release was done on the wrong mm.",
        example: "T1 acquire_returned(W) … T2 acquire_returned(W) … T1 released(W)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L02 Violation "mmap_lock: no reader beside a writer" {
        statement: "No observed read hold that is not a downgraded one overlaps an observed write hold of the same mm.",
        why: "Readers walk VMAs and page tables that a writer is free to change.",
        source: "Documentation/mm/process_addrs.rst (7.2), lock exclusivity",
        sound: "As L01. Readers are counted per mm, not per task, so a read lock that another context releases (mmap_read_unlock_non_owner) still balances. Where it is released on top of a task that is hidden from BPF programs, the release is missing: a writer that comes after a reader breaks the rule once that reader's own release shows that it was still inside, and no other reader is there on whose behalf that may be.",
        meaning: "A reader can see a half-changed address space.",
        example: "T1 acquire_returned(R) … T2 acquire_returned(W) … T1 released(R)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L03 Violation "mmap_lock: a downgraded hold excludes writers" {
        statement: "While a downgraded hold is observed, nobody acquires the mmap_lock for write; so two downgraded holds never meet.",
        why: "munmap frees page tables under the downgraded lock, counting on no other writer, and on no second downgraded one.",
        source: "include/linux/mmap_lock.h:mmap_write_downgrade; mm/vma.c:vms_complete_munmap_vmas; process_addrs.rst (7.2)",
        sound: "The downgrade's event is emitted before the downgrade and its release before the release: the observed downgraded hold lies inside the true one.",
        meaning: "Two unmaps can free the same page tables.",
        example: "T1 acquire_returned(W), acquire_returned(R) = downgrade … T2 acquire_returned(W) … T1 released(R)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L04 Violation "mmap_lock: the writer releases" {
        statement: "A write release comes from the task that holds the lock for write.",
        why: "There is no non-owner write release; anything else unlocks a section that somebody is still in.",
        source: "include/linux/mmap_lock.h:mmap_write_unlock; kernel/locking/rwsem.c",
        sound: "Judged only while the writer was seen to acquire, or the lock is known to be free since an earlier write hold.",
        meaning: "Unbalanced unlock: the next writer comes in too early.",
        example: "T1 acquire_returned(W) … T2 released(W)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L05 Violation "mmap_lock: not held for write in user mode" {
        statement: "A task that is in user mode, or exits, holds no mmap_lock for write.",
        why: "Nobody would ever release it.",
        source: "kernel/locking/rwsem.c (owner releases); arch/x86/mm/fault.c",
        sound: "page_fault_user is chosen by user_mode(regs), and a write hold has no non-owner release. Counted at the first user-mode fault after a write hold.",
        meaning: "A path returned without mmap_write_unlock; every later fault of the process hangs.",
        example: "T1 acquire_returned(W) … T1 page_fault_user",
        needs: [StartLocking, AcquireReturned, Released, PageFaultUser],
    }
    L06 Violation "mmap_lock: no more read releases than acquisitions" {
        statement: "An mm's mmap_lock is not released for read when nobody holds it for read.",
        why: "One release too many lets a writer in beside a reader that is still there.",
        source: "include/linux/mmap_lock.h:mmap_read_unlock",
        sound: "Judged only once a write acquisition was seen (at that moment no reader is left, so the count is exact) that is more than 2 us after the start of recording or a loss, since by another CPU's clock a reader may have come after it; per mm, so that a non-owner release is fine, and not after one within 2 us of that acquisition. A release by a task that was not seen to acquire counts only on an mm that a task was seen to run on: what the tasks of a hidden process acquire is not seen, and others may release it.",
        meaning: "Double unlock, as when VM_FAULT_RETRY or VM_FAULT_COMPLETED is misread as \"still locked\".",
        example: "T1 acquire_returned(R), released(R), released(R)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L07 Violation "mmap_lock: the writer does not wait for itself" {
        statement: "A task that holds its own mm's mmap_lock for write never blocks on the same lock.",
        why: "It waits for itself: the process hangs, and everybody who needs its mm.",
        source: "process_addrs.rst (7.2), deadlock rules",
        sound: "contention_begin of an rwsem is emitted only where the task is about to sleep; a failed trylock (vm_insert_page does one under the write lock) never gets there.",
        meaning: "Self-deadlock.",
        example: "T1 acquire_returned(W) … T1 start_locking(R), contention_begin(mmap_lock)",
        needs: [StartLocking, AcquireReturned, Released, ContentionBegin],
    }
    L08 Consistency "mmap_lock: a downgrade comes from the writer" {
        statement: "A read acquisition that no start_locking announced is the writer's downgrade.",
        why: "mmap_write_downgrade is the only path that emits acquire_returned alone.",
        source: "include/linux/mmap_lock.h:mmap_write_downgrade",
        sound: "Judged only for tasks that were seen in user mode before (no acquisition can have been in flight), and while the lock's holders are known.",
        meaning: "Events were lost without being counted, or the lock's events do not mean what mmtrace takes them for.",
        example: "T1 acquire_returned(R) without start_locking, T1 does not hold W",
        needs: [StartLocking, AcquireReturned, Released, PageFaultUser],
    }
    L09 Violation "dead mm: nobody uses its VMAs or page tables" {
        statement: "Between exit_mmap and __mmdrop of an mm no task that ran on it enters handle_mm_fault for it, is granted one of its VMAs, locks one for writing, links a PTE table or unlinks one by a collapse.",
        why: "Its VMAs and page tables are freed; only the struct is still there.",
        source: "mm/mmap.c:exit_mmap, kernel/fork.c:mmput, __mmdrop",
        sound: "exit_mmap is emitted at its end, inside the last write hold; all of these need mm_users or a linked VMA, and mm_users does not rise from 0. Taking the mmap_lock is not forbidden: khugepaged, KSM and the OOM reaper do, look, and leave. A life ends at __mmdrop, fork or exec; what comes within 2 us of those is not judged. Some hosts hide a process from all BPF programs: an mm that it gave back or made is never announced, so that another mm may be at that address. Judged only for tasks that were seen to run on this mm before, by a fork, exec or fault in user mode, and to leave it by no exec or exit: whoever is seen at all is always seen. Kernels that emit no exit_mmap for an mm without VMAs leave that one unjudged.",
        meaning: "Use after free of page tables or VMAs.",
        example: "T1 exit_mmap(mm) … T2 handle_mm_fault(mm), no __mmdrop(mm) between",
        needs: [ExitMmap, Mmdrop, HandleMmFault, Fork, Exec, Exit],
        whole_system: true,
    }
    L10 Violation "VMA mode: the VMA was granted" {
        statement: "handle_mm_fault with VMA_LOCK follows a lock_vma_under_rcu of the same task that returned this VMA.",
        why: "The flag promises that the VMA is locked for reading; drop paths release that lock.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault; mm/memory.c:lock_vma_under_rcu",
        sound: "Program order of one task. The last four grants are remembered, so one on top of the task (a BPF program) hides nothing. Judged only when the task was seen in user mode or at the end of a fault before, and no more were granted since.",
        meaning: "A fault runs on a VMA that may be changed or freed under it.",
        example: "T1 page_fault_user, T1 handle_mm_fault(v, VMA_LOCK), no grant of v",
        needs: [HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu],
        since: (6, 4),
    }
    L11 Violation "VMA mode: not with NOWAIT" {
        statement: "A call of handle_mm_fault with both VMA_LOCK and RETRY_NOWAIT is refused with SIGSEGV.",
        why: "With RETRY_NOWAIT a RETRY keeps the lock; under a VMA's lock it must mean that it is gone.",
        source: "mm/memory.c:sanitize_fault_flags; \"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06)",
        sound: "Both are bits of one argument, and the refusal is the result of the same call.",
        meaning: "A caller mixes the two protocols, and nobody stops it: the VMA's lock leaks.",
        example: "T1 handle_mm_fault(VMA_LOCK | RETRY_NOWAIT), T1 handle_mm_fault_return RETRY",
        needs: [HandleMmFault, HandleMmFaultReturn],
        since: (6, 6),
    }
    L12 Violation "lock_vma_under_rcu: the right VMA" {
        statement: "The VMA that lock_vma_under_rcu returns covers the address, and belongs to the mm that was asked for.",
        why: "VMA objects are reused at once, also by another mm; the checks behind the lock are what finds that out.",
        source: "mm/memory.c:lock_vma_under_rcu (from 7.0 mm/mmap_lock.c)",
        sound: "The fields are read where the function returns, with the read lock held, so nobody may change them.",
        meaning: "A fault is handled with another range's, or another process's, VMA.",
        example: "T1 lock_vma_under_rcu(0x5000) = v, which spans 0x1000-0x4000",
        needs: [LockVmaUnderRcu],
        since: (6, 4),
    }
    L13 Violation "mmap mode: the mmap_lock is held" {
        statement: "When handle_mm_fault is entered without VMA_LOCK, somebody holds the mmap_lock of the VMA's mm.",
        why: "PA-6: nothing else keeps the VMA and its page tables.",
        source: "Documentation/mm/process_addrs.rst (7.2); mm/memory.c:handle_mm_fault",
        sound: "The entry lies inside the caller's hold. Judged only when the lock's holders are known completely, and asks for any holder, not for the task, so that an owner who is taken for another cannot matter.",
        meaning: "A fault without a lock.",
        example: "T1 released(R), T1 handle_mm_fault",
        needs: [HandleMmFault, StartLocking, AcquireReturned, Released],
    }
    L14 Violation "mmap mode: RETRY and COMPLETED mean released" {
        statement: "A fault under the mmap_lock that may be retried and may wait, and returns RETRY or COMPLETED, has released the lock.",
        why: "The caller does not unlock then: the lock would never be released.",
        source: "mm/filemap.c:__folio_lock_or_retry, maybe_unlock_mmap_for_io; mm/userfaultfd.c:handle_userfault; mm/memory.c:fault_dirty_shared_page",
        sound: "Every place that drops it goes through mmap_read_unlock, on the task's own behalf. Not judged when the task was seen to acquire the lock during the call: a release may then be that one's. RETRY without ALLOW_RETRY, or with RETRY_NOWAIT, is not judged.",
        meaning: "The mmap_lock leaks; the next writer waits for ever.",
        example: "T1 handle_mm_fault(ALLOW_RETRY), no released(R), T1 handle_mm_fault_return RETRY",
        needs: [HandleMmFault, HandleMmFaultReturn, StartLocking, AcquireReturned, Released],
    }
    L15 Violation "mmap mode: all else means still held" {
        statement: "A fault under the mmap_lock that returns neither RETRY nor COMPLETED has not released the lock.",
        why: "The caller unlocks: once too often.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault; mm/gup.c:faultin_page",
        sound: "Judged broken only if the task was the only holder, and the holders known completely, when it released: so it was no release on behalf of another context, as BPF's irq_work does it; nor if the task was seen to acquire the lock during the call.",
        meaning: "Double unlock.",
        example: "T1 handle_mm_fault, T1 released(R), T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, StartLocking, AcquireReturned, Released],
    }
    L16 Violation "VMA mode: no mmap_lock held" {
        statement: "A task that handles a fault under a VMA's lock does not hold the mmap_lock of that mm, neither for write, nor for read after it slept for it since it left user mode.",
        why: "The VMA's lock is for those who do not have the mmap_lock; whoever has it for write waits for himself.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault",
        sound: "VMA mode is for faults in user mode, which hold nothing. A write hold has no other owner. A read hold counts only if the task slept for it: what a BPF program takes on top of the task, and another context releases, it only tries for.",
        meaning: "A lock is taken in front of the fast path, or leaks into it.",
        example: "T1 page_fault_user, T1 contention_begin, T1 acquire_returned(R), T1 handle_mm_fault(VMA_LOCK)",
        needs: [HandleMmFault, PageFaultUser, ContentionBegin, StartLocking, AcquireReturned, Released],
        since: (6, 4),
    }
    L17 Violation "VMA mode: never sleeps for the mmap_lock" {
        statement: "A fault under a VMA's lock that returns neither RETRY nor COMPLETED has not slept for the mm's mmap_lock.",
        why: "PA-2: a writer that holds the mmap_lock and waits for the VMA's readers would wait for this one for ever.",
        source: "Documentation/mm/process_addrs.rst (7.2); mm/memory.c:__vmf_anon_prepare tries only",
        sound: "contention_begin of an rwsem is emitted only where the task is about to sleep, which no interrupt does; and with neither RETRY nor COMPLETED the VMA's lock was held from end to end.",
        meaning: "A deadlock is possible with every writer of the mm.",
        example: "T1 handle_mm_fault(VMA_LOCK), T1 contention_begin(mmap_lock), T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, ContentionBegin],
        since: (6, 4),
    }
    L18 Violation "one fault, one try under the VMA lock" {
        statement: "One fault in user mode is handled at most once under a VMA's lock, and under the mmap_lock a second time only with TRIED.",
        why: "A fault that never gives up the fast path may never end; without TRIED it may drop the lock for ever.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault",
        sound: "A fault begins with page_fault_user; only calls with registers and FAULT_FLAG_USER count, so gup of the same task does not. Not judged after a fault in the kernel, until the next one in user mode.",
        meaning: "Livelock in the fault path.",
        example: "T1 page_fault_user, T1 handle_mm_fault(VMA_LOCK) RETRY, T1 handle_mm_fault(VMA_LOCK)",
        needs: [HandleMmFault, HandleMmFaultReturn, PageFaultUser, PageFaultKernel],
        since: (6, 4),
    }
    L19 Violation "VMA lock: no writer beside a reader" {
        statement: "While a task holds a VMA for reading, __vma_start_write of another task does not return for it.",
        why: "The reader walks what the writer changes.",
        source: "Documentation/mm/process_addrs.rst (7.2); mm/mmap_lock.c:__vma_start_write (before 7.0 mm/memory.c)",
        sound: "The hold is observed from the return of lock_vma_under_rcu to the return of handle_mm_fault, and only if that returns neither RETRY nor COMPLETED: then it lies inside the true one. The writer returns when the readers are gone; a VMA cannot be another while it is held. 2 us at either end are put down to clocks.",
        meaning: "A fault runs on a VMA that is being changed.",
        example: "T1 lock_vma_under_rcu = v … T2 __vma_start_write(v) returns … T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu, VmaStartWriteReturn],
        since: (6, 15),
    }
    L20 Violation "VMA lock: no reader beside a writer" {
        statement: "Between the return of __vma_start_write and the release or downgrade of the mmap_lock by that task, lock_vma_under_rcu does not return the VMA.",
        why: "As L19, from the other side.",
        source: "Documentation/mm/process_addrs.rst (7.2); include/linux/mmap_lock.h:vma_end_write_all",
        sound: "Both ends lie inside the true hold. Any acquisition or release of the mmap_lock ends it, as does vm_area_free: the object may then be another mm's. Where vm_area_free ran on top of a task that BPF programs do not see, a grant for another mm shows it. A grant is judged only when nothing within 2 us explains it, and only for write holds that were seen to begin.",
        meaning: "A fault starts on a VMA that is being changed.",
        example: "T1 acquire_returned(W), T1 __vma_start_write(v) returns … T2 lock_vma_under_rcu = v … T1 released(W)",
        needs: [LockVmaUnderRcu, VmaStartWriteReturn, VmAreaFree, StartLocking, AcquireReturned, Released],
        since: (6, 15),
    }
    L21 Violation "VMA write lock: under the mmap_lock for write" {
        statement: "At the entry of __vma_start_write the task holds the mmap_lock of the VMA's mm for write.",
        why: "PA-1: the VMA's write lock ends with the mmap_lock's; without that it means nothing.",
        source: "Documentation/mm/process_addrs.rst (7.2); include/linux/mmap_lock.h:vma_start_write",
        sound: "Program order of one task; write holds have one owner. Judged only when the lock's holders are known completely.",
        meaning: "A VMA is changed beside others who change it.",
        example: "T1 __vma_start_write(v), T1 does not hold W",
        needs: [VmaStartWrite, StartLocking, AcquireReturned, Released],
        since: (6, 15),
    }
    L22 Violation "VMA: not given back under a reader" {
        statement: "While a task holds a VMA for reading, vm_area_free is not called for it.",
        why: "The object may be another's at once.",
        source: "kernel/fork.c:vm_area_free (from 7.0 mm/vma_init.c); include/linux/mm.h:vma_mark_detached",
        sound: "The reader's hold is observed as in L19. Whoever gives a VMA back has taken it out of the tree and waited for its readers.",
        meaning: "Use after free of a VMA.",
        example: "T1 lock_vma_under_rcu = v … T2 vm_area_free(v) … T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu, VmAreaFree],
        since: (6, 4),
    }
    L23 Violation "unlink: whoever unlinks a PTE table holds what it takes" {
        statement: "pmdp_collapse_flush runs inside retract_page_tables, or inside collapse_pte_mapped_thp while somebody holds that mm's mmap_lock, or else while its task holds it for write.",
        why: "I-UNLINK: a table goes only under PML and its PTL, with the VMA kept in place by i_mmap or the mmap_lock; an anonymous collapse, which takes no PTL, needs everybody else out.",
        source: "mm/khugepaged.c:retract_page_tables, collapse_pte_mapped_thp (from 7.0 try_collapse_pte_mapped_thp), collapse_huge_page; Documentation/mm/process_addrs.rst (7.2)",
        sound: "pmdp_collapse_flush has these three callers. Brackets are program order of one task, and asked for only of a task that was seen outside of them since every probe was attached. Holds of the mmap_lock are judged only when they are known completely, and in collapse_pte_mapped_thp per mm, so that a release by another context still balances.",
        meaning: "A walker can meet a table that goes under its feet.",
        example: "T1 collapse_huge_page(mm), T1 holds no mmap_lock, T1 pmdp_collapse_flush",
        needs: [PmdpCollapseFlush, RetractPageTables, RetractPageTablesReturn, CollapsePteMappedThp, CollapsePteMappedThpReturn, StartLocking, AcquireReturned, Released, PageFaultUser],
        since: (6, 6),
        whole_system: true,
    }
    L24 Violation "free: the table handed to RCU is the one that was unlinked" {
        statement: "pte_free_defer in retract_page_tables or collapse_pte_mapped_thp is given the table that the same task's last pmdp_collapse_flush has taken out, once.",
        why: "Another table would be freed while it is in use; the unlinked one would leak.",
        source: "mm/khugepaged.c:retract_page_tables, collapse_pte_mapped_thp; mm/pgtable-generic.c:pte_free_defer",
        sound: "Program order of one task. A free without a flush is judged only inside a bracket that was seen to begin. Of the frame, the bits below 2^46 bytes are compared: the encryption bit of some machines is above.",
        meaning: "Use after free of a page table.",
        example: "T1 pmdp_collapse_flush returned table A, T1 pte_free_defer(B)",
        needs: [PmdpCollapseFlush, PteFreeDefer, RetractPageTables, RetractPageTablesReturn, CollapsePteMappedThp, CollapsePteMappedThpReturn],
        since: (6, 6),
        x86_64: true,
    }
    L25 Violation "unlink: the PTE table is empty" {
        statement: "When pmdp_collapse_flush is entered in retract_page_tables or collapse_pte_mapped_thp, the table holds no present entry and no marker.",
        why: "I-EMPTY, I-MARKER: the table is freed with what is in it. A page is lost; a guard page becomes readable; poisoned or write-protected memory no longer says so.",
        source: "mm/khugepaged.c; the question of \"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05): may markers spring up where the page is not mapped?",
        sound: "PML and PTL are held, so nothing but the hardware changes the table while it is looked into, and that only sets accessed and dirty. A marker that says uffd-wp only, in a VMA that is not registered for write-protection, is not judged: older kernels leave such behind. Other non-present entries may be there: a hwpoison entry of a page that was truncated. Anonymous collapses empty the table afterwards and are not asked.",
        meaning: "A marker that user space has been told of, or a page, is gone.",
        example: "T1 UFFDIO_POISON; T2 retract_page_tables, pmdp_collapse_flush(markers 1)",
        needs: [PmdpCollapseFlush, RetractPageTables, RetractPageTablesReturn, CollapsePteMappedThp, CollapsePteMappedThpReturn],
        since: (6, 6),
        x86_64: true,
    }
    L26 Violation "retract: not a range that is registered for write-protection" {
        statement: "retract_page_tables does not unlink a PTE table of a VMA that had been registered for userfaultfd write-protection before it began, and still is.",
        why: "The markers in that table would be lost, and with them the write-protection.",
        source: "mm/khugepaged.c:retract_page_tables; \"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05)",
        sound: "The flag is the VMA's own, read where the table is about to be unlinked. It may be set between the test and that place, legally; so only registrations count whose mmap_lock was released more than 2 us before the retract was entered, with no other registration since.",
        meaning: "Writes to protected pages go unnoticed.",
        example: "T1 userfaultfd_set_ctx(v, WP), T1 released(W) … T2 retract_page_tables, T2 pmdp_collapse_flush(v)",
        needs: [UserfaultfdSetCtx, RetractPageTables, RetractPageTablesReturn, PmdpCollapseFlush, VmAreaFree, StartLocking, AcquireReturned, Released],
        since: (6, 6),
        whole_system: true,
    }
    L27 Violation "retract: without the mmap_lock" {
        statement: "Within retract_page_tables the task neither takes an mmap_lock for write nor sleeps for one.",
        why: "It holds i_mmap_rwsem, which is inside the mmap_lock.",
        source: "mm/khugepaged.c:retract_page_tables; \"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05)",
        sound: "Program order of one task. Attempts for read are not counted: a BPF program on top of the task may make them.",
        meaning: "A deadlock with faults on the file, or a kernel before 6.6 that says otherwise.",
        example: "T1 retract_page_tables, T1 start_locking(W)",
        needs: [RetractPageTables, RetractPageTablesReturn, StartLocking, AcquireReturned, ContentionBegin],
        since: (6, 6),
        whole_system: true,
    }
    L28 Violation "collapse: nobody fills the PMD that it has emptied" {
        statement: "Between pmdp_collapse_flush of an anonymous collapse and the end of its write hold, no other task links a PTE table at that PMD entry, and no other task's fault on its range begins and succeeds.",
        why: "The collapse will put a huge page, or the old table, there (I-CLOBBER).",
        source: "mm/khugepaged.c:collapse_huge_page; mm/memory.c:pmd_install",
        sound: "The flush is seen while PML is held and before the PMD is cleared, the release before it happens: what is seen between them, by more than clocks may differ, is between them. Whoever links a table there holds the mmap_lock or that VMA's lock for read until after his event, and the collapse has excluded both since before the flush. A fault counts when it was entered after the flush and returned without RETRY, COMPLETED or an error before the release: it too needs one of the two locks. It may have put a huge page there, which no event shows.",
        meaning: "What was faulted in meanwhile is lost, or the collapse's pages are.",
        example: "T1 pmdp_collapse_flush, T2 pmd_install(same PMD, installed), T1 released(W)",
        needs: [PmdpCollapseFlush, PmdInstall, HandleMmFault, HandleMmFaultReturn, StartLocking, AcquireReturned, Released, RetractPageTables, RetractPageTablesReturn, CollapsePteMappedThp, CollapsePteMappedThpReturn],
        since: (6, 6),
    }
    L29 Violation "walk: begins and ends balance" {
        statement: "A task ends no walk of page tables that it has not begun, and is in none when it is seen in user mode or exits.",
        why: "For a hugetlb VMA the bracket holds the lock that keeps shared PMD tables from being unshared.",
        source: "mm/memory.c:vma_pgtable_walk_begin; mm/gup.c, mm/pagewalk.c:folio_walk_start; \"mm: Introduce vma_pgtable_walk_{begin|end}()\" (linux-mm, 2023-11)",
        sound: "Straight-line code of one task, counted from when it was seen in user mode, or forked.",
        meaning: "A hugetlb lock is held for ever, or was not held where it had to be.",
        example: "T1 vma_pgtable_walk_end, no vma_pgtable_walk_begin before",
        needs: [VmaPgtableWalkBegin, VmaPgtableWalkEnd, PageFaultUser],
        since: (6, 10),
    }
    L30 Violation "hugetlb lock: no reader or second writer beside a writer" {
        statement: "Two observed holds of one hugetlb lock, one of them for write, never overlap.",
        why: "Unsharing a PMD table, and zapping, rely on nobody walking there.",
        source: "mm/hugetlb.c:hugetlb_vma_lock_read and its kin",
        sound: "A hold is seen from after its acquisition to before its release, and overlaps of 2 us or less are put down to clocks. An overlap is judged once both holds were seen to end. Which lock it is, or that there is none, is read from the VMA at that moment; that of a private reservation is asked of kernels from 6.7 on. Should a task be seen in user mode, or take a lock that it still seems to hold, then releases are inlined on this kernel: all findings are taken back and none is made any more.",
        meaning: "A walker reads a page table that is being unshared.",
        example: "T1 hugetlb_vma_lock_write … T2 hugetlb_vma_lock_read … T1 hugetlb_vma_unlock_write",
        needs: [HugetlbVmaLockRead, HugetlbVmaUnlockRead, HugetlbVmaLockWrite, HugetlbVmaUnlockWrite, HugetlbVmaTrylockWrite, HugetlbZapEnd],
        since: (6, 6),
    }
    L31 Violation "hugetlb: rmap walks unshare under the hugetlb lock" {
        statement: "huge_pmd_unshare of a VMA runs while its task holds that VMA's hugetlb lock for write, or its mmap_lock.",
        why: "A reader of the hugetlb lock walks the PMD table that the mm no longer keeps.",
        source: "mm/rmap.c:try_to_unmap_one, try_to_migrate_one; mm/hugetlb.c:huge_pmd_unshare",
        sound: "Program order of one task whose holds are known: it was seen in user mode, or to take a hugetlb lock, before. Splitting a VMA unshares under the mmap_lock instead. Asked only of VMAs that were seen with a lock that can be shared. A compiler may inline what takes the lock: until a call inside it is seen on this kernel, calls outside are kept and the rule is unknown; then they are judged.",
        meaning: "Use after free of a PMD table.",
        example: "T1 huge_pmd_unshare(v), T1 has not got hugetlb_vma_trylock_write(v)",
        needs: [HugePmdUnshare, HugetlbVmaTrylockWrite, HugetlbVmaUnlockWrite, HugetlbVmaLockWrite, HugetlbZapEnd, VmAreaFree, PageFaultUser, StartLocking, AcquireReturned, Released],
        since: (6, 6),
    }
    L32 Violation "hugetlb: its lock is released before the sleep" {
        statement: "Between the entry of migration_entry_wait_huge and the sleep, the task calls hugetlb_vma_unlock_read for that VMA.",
        why: "A writer of the lock would wait for the whole migration, and the migration perhaps for him.",
        source: "mm/migrate.c:migration_entry_wait_huge",
        sound: "Program order of one task. A compiler may inline the call: until it is seen there on this kernel, sleeps without it are kept and the rule is unknown; then they are judged.",
        meaning: "A deadlock, or an unlock of a lock whose VMA may be gone.",
        example: "T1 migration_entry_wait_huge(v), T1 migration_entry_wait_on_locked",
        needs: [MigrationEntryWaitHuge, HugetlbVmaUnlockRead, MigrationEntryWaitOnLocked, MigrationEntryWait],
        since: (6, 2),
    }
    L33 Violation "migration wait: the mmap_lock is still held" {
        statement: "migration_entry_wait in a fault under the mmap_lock is entered before that fault has released the lock.",
        why: "It reads page tables, which nothing else keeps.",
        source: "mm/migrate.c:migration_entry_wait; mm/memory.c:do_swap_page",
        sound: "As L15: broken only if what was released can only have been the task's own hold.",
        meaning: "Use after free of page tables.",
        example: "T1 handle_mm_fault, T1 released(R), T1 migration_entry_wait",
        needs: [HandleMmFault, HandleMmFaultReturn, MigrationEntryWait, StartLocking, AcquireReturned, Released],
    }
    L34 Violation "a locked folio: what was dropped is retried" {
        statement: "A fault for which __folio_lock_or_retry returned RETRY on the first try, and could wait, returns RETRY.",
        why: "The lock was released to wait for the folio; any other result says that it is held.",
        source: "mm/filemap.c:__folio_lock_or_retry; mm/memory.c:do_swap_page, remove_device_exclusive_entry",
        sound: "Program order within one call. Outside a call (khugepaged swaps in by itself) nothing is judged.",
        meaning: "Double unlock.",
        example: "T1 __folio_lock_or_retry = RETRY, T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, FolioLockOrRetry],
        since: (6, 6),
    }
    L35 Violation "anonymous collapse: pages are isolated under the write lock" {
        statement: "mm_collapse_huge_page_isolate is emitted while its task holds an mmap_lock for write.",
        why: "The PMD is empty at that point and its pages are being moved: a fault would map a second page.",
        source: "mm/khugepaged.c:collapse_huge_page, __collapse_huge_page_isolate",
        sound: "Program order of one task: the event lies between its acquire_returned and released. Judged only for tasks whose write holds are known completely, and at the collapse's end, which names the mm: mmtrace's own, whose locks are not recorded, has none.",
        meaning: "A collapse without exclusion: lost updates.",
        example: "khugepaged mm_collapse_huge_page_isolate with no acquire_returned(W) before",
        needs: [StartLocking, AcquireReturned, Released, CollapseIsolate, CollapseHugePage, ScanPmd],
        whole_system: true,
    }
    L36 Violation "anonymous collapse: ends with the lock released" {
        statement: "At mm_collapse_huge_page the task no longer holds that mm's mmap_lock for write.",
        why: "collapse_huge_page returns unlocked; its callers take the lock again.",
        source: "mm/khugepaged.c:collapse_huge_page",
        sound: "Program order of one task; the hold was seen to begin and not to end.",
        meaning: "The lock leaks: the process hangs at its next fault.",
        example: "khugepaged acquire_returned(W) … mm_collapse_huge_page without released(W)",
        needs: [StartLocking, AcquireReturned, Released, CollapseHugePage],
    }
    L37 Violation "anonymous collapse: success has had its exclusive section" {
        statement: "A collapse that ends with SCAN_SUCCEED isolated its pages under the write lock of that mm.",
        why: "There is no other way to replace a PTE table by a huge PMD.",
        source: "mm/khugepaged.c:collapse_huge_page",
        sound: "Program order of one task, judged only after an earlier scan or collapse of that task was seen to end.",
        meaning: "A table was replaced under somebody's feet.",
        example: "mm_collapse_huge_page status=SCAN_SUCCEED, no isolate inside a write hold",
        needs: [StartLocking, AcquireReturned, Released, CollapseIsolate, CollapseHugePage, ScanPmd],
        whole_system: true,
    }
    L38 Violation "file collapse: no write lock held" {
        statement: "At mm_khugepaged_collapse_file the task holds no mmap_lock for write.",
        why: "collapse_file sleeps on pages and walks every mapping of the file; holding an mmap_lock for write there inverts the lock order (mmap_lock is outside the page lock and i_mmap_rwsem).",
        source: "mm/khugepaged.c:collapse_file, retract_page_tables; \"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05); mm/filemap.c lock order",
        sound: "Program order of one task; the hold was seen to begin and not to end.",
        meaning: "A deadlock is possible with any fault on the file.",
        example: "khugepaged acquire_returned(W) … mm_khugepaged_collapse_file",
        needs: [StartLocking, AcquireReturned, Released, CollapseFile],
    }
    L39 Violation "PMD scan: under the mmap_lock" {
        statement: "A scan that started no collapse ends while the mm's mmap_lock is held.",
        why: "The scan walks VMAs and page tables.",
        source: "mm/khugepaged.c:hpage_collapse_scan_pmd",
        sound: "The event is emitted before the caller unlocks. Judged only when the mm's holders are known completely and no collapse of that task ended since its last scan. 7.x moved the event.",
        meaning: "Page tables are walked with nothing keeping them.",
        example: "khugepaged mm_khugepaged_scan_pmd, nobody holds the mm's lock",
        needs: [StartLocking, AcquireReturned, Released, ScanPmd, CollapseHugePage],
        before: (7, 0),
        whole_system: true,
    }
    L40 Violation "migration: entries are removed once" {
        statement: "Within one migrate_pages() for compaction or NUMA balancing, no address has more migration entries removed than were set, nor have all together.",
        why: "A second removal would overwrite whatever was mapped there since.",
        source: "mm/migrate.c:remove_migration_pte, mm/rmap.c:try_to_migrate_one",
        sound: "Judged per call, only for reasons whose allocations never reclaim (reclaim may split a huge page, which makes entries without an event), when no huge page took part and nobody held any mmap_lock for write during it (fork copies entries, mremap moves them), and only a second after recording began. Taken back when a write hold that began before recording shows up later.",
        meaning: "A page-table entry was overwritten.",
        example: "T1 set_migration_pte(a), remove_migration_pte(a), remove_migration_pte(a)",
        needs: [StartLocking, AcquireReturned, Released, SetMigrationPte, RemoveMigrationPte, MigratePagesStart, MigratePages],
        whole_system: true,
    }
    L41 Violation "migration: what is set is not present, what is removed is gone" {
        statement: "set_migration_pte and set_migration_pmd store a non-present entry; remove_migration_pte and _pmd leave no entry of a type seen to mean migration.",
        why: "Until the copy is complete nobody may reach the page, and afterwards nobody may wait for it.",
        source: "mm/rmap.c:try_to_migrate_one, mm/migrate.c:remove_migration_pte, arch/x86/include/asm/pgtable_64.h",
        sound: "The entry is the event's own argument. PRESENT and PROTNONE are fixed bits of x86-64; the types that mean migration are learned from set events of the same recording.",
        meaning: "Data written during the copy is lost, or a fault waits for ever.",
        example: "set_migration_pte with the present bit set",
        needs: [SetMigrationPte, RemoveMigrationPte],
        x86_64: true,
    }
    L42 Consistency "migration: calls nest" {
        statement: "mm_migrate_pages follows a mm_migrate_pages_start of the same task.",
        why: "Both are emitted by migrate_pages(), at entry and at exit; rules about migration rest on the bracket.",
        source: "mm/migrate.c:migrate_pages",
        sound: "Judged only for tasks seen in user mode since recording began, or after a start was seen.",
        meaning: "Events were lost without being counted, or the kernel's tracepoints changed their place.",
        example: "T1 mm_migrate_pages without mm_migrate_pages_start",
        needs: [MigratePagesStart, MigratePages, PageFaultUser],
        whole_system: true,
    }
    L43 Violation "exit: page tables are freed under the write lock" {
        statement: "exit_mmap is emitted while its task holds that mm's mmap_lock for write.",
        why: "khugepaged and the OOM reaper may still look at the mm; the lock keeps them out while page tables and VMAs go.",
        source: "mm/mmap.c:exit_mmap; mm/khugepaged.c:__khugepaged_exit",
        sound: "Program order of one task; judged only when the lock's holders are known completely.",
        meaning: "Use after free of page tables.",
        example: "T1 exit_mmap, T1 does not hold W",
        needs: [StartLocking, AcquireReturned, Released, ExitMmap],
    }
    L44 Violation "dead mm: nobody runs on it" {
        statement: "After exit_mmap of an mm, no task that ran on it faults in user mode on it.",
        why: "mm_users is 0 and cannot rise again; the page tables are gone.",
        source: "kernel/fork.c:mmput, mm/mmap.c:exit_mmap",
        sound: "sched_process_fork is emitted before the child first runs and sched_process_exec before the return to user mode, so the mm that a task runs on is known from then on. Where a process is hidden from all BPF programs, the fork of its child is not announced, and the child may run on another mm at the same address: a task that was not seen on this mm before is not judged. A task that was, and that has made no exec and not exited, cannot have got another one. Forgotten when any of these events is lost.",
        meaning: "A task runs on freed page tables.",
        example: "exit_mmap(mm) … page_fault_user on mm, no fork or exec between",
        needs: [ExitMmap, Fork, Exec, Exit, PageFaultUser],
        whole_system: true,
    }
    L45 Violation "VMA tree: stored to under the write lock" {
        statement: "A task stores into its own VMA tree only while it holds its mm's mmap_lock for write.",
        why: "PA-4: VMA ranges change only under the write lock; readers and per-VMA lock users rely on it.",
        source: "mm/vma.c; Documentation/mm/process_addrs.rst (7.2); mm/mmap.c:expand_downwards before 6.5 did not",
        sound: "Program order of one task; only stores into the tree of the current task's own mm are recorded, and they are judged only when the lock's holders are known completely.",
        meaning: "Lookups can find a half-stored VMA.",
        example: "T1 ma_write, T1 holds no mmap_lock for write",
        needs: [StartLocking, AcquireReturned, Released, MaWrite],
        since: (6, 5),
    }
    L46 Consistency "compaction: its migrations are inside its bracket" {
        statement: "A migrate_pages() for compaction runs between mm_compaction_begin and mm_compaction_end of the same task.",
        why: "compact_zone() is the only caller with that reason; times spent compacting are read off the bracket.",
        source: "mm/compaction.c:compact_zone",
        sound: "Judged only after an earlier compaction of that task was seen to begin or end, or the task was seen in user mode.",
        meaning: "Events were lost without being counted, or the kernel's tracepoints changed their place.",
        example: "kcompactd mm_migrate_pages_start reason=compaction outside a bracket",
        needs: [MigratePagesStart, CompactionBegin, CompactionEnd],
        whole_system: true,
    }
    L47 Consistency "walk: a map returns what the PMD entry says" {
        statement: "A PTE that pte_offset_map_lock or its kin returns is at the place of its address, in the table that the PMD entry points to by which it was found; and there is none only if that entry points to no table.",
        why: "I-BADPMD: every walk of page tables rests on it.",
        source: "mm/pgtable-generic.c:__pte_offset_map, pte_offset_map_lock, pte_offset_map_rw_nolock",
        sound: "Of the nolock map the entry that it used is recorded (from 6.13). Of the lock map it is the entry at the return: the PTL is held, and whoever unlinks a table that can be mapped there holds it too, or keeps the mapper out by the mmap_lock, VMA and rmap locks. Tables are compared by where the direct map begins, learned from eight maps of two tables that agree; if any disagree, not at all. What earlier events let expect is compared too, and when it fails only forgotten: mremap, THP splits and failed collapses link and unlink tables without an event.",
        meaning: "The probes or the model read page tables wrongly, or a table was swapped under the walker's lock.",
        example: "pte_offset_map_rw_nolock: pmd_used points to table A, ptep lies in table B",
        needs: [PteOffsetMapLock],
        since: (6, 5),
        x86_64: true,
    }
    L48 Violation "free: a table that waits for its grace period is locked by nobody" {
        statement: "After pte_free_defer of a table, and until it is freed, pte_offset_map_lock does not return a PTE of that table.",
        why: "The PMD no longer points to it; who takes its lock late must find that out and begin again.",
        source: "mm/pgtable-generic.c:pte_offset_map_lock, pte_free_defer; mm/khugepaged.c:retract_page_tables",
        sound: "pte_offset_map_lock looks at the PMD again with the PTL held and holds it beyond its return. The two callers of pte_free_defer have cleared the PMD under that PTL before. So a return more than clocks may differ after pte_free_defer is after the clearing, and its look must have failed. It is judged when pte_free_now has come, later by more than that: until then the memory cannot be another table. pte_free_now runs in an RCU callback, perhaps on top of a task that is hidden from BPF programs: a table that is linked again was freed unseen, and only a mapping by the PMD entry from which it was unlinked counts.",
        meaning: "I-LOST and then use after free: entries are written into a table that will be freed.",
        example: "T1 pte_free_defer(A), T2 pte_offset_map_lock returns a PTE in A, pte_free_now(A)",
        needs: [PteFreeDefer, PteFreeNow, PteOffsetMapLock],
        since: (6, 6),
        whole_system: true,
        x86_64: true,
    }
    H01 Hazard "walk: a table went while it was mapped without its lock" {
        statement: "Counts maps without lock after which another task's collapse unlinked the table before the task mapped that PMD entry again.",
        why: "The window that pmd_same() and pte_same() are for: a writer must look again, a reader may go on.",
        source: "mm/pgtable-generic.c, the comment on pte_offset_map_rw_nolock; \"mm: pgtable: introduce pte_offset_map_{ro|rw}_nolock()\" (linux-mm, 2024-08)",
        sound: "A count, not a violation. Only maps of one task within 10 ms, with no return to user mode between them.",
        meaning: "How often the recheck was needed.",
        example: "T1 pte_offset_map_rw_nolock, T2 pmdp_collapse_flush, T1 pte_offset_map_lock",
        needs: [PteOffsetMapRwNolock, PteOffsetMapLock, PmdpCollapseFlush],
        since: (6, 5),
    }
    H02 Hazard "walk: pte_offset_map_lock began again" {
        statement: "Counts calls of pte_offset_map_lock that mapped more than once.",
        why: "The table was unlinked between the look at the PMD and the lock.",
        source: "mm/pgtable-generic.c:pte_offset_map_lock",
        sound: "A count, not a violation.",
        meaning: "How often the recheck of the PMD saved an entry.",
        example: "T1 pte_offset_map_lock_enter, pte_offset_map twice, pte_offset_map_lock",
        needs: [PteOffsetMapLockEnter, PteOffsetMap, PteOffsetMapLock],
        since: (6, 5),
    }
    H03 Hazard "walk: the table is gone" {
        statement: "Counts maps that find no table where there was one, and nobody has locked the mm for write since.",
        why: "Retraction and page-table reclaim remove tables beside readers; munmap and mremap, which lock for write first, are not counted.",
        source: "mm/khugepaged.c:retract_page_tables; mm/memory.c:zap_pte_range (7.2)",
        sound: "A count, not a violation.",
        meaning: "How often walkers that check for NULL needed to.",
        example: "T1 pte_offset_map_lock returns a PTE, later 0, no write hold between",
        needs: [PteOffsetMapLock, AcquireReturned],
        since: (6, 5),
        x86_64: true,
    }
    H04 Hazard "write-protection beside a retract" {
        statement: "Counts retract_page_tables and UFFDIO_WRITEPROTECT that run at once, in different tasks.",
        why: "The retract that was posted first would have lost markers here.",
        source: "\"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05)",
        sound: "A count. The events do not say whether both are about one file: an upper bound.",
        meaning: "-",
        example: "T1 mwriteprotect_range … T2 retract_page_tables",
        needs: [RetractPageTables, RetractPageTablesReturn, MwriteprotectRange, MwriteprotectRangeReturn],
        since: (6, 6),
        whole_system: true,
    }
    H05 Hazard "an anon_vma beside a retract" {
        statement: "Counts VMAs that get, or turn out to have, an anon_vma while another task is in retract_page_tables.",
        why: "Retract tests for an anon_vma twice, because of this.",
        source: "mm/khugepaged.c:retract_page_tables; mm/memory.c:__vmf_anon_prepare",
        sound: "A count. The events do not say whether both are about one file: an upper bound.",
        meaning: "-",
        example: "T1 retract_page_tables … T2 __vmf_anon_prepare = 0",
        needs: [RetractPageTables, RetractPageTablesReturn, VmfAnonPrepare],
        since: (6, 6),
        whole_system: true,
    }
    H06 Hazard "page tables freed right after a migration wait under the VMA lock" {
        statement: "Counts writers that waited for a VMA whose reader waited for a migration, and free PTE tables of that mm before they release the mmap_lock.",
        why: "Had the reader dropped the VMA's lock first, these tables would have gone while it still looked at them.",
        source: "\"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06); mm/migrate.c:migration_entry_wait",
        sound: "A count. Which range a table belongs to is not seen: an upper bound.",
        meaning: "-",
        example: "T1 migration_entry_wait … T2 __vma_start_write(v) … T2 pte_free_tlb",
        needs: [HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu, MigrationEntryWait, MigrationEntryWaitReturn, VmaStartWrite, VmaStartWriteReturn, PteFreeTlb, Released],
        since: (6, 15),
    }
    H07 Hazard "spurious refault" {
        statement: "Counts user-mode faults of one task on one page within 50 us of each other.",
        why: "A fault that does not resolve at once: a retry after a dropped lock, a write after a read, a lost race.",
        source: "mm/memory.c:handle_pte_fault, arch/x86/mm/fault.c",
        sound: "A count, not a violation.",
        meaning: "Many of them are worth a look.",
        example: "T1 page_fault_user a, 10 us later T1 page_fault_user a",
        needs: [PageFaultUser],
    }
    M01 Measure "VMA read lock held across a migration wait while a writer waits" {
        statement: "Measures how long a task in migration_entry_wait under a VMA's lock overlaps with another in __vma_start_write of that VMA.",
        why: "What it costs to keep the lock during the wait.",
        source: "\"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06)",
        sound: "A measurement, of each pair; a lower bound of the delay, since the fault goes on after the wait.",
        meaning: "-",
        example: "-",
        needs: [HandleMmFault, HandleMmFaultReturn, MigrationEntryWait, MigrationEntryWaitReturn, VmaStartWrite, VmaStartWriteReturn],
        since: (6, 15),
    }
    M02 Measure "mmap_lock held across a migration wait while a writer waits" {
        statement: "Measures how long a task in migration_entry_wait under the mmap_lock overlaps with another that tries to get it for write.",
        why: "As M01, for faults that could not use the VMA's lock.",
        source: "\"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06)",
        sound: "A measurement, of each pair, from start_locking to acquire_returned.",
        meaning: "-",
        example: "-",
        needs: [HandleMmFault, HandleMmFaultReturn, MigrationEntryWait, MigrationEntryWaitReturn, StartLocking, AcquireReturned],
    }
    M03 Measure "faults that fell back to the mmap_lock" {
        statement: "Measures, for faults in user mode, from the refusal of the VMA's lock, or a RETRY under it, to the end of the fault under the mmap_lock.",
        why: "What the fast path costs where it fails.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault; mm/memory.c:lock_vma_under_rcu",
        sound: "A measurement.",
        meaning: "-",
        example: "-",
        needs: [PageFaultUser, PageFaultKernel, HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu],
        since: (6, 4),
    }
    M04 Measure "mmap_lock: time held for write" {
        statement: "Measures write holds, from acquire_returned to released or downgrade.",
        why: "Everybody who needs the mm waits for them.",
        source: "include/linux/mmap_lock.h",
        sound: "A measurement; a lower bound, since observed holds lie inside the true ones.",
        meaning: "-",
        example: "-",
        needs: [StartLocking, AcquireReturned, Released],
    }
    M05 Measure "collapse: time the mmap_lock is held for write" {
        statement: "Measures the write holds in which an anonymous collapse isolated its pages.",
        why: "The process cannot fault meanwhile.",
        source: "mm/khugepaged.c:collapse_huge_page",
        sound: "A measurement.",
        meaning: "-",
        example: "-",
        needs: [StartLocking, AcquireReturned, Released, CollapseIsolate],
    }
    M06 Measure "migration: time an entry stands" {
        statement: "Measures from set_migration_pte to remove_migration_pte at the same address.",
        why: "A fault on the page waits that long, holding its VMA or mmap lock.",
        source: "mm/migrate.c; \"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06)",
        sound: "A hint: the events do not name the mm, so two mms' entries at one address are not told apart.",
        meaning: "-",
        example: "-",
        needs: [SetMigrationPte, RemoveMigrationPte],
    }
    M07 Measure "retract: time to unlink the tables of a file range" {
        statement: "Measures calls of retract_page_tables.",
        why: "i_mmap is held for read meanwhile, and the new folio is locked: faults on it wait.",
        source: "mm/khugepaged.c:retract_page_tables",
        sound: "A measurement.",
        meaning: "-",
        example: "-",
        needs: [RetractPageTables, RetractPageTablesReturn],
    }
    M08 Measure "mmap_lock: time waited" {
        statement: "Measures from start_locking to a successful acquire_returned, where it is announced.",
        why: "What the holders cost the others.",
        source: "include/linux/mmap_lock.h",
        sound: "A measurement; an upper bound of the wait.",
        meaning: "-",
        example: "-",
        needs: [StartLocking, AcquireReturned],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_teaches() {
        for (index, rule) in RULES.iter().enumerate() {
            assert_eq!(rule.id as usize, index, "{}", rule.name);
            assert_eq!(Rule::find(&rule.name.to_lowercase()).map(|r| r.id), Some(rule.id));
            for text in [rule.title, rule.statement, rule.why, rule.source, rule.sound, rule.meaning, rule.example] {
                assert!(!text.is_empty(), "{}", rule.name);
            }
            assert!(!rule.needs.is_empty(), "{}", rule.name);
        }
    }
}
