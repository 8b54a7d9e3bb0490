//! The call that gives an address a type, as the programs have it before they are loaded.

/// A call of a kernel function (`BPF_JMP | BPF_CALL`, source `BPF_PSEUDO_KFUNC_CALL`: include/uapi/linux/bpf.h) whose id,
/// the upper half, is none of the kernel's: the loader replaces it by the id of `bpf_rdonly_cast()`, or by 0, which the
/// verifier takes where it never comes to the call (kernel/bpf/verifier.c:add_kfunc_call).
pub const CAST_CALL: u64 = 0x6d6d_7472_0000_2085;
