//! One module per kernel subsystem.

mod cgroup;
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

/// Records an event on an mm (0: none), if it is wanted. Values are read only then.
///
/// It is a macro, since a function would take the values as a closure, and the compiler does not inline all of those:
/// a call costs more, and its callee is not told the type of the context.
macro_rules! record {
    ($mm:expr, $event:ident::$kind:ident { $($values:tt)* }) => {{
        let mm = $mm;
        if $crate::filter::wanted(mmtrace_common::Kind::$kind, mm) {
            $crate::ring::emit(mm, $event::$kind { $($values)* });
        }
    }};
}
pub(crate) use record;

/// The only program on its event, where no task is preempted; one of several, where a task can be.
macro_rules! attachment {
    (only) => {
        $crate::standby::Attachment::ONLY
    };
    ($at:ident $number:literal) => {
        $crate::standby::Attachment::$at($number)
    };
}
pub(crate) use attachment;

/// Declares a probe where the task can be preempted: its position table, the two programs that share `body`, and their
/// standby programs.
///
/// `body` is a function `fn<const TYPED: bool>(Args)`; the program is named as the
/// tracepoint.
macro_rules! probe {
    ($kind:expr, $name:ident, $raw:ident, $positions:ident, $body:ident) => {
        $crate::probes::probe!(@untyped $raw, $positions, $body);
        $crate::probes::probe!(@typed $kind, $name, $positions, $body, tracepoint 0);
        $crate::probes::probe!(@typed $kind, ${concat($name, _standby_1)}, $positions, $body, tracepoint 1);
        $crate::probes::probe!(@typed $kind, ${concat($name, _standby_2)}, $positions, $body, tracepoint 2);
    };
    (@untyped $raw:ident, $positions:ident, $body:ident) => {
        #[unsafe(no_mangle)]
        static $positions: $crate::args::Positions = [mmtrace_common::ABSENT; mmtrace_common::POSITIONS];

        #[aya_ebpf::macros::raw_tracepoint]
        pub fn $raw(ctx: aya_ebpf::programs::RawTracePointContext) -> u32 {
            $body::<false>($crate::args::Args::new(aya_ebpf::EbpfContext::as_ptr(&ctx), &raw const $positions));
            0
        }
    };
    (@typed $kind:expr, $name:ident, $positions:ident, $body:ident, $($attachment:tt)+) => {
        #[aya_ebpf::macros::btf_tracepoint]
        pub fn $name(ctx: aya_ebpf::programs::BtfTracePointContext) -> u32 {
            let ctx = aya_ebpf::EbpfContext::as_ptr(&ctx);
            if $crate::probes::attachment!($($attachment)+).records($kind, ctx) {
                $body::<true>($crate::args::Args::new(ctx, &raw const $positions));
            }
            0
        }
    };
}
pub(crate) use probe;

/// As [`probe`], where no task is preempted.
macro_rules! atomic_probe {
    ($kind:expr, $name:ident, $raw:ident, $positions:ident, $body:ident) => {
        $crate::probes::probe!(@untyped $raw, $positions, $body);
        $crate::probes::probe!(@typed $kind, $name, $positions, $body, only);
    };
}
pub(crate) use atomic_probe;

/// Declares a program at a function's entry where the task can be preempted, its position table, and its standby
/// programs. `body` is a `fn(Args)`.
macro_rules! entry {
    ($kind:expr, $name:ident, $positions:ident, $body:expr) => {
        $crate::probes::entry!(@table $positions);
        $crate::probes::entry!(@attached $kind, $name, $positions, $body, function 0);
        $crate::probes::entry!(@attached $kind, ${concat($name, _standby_1)}, $positions, $body, function 1);
        $crate::probes::entry!(@attached $kind, ${concat($name, _standby_2)}, $positions, $body, function 2);
    };
    (@table $positions:ident) => {
        #[unsafe(no_mangle)]
        static $positions: $crate::args::Positions = [mmtrace_common::ABSENT; mmtrace_common::POSITIONS];
    };
    (@attached $kind:expr, $name:ident, $positions:ident, $body:expr, $($attachment:tt)+) => {
        #[aya_ebpf::macros::fentry]
        pub fn $name(ctx: aya_ebpf::programs::FEntryContext) -> u32 {
            let ctx = aya_ebpf::EbpfContext::as_ptr(&ctx);
            if $crate::probes::attachment!($($attachment)+).records($kind, ctx) {
                ($body)($crate::args::Args::new(ctx, &raw const $positions));
            }
            0
        }
    };
}
pub(crate) use entry;

/// As [`entry`], where no task is preempted.
macro_rules! atomic_entry {
    ($kind:expr, $name:ident, $positions:ident, $body:expr) => {
        $crate::probes::entry!(@table $positions);
        $crate::probes::entry!(@attached $kind, $name, $positions, $body, only);
    };
}
pub(crate) use atomic_entry;

/// As [`entry`], where the function returns.
macro_rules! exit {
    ($kind:expr, $name:ident, $positions:ident, $body:expr) => {
        $crate::probes::entry!(@table $positions);
        $crate::probes::exit!(@attached $kind, $name, $positions, $body, function 0);
        $crate::probes::exit!(@attached $kind, ${concat($name, _standby_1)}, $positions, $body, function 1);
        $crate::probes::exit!(@attached $kind, ${concat($name, _standby_2)}, $positions, $body, function 2);
    };
    (@attached $kind:expr, $name:ident, $positions:ident, $body:expr, $($attachment:tt)+) => {
        #[aya_ebpf::macros::fexit]
        pub fn $name(ctx: aya_ebpf::programs::FExitContext) -> u32 {
            let ctx = aya_ebpf::EbpfContext::as_ptr(&ctx);
            if $crate::probes::attachment!($($attachment)+).records($kind, ctx) {
                ($body)($crate::args::Args::new(ctx, &raw const $positions));
            }
            0
        }
    };
}
pub(crate) use exit;
