//! Reasons why an event cannot be observed on this kernel.

/// Reason why an event cannot be observed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// This kernel has no such tracepoint.
    #[error("this kernel has no tracepoint {0}")]
    NoEvent(&'static str),
    /// BTF is there but does not say what the event's parameters are.
    #[error("cannot tell its parameters: {0}")]
    Prototype(String),
    /// A parameter that the program needs is not there under its name.
    #[error("its parameter `{name}` is missing; this kernel's are ({have})")]
    NoParameter {
        /// The parameter.
        name: &'static str,
        /// Those there are.
        have: String,
    },
    /// A parameter is of another type than it was on every kernel that was looked at.
    #[error("its parameter `{name}` is `{is}`, not {expected}")]
    Type {
        /// The parameter.
        name: &'static str,
        /// Its type here.
        is: String,
        /// The type that the program can read.
        expected: &'static str,
    },
    /// No function that the program knows is in this kernel.
    #[error("this kernel has no function {0} that can be hooked (not in its BTF: absent, inlined, or cloned)")]
    NoFunction(String),
    /// There is one of that name, and it is not the one that the program knows.
    #[error("{symbol}({have}) is not the function that was examined, {symbol}({expected})")]
    Signature {
        /// The function.
        symbol: &'static str,
        /// Its parameters here.
        have: String,
        /// The parameters that it should have.
        expected: String,
    },
    /// BTF has it, and the symbol table does not.
    #[error("{symbol}() is in this kernel's BTF but not among its symbols{}: it cannot be hooked", instead(.clone))]
    NoSymbol {
        /// The function.
        symbol: &'static str,
        /// A clone of it that is there.
        clone: Option<String>,
    },
    /// Several functions have this name.
    #[error("{1} functions of this kernel are called {0}: which of them would be hooked cannot be told")]
    SeveralSymbols(&'static str, usize),
    /// Hooking it is known to do harm.
    #[error("{0}() is never hooked: {1}")]
    Harmful(&'static str, &'static str),
    /// The program makes a page frame number of a pointer, and cannot know how.
    #[error("{0} is not among this kernel's symbols (CONFIG_KALLSYMS_ALL)")]
    NoVariable(&'static str),
    /// The kernel hides the address of such a variable.
    #[error("the address of the kernel's {0} is hidden (kernel.kptr_restrict, or no CAP_SYSLOG)")]
    HiddenVariable(&'static str),
    /// The program would make a wrong page frame number.
    #[error("struct page has {0} bytes in this kernel, not 64: page frame numbers cannot be told from pointers")]
    PageSize(u32),
    /// A struct member that the program needs cannot be found.
    #[error("cannot tell where {what} is: {why}")]
    Offset {
        /// `struct.member`
        what: String,
        /// The answer of the BTF reader.
        why: String,
    },
}

fn instead(clone: &Option<String>) -> String {
    clone.as_ref().map_or_else(String::new, |clone| format!(" (only {clone} is)"))
}
