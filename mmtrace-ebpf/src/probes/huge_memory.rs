//! `huge_memory:*`: khugepaged and MADV_COLLAPSE. The current task works on the
//! mm of the event, rarely on its own.

use mmtrace_common::{Kind, event};

use super::{probe, record};
use crate::args::{Args, arg, int};

#[inline(always)]
fn scan_pmd<const TYPED: bool>(args: Args) {
    record!(
        args.mm(),
        event::ScanPmd {
            referenced: int(arg!(args, ScanPmd, Referenced)),
            none_or_zero: int(arg!(args, ScanPmd, NoneOrZero)),
            unmapped: int(arg!(args, ScanPmd, Unmapped)),
            status: arg!(args, ScanPmd, Status) as u32,
        }
    );
}

#[inline(always)]
fn khugepaged_scan<const TYPED: bool>(args: Args) {
    record!(
        args.mm(),
        event::KhugepagedScan {
            progress: arg!(args, KhugepagedScan, Progress),
            full_scan_finished: arg!(args, KhugepagedScan, FullScanFinished) & 1 != 0,
        }
    );
}

#[inline(always)]
fn isolate<const TYPED: bool>(args: Args) {
    record!(
        0,
        event::CollapseIsolate {
            none_or_zero: int(arg!(args, CollapseIsolate, NoneOrZero)),
            referenced: int(arg!(args, CollapseIsolate, Referenced)),
            status: arg!(args, CollapseIsolate, Status) as u32,
            order: arg!(args, CollapseIsolate, Order) as i32,
        }
    );
}

#[inline(always)]
fn collapse<const TYPED: bool>(args: Args) {
    record!(
        args.mm(),
        event::CollapseHugePage {
            isolated: int(arg!(args, CollapseHugePage, Isolated)),
            status: arg!(args, CollapseHugePage, Status) as u32,
            order: arg!(args, CollapseHugePage, Order) as i32,
        }
    );
}

#[inline(always)]
fn swapin<const TYPED: bool>(args: Args) {
    record!(
        args.mm(),
        event::CollapseSwapin {
            swapped_in: int(arg!(args, CollapseSwapin, SwappedIn)),
            referenced: int(arg!(args, CollapseSwapin, Referenced)),
            ret: int(arg!(args, CollapseSwapin, Ret)),
            order: arg!(args, CollapseSwapin, Order) as i32,
        }
    );
}

#[inline(always)]
fn scan_file<const TYPED: bool>(args: Args) {
    record!(
        args.mm(),
        event::ScanFile {
            present: int(arg!(args, ScanFile, Present)),
            swap: int(arg!(args, ScanFile, Swap)),
            status: arg!(args, ScanFile, Status) as u32,
        }
    );
}

#[inline(always)]
fn collapse_file<const TYPED: bool>(args: Args) {
    record!(
        args.mm(),
        event::CollapseFile {
            index: arg!(args, CollapseFile, Index),
            addr: arg!(args, CollapseFile, Addr),
            is_shmem: arg!(args, CollapseFile, IsShmem) & 1 != 0,
            nr: int(arg!(args, CollapseFile, Nr)),
            status: arg!(args, CollapseFile, Status) as u32,
        }
    );
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
