//! The rules: one row each.
//!
//! A new rule is a row here, and an evaluation at the place in `model/` that knows when it applies. `mmtrace rules`,
//! `mmtrace explain` and `docs/rules.md` print the rows.

use mmtrace_common::Kind::{self, *};

use super::Severity;
use crate::{context::Context, examined_kernels::FIRST_EXAMINED, kernel_version::KernelVersion};

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Which.
    pub id: RuleId,
    /// Its name in reports: never changes its meaning.
    pub name: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What must be true.
    pub statement: &'static str,
    /// Why the kernel needs it.
    pub why: &'static str,
    /// Where in the kernel, or which thread, it comes from.
    pub source: &'static str,
    /// Why the probes cannot make it cry without cause.
    pub sound: &'static str,
    /// What a violation would mean.
    pub meaning: &'static str,
    /// What it looks like.
    pub example: &'static str,
    /// Events without which it cannot be judged.
    pub needs: &'static [Kind],
    /// Events that it judges as well, where they are recorded.
    pub(crate) also: &'static [Kind],
    /// First kernel that it is true of.
    pub since: KernelVersion,
    /// First kernel that it is no longer known to be true of.
    pub before: Option<KernelVersion>,
    /// It needs the events of every mm: a filter turns it off.
    pub whole_system: bool,
    /// It reads entries in x86-64's format.
    pub x86_64: bool,
}

impl Rule {
    /// Why it cannot be observed in this context, if it cannot.
    #[must_use]
    pub fn blocked(&self, context: &Context) -> Option<String> {
        let (series, release) = (context.kernel.series(), &context.kernel.release);
        if series.is_none_or(|series| series < self.since) {
            return Some(format!("true of kernels from {} on, this is {release}", self.since));
        }
        if let Some(before) = self.before.filter(|before| series.is_some_and(|series| series >= *before)) {
            return Some(format!("checked against sources before {before} only, this is {release}"));
        }
        if self.x86_64 && context.kernel.machine != "x86_64" {
            return Some(format!("reads x86-64 page-table entries, this is {}", context.kernel.machine));
        }
        if self.whole_system && context.filter.is_some() {
            return Some("needs the events of every process, and a filter is in use".to_owned());
        }
        let missing: Vec<&str> = self.needs.iter().filter(|k| !context.has(**k)).map(|k| k.name()).collect();
        if missing.is_empty() { None } else { Some(format!("not attached: {}", missing.join(", "))) }
    }

    /// The row with this name, in any case.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        RULES.iter().find(|r| r.name.eq_ignore_ascii_case(name))
    }
}

impl RuleId {
    /// Its row.
    #[must_use]
    pub fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }
}

/// The given value, or else the default.
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
        $(also: [$($also:ident),*],)?
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
            also: &[$($($also),*)?],
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
        why: "A writer changes the VMA tree and the page tables as if nobody else did. Two writers corrupt both.",
        source: "Documentation/mm/process_addrs.rst (7.2), lock exclusivity; include/linux/mmap_lock.h",
        sound: "acquire_returned is emitted after the acquisition, and released before the release. An observed hold therefore lies inside the true one, so holds that are seen to overlap do overlap. mmtrace puts an overlap of 2 us or less down to the CPUs' clocks. After a loss, mmtrace forgets every hold.",
        meaning: "The rw_semaphore let two writers in, or a task released the lock of the wrong mm.",
        example: "T1 acquire_returned(W) … T2 acquire_returned(W) … T1 released(W)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L02 Violation "mmap_lock: no reader beside a writer" {
        statement: "An observed read hold, unless it is a downgraded one, never overlaps an observed write hold of the same mm's mmap_lock.",
        why: "A reader walks VMAs and page tables that a writer is free to change.",
        source: "Documentation/mm/process_addrs.rst (7.2), lock exclusivity",
        sound: "Observed holds lie inside the true ones, as for L01. mmtrace counts readers per mm and not per task, so a read lock that another context releases (mmap_read_unlock_non_owner) still balances. If that release runs on top of a task that is hidden from BPF programs, its event is missing. A writer that comes after a reader therefore breaks the rule only when the reader's own release shows that the reader was still inside, and when there is no other reader on whose behalf that release may be.",
        meaning: "A reader can see a half-changed address space.",
        example: "T1 acquire_returned(R) … T2 acquire_returned(W) … T1 released(R)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L03 Violation "mmap_lock: a downgraded hold excludes writers" {
        statement: "While a downgraded hold is observed, no task acquires the mmap_lock for write. Two downgraded holds therefore never overlap.",
        why: "munmap frees page tables under the downgraded lock. It relies on there being no other writer and no second downgraded hold.",
        source: "include/linux/mmap_lock.h:mmap_write_downgrade; mm/vma.c:vms_complete_munmap_vmas; process_addrs.rst (7.2)",
        sound: "The downgrade's event is emitted before the downgrade, while the task still holds the lock for write. The release's event is emitted before the release. The task therefore excludes writers during the whole observed downgraded hold.",
        meaning: "Two unmaps can free the same page tables.",
        example: "T1 acquire_returned(W), acquire_returned(R) = downgrade … T2 acquire_returned(W) … T1 released(R)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L04 Violation "mmap_lock: the writer releases" {
        statement: "A write release comes from the task that holds the lock for write.",
        why: "The kernel has no non-owner write release. Any other release ends a section that a task is still in.",
        source: "include/linux/mmap_lock.h:mmap_write_unlock; kernel/locking/rwsem.c",
        sound: "The rule is judged only while the writer was seen to acquire the lock, or while the lock is known to be free since an earlier write hold.",
        meaning: "The unlock is unbalanced, and the next writer comes in too early.",
        example: "T1 acquire_returned(W) … T2 released(W)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L05 Violation "mmap_lock: not held for write in user mode" {
        statement: "A task that is in user mode or exits holds no mmap_lock for write.",
        why: "Nobody would ever release the lock.",
        source: "kernel/locking/rwsem.c (owner releases); arch/x86/mm/fault.c",
        sound: "The kernel chooses page_fault_user by user_mode(regs), and a write hold has no non-owner release. The rule counts as evaluated at the first user-mode fault after a write hold.",
        meaning: "A path returned without mmap_write_unlock. Every later fault of the process hangs.",
        example: "T1 acquire_returned(W) … T1 page_fault_user",
        needs: [StartLocking, AcquireReturned, Released, PageFaultUser],
    }
    L06 Violation "mmap_lock: no more read releases than acquisitions" {
        statement: "An mm's mmap_lock is not released for read while nobody holds it for read.",
        why: "One release too many lets a writer in beside a reader that is still inside.",
        source: "include/linux/mmap_lock.h:mmap_read_unlock",
        sound: "The rule is judged only after a write acquisition was seen: at that moment no reader is left, so the count of readers is exact. The acquisition must come more than 2 us after the start of recording or a loss, because by another CPU's clock a reader may have come after it. Within 2 us of the acquisition, a release that may be another context's makes the readers unknown. mmtrace counts per mm, so a non-owner release balances. A release by a task that was not seen to acquire counts only on an mm that a task was seen to run on: the acquisitions of a hidden process are not seen, and other tasks may release them.",
        meaning: "The lock is unlocked twice, for example because VM_FAULT_RETRY or VM_FAULT_COMPLETED is misread as \"still locked\".",
        example: "T1 acquire_returned(R), released(R), released(R)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    L07 Violation "mmap_lock: the writer does not wait for itself" {
        statement: "A task that holds its own mm's mmap_lock for write never blocks on the same lock.",
        why: "The task waits for itself. The process hangs, and so does every task that needs its mm.",
        source: "process_addrs.rst (7.2), deadlock rules",
        sound: "contention_begin of an rwsem is emitted only where the task is about to sleep. A failed trylock never gets there; vm_insert_page makes one under the write lock.",
        meaning: "The task has deadlocked with itself.",
        example: "T1 acquire_returned(W) … T1 start_locking(R), contention_begin(mmap_lock)",
        needs: [StartLocking, AcquireReturned, Released, ContentionBegin],
    }
    L08 Consistency "mmap_lock: a downgrade comes from the writer" {
        statement: "A read acquisition that no start_locking announced is a downgrade by the task that holds the lock for write.",
        why: "mmap_write_downgrade is the only path that emits acquire_returned alone.",
        source: "include/linux/mmap_lock.h:mmap_write_downgrade",
        sound: "The rule is judged only for tasks that were seen in user mode before, so that no acquisition can have been in flight, and only while the lock's holders are known.",
        meaning: "Events were lost without being counted, or the lock's events do not mean what mmtrace takes them for.",
        example: "T1 acquire_returned(R) without start_locking, T1 does not hold W",
        needs: [StartLocking, AcquireReturned, Released, PageFaultUser],
    }
    L09 Violation "dead mm: nobody uses its VMAs or page tables" {
        statement: "Between exit_mmap and __mmdrop of an mm, no task that ran on it enters handle_mm_fault for it, is granted one of its VMAs, locks one of them for write, links a PTE table, or unlinks one in a collapse.",
        why: "The mm's VMAs and page tables are freed. Only the struct is left.",
        source: "mm/mmap.c:exit_mmap, kernel/fork.c:mmput, __mmdrop",
        sound: "exit_mmap is emitted at its end, inside the last write hold. Each of these operations needs mm_users or a linked VMA, and mm_users does not rise from 0. Taking the mmap_lock is allowed: khugepaged, KSM and the OOM reaper take it, look, and leave. A life of an mm ends at __mmdrop, fork or exec, and events within 2 us of those are not judged. Some hosts hide a process from all BPF programs. The events by which that process gives back or makes an mm are missing, so another mm may be at the same address. The rule is therefore judged only for tasks that were seen to run on this mm before, by a fork, exec or fault in user mode, and that left it by no exec or exit: a task that is seen at all is always seen. Some kernels emit no exit_mmap for an mm without VMAs; such an mm is not judged.",
        meaning: "VMAs or page tables are used after they are freed.",
        example: "T1 exit_mmap(mm) … T2 handle_mm_fault(mm), no __mmdrop(mm) between",
        needs: [ExitMmap, Mmdrop, HandleMmFault, Fork, Exec, Exit],
        whole_system: true,
    }
    L10 Violation "VMA mode: the VMA was granted" {
        statement: "A handle_mm_fault call with VMA_LOCK follows a lock_vma_under_rcu call of the same task that returned this VMA.",
        why: "The flag promises that the VMA is locked for read. Paths that drop the lock release it.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault; mm/memory.c:lock_vma_under_rcu",
        sound: "The events are in program order of one task. mmtrace remembers the last four grants, so a grant to a BPF program on top of the task hides nothing. The rule is judged only if the task was seen in user mode or at the end of a fault before, and if at most four grants came since then.",
        meaning: "A fault runs on a VMA that others may change or free.",
        example: "T1 page_fault_user, T1 handle_mm_fault(v, VMA_LOCK), no grant of v",
        needs: [HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu],
        since: (6, 4),
    }
    L11 Violation "VMA mode: not with NOWAIT" {
        statement: "A handle_mm_fault call with both VMA_LOCK and RETRY_NOWAIT is refused with SIGSEGV.",
        why: "With RETRY_NOWAIT, VM_FAULT_RETRY leaves the lock held. Under the VMA lock, VM_FAULT_RETRY must mean that the lock is released.",
        source: "mm/memory.c:sanitize_fault_flags; \"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06)",
        sound: "Both flags are bits of one argument, and the refusal is the result of the same call.",
        meaning: "A caller mixes the two protocols and the kernel does not stop it. The VMA lock leaks.",
        example: "T1 handle_mm_fault(VMA_LOCK | RETRY_NOWAIT), T1 handle_mm_fault_return RETRY",
        needs: [HandleMmFault, HandleMmFaultReturn],
        since: (6, 6),
    }
    L12 Violation "lock_vma_under_rcu: the right VMA" {
        statement: "The VMA that lock_vma_under_rcu returns covers the address and belongs to the mm that the caller asked for.",
        why: "The memory of a VMA can become another VMA at once, also one of another mm. Only the checks behind the lock find that out.",
        source: "mm/memory.c:lock_vma_under_rcu (from 7.0 mm/mmap_lock.c)",
        sound: "The program reads the fields where the function returns. The read lock is held there, so nobody may change them.",
        meaning: "A fault is handled with the VMA of another range or of another process.",
        example: "T1 lock_vma_under_rcu(0x5000) = v, which spans 0x1000-0x4000",
        needs: [LockVmaUnderRcu],
        since: (6, 4),
    }
    L13 Violation "mmap mode: the mmap_lock is held" {
        statement: "When handle_mm_fault is entered without VMA_LOCK, some task holds the mmap_lock of the VMA's mm.",
        why: "Nothing else keeps the VMA and its page tables.",
        source: "Documentation/mm/process_addrs.rst (7.2); mm/memory.c:handle_mm_fault",
        sound: "The entry lies inside the caller's hold. The rule is judged only when all holders of the lock are known. It asks for any holder and not for this task, so a hold that is attributed to the wrong task does not matter.",
        meaning: "A fault runs without a lock.",
        example: "T1 released(R), T1 handle_mm_fault",
        needs: [HandleMmFault, StartLocking, AcquireReturned, Released],
    }
    L14 Violation "mmap mode: RETRY and COMPLETED mean released" {
        statement: "A fault under the mmap_lock that may be retried and may wait has released the lock if it returns RETRY or COMPLETED.",
        why: "The caller does not unlock after these results, so nobody would ever release the lock.",
        source: "mm/filemap.c:__folio_lock_or_retry, maybe_unlock_mmap_for_io; mm/userfaultfd.c:handle_userfault; mm/memory.c:fault_dirty_shared_page",
        sound: "Every place that drops the lock goes through mmap_read_unlock, on the task's own behalf. The rule is not judged if the task was seen to acquire the lock during the call, because a release may then belong to that acquisition. RETRY without ALLOW_RETRY, or with RETRY_NOWAIT, is not judged.",
        meaning: "The mmap_lock leaks, and the next writer waits for ever.",
        example: "T1 handle_mm_fault(ALLOW_RETRY), no released(R), T1 handle_mm_fault_return RETRY",
        needs: [HandleMmFault, HandleMmFaultReturn, StartLocking, AcquireReturned, Released],
    }
    L15 Violation "mmap mode: any other result means still held" {
        statement: "A fault under the mmap_lock that returns neither RETRY nor COMPLETED has not released the lock.",
        why: "The caller unlocks after these results. A second release would be one too many.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault; mm/gup.c:faultin_page",
        sound: "A release breaks the rule only if the task was the only holder and all holders were known when it released. The release was then not made on behalf of another context, as BPF's irq_work makes them. The rule is not judged if the task was seen to acquire the lock during the call.",
        meaning: "The lock is unlocked twice.",
        example: "T1 handle_mm_fault, T1 released(R), T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, StartLocking, AcquireReturned, Released],
    }
    L16 Violation "VMA mode: no mmap_lock held" {
        statement: "A task that handles a fault under the VMA lock does not hold the mmap_lock of that mm for write. It does not hold it for read either, if it slept to get it since it left user mode.",
        why: "The VMA lock is for tasks that do not have the mmap_lock. A task that has the mmap_lock for write waits for itself.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault",
        sound: "VMA mode is for faults in user mode, and a task in user mode holds nothing. A write hold has no other owner. A read hold counts only if the task slept to get it. A BPF program on top of the task, whose lock another context releases, only tries to get it.",
        meaning: "A path takes the mmap_lock before the fast path, or a hold leaks into the fast path.",
        example: "T1 page_fault_user, T1 contention_begin, T1 acquire_returned(R), T1 handle_mm_fault(VMA_LOCK)",
        needs: [HandleMmFault, PageFaultUser, ContentionBegin, StartLocking, AcquireReturned, Released],
        since: (6, 4),
    }
    L17 Violation "VMA mode: never sleeps for the mmap_lock" {
        statement: "A fault under the VMA lock that returns neither RETRY nor COMPLETED has not slept for the mm's mmap_lock.",
        why: "A writer that holds the mmap_lock and waits for the VMA's readers would wait for this reader for ever.",
        source: "Documentation/mm/process_addrs.rst (7.2); mm/memory.c:__vmf_anon_prepare tries only",
        sound: "contention_begin of an rwsem is emitted only where the task is about to sleep, which no interrupt does. A result other than RETRY and COMPLETED means that the VMA lock was held during the whole call.",
        meaning: "A deadlock with every writer of the mm is possible.",
        example: "T1 handle_mm_fault(VMA_LOCK), T1 contention_begin(mmap_lock), T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, ContentionBegin],
        since: (6, 4),
    }
    L18 Violation "one fault, one try under the VMA lock" {
        statement: "One fault in user mode is handled at most once under the VMA lock. It is handled a second time under the mmap_lock only with TRIED.",
        why: "A fault that never gives up the fast path may never end. A fault that is retried without TRIED may drop the lock again and again.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault",
        sound: "A fault begins with page_fault_user. Only calls with registers and FAULT_FLAG_USER count, so get_user_pages calls of the same task do not. After a fault in the kernel, the rule is not judged until the next fault in user mode.",
        meaning: "The fault path is in a livelock.",
        example: "T1 page_fault_user, T1 handle_mm_fault(VMA_LOCK) RETRY, T1 handle_mm_fault(VMA_LOCK)",
        needs: [HandleMmFault, HandleMmFaultReturn, PageFaultUser, PageFaultKernel],
        since: (6, 4),
    }
    L19 Violation "VMA lock: no writer beside a reader" {
        statement: "While a task holds a VMA for read, __vma_start_write of another task does not return for that VMA.",
        why: "The reader walks what the writer changes.",
        source: "Documentation/mm/process_addrs.rst (7.2); mm/mmap_lock.c:__vma_start_write (before 7.0 mm/memory.c)",
        sound: "The observed hold lasts from the return of lock_vma_under_rcu to the return of handle_mm_fault. It counts only if handle_mm_fault returns neither RETRY nor COMPLETED: it then lies inside the true hold. __vma_start_write returns when the readers are gone, and a VMA cannot become another one while it is held. mmtrace puts 2 us at either end down to the CPUs' clocks.",
        meaning: "A fault runs on a VMA that a writer is changing.",
        example: "T1 lock_vma_under_rcu = v … T2 __vma_start_write(v) returns … T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu, VmaStartWriteReturn],
        since: (6, 15),
    }
    L20 Violation "VMA lock: no reader beside a writer" {
        statement: "Between the return of __vma_start_write and that task's release or downgrade of the mmap_lock, lock_vma_under_rcu does not return the VMA.",
        why: "A reader would walk what the writer changes. L19 judges the same conflict from the reader's side.",
        source: "Documentation/mm/process_addrs.rst (7.2); include/linux/mmap_lock.h:vma_end_write_all",
        sound: "Both ends of the observed hold lie inside the true one. Any acquisition or release of the mmap_lock ends the observed hold. vm_area_free ends it too, because the object may then be another mm's. If vm_area_free ran on top of a task that BPF programs do not see, a grant for another mm shows it. A grant is judged only if nothing within 2 us explains it, and only against write holds that were seen to begin.",
        meaning: "A fault starts on a VMA that a writer is changing.",
        example: "T1 acquire_returned(W), T1 __vma_start_write(v) returns … T2 lock_vma_under_rcu = v … T1 released(W)",
        needs: [LockVmaUnderRcu, VmaStartWriteReturn, VmAreaFree, StartLocking, AcquireReturned, Released],
        since: (6, 15),
    }
    L21 Violation "VMA write lock: under the mmap_lock for write" {
        statement: "At the entry of __vma_start_write, the task holds the mmap_lock of the VMA's mm for write.",
        why: "The VMA write lock ends with the write hold of the mmap_lock. Without that hold, it protects nothing.",
        source: "Documentation/mm/process_addrs.rst (7.2); include/linux/mmap_lock.h:vma_start_write",
        sound: "The events are in program order of one task, and a write hold has one owner. The rule is judged only when all holders of the lock are known.",
        meaning: "A task changes a VMA while others may change it too.",
        example: "T1 __vma_start_write(v), T1 does not hold W",
        needs: [VmaStartWrite, StartLocking, AcquireReturned, Released],
        since: (6, 15),
    }
    L22 Violation "VMA: not freed under a reader" {
        statement: "While a task holds a VMA for read, vm_area_free is not called for that VMA.",
        why: "The memory may become another VMA at once.",
        source: "kernel/fork.c:vm_area_free (from 7.0 mm/vma_init.c); include/linux/mm.h:vma_mark_detached",
        sound: "The reader's hold is observed as for L19. A task that frees a VMA has removed it from the tree and waited for its readers before.",
        meaning: "A VMA is used after it is freed.",
        example: "T1 lock_vma_under_rcu = v … T2 vm_area_free(v) … T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu, VmAreaFree],
        since: (6, 4),
    }
    L23 Violation "unlink: only under the required locks" {
        statement: "pmdp_collapse_flush runs inside retract_page_tables; or inside collapse_pte_mapped_thp while some task holds that mm's mmap_lock; or elsewhere, while its task holds that mmap_lock for write.",
        why: "I-UNLINK: a PTE table is unlinked only under PML and its PTL, while i_mmap or the mmap_lock keeps the VMA in place. An anonymous collapse takes no PTL, so it must keep everybody else out.",
        source: "mm/khugepaged.c:retract_page_tables, collapse_pte_mapped_thp (from 7.0 try_collapse_pte_mapped_thp), collapse_huge_page; Documentation/mm/process_addrs.rst (7.2)",
        sound: "pmdp_collapse_flush has these three callers. The calls are in program order of one task. The rule is judged only for a task that was seen outside of them since every probe was attached. Holds of the mmap_lock are judged only when all of them are known. In collapse_pte_mapped_thp they are judged per mm, so that a release by another context still balances.",
        meaning: "A PTE table can be unlinked while a walker uses it.",
        example: "T1 collapse_huge_page(mm), T1 holds no mmap_lock, T1 pmdp_collapse_flush",
        needs: [PmdpCollapseFlush, RetractPageTables, RetractPageTablesReturn, CollapsePteMappedThp, CollapsePteMappedThpReturn, StartLocking, AcquireReturned, Released, PageFaultUser],
        since: (6, 6),
        whole_system: true,
    }
    L24 Violation "free: the table handed to RCU is the one that was unlinked" {
        statement: "In retract_page_tables and collapse_pte_mapped_thp, a task gives pte_free_defer the table that its last pmdp_collapse_flush removed, and gives it once.",
        why: "A table that is still in use would be freed, and the unlinked table would leak.",
        source: "mm/khugepaged.c:retract_page_tables, collapse_pte_mapped_thp; mm/pgtable-generic.c:pte_free_defer",
        sound: "The events are in program order of one task. A free without a flush is judged only inside a call that was seen to begin. mmtrace compares only the bits of the frame below 2^46 bytes: the encryption bit of some machines is above them.",
        meaning: "A page table is used after it is freed.",
        example: "T1 pmdp_collapse_flush returned table A, T1 pte_free_defer(B)",
        needs: [PmdpCollapseFlush, PteFreeDefer, RetractPageTables, RetractPageTablesReturn, CollapsePteMappedThp, CollapsePteMappedThpReturn],
        since: (6, 6),
        x86_64: true,
    }
    L25 Violation "unlink: the PTE table is empty" {
        statement: "When pmdp_collapse_flush is entered in retract_page_tables or collapse_pte_mapped_thp, the table holds no present entry and no marker.",
        why: "I-EMPTY, I-MARKER: the kernel frees the table with the entries that are still in it. A page is lost, a guard page becomes readable, or memory is no longer marked as poisoned or write-protected.",
        source: "mm/khugepaged.c; the question of \"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05): may markers appear where the page is not mapped?",
        sound: "PML and PTL are held, so only the hardware changes the table while the program reads it, and it sets only the accessed and dirty bits. A marker that is only uffd-wp, in a VMA that is not registered for write-protection, is not judged: older kernels leave such markers behind. Other non-present entries may be in the table, such as the hwpoison entry of a truncated page. Anonymous collapses empty the table after the flush, so the rule does not apply to them.",
        meaning: "A page is lost, or a marker whose installation the kernel has reported to user space.",
        example: "T1 UFFDIO_POISON; T2 retract_page_tables, pmdp_collapse_flush(markers 1)",
        needs: [PmdpCollapseFlush, RetractPageTables, RetractPageTablesReturn, CollapsePteMappedThp, CollapsePteMappedThpReturn],
        since: (6, 6),
        x86_64: true,
    }
    L26 Violation "retract: not in a range that is registered for write-protection" {
        statement: "retract_page_tables does not unlink a PTE table of a VMA that was registered for userfaultfd write-protection before it began and still is.",
        why: "The markers in that table would be lost, and with them the write-protection.",
        source: "mm/khugepaged.c:retract_page_tables; \"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05)",
        sound: "The program reads the VMA's own flag where the table is about to be unlinked. The flag may legally be set between the kernel's test and that place. The rule therefore counts only registrations whose mmap_lock was released more than 2 us before retract_page_tables was entered, with no other registration since.",
        meaning: "Writes to protected pages go unnoticed.",
        example: "T1 userfaultfd_set_ctx(v, WP), T1 released(W) … T2 retract_page_tables, T2 pmdp_collapse_flush(v)",
        needs: [UserfaultfdSetCtx, RetractPageTables, RetractPageTablesReturn, PmdpCollapseFlush, VmAreaFree, StartLocking, AcquireReturned, Released],
        since: (6, 6),
        whole_system: true,
    }
    L27 Violation "retract: without the mmap_lock" {
        statement: "Within retract_page_tables, the task neither takes an mmap_lock for write nor sleeps for one.",
        why: "The task holds i_mmap_rwsem, which nests inside the mmap_lock.",
        source: "mm/khugepaged.c:retract_page_tables; \"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05)",
        sound: "The events are in program order of one task. Attempts for read do not count: a BPF program on top of the task may make them.",
        meaning: "A deadlock with faults on the file is possible, or the kernel retracts as kernels before 6.6 do and reports a later version.",
        example: "T1 retract_page_tables, T1 start_locking(W)",
        needs: [RetractPageTables, RetractPageTablesReturn, StartLocking, AcquireReturned, ContentionBegin],
        since: (6, 6),
        whole_system: true,
    }
    L28 Violation "collapse: nobody fills the PMD entry that it emptied" {
        statement: "Between pmdp_collapse_flush of an anonymous collapse and the end of its write hold, no other task links a PTE table at that PMD entry, and no other task's fault on its range begins and succeeds.",
        why: "I-CLOBBER: the collapse will store a huge page, or the old table, in that PMD entry.",
        source: "mm/khugepaged.c:collapse_huge_page; mm/memory.c:pmd_install",
        sound: "The flush is seen while PML is held and before the PMD entry is cleared, and the release is seen before it happens. An event that is seen between the two, by more than clocks may differ, is therefore between them. A task that links a table there holds the mmap_lock or that VMA's lock for read until after its event, and the collapse has excluded both since before the flush. A fault counts if it was entered after the flush and returned without RETRY, COMPLETED or an error before the release, because it too needs one of the two locks. It may have stored a huge page there, which no event shows.",
        meaning: "Either the pages that were faulted in meanwhile are lost, or those of the collapse.",
        example: "T1 pmdp_collapse_flush, T2 pmd_install(same PMD, installed), T1 released(W)",
        needs: [PmdpCollapseFlush, PmdInstall, HandleMmFault, HandleMmFaultReturn, StartLocking, AcquireReturned, Released, RetractPageTables, RetractPageTablesReturn, CollapsePteMappedThp, CollapsePteMappedThpReturn],
        since: (6, 6),
    }
    L29 Violation "walk: begins and ends balance" {
        statement: "A task ends no page-table walk that it has not begun. It is in no walk when it is seen in user mode or exits.",
        why: "For a hugetlb VMA, the begin takes a lock that keeps shared PMD tables from being unshared, and the end releases it.",
        source: "mm/memory.c:vma_pgtable_walk_begin; mm/gup.c, mm/pagewalk.c:folio_walk_start; \"mm: Introduce vma_pgtable_walk_{begin|end}()\" (linux-mm, 2023-11)",
        sound: "Both calls are in straight-line code of one task. mmtrace counts them from the moment when the task was seen in user mode or forked.",
        meaning: "A hugetlb lock is held for ever, or it was not held where it had to be.",
        example: "T1 vma_pgtable_walk_end, no vma_pgtable_walk_begin before",
        needs: [VmaPgtableWalkBegin, VmaPgtableWalkEnd, PageFaultUser],
        since: (6, 10),
    }
    L30 Violation "hugetlb lock: no reader or second writer beside a writer" {
        statement: "Two observed holds of one hugetlb lock never overlap if one of them is for write.",
        why: "A task that unshares a PMD table, or zaps, relies on nobody walking there.",
        source: "mm/hugetlb.c:hugetlb_vma_lock_read and its kin",
        sound: "A hold is seen from after its acquisition to before its release, and mmtrace puts overlaps of 2 us or less down to the CPUs' clocks. An overlap is judged once both holds were seen to end. Each program reads from the VMA, when it records its event, which lock it is or that there is none. The lock of a private reservation counts only on kernels from 6.7 on. If a task is seen in user mode with a lock that it still seems to hold, or takes such a lock again, releases are inlined on this kernel. mmtrace then withdraws all findings of this rule and makes no more.",
        meaning: "A walker reads a page table that another task is unsharing.",
        example: "T1 hugetlb_vma_lock_write … T2 hugetlb_vma_lock_read … T1 hugetlb_vma_unlock_write",
        needs: [HugetlbVmaLockRead, HugetlbVmaUnlockRead, HugetlbVmaLockWrite, HugetlbVmaUnlockWrite, HugetlbVmaTrylockWrite, HugetlbZapEnd],
        since: (6, 6),
    }
    L31 Violation "hugetlb: rmap walks unshare under the hugetlb lock" {
        statement: "While huge_pmd_unshare runs for a VMA, its task holds that VMA's hugetlb lock, or the mm's mmap_lock, for write.",
        why: "A reader of the hugetlb lock would walk a PMD table that the mm no longer keeps.",
        source: "mm/rmap.c:try_to_unmap_one, try_to_migrate_one; mm/hugetlb.c:huge_pmd_unshare",
        sound: "The events are in program order of one task whose holds are known, because the task was seen in user mode, or taking a hugetlb lock, before. The split of a VMA unshares under the mmap_lock instead. The rule is judged only for VMAs that were seen with a lock that can be shared. A compiler may inline the function that takes the lock. Until huge_pmd_unshare is seen under the lock on this kernel, calls outside of it are kept and the rule is unknown; then they are judged.",
        meaning: "A PMD table is used after it is freed.",
        example: "T1 huge_pmd_unshare(v), T1 has not got hugetlb_vma_trylock_write(v)",
        needs: [HugePmdUnshare, HugetlbVmaTrylockWrite, HugetlbVmaUnlockWrite, HugetlbVmaLockWrite, HugetlbZapEnd, VmAreaFree, PageFaultUser, StartLocking, AcquireReturned, Released],
        since: (6, 6),
    }
    L32 Violation "hugetlb: the lock is released before the sleep" {
        statement: "Between the entry of migration_entry_wait_huge and the sleep, the task calls hugetlb_vma_unlock_read for that VMA.",
        why: "A writer of the lock would wait for the whole migration, and the migration perhaps for that writer.",
        source: "mm/migrate.c:migration_entry_wait_huge",
        sound: "The events are in program order of one task. A compiler may inline the call. Until the call is seen there on this kernel, sleeps without it are kept and the rule is unknown; then they are judged.",
        meaning: "A deadlock is possible, or the unlock of a lock whose VMA may be gone.",
        example: "T1 migration_entry_wait_huge(v), T1 migration_entry_wait_on_locked",
        needs: [MigrationEntryWaitHuge, HugetlbVmaUnlockRead, MigrationEntryWaitOnLocked, MigrationEntryWait],
        since: (6, 2),
    }
    L33 Violation "migration wait: the mmap_lock is still held" {
        statement: "A fault under the mmap_lock that enters migration_entry_wait has not released the lock before.",
        why: "migration_entry_wait reads page tables, and nothing else keeps them.",
        source: "mm/migrate.c:migration_entry_wait; mm/memory.c:do_swap_page",
        sound: "The rule is broken only if the release can only have ended the task's own hold, as for L15.",
        meaning: "Page tables are used after they are freed.",
        example: "T1 handle_mm_fault, T1 released(R), T1 migration_entry_wait",
        needs: [HandleMmFault, HandleMmFaultReturn, MigrationEntryWait, StartLocking, AcquireReturned, Released],
    }
    L34 Violation "a locked folio: a fault that dropped its lock returns RETRY" {
        statement: "If __folio_lock_or_retry returned RETRY to a fault that was on its first try and could wait, the fault returns RETRY.",
        why: "The lock was released to wait for the folio. Any other result says that it is held.",
        source: "mm/filemap.c:__folio_lock_or_retry; mm/memory.c:do_swap_page, remove_device_exclusive_entry",
        sound: "The events are in program order within one call. Outside a call, as when khugepaged swaps a page in by itself, nothing is judged.",
        meaning: "The lock is unlocked twice.",
        example: "T1 __folio_lock_or_retry = RETRY, T1 handle_mm_fault_return 0",
        needs: [HandleMmFault, HandleMmFaultReturn, FolioLockOrRetry],
        since: (6, 6),
    }
    L35 Violation "anonymous collapse: pages are isolated under the write lock" {
        statement: "When mm_collapse_huge_page_isolate is emitted, its task holds an mmap_lock for write.",
        why: "The PMD entry is empty at that point and the pages are being moved. A fault would map a second page.",
        source: "mm/khugepaged.c:collapse_huge_page, __collapse_huge_page_isolate",
        sound: "The events are in program order of one task: this event lies between the task's acquire_returned and released. The rule is judged only for tasks whose write holds are all known. It is judged at the collapse's end, whose event names the mm: mmtrace's own mm, whose locks are not recorded, has no such event.",
        meaning: "The collapse runs without exclusion, and updates are lost.",
        example: "khugepaged mm_collapse_huge_page_isolate with no acquire_returned(W) before",
        needs: [StartLocking, AcquireReturned, Released, CollapseIsolate, CollapseHugePage, ScanPmd],
        whole_system: true,
    }
    L36 Violation "anonymous collapse: ends with the lock released" {
        statement: "At mm_collapse_huge_page, the task no longer holds that mm's mmap_lock for write.",
        why: "collapse_huge_page returns with the lock released. Its callers take the lock again.",
        source: "mm/khugepaged.c:collapse_huge_page",
        sound: "The events are in program order of one task. The hold was seen to begin and not to end.",
        meaning: "The lock leaks, and the process hangs at its next fault.",
        example: "khugepaged acquire_returned(W) … mm_collapse_huge_page without released(W)",
        needs: [StartLocking, AcquireReturned, Released, CollapseHugePage],
    }
    L37 Violation "anonymous collapse: a success isolated its pages under the write lock" {
        statement: "A collapse that ends with SCAN_SUCCEED isolated its pages while its task held that mm's mmap_lock for write.",
        why: "There is no other way to replace a PTE table by a huge PMD.",
        source: "mm/khugepaged.c:collapse_huge_page",
        sound: "The events are in program order of one task. The rule is judged only after an earlier scan or collapse of that task was seen to end.",
        meaning: "A PTE table was replaced while other tasks could use it.",
        example: "mm_collapse_huge_page status=SCAN_SUCCEED, no isolate inside a write hold",
        needs: [StartLocking, AcquireReturned, Released, CollapseIsolate, CollapseHugePage, ScanPmd],
        whole_system: true,
    }
    L38 Violation "file collapse: no write lock held" {
        statement: "At mm_khugepaged_collapse_file, the task holds no mmap_lock for write.",
        why: "collapse_file sleeps on pages and walks every mapping of the file. An mmap_lock that is held for write there inverts the lock order: the mmap_lock is outside the page lock and i_mmap_rwsem.",
        source: "mm/khugepaged.c:collapse_file, retract_page_tables; \"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05); mm/filemap.c lock order",
        sound: "The events are in program order of one task. The hold was seen to begin and not to end.",
        meaning: "A deadlock with any fault on the file is possible.",
        example: "khugepaged acquire_returned(W) … mm_khugepaged_collapse_file",
        needs: [StartLocking, AcquireReturned, Released, CollapseFile],
    }
    L39 Violation "PMD scan: under the mmap_lock" {
        statement: "When a scan that started no collapse ends, the mm's mmap_lock is held.",
        why: "The scan walks VMAs and page tables.",
        source: "mm/khugepaged.c:hpage_collapse_scan_pmd",
        sound: "The event is emitted before the caller unlocks. The rule is judged only when all holders of the mm's lock are known and no collapse of that task ended since its last scan. 7.x kernels emit the event elsewhere.",
        meaning: "The scan walks page tables that nothing keeps.",
        example: "khugepaged mm_khugepaged_scan_pmd, nobody holds the mm's lock",
        needs: [StartLocking, AcquireReturned, Released, ScanPmd, CollapseHugePage],
        before: (7, 0),
        whole_system: true,
    }
    L40 Violation "migration: entries are removed once" {
        statement: "Within one migrate_pages() call for compaction or NUMA balancing, no more migration entries are removed than were set.",
        why: "A second removal would overwrite whatever was mapped there since.",
        source: "mm/migrate.c:remove_migration_pte, mm/rmap.c:try_to_migrate_one",
        sound: "Each call is judged by itself. It is judged only for reasons whose allocations never reclaim, because reclaim may split a huge page, which makes entries without an event. It is judged only if no huge page took part and if nobody held any mmap_lock for write during the call, because fork copies entries and mremap moves them. It must begin at least one second after recording began. mmtrace withdraws a finding when a write hold that began before recording shows up later.",
        meaning: "A page-table entry was overwritten.",
        example: "T1 set_migration_pte(a), remove_migration_pte(a), remove_migration_pte(a)",
        needs: [StartLocking, AcquireReturned, Released, SetMigrationPte, RemoveMigrationPte, MigratePagesStart, MigratePages],
        whole_system: true,
    }
    L41 Violation "migration: an entry that is set is not present, one that is removed is gone" {
        statement: "set_migration_pte and set_migration_pmd store a non-present entry. remove_migration_pte and remove_migration_pmd leave no entry of a type that was seen to mean migration.",
        why: "Nobody may reach the page until the copy is complete, and nobody may wait for it afterwards.",
        source: "mm/rmap.c:try_to_migrate_one, mm/migrate.c:remove_migration_pte, arch/x86/include/asm/pgtable_64.h",
        sound: "The entry is the event's own argument. PRESENT and PROTNONE are fixed bits of x86-64. mmtrace learns the types that mean migration from set events of the same recording.",
        meaning: "Data that was written during the copy is lost, or a fault waits for ever.",
        example: "set_migration_pte with the present bit set",
        needs: [SetMigrationPte, RemoveMigrationPte],
        x86_64: true,
    }
    L42 Consistency "migration: begin and end of migrate_pages() nest" {
        statement: "mm_migrate_pages follows a mm_migrate_pages_start of the same task.",
        why: "migrate_pages() emits one at its entry and one at its exit. Rules about migration rest on this pair.",
        source: "mm/migrate.c:migrate_pages",
        sound: "The rule is judged only for tasks that were seen in user mode since recording began, or after a start was seen.",
        meaning: "Events were lost without being counted, or the kernel has moved its tracepoints.",
        example: "T1 mm_migrate_pages without mm_migrate_pages_start",
        needs: [MigratePagesStart, MigratePages, PageFaultUser],
        whole_system: true,
    }
    L43 Violation "exit: page tables are freed under the write lock" {
        statement: "When exit_mmap is emitted, its task holds that mm's mmap_lock for write.",
        why: "khugepaged and the OOM reaper may still look at the mm. The lock keeps them out while page tables and VMAs are freed.",
        source: "mm/mmap.c:exit_mmap; mm/khugepaged.c:__khugepaged_exit",
        sound: "The events are in program order of one task. The rule is judged only when all holders of the lock are known.",
        meaning: "Page tables are used after they are freed.",
        example: "T1 exit_mmap, T1 does not hold W",
        needs: [StartLocking, AcquireReturned, Released, ExitMmap],
    }
    L44 Violation "dead mm: nobody runs on it" {
        statement: "After exit_mmap of an mm, no task that ran on it faults in user mode on it.",
        why: "mm_users is 0 and cannot rise again. The page tables are gone.",
        source: "kernel/fork.c:mmput, mm/mmap.c:exit_mmap",
        sound: "sched_process_fork is emitted before the child first runs, and sched_process_exec before the return to user mode. The mm that a task runs on is known from then on. If a process is hidden from all BPF programs, the fork of its child is not announced, and the child may run on another mm at the same address. A task that was not seen on this mm before is therefore not judged. A task that was seen on it, and that has made no exec and not exited, cannot have got another one. The loss of any of these events makes mmtrace forget which task runs on which mm.",
        meaning: "A task runs on freed page tables.",
        example: "exit_mmap(mm) … page_fault_user on mm, no fork or exec between",
        needs: [ExitMmap, Fork, Exec, Exit, PageFaultUser],
        whole_system: true,
    }
    L45 Violation "VMA tree: stored to under the write lock" {
        statement: "A task stores into its own VMA tree only while it holds its mm's mmap_lock for write.",
        why: "VMA ranges change only under the write lock. Readers and users of the VMA lock rely on it.",
        source: "mm/vma.c; Documentation/mm/process_addrs.rst (7.2); mm/mmap.c:expand_downwards before 6.5 did not",
        sound: "The events are in program order of one task. Only stores into the tree of the current task's own mm are recorded, and they are judged only when all holders of the lock are known.",
        meaning: "A lookup can find a half-stored VMA.",
        example: "T1 ma_write, T1 holds no mmap_lock for write",
        needs: [StartLocking, AcquireReturned, Released, MaWrite],
        since: (6, 5),
    }
    L46 Consistency "compaction: its migrations lie between its begin and end" {
        statement: "A migrate_pages() call for compaction runs between mm_compaction_begin and mm_compaction_end of the same task.",
        why: "compact_zone() is the only caller with that reason. mmtrace measures the time of a compaction between these two events.",
        source: "mm/compaction.c:compact_zone",
        sound: "The rule is judged only after an earlier compaction of that task was seen to begin or end, or after the task was seen in user mode.",
        meaning: "Events were lost without being counted, or the kernel has moved its tracepoints.",
        example: "kcompactd mm_migrate_pages_start reason=compaction, no mm_compaction_begin before",
        needs: [MigratePagesStart, CompactionBegin, CompactionEnd],
        whole_system: true,
    }
    L47 Consistency "walk: a pte_offset_map call returns what the PMD entry says" {
        statement: "A PTE that pte_offset_map_lock or its kin returns lies in the table named by the PMD entry that was used for the walk, at the address's index. No PTE is returned only if that entry names no table.",
        why: "I-BADPMD: every page-table walk rests on it.",
        source: "mm/pgtable-generic.c:__pte_offset_map, pte_offset_map_lock, pte_offset_map_rw_nolock",
        sound: "For pte_offset_map_rw_nolock (from 6.13 on), the PMD entry that it used is recorded. For pte_offset_map_lock, the PMD entry is read at the return: the PTL is held there, and a task that unlinks a table that can be mapped there holds the PTL too, or keeps the mapper out by the mmap_lock, VMA and rmap locks. mmtrace compares tables by where the direct map begins, which it infers from eight agreeing calls on two tables. If any calls disagree, it does not compare tables at all. mmtrace also compares the result with what earlier events predict. A prediction that fails is only dropped: mremap, THP splits and failed collapses link and unlink tables without an event.",
        meaning: "The probes or the model read page tables wrongly, or a table was replaced under the lock of the walker.",
        example: "pte_offset_map_rw_nolock: pmd_used points to table A, ptep lies in table B",
        needs: [PteOffsetMapLock],
        also: [PteOffsetMapRwNolock, PteOffsetMapRoNolock],
        since: (6, 5),
        x86_64: true,
    }
    L48 Violation "free: nobody locks a table that waits for its grace period" {
        statement: "After pte_free_defer of a table, and until the table is freed, pte_offset_map_lock does not return a PTE of that table.",
        why: "The PMD entry no longer points to the table. A task that takes the table's lock late must find that out and begin again.",
        source: "mm/pgtable-generic.c:pte_offset_map_lock, pte_free_defer; mm/khugepaged.c:retract_page_tables",
        sound: "pte_offset_map_lock looks at the PMD entry again with the PTL held, and holds the PTL beyond its return. The two callers of pte_free_defer have cleared the PMD entry under that PTL before. A return later than pte_free_defer, by more than clocks may differ, is therefore after the clearing, and its second look must have failed. The return is judged when pte_free_now has come, later by more than that difference: until then the memory cannot be another table. pte_free_now runs in an RCU callback, perhaps on top of a task that is hidden from BPF programs. A table that is linked again was freed unseen, so only a call on the PMD entry from which the table was unlinked counts.",
        meaning: "I-LOST, and then use after free: entries are written into a table that will be freed.",
        example: "T1 pte_free_defer(A), T2 pte_offset_map_lock returns a PTE in A, pte_free_now(A)",
        needs: [PteFreeDefer, PteFreeNow, PteOffsetMapLock],
        since: (6, 6),
        whole_system: true,
        x86_64: true,
    }
    H01 Hazard "walk: a table was unlinked while it was mapped without its lock" {
        statement: "Counts pte_offset_map calls without a lock after which another task's collapse unlinked the table, before the task mapped that PMD entry again.",
        why: "pmd_same() and pte_same() are for this window. A task that writes must look again, and a task that only reads may go on.",
        source: "mm/pgtable-generic.c, the comment on pte_offset_map_rw_nolock; \"mm: pgtable: introduce pte_offset_map_{ro|rw}_nolock()\" (linux-mm, 2024-08)",
        sound: "This is a count, not a violation. Only pairs of calls of one task within 10 ms count, with no return to user mode between them.",
        meaning: "The count says how often the recheck was needed.",
        example: "T1 pte_offset_map_rw_nolock, T2 pmdp_collapse_flush, T1 pte_offset_map_lock",
        needs: [PteOffsetMapRwNolock, PteOffsetMapLock, PmdpCollapseFlush],
        since: (6, 5),
    }
    H02 Hazard "walk: pte_offset_map_lock began again" {
        statement: "Counts pte_offset_map_lock calls that mapped more than once.",
        why: "The table was unlinked between the look at the PMD entry and the lock.",
        source: "mm/pgtable-generic.c:pte_offset_map_lock",
        sound: "This is a count, not a violation.",
        meaning: "The count says how often the recheck of the PMD entry saved an entry.",
        example: "T1 pte_offset_map_lock_enter, pte_offset_map twice, pte_offset_map_lock",
        needs: [PteOffsetMapLockEnter, PteOffsetMap, PteOffsetMapLock],
        since: (6, 5),
    }
    H03 Hazard "walk: the table is gone" {
        statement: "Counts pte_offset_map calls that find no table where there was one, if nobody has locked the mm for write since.",
        why: "Retraction and page-table reclaim remove tables beside readers. munmap and mremap lock for write first, so they do not count.",
        source: "mm/khugepaged.c:retract_page_tables; mm/memory.c:zap_pte_range (7.2)",
        sound: "This is a count, not a violation.",
        meaning: "The count says how often a walker's check for NULL was needed.",
        example: "T1 pte_offset_map_lock returns a PTE, later 0, no write hold between",
        needs: [PteOffsetMapLock, AcquireReturned],
        since: (6, 5),
        x86_64: true,
    }
    H04 Hazard "write-protection beside a retract" {
        statement: "Counts retract_page_tables and UFFDIO_WRITEPROTECT calls that run at the same time in different tasks.",
        why: "The first posted version of retract_page_tables() would have lost markers here.",
        source: "\"mm/khugepaged: retract_page_tables() without mmap or vma lock\" (linux-mm, 2023-05)",
        sound: "This is a count. The events do not say whether both calls are about one file, so the count is an upper bound.",
        meaning: "The count says how often the two could have met.",
        example: "T1 mwriteprotect_range … T2 retract_page_tables",
        needs: [RetractPageTables, RetractPageTablesReturn, MwriteprotectRange, MwriteprotectRangeReturn],
        since: (6, 6),
        whole_system: true,
    }
    H05 Hazard "an anon_vma beside a retract" {
        statement: "Counts VMAs that get an anon_vma, or turn out to have one, while another task is in retract_page_tables.",
        why: "retract_page_tables tests for an anon_vma twice because of this.",
        source: "mm/khugepaged.c:retract_page_tables; mm/memory.c:__vmf_anon_prepare",
        sound: "This is a count. The events do not say whether both are about one file, so the count is an upper bound.",
        meaning: "The count says how often the second test could have been needed.",
        example: "T1 retract_page_tables … T2 __vmf_anon_prepare = 0",
        needs: [RetractPageTables, RetractPageTablesReturn, VmfAnonPrepare],
        since: (6, 6),
        whole_system: true,
    }
    H06 Hazard "page tables freed right after a migration wait under the VMA lock" {
        statement: "Counts writers that waited for a VMA whose reader waited for a migration, and that free PTE tables of that mm before they release the mmap_lock.",
        why: "If the reader had dropped the VMA lock first, these tables would have been freed while it still looked at them.",
        source: "\"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06); mm/migrate.c:migration_entry_wait",
        sound: "This is a count. No event says which range a table belongs to, so the count is an upper bound.",
        meaning: "The count says how often the VMA lock could have kept a table that the reader still used.",
        example: "T1 migration_entry_wait … T2 __vma_start_write(v) … T2 pte_free_tlb",
        needs: [HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu, MigrationEntryWait, MigrationEntryWaitReturn, VmaStartWrite, VmaStartWriteReturn, PteFreeTlb, Released],
        since: (6, 15),
    }
    H07 Hazard "spurious refault" {
        statement: "Counts user-mode faults of one task on one page that follow each other within 50 us.",
        why: "The first fault did not resolve the access: a retry after a dropped lock, a write after a read, or a lost race.",
        source: "mm/memory.c:handle_pte_fault, arch/x86/mm/fault.c",
        sound: "This is a count, not a violation.",
        meaning: "A large count is worth a look.",
        example: "T1 page_fault_user a, 10 us later T1 page_fault_user a",
        needs: [PageFaultUser],
    }
    M01 Measure "VMA lock held for read across a migration wait while a writer waits" {
        statement: "Measures how long a task's migration_entry_wait under the VMA lock overlaps with another task's __vma_start_write of that VMA.",
        why: "This is the cost of keeping the lock during the wait.",
        source: "\"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06)",
        sound: "This is a measurement of each pair. It is a lower bound of the delay, because the fault goes on after the wait.",
        meaning: "The durations say how long writers of a VMA waited for its reader's migration wait.",
        example: "T1 lock_vma_under_rcu = v, migration_entry_wait … T2 __vma_start_write(v) … T1 migration_entry_wait returns",
        needs: [HandleMmFault, HandleMmFaultReturn, MigrationEntryWait, MigrationEntryWaitReturn, VmaStartWrite, VmaStartWriteReturn],
        since: (6, 15),
    }
    M02 Measure "mmap_lock held across a migration wait while a writer waits" {
        statement: "Measures how long a task's migration_entry_wait under the mmap_lock overlaps with another task's attempt to get that lock for write.",
        why: "This is the cost that M01 measures, for faults that could not use the VMA lock.",
        source: "\"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06)",
        sound: "This is a measurement of each pair. The attempt lasts from start_locking to acquire_returned.",
        meaning: "The durations say how long writers of an mm waited for a reader's migration wait.",
        example: "T1 migration_entry_wait … T2 start_locking(W) … T1 migration_entry_wait returns … T2 acquire_returned(W)",
        needs: [HandleMmFault, HandleMmFaultReturn, MigrationEntryWait, MigrationEntryWaitReturn, StartLocking, AcquireReturned],
    }
    M03 Measure "faults that fell back to the mmap_lock" {
        statement: "Measures the time of faults in user mode from the refusal of the VMA lock, or from a RETRY under it, to the end of the fault under the mmap_lock.",
        why: "This is the cost of the fast path where it fails.",
        source: "arch/x86/mm/fault.c:do_user_addr_fault; mm/memory.c:lock_vma_under_rcu",
        sound: "This is a measurement.",
        meaning: "The durations say what the fallback to the mmap_lock costs a fault.",
        example: "T1 page_fault_user, lock_vma_under_rcu = 0, handle_mm_fault, handle_mm_fault_return 0",
        needs: [PageFaultUser, PageFaultKernel, HandleMmFault, HandleMmFaultReturn, LockVmaUnderRcu],
        since: (6, 4),
    }
    M04 Measure "mmap_lock: time held for write" {
        statement: "Measures write holds, from acquire_returned to released or to the downgrade.",
        why: "Every task that needs the mm waits for them.",
        source: "include/linux/mmap_lock.h",
        sound: "This is a measurement. It is a lower bound, because observed holds lie inside the true ones.",
        meaning: "The durations say how long a writer keeps every other task out.",
        example: "T1 acquire_returned(W) … T1 released(W)",
        needs: [StartLocking, AcquireReturned, Released],
    }
    M05 Measure "collapse: time the mmap_lock is held for write" {
        statement: "Measures the write holds in which an anonymous collapse isolated its pages.",
        why: "The process cannot fault meanwhile.",
        source: "mm/khugepaged.c:collapse_huge_page",
        sound: "This is a measurement.",
        meaning: "The durations say how long a collapse stops the faults of its process.",
        example: "khugepaged acquire_returned(W), mm_collapse_huge_page_isolate, released(W)",
        needs: [StartLocking, AcquireReturned, Released, CollapseIsolate],
    }
    M06 Measure "migration: time that an entry stays" {
        statement: "Measures the time from set_migration_pte to remove_migration_pte at the same address.",
        why: "A fault on the page waits that long while it holds the VMA lock or the mmap_lock.",
        source: "mm/migrate.c; \"mm: drop VMA lock before waiting for migration\" (linux-mm, 2023-06)",
        sound: "This is a hint. The events do not name the mm, so entries of two mms at one address are not told apart.",
        meaning: "The durations say how long a fault can wait for a migration.",
        example: "set_migration_pte(a) … remove_migration_pte(a)",
        needs: [SetMigrationPte, RemoveMigrationPte],
    }
    M07 Measure "retract: time to unlink the tables of a file range" {
        statement: "Measures calls of retract_page_tables.",
        why: "The kernel holds i_mmap for read meanwhile. The new folio is locked, and faults on it wait.",
        source: "mm/khugepaged.c:retract_page_tables",
        sound: "This is a measurement.",
        meaning: "The durations say how long such a fault can wait.",
        example: "T1 retract_page_tables … T1 retract_page_tables_return",
        needs: [RetractPageTables, RetractPageTablesReturn],
    }
    M08 Measure "mmap_lock: time waited" {
        statement: "Measures the time from start_locking to a successful acquire_returned that it announced.",
        why: "This is the cost of the holders for the other tasks.",
        source: "include/linux/mmap_lock.h",
        sound: "This is a measurement. It is an upper bound of the wait.",
        meaning: "The durations say how long tasks wait for an mmap_lock.",
        example: "T1 start_locking(W) … T1 acquire_returned(W)",
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
