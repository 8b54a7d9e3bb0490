//! The rules that a stream of events is held against: one row each.
//!
//! A new rule is a row here, and the place in `model/` that knows when it is
//! evaluated. `mmtrace rules`, `mmtrace explain` and `docs/rules.md` come from the
//! rows.

use mmtrace_common::Kind::{self, *};

use crate::context::Context;

/// How bad a broken rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The kernel did what its own rules forbid.
    Violation,
    /// Events contradict each other: the kernel, the probes or the model is wrong.
    Consistency,
    /// Something happened that is allowed and worth knowing; counted.
    Hazard,
    /// A measurement; nothing to break.
    Measure,
}

impl Severity {
    /// Whether breaking the rule makes the run fail.
    #[must_use]
    pub const fn can_fail(self) -> bool {
        matches!(self, Self::Violation | Self::Consistency)
    }

    /// As lists call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Consistency => "consistency",
            Self::Hazard => "hazard",
            Self::Measure => "measure",
        }
    }
}

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
    /// First kernel that it is true of.
    pub since: (u32, u32),
    /// First kernel that it is no longer known to be true of.
    pub before: Option<(u32, u32)>,
    /// It needs the events of every mm: a filter turns it off.
    pub whole_system: bool,
    /// It reads entries in x86-64's format.
    pub x86_64: bool,
}

impl Rule {
    /// Why it cannot be observed in this context, if it cannot.
    #[must_use]
    pub fn blocked(&self, context: &Context) -> Option<String> {
        let kernel = context.kernel.major_minor();
        if kernel < self.since {
            return Some(format!(
                "true of kernels from {}.{} on, this is {}",
                self.since.0, self.since.1, context.kernel.release
            ));
        }
        if let Some(before) = self.before.filter(|b| kernel >= *b) {
            return Some(format!(
                "checked against sources before {}.{} only, this is {}",
                before.0, before.1, context.kernel.release
            ));
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

/// First kernel whose sources and events the rules were held against.
const FIRST_EXAMINED: (u32, u32) = (6, 1);

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
        $(since: $since:expr,)?
        $(before: $before:expr,)?
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
            since: first!($($since,)? FIRST_EXAMINED),
            before: option!($($before)?),
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
        sound: "As L01. Readers are counted per mm, not per task, so a read lock that another context releases (mmap_read_unlock_non_owner) still balances.",
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
        sound: "Judged only once a write acquisition was seen (at that moment no reader is left, so the count is exact) that is more than 2 us after the start of recording or a loss, since by another CPU's clock a reader may have come after it; per mm, so that a non-owner release is fine, and not after one within 2 us of that acquisition.",
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
        statement: "After exit_mmap no user-mode fault happens on that mm, until a fork or exec makes a new one at the same address.",
        why: "mm_users is 0 and cannot rise again; the page tables are gone.",
        source: "kernel/fork.c:mmput, mm/mmap.c:exit_mmap",
        sound: "sched_process_fork is emitted before the child first runs and sched_process_exec before the return to user mode, so a reused mm is always announced. Forgotten when any of these events is lost.",
        meaning: "A task runs on freed page tables.",
        example: "exit_mmap(mm) … page_fault_user on mm, no fork or exec between",
        needs: [ExitMmap, Fork, Exec, PageFaultUser],
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
    H07 Hazard "spurious refault" {
        statement: "Counts user-mode faults of one task on one page within 50 us of each other.",
        why: "A fault that does not resolve at once: a retry after a dropped lock, a write after a read, a lost race.",
        source: "mm/memory.c:handle_pte_fault, arch/x86/mm/fault.c",
        sound: "A count, not a violation.",
        meaning: "Many of them are worth a look.",
        example: "T1 page_fault_user a, 10 us later T1 page_fault_user a",
        needs: [PageFaultUser],
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
