//! `huge_memory:*`: khugepaged and MADV_COLLAPSE. The current task works on the
//! mm of the event, rarely on its own.

use mmtrace_common::Kind;

use super::probe;
use crate::{args::Args, filter::wanted, ring::emit};

#[inline(always)]
fn scan_pmd<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::ScanPmd, mm) {
        emit(Kind::ScanPmd, mm, args.field::<3>(), [args.field::<0>(), args.field::<1>(), args.field::<2>()]);
    }
}

#[inline(always)]
fn khugepaged_scan<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::KhugepagedScan, mm) {
        emit(Kind::KhugepagedScan, mm, args.field::<1>() & 1, [args.field::<0>()]);
    }
}

#[inline(always)]
fn isolate<const TYPED: bool>(args: Args) {
    if wanted(Kind::CollapseIsolate, 0) {
        emit(
            Kind::CollapseIsolate,
            0,
            args.field::<2>() & 0xffff | (args.field::<3>() & 0xffff) << 16,
            [args.field::<0>(), args.field::<1>()],
        );
    }
}

#[inline(always)]
fn collapse<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::CollapseHugePage, mm) {
        emit(
            Kind::CollapseHugePage,
            mm,
            args.field::<1>() & 0xffff | (args.field::<2>() & 0xffff) << 16,
            [args.field::<0>()],
        );
    }
}

#[inline(always)]
fn swapin<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::CollapseSwapin, mm) {
        emit(
            Kind::CollapseSwapin,
            mm,
            args.field::<3>() & 0xffff,
            [args.field::<0>(), args.field::<1>(), args.field::<2>()],
        );
    }
}

#[inline(always)]
fn scan_file<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::ScanFile, mm) {
        emit(Kind::ScanFile, mm, args.field::<2>(), [args.field::<0>(), args.field::<1>()]);
    }
}

#[inline(always)]
fn collapse_file<const TYPED: bool>(args: Args) {
    let mm = args.mm();
    if wanted(Kind::CollapseFile, mm) {
        emit(
            Kind::CollapseFile,
            mm,
            args.field::<4>(),
            [args.field::<0>(), args.field::<1>(), args.field::<2>() & 1, args.field::<3>()],
        );
    }
}

probe!(Kind::ScanPmd, mm_khugepaged_scan_pmd, mm_khugepaged_scan_pmd_raw, POS_MM_KHUGEPAGED_SCAN_PMD, scan_pmd);
probe!(Kind::KhugepagedScan, mm_khugepaged_scan, mm_khugepaged_scan_raw, POS_MM_KHUGEPAGED_SCAN, khugepaged_scan);
probe!(
    Kind::CollapseIsolate,
    mm_collapse_huge_page_isolate,
    mm_collapse_huge_page_isolate_raw,
    POS_MM_COLLAPSE_HUGE_PAGE_ISOLATE,
    isolate
);
probe!(Kind::CollapseHugePage, mm_collapse_huge_page, mm_collapse_huge_page_raw, POS_MM_COLLAPSE_HUGE_PAGE, collapse);
probe!(
    Kind::CollapseSwapin,
    mm_collapse_huge_page_swapin,
    mm_collapse_huge_page_swapin_raw,
    POS_MM_COLLAPSE_HUGE_PAGE_SWAPIN,
    swapin
);
probe!(Kind::ScanFile, mm_khugepaged_scan_file, mm_khugepaged_scan_file_raw, POS_MM_KHUGEPAGED_SCAN_FILE, scan_file);
probe!(
    Kind::CollapseFile,
    mm_khugepaged_collapse_file,
    mm_khugepaged_collapse_file_raw,
    POS_MM_KHUGEPAGED_COLLAPSE_FILE,
    collapse_file
);
