//! `migrate:*` and `thp:*_migration_pmd`. None of them says which mm it is about. And the functions that wait
//! for a migration (mm/migrate.c), which do.

use mmtrace_common::Kind;

use super::{atomic_probe, entry, exit, probe};
use crate::{
    args::{Args, current_mm, member},
    filter::wanted,
    offsets,
    ring::emit,
};

#[inline(always)]
fn pte(args: Args, kind: Kind) {
    if wanted(kind, 0) {
        emit(kind, 0, args.field::<2>(), [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn pmd(args: Args, kind: Kind) {
    if wanted(kind, 0) {
        emit(kind, 0, 0, [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn set_pte<const TYPED: bool>(args: Args) {
    pte(args, Kind::SetMigrationPte);
}

#[inline(always)]
fn remove_pte<const TYPED: bool>(args: Args) {
    pte(args, Kind::RemoveMigrationPte);
}

#[inline(always)]
fn set_pmd<const TYPED: bool>(args: Args) {
    pmd(args, Kind::SetMigrationPmd);
}

#[inline(always)]
fn remove_pmd<const TYPED: bool>(args: Args) {
    pmd(args, Kind::RemoveMigrationPmd);
}

#[inline(always)]
fn start<const TYPED: bool>(args: Args) {
    if wanted(Kind::MigratePagesStart, 0) {
        emit(Kind::MigratePagesStart, 0, args.field::<0>() & 0xff | (args.field::<1>() & 0xff) << 8, []);
    }
}

#[inline(always)]
fn end<const TYPED: bool>(args: Args) {
    if wanted(Kind::MigratePages, 0) {
        emit(
            Kind::MigratePages,
            0,
            args.field::<6>() & 0xff | (args.field::<7>() & 0xff) << 8,
            [
                args.field::<0>(),
                args.field::<1>(),
                args.field::<2>(),
                args.field::<3>(),
                args.field::<4>(),
                args.field::<5>(),
            ],
        );
    }
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
    let mm = args.mm();
    if wanted(Kind::MigrationEntryWait, mm) {
        emit(Kind::MigrationEntryWait, mm, 0, [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn waited(args: Args) {
    let mm = args.mm();
    if wanted(Kind::MigrationEntryWaitReturn, mm) {
        emit(Kind::MigrationEntryWaitReturn, mm, 0, [args.field::<0>()]);
    }
}

#[inline(always)]
fn sleep(_: Args) {
    let mm = current_mm();
    if wanted(Kind::MigrationEntryWaitOnLocked, mm) {
        emit(Kind::MigrationEntryWaitOnLocked, mm, 0, []);
    }
}

#[inline(always)]
fn wait_huge(args: Args) {
    let mm = member::<true>(args.mm(), offsets::vma_mm());
    if wanted(Kind::MigrationEntryWaitHuge, mm) {
        emit(Kind::MigrationEntryWaitHuge, mm, 0, [args.field::<0>()]);
    }
}

entry!(Kind::MigrationEntryWait, migration_entry_wait, POS_MIGRATION_ENTRY_WAIT, wait);
exit!(Kind::MigrationEntryWaitReturn, migration_entry_wait_return, POS_MIGRATION_ENTRY_WAIT_RETURN, waited);
entry!(Kind::MigrationEntryWaitOnLocked, migration_entry_wait_on_locked, POS_MIGRATION_ENTRY_WAIT_ON_LOCKED, sleep);
entry!(Kind::MigrationEntryWaitHuge, migration_entry_wait_huge, POS_MIGRATION_ENTRY_WAIT_HUGE, wait_huge);
