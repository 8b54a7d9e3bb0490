use super::*;
use raw::*;
use std::collections::HashMap;

/// Builds BTF blobs, well-formed and otherwise.
#[derive(Default)]
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    offsets: HashMap<String, u32>,
    count: u32,
    layout: Vec<u8>,
}

impl Builder {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        *self.offsets.entry(name.to_owned()).or_insert_with(|| {
            let at = self.strings.len() as u32;
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            at
        })
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Appends a record and returns its id.
    fn add(&mut self, kind: u8, name: &str, count: u32, flag: bool, size_or_type: u32) -> u32 {
        let name = self.name(name);
        self.words(&[name, u32::from(flag) << 31 | u32::from(kind) << 24 | count, size_or_type]);
        self.count += 1;
        self.count
    }

    /// `encoding`: 1 signed, 4 bool.
    fn int(&mut self, name: &str, bytes: u32, encoding: u32) -> u32 {
        let id = self.add(INT, name, 0, false, bytes);
        self.words(&[(encoding << 24) | (bytes * 8)]);
        id
    }

    fn refer(&mut self, kind: u8, name: &str, to: u32) -> u32 {
        self.add(kind, name, 0, false, to)
    }

    /// Members as (name, type, offset word).
    fn aggregate(&mut self, kind: u8, name: &str, flag: bool, members: &[(&str, u32, u32)]) -> u32 {
        let id = self.add(kind, name, members.len() as u32, flag, 64);
        for (name, ty, offset) in members {
            let name = self.name(name);
            self.words(&[name, *ty, *offset]);
        }
        id
    }

    fn proto(&mut self, params: &[(&str, u32)]) -> u32 {
        let id = self.add(FUNC_PROTO, "", params.len() as u32, false, 0);
        for (name, ty) in params {
            let name = self.name(name);
            self.words(&[name, *ty]);
        }
        id
    }

    fn func(&mut self, name: &str, params: &[(&str, u32)]) -> u32 {
        let proto = self.proto(params);
        // The count of a FUNC is its linkage.
        self.add(FUNC, name, 1, false, proto)
    }

    fn bytes(mut self) -> Vec<u8> {
        self.name("");
        let header = if self.layout.is_empty() { 24 } else { 32 };
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut blob = vec![0x9f, 0xeb, 1, 0];
        for word in [header, 0, types, types, strings] {
            blob.extend_from_slice(&word.to_le_bytes());
        }
        if !self.layout.is_empty() {
            for word in [types + strings, self.layout.len() as u32] {
                blob.extend_from_slice(&word.to_le_bytes());
            }
        }
        blob.extend(self.types);
        blob.extend(self.strings);
        blob.extend(self.layout);
        blob
    }

    fn parse(self) -> Btf {
        Btf::parse(self.bytes()).expect("well-formed")
    }
}

/// A bit of everything, some of it twice.
fn sample() -> Builder {
    let mut b = Builder::default();
    let ulong = b.int("long unsigned int", 8, 0);
    let int = b.int("int", 4, 1);
    let boolean = b.int("_Bool", 1, 4);
    let char = b.int("char", 1, 1);
    let alias = b.refer(TYPEDEF, "bool", boolean);
    let void_ptr = b.refer(PTR, "", 0);
    let inner = b.aggregate(UNION, "", false, &[("pad", int, 0), ("deep", int, 32)]);
    let mm =
        b.aggregate(STRUCT, "mm_struct", false, &[("first", ulong, 0), ("", inner, 64), ("mmap_lock", ulong, 128)]);
    let mm_ptr = b.refer(PTR, "", mm);
    let const_char = b.refer(CONST, "", char);
    let tagged = b.refer(TYPE_TAG, "user", const_char);
    let char_ptr = b.refer(PTR, "", tagged);
    let fwd = b.refer(FWD, "rq", 0);
    let fwd_ptr = b.refer(PTR, "", fwd);
    let const_void = b.refer(CONST, "", 0);
    let const_void_ptr = b.refer(PTR, "", const_void);
    let pte = b.aggregate(STRUCT, "", false, &[("pte", ulong, 0)]);
    let pte_t = b.refer(TYPEDEF, "pte_t", pte);
    let mode = b.add(ENUM, "migrate_mode", 2, true, 4);
    for (name, value) in [("MIGRATE_ASYNC", 0), ("MIGRATE_NEVER", u32::MAX)] {
        let name = b.name(name);
        b.words(&[name, value]);
    }
    b.add(ENUM64, "wide", 1, false, 8);
    let name = b.name("WIDE");
    b.words(&[name, 1, 2]);
    let float = b.refer(FLOAT, "double", 8);
    b.func(
        "__traceiter_x",
        &[("__data", void_ptr), ("mm", mm_ptr), ("path", char_ptr), ("write", alias), ("mode", mode), ("rq", fwd_ptr)],
    );
    b.func("rest", &[("p", const_void_ptr), ("v", pte_t), ("n", int), ("a", ulong), ("f", float), ("", 0)]);
    let traced = b.proto(&[("", void_ptr), ("", mm_ptr), ("", alias)]);
    let pointer = b.refer(PTR, "", traced);
    b.refer(TYPEDEF, "btf_trace_x", pointer);
    b
}

fn types(params: &[Param]) -> Vec<String> {
    params.iter().map(|p| format!("{}:{}", p.name, p.ty)).collect()
}

#[test]
fn prototypes() {
    let btf = sample().parse();
    assert_eq!(
        types(&btf.func_params("__traceiter_x").unwrap()),
        [
            "__data:void *",
            "mm:struct mm_struct *",
            "path:char *",
            "write:bool",
            "mode:enum migrate_mode",
            "rq:struct rq *"
        ]
    );
    assert_eq!(
        types(&btf.func_params("rest").unwrap()),
        ["p:void *", "v:(anonymous) of 64 bytes", "n:s32", "a:u64", "f:?", ":?"]
    );
    assert_eq!(btf.typedef_params("btf_trace_x").unwrap().len(), 3);
    let absent = btf.func_params("mm_struct").unwrap_err();
    assert!(absent.is_absent());
    assert_eq!(absent.to_string(), "this kernel's BTF has no function mm_struct()");
    assert!(btf.typedef_params("pte_t").unwrap_err().is_absent());
    assert!(btf.func_params("").unwrap_err().is_absent());
}

#[test]
fn functions_that_share_a_name() {
    let mut b = sample();
    b.func("mm_init", &[]);
    b.func("mm_init", &[]);
    assert_eq!(b.parse().func_params("mm_init").unwrap(), []);

    let mut b = sample();
    b.func("mm_init", &[]);
    b.func("mm_init", &[("mm", 2)]);
    let btf = b.parse();
    assert_eq!(btf.func_prototypes("mm_init").unwrap().len(), 2);
    let refused = btf.func_params("mm_init").unwrap_err();
    assert_eq!(refused.to_string(), "this kernel's BTF has several function mm_init() that differ");
}

#[test]
fn offsets() {
    let mut b = sample();
    b.aggregate(STRUCT, "bits", true, &[("whole", 2, 32), ("part", 2, 3 << 24 | 64), ("odd", 2, 65)]);
    let narrow = b.add(INT, "narrow", 0, false, 4);
    b.words(&[3]);
    b.aggregate(STRUCT, "old_bits", false, &[("part", narrow, 0)]);
    b.aggregate(STRUCT, "twice", false, &[("a", 1, 0), ("b", 1, 64)]);
    b.aggregate(STRUCT, "twice", false, &[("a", 1, 0), ("b", 1, 128), ("c", 1, 64)]);
    // A member of a member, behind a typedef and within an anonymous union.
    let sequence = b.aggregate(STRUCT, "seqcount", false, &[("lock", 2, 0), ("sequence", 2, 32)]);
    let seqcount = b.refer(TYPEDEF, "seqcount_t", sequence);
    let either = b.aggregate(UNION, "", false, &[("count", 2, 0), ("seq", seqcount, 64)]);
    b.aggregate(STRUCT, "outer", false, &[("first", 2, 0), ("", either, 128), ("seq_of", 2, 256)]);
    let btf = b.parse();
    assert_eq!(btf.member_offset("outer", "seq.sequence").unwrap(), 16 + 8 + 4);
    for absent in ["seq.gone", "count.sequence", "first.sequence", "seq.", ".sequence", "seq_of.sequence"] {
        assert!(btf.member_offset("outer", absent).expect_err(absent).is_absent(), "{absent}");
    }
    assert_eq!(btf.member_offset("mm_struct", "mmap_lock").unwrap(), 16);
    assert_eq!(btf.member_offset("mm_struct", "deep").unwrap(), 12);
    assert_eq!(btf.member_offset("bits", "whole").unwrap(), 4);
    assert_eq!(btf.member_offset("twice", "a").unwrap(), 0);
    let refused = |strukt, member| btf.member_offset(strukt, member).expect_err(member);
    assert!(matches!(refused("bits", "part"), BtfError::Bitfield(_)));
    assert!(matches!(refused("bits", "odd"), BtfError::Bitfield(_)));
    assert!(matches!(refused("old_bits", "part"), BtfError::Bitfield(_)));
    assert!(matches!(refused("twice", "b"), BtfError::Ambiguous(_)));
    assert!(matches!(refused("twice", "c"), BtfError::Ambiguous(_)));
    assert_eq!(refused("mm_struct", "gone").to_string(), "this kernel's BTF has no mm_struct.gone");
    assert_eq!(refused("gone", "x").to_string(), "this kernel's BTF has no struct gone");
    assert!(refused("mm_struct", "").is_absent());
}

#[test]
fn enumerators() {
    let btf = sample().parse();
    let mode = btf.enum_values("migrate_mode").unwrap();
    assert_eq!(mode, BTreeMap::from([("MIGRATE_ASYNC".into(), 0), ("MIGRATE_NEVER".into(), -1)]));
    assert_eq!(btf.enum_values("wide").unwrap()["WIDE"], 2 << 32 | 1);
    assert!(btf.enum_values("mm_struct").unwrap_err().is_absent());
}

#[test]
fn a_kind_of_the_future_needs_the_layout_section() {
    let mut b = sample();
    b.add(20, "", 2, false, 0);
    b.words(&[7, 1, 2, 3, 4]);
    b.func("after", &[]);
    assert!(matches!(Btf::parse(b.bytes()), Err(BtfError::Kind { kind: 20, .. })));

    let mut b = sample();
    b.add(20, "", 2, false, 0);
    b.words(&[7, 1, 2, 3, 4]);
    b.func("after", &[]);
    b.layout = vec![0; 4 * 20];
    b.layout.extend([4, 8, 0, 0]);
    assert_eq!(b.parse().func_params("after").unwrap(), []);
}

#[test]
fn what_is_no_btf_says_so() {
    let message = |bytes: &[u8]| Btf::parse(bytes).unwrap_err().to_string();
    assert_eq!(message(b"\x7fELF\x02\x01"), "not BTF: it starts with 0x457f instead of 0xeb9f");
    assert_eq!(message(&[0xeb, 0x9f, 1, 0]), "BTF in big-endian byte order");
    assert_eq!(message(&[0x9f, 0xeb, 2, 0]), "BTF version 2 is not known");
    assert_eq!(message(b""), "BTF is cut short or damaged in its header");
    let missing = Btf::from_file("/nonexistent/btf").unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/btf: No such file"), "{missing}");
}

/// Asks everything there is to ask; the answers may be anything.
fn interrogate(btf: &Btf) {
    for name in ["__traceiter_x", "rest", "mm_struct", "btf_trace_x", "migrate_mode", "wide", "pte_t", "bits"] {
        drop(btf.func_params(name));
        drop(btf.typedef_params(name));
        drop(btf.enum_values(name));
        drop(btf.member_offset(name, "deep"));
        drop(btf.member_offset(name, "gone"));
    }
}

#[test]
fn truncated_and_flipped_blobs_do_not_panic() {
    let blob = sample().bytes();
    for end in 0..blob.len() {
        assert!(Btf::parse(&blob[..end]).is_err(), "cut to {end} of {} bytes", blob.len());
    }
    for at in 0..blob.len() {
        for flip in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            let mut bad = blob.clone();
            bad[at] ^= flip;
            if let Ok(btf) = Btf::parse(bad) {
                interrogate(&btf);
            }
        }
    }
}

#[test]
fn circles_end() {
    let mut b = Builder::default();
    // typedef loop = loop; two consts around each other; a struct inside itself, twice.
    let next = b.count + 1;
    b.refer(TYPEDEF, "loop", next);
    let next = b.count + 1;
    b.refer(CONST, "", next + 1);
    b.refer(CONST, "", next);
    let next = b.count + 1;
    b.aggregate(STRUCT, "self", false, &[("", next, 0), ("", next, 64)]);
    b.func("f", &[("a", 1)]);
    b.func("g", &[("a", 2)]);
    // Each level holds the next one twice: 2^31 paths within the depth that is allowed.
    for level in 0..31 {
        let next = b.count + 2;
        b.aggregate(STRUCT, if level == 0 { "wide" } else { "" }, false, &[("", next, 0), ("", next, 0)]);
    }
    b.int("int", 4, 1);
    let btf = b.parse();
    assert!(btf.typedef_params("loop").is_err());
    assert!(matches!(btf.func_params("f"), Err(BtfError::Chain)));
    assert!(matches!(btf.func_params("g"), Err(BtfError::Chain)));
    assert!(matches!(btf.member_offset("self", "x"), Err(BtfError::Chain)));
    assert!(matches!(btf.member_offset("wide", "x"), Err(BtfError::Chain)));
}

#[test]
fn the_running_kernel() {
    let data = match std::fs::read(KERNEL_BTF) {
        Ok(data) => data,
        Err(e) => {
            println!("not run: {KERNEL_BTF}: {e}");
            return;
        }
    };
    let start = std::time::Instant::now();
    let btf = Btf::parse(data).unwrap();
    let parsed = start.elapsed();
    let mm = btf.member_offset("task_struct", "mm").unwrap();
    println!("{} types: parsed in {parsed:?}, first answer after {:?}", btf.types(), start.elapsed());
    assert!(mm > 0);
    assert!(btf.member_offset("mm_struct", "mmap_lock").unwrap() > 0);
    assert_eq!(btf.enum_values("migrate_mode").unwrap()["MIGRATE_ASYNC"], 0);
    let fork = btf.typedef_params("btf_trace_sched_process_fork").unwrap();
    assert_eq!(fork[0].ty, ParamType::VoidPtr);
    assert_eq!(fork[1].ty, ParamType::StructPtr("task_struct".into()));
}
