//! `migrate:*` and `thp:*_migration_pmd`, none of which says which mm it is about, and the functions that wait
//! for a migration (mm/migrate.c), which do.

use mmtrace_common::{Kind, event};

use super::{atomic_probe, entry, exit, probe, record};
use crate::{
    args::{Args, arg, current_mm},
    call::call,
};

/// Records an event of a PTE that has been replaced.
macro_rules! pte {
    ($args:ident, $event:ident) => {
        record!(
            0,
            event::$event {
                order: arg!($args, $event, Order) as i32,
                addr: arg!($args, $event, Addr),
                pte: arg!($args, $event, Pte),
            }
        )
    };
}

/// Records an event of a huge PMD that has been replaced.
macro_rules! pmd {
    ($args:ident, $event:ident) => {
        record!(0, event::$event { addr: arg!($args, $event, Addr), pmd: arg!($args, $event, Pmd) })
    };
}

#[inline(always)]
fn set_pte<const TYPED: bool>(args: Args) {
    pte!(args, SetMigrationPte);
}

#[inline(always)]
fn remove_pte<const TYPED: bool>(args: Args) {
    pte!(args, RemoveMigrationPte);
}

#[inline(always)]
fn set_pmd<const TYPED: bool>(args: Args) {
    pmd!(args, SetMigrationPmd);
}

#[inline(always)]
fn remove_pmd<const TYPED: bool>(args: Args) {
    pmd!(args, RemoveMigrationPmd);
}

#[inline(always)]
fn start<const TYPED: bool>(args: Args) {
    record!(
        0,
        event::MigratePagesStart {
            mode: arg!(args, MigratePagesStart, Mode) as u32,
            reason: arg!(args, MigratePagesStart, Reason) as u32,
            call: call(args.context()),
        }
    );
}

#[inline(always)]
fn end<const TYPED: bool>(args: Args) {
    record!(
        0,
        event::MigratePages {
            succeeded: arg!(args, MigratePages, Succeeded),
            failed: arg!(args, MigratePages, Failed),
            thp_succeeded: arg!(args, MigratePages, ThpSucceeded),
            thp_failed: arg!(args, MigratePages, ThpFailed),
            thp_split: arg!(args, MigratePages, ThpSplit),
            large_folio_split: arg!(args, MigratePages, LargeFolioSplit),
            mode: arg!(args, MigratePages, Mode) as u32,
            reason: arg!(args, MigratePages, Reason) as u32,
        }
    );
}

// Under the page table's lock.
atomic_probe!(Kind::SetMigrationPte, set_migration_pte, set_migration_pte_raw, POS_SET_MIGRATION_PTE, set_pte);
atomic_probe!(
    Kind::RemoveMigrationPte,
    remove_migration_pte,
    remove_migration_pte_raw,
    POS_REMOVE_MIGRATION_PTE,
    remove_pte
);
atomic_probe!(Kind::SetMigrationPmd, set_migration_pmd, set_migration_pmd_raw, POS_SET_MIGRATION_PMD, set_pmd);
atomic_probe!(
    Kind::RemoveMigrationPmd,
    remove_migration_pmd,
    remove_migration_pmd_raw,
    POS_REMOVE_MIGRATION_PMD,
    remove_pmd
);
probe!(Kind::MigratePagesStart, mm_migrate_pages_start, mm_migrate_pages_start_raw, POS_MM_MIGRATE_PAGES_START, start);
probe!(Kind::MigratePages, mm_migrate_pages, mm_migrate_pages_raw, POS_MM_MIGRATE_PAGES, end);

#[inline(always)]
fn wait(args: Args) {
    record!(
        args.mm(),
        event::MigrationEntryWait {
            addr: arg!(args, MigrationEntryWait, Addr),
            pmdp: arg!(args, MigrationEntryWait, Pmdp),
        }
    );
}

#[inline(always)]
fn waited(args: Args) {
    record!(args.mm(), event::MigrationEntryWaitReturn { addr: arg!(args, MigrationEntryWaitReturn, Addr) });
}

#[inline(always)]
fn sleep(_: Args) {
    record!(current_mm(), event::MigrationEntryWaitOnLocked {});
}

#[inline(always)]
fn wait_huge(args: Args) {
    record!(args.mm_of_vma(), event::MigrationEntryWaitHuge { vma: arg!(args, MigrationEntryWaitHuge, Vma) });
}

entry!(Kind::MigrationEntryWait, migration_entry_wait, POS_MIGRATION_ENTRY_WAIT, wait);
exit!(Kind::MigrationEntryWaitReturn, migration_entry_wait_return, POS_MIGRATION_ENTRY_WAIT_RETURN, waited);
entry!(Kind::MigrationEntryWaitOnLocked, migration_entry_wait_on_locked, POS_MIGRATION_ENTRY_WAIT_ON_LOCKED, sleep);
entry!(Kind::MigrationEntryWaitHuge, migration_entry_wait_huge, POS_MIGRATION_ENTRY_WAIT_HUGE, wait_huge);
