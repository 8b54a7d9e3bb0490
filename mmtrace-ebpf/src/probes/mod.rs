//! One module per kernel subsystem.

mod collapse;
mod compaction;
mod fault;
mod huge_memory;
mod hugetlb;
mod lock;
mod maple_tree;
mod migrate;
mod mmap_lock;
mod own;
mod page_table;
mod process;
mod tlb;
mod userfaultfd;
mod vma_lock;

/// Declares a probe: its position table and the two programs that share `body`.
///
/// `body` is a function `fn<const TYPED: bool>(Args)`; the program is named as the
/// tracepoint.
macro_rules! probe {
    ($name:ident, $raw:ident, $positions:ident, $body:ident) => {
        #[unsafe(no_mangle)]
        static $positions: $crate::args::Positions = [mmtrace_common::ABSENT; mmtrace_common::POSITIONS];

        #[aya_ebpf::macros::btf_tracepoint]
        pub fn $name(ctx: aya_ebpf::programs::BtfTracePointContext) -> u32 {
            $body::<true>($crate::args::Args::new(aya_ebpf::EbpfContext::as_ptr(&ctx), &raw const $positions));
            0
        }

        #[aya_ebpf::macros::raw_tracepoint]
        pub fn $raw(ctx: aya_ebpf::programs::RawTracePointContext) -> u32 {
            $body::<false>($crate::args::Args::new(aya_ebpf::EbpfContext::as_ptr(&ctx), &raw const $positions));
            0
        }
    };
}
pub(crate) use probe;

/// Declares a program at a function's entry, and its position table. `body` is a `fn(Args)`.
macro_rules! entry {
    ($name:ident, $positions:ident, $body:expr) => {
        #[unsafe(no_mangle)]
        static $positions: $crate::args::Positions = [mmtrace_common::ABSENT; mmtrace_common::POSITIONS];

        #[aya_ebpf::macros::fentry]
        pub fn $name(ctx: aya_ebpf::programs::FEntryContext) -> u32 {
            ($body)($crate::args::Args::new(aya_ebpf::EbpfContext::as_ptr(&ctx), &raw const $positions));
            0
        }
    };
}
pub(crate) use entry;

/// As [`entry`], where the function returns.
macro_rules! exit {
    ($name:ident, $positions:ident, $body:expr) => {
        #[unsafe(no_mangle)]
        static $positions: $crate::args::Positions = [mmtrace_common::ABSENT; mmtrace_common::POSITIONS];

        #[aya_ebpf::macros::fexit]
        pub fn $name(ctx: aya_ebpf::programs::FExitContext) -> u32 {
            ($body)($crate::args::Args::new(aya_ebpf::EbpfContext::as_ptr(&ctx), &raw const $positions));
            0
        }
    };
}
pub(crate) use exit;
