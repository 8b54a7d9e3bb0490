//! How the programs read kernel memory at an address that they calculated: through `bpf_rdonly_cast()`, where the kernel
//! has it (Linux 6.2) and can call it, else through the helper that copies memory.

use mmtrace_common::CAST_CALL;

use super::sys;
use crate::btf::Btf;

/// The function, and the struct whose words are read.
const FUNCTION: &str = "bpf_rdonly_cast";
const STRUCT: &str = "pt_regs";
/// The struct's first member: an unsigned word.
const WORD: &str = "r15";

/// What a call of `bpf_rdonly_cast()` takes, by ids of the kernel's BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Casting {
    /// The function.
    function: u32,
    /// The struct that an address is cast to.
    pub(super) strukt: u32,
}

impl Casting {
    /// Looks both up.
    #[must_use]
    pub(crate) fn of(btf: &Btf) -> Option<Self> {
        btf.member_offset(STRUCT, WORD).ok().filter(|offset| *offset == 0)?;
        Some(Self { function: btf.func_id(FUNCTION).ok()?, strukt: btf.struct_id(STRUCT).ok()? })
    }

    /// Whether this kernel takes a program that casts and loads. It does not where BPF programs are interpreted.
    #[must_use]
    pub(crate) fn works(self) -> bool {
        let code = [
            // r1 = 0; r2 = the struct; r0 = the function(r1, r2); r0 = *(u64 *)(r0 + 0); r0 = 0; exit
            0x0000_0000_0000_01b7,
            u64::from(self.strukt) << 32 | 0x02b7,
            call(self.function),
            0x0000_0000_0000_0079,
            0x0000_0000_0000_00b7,
            0x0000_0000_0000_0095,
        ];
        sys::load_raw_tracepoint(&code).is_ok()
    }
}

/// The instruction that calls the kernel function with this id.
const fn call(function: u32) -> u64 {
    (CAST_CALL & u32::MAX as u64) | (function as u64) << 32
}

/// Returns the object with the function's id in each call of it; 0 where there is none, and the programs must not come to
/// the call then.
#[must_use]
pub(super) fn with_calls(object: &[u8], casting: Option<Casting>) -> Vec<u8> {
    let mut object = object.to_vec();
    let call = call(casting.map_or(0, |casting| casting.function)).to_ne_bytes();
    let (words, _) = object.as_chunks_mut::<8>();
    words.iter_mut().filter(|word| **word == CAST_CALL.to_ne_bytes()).for_each(|word| *word = call);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(object: &[u8], call: u64) -> usize {
        let (words, _) = object.as_chunks::<8>();
        words.iter().filter(|word| **word == call.to_ne_bytes()).count()
    }

    #[test]
    fn every_call_gets_the_id_of_the_function_or_none() {
        let object: Vec<u8> = [7, CAST_CALL, 9, CAST_CALL].iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        let casting = Casting { function: 0x1234, strukt: 5 };
        let known = with_calls(&object, Some(casting));
        assert_eq!((calls(&known, CAST_CALL), calls(&known, 0x0000_1234_0000_2085)), (0, 2));
        let unknown = with_calls(&object, None);
        assert_eq!((calls(&unknown, CAST_CALL), calls(&unknown, 0x2085)), (0, 2));
        assert_eq!((calls(&unknown, 7), calls(&unknown, 9)), (1, 1));
    }

    #[test]
    fn the_object_calls_the_function_where_a_program_could() {
        let object = super::super::object::OBJECT;
        // Instructions lie at multiples of eight bytes, and nothing else in the file looks like one.
        let bytes = CAST_CALL.to_ne_bytes();
        let anywhere = object.windows(8).filter(|window| *window == bytes).count();
        assert!(anywhere > 100, "{anywhere} calls");
        assert_eq!(calls(object, CAST_CALL), anywhere);
    }
}
