use std::{
    io::{Seek as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use super::*;

/// Time that one hostile file may take here, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A function whose name is looked for.
#[unsafe(no_mangle)]
extern "C" fn mmtrace_test_touches_pages() -> u64 {
    std::hint::black_box(7)
}

fn holding(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("rewound");
    file
}

fn none(_: &[u8]) -> io::Result<File> {
    Err(io::ErrorKind::NotFound.into())
}

fn name(found: Option<Found>) -> Option<String> {
    found.map(|found| found.name)
}

/// The mapping of this process where an address is: range, file, and the offset of the address in the file.
fn own(addr: u64) -> ((u64, u64), FileKey, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    for text in maps.lines() {
        let line = maps::parse(text.as_bytes()).expect("a line");
        if (line.start..=line.end).contains(&addr) {
            let offset = u64::from_str_radix(text.split(' ').nth(2).expect("an offset"), 16).expect("hexadecimal");
            return ((line.start, line.end), (line.dev, line.ino), offset + addr - line.start);
        }
    }
    panic!("{addr:#x} is mapped");
}

#[test]
fn a_function_of_this_process_has_its_name() {
    assert_eq!(mmtrace_test_touches_pages(), 7);
    let function: extern "C" fn() -> u64 = mmtrace_test_touches_pages;
    let (range, of, offset) = own(function as usize as u64);
    let file = file::of_process(std::process::id(), range, of).expect("it is mapped");
    assert_eq!(file.metadata().expect("metadata").ino(), of.1);
    let (functions, _) = Functions::of(&file, file::of_build);
    let mut functions = functions.expect("a test has symbols");
    assert_eq!(name(functions.at(offset)).as_deref(), Some("mmtrace_test_touches_pages"));
    assert_eq!(name(functions.at(offset + 1)).as_deref(), Some("mmtrace_test_touches_pages"));
    assert_eq!(functions.at(0), None, "no function begins with the ELF header");
    assert!(file::of_process(std::process::id(), range, (of.0, of.1 ^ 1)).is_err(), "another file");
    assert!(file::by_path(b"/dev/zero", of).is_err() && file::by_path(b"relative", of).is_err());
}

#[test]
fn a_file_that_is_cut_off_is_no_danger() {
    let own = std::fs::read("/proc/self/exe").expect("this test");
    for len in [0, 1, 15, 63, 64, 65, 1000, own.len() / 2, own.len() - 1] {
        let (functions, _) = Functions::of(&holding(&own[..len]), file::of_build);
        if let Some(mut functions) = functions {
            functions.at(0x1000);
        }
    }
    // It is cut off after it was read: the copy stays.
    let file = holding(&own);
    let (functions, _) = Functions::of(&file, file::of_build);
    file.set_len(0).expect("cut off");
    let mut functions = functions.expect("it has symbols");
    (0..64).for_each(|n| drop(functions.at(n * own.len() as u64 / 64)));
}

/// The same numbers in every run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A small ELF file: one segment, a table of these symbols, their names.
fn small(symbols: &[[u8; 24]], names: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56 + 3 * 64];
    let mut put = |at: usize, word: &[u8]| bytes[at..at + word.len()].copy_from_slice(word);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &3_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(40, &120_u64.to_le_bytes());
    for (at, half) in [(52, 64_u16), (54, 56), (56, 1), (58, 64), (60, 3), (62, 2)] {
        put(at, &half.to_le_bytes());
    }
    put(64, &1_u32.to_le_bytes());
    put(64 + 32, &0x10_0000_u64.to_le_bytes());
    put(64 + 40, &0x10_0000_u64.to_le_bytes());
    let at = 312_u64;
    let size = 24 * symbols.len() as u64;
    for (section, kind, offset, size) in [(1, 2_u32, at, size), (2, 3, at + size, names.len() as u64)] {
        let begin = 120 + section * 64;
        put(begin + 4, &kind.to_le_bytes());
        put(begin + 24, &offset.to_le_bytes());
        put(begin + 32, &size.to_le_bytes());
        put(begin + 40, &2_u32.to_le_bytes());
        put(begin + 56, &24_u64.to_le_bytes());
    }
    bytes.extend(symbols.as_flattened());
    bytes.extend(names);
    bytes
}

fn symbol(name: u32, start: u64, len: u64) -> [u8; 24] {
    let mut symbol = [0; 24];
    symbol[..4].copy_from_slice(&name.to_le_bytes());
    (symbol[4], symbol[6]) = (0x12, 1);
    symbol[8..16].copy_from_slice(&start.to_le_bytes());
    symbol[16..].copy_from_slice(&len.to_le_bytes());
    symbol
}

#[test]
fn a_small_file_is_read_and_what_overflows_is_left_out() {
    let symbols = [
        symbol(1, 0x1000, 0x40),
        symbol(1, u64::MAX - 1, 16),
        symbol(9999, 0x2000, 16),
        symbol(7, 0x3000, u64::MAX - 0x3000),
    ];
    let (functions, _) = Functions::of(&holding(&small(&symbols, b"\0first\0\x1b[2J\xff\0")), file::of_build);
    let mut functions = functions.expect("it has symbols");
    assert_eq!(name(functions.at(0x1020)).as_deref(), Some("first"));
    assert_eq!(functions.at(0x1040), None);
    assert_eq!(functions.at(0x2000), None, "its name is beyond the end");
    assert_eq!(functions.at(0x3001), None, "its name is no UTF-8");
    assert_eq!(functions.at(u64::MAX), None);
}

#[test]
fn damaged_headers_and_random_bytes_are_no_danger() {
    let begun = Instant::now();
    let symbols: Vec<_> = (0..64).map(|n| symbol(1, n * 64, 64)).collect();
    let sound = small(&symbols, b"\0name\0");
    let mut random = Random(7);
    for round in 0..400 {
        let mut bytes = sound.clone();
        for _ in 0..1 + round % 8 {
            let at = random.next() as usize % bytes.len();
            bytes[at] = match random.next() % 4 {
                0 => 0,
                1 => 0xff,
                _ => random.next() as u8,
            };
        }
        if round % 5 == 0 {
            bytes[6..].iter_mut().for_each(|byte| *byte = random.next() as u8);
        }
        if let (Some(mut functions), _) = Functions::of(&holding(&bytes), file::of_build) {
            (0..8).for_each(|_| drop(functions.at(random.next() % 0x2000)));
            functions.at(random.next());
        }
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

/// Sections that a sparse file has, and that are too large to be copied; and as many symbols as are taken, all at one
/// address, with one endless name.
#[test]
fn huge_sections_take_neither_memory_nor_time() {
    let begun = Instant::now();
    let mut huge = small(&[symbol(1, 0, 64)], b"\0name\0");
    huge[120 + 64 + 32..][..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let file = holding(&huge);
    file.set_len(1 << 41).expect("sparse");
    assert!(Functions::of(&file, file::of_build).0.is_none(), "a table that large is left out");

    let symbols = vec![symbol(1, 0x1000, 1); 1 << 18];
    let file = holding(&small(&symbols, &[]));
    let names = 312 + 24 * symbols.len() as u64;
    let len = 1_u64 << 25;
    file.write_all_at(&vec![b'n'; len as usize], names).expect("written");
    file.write_all_at(&len.to_le_bytes(), 120 + 2 * 64 + 32).expect("written");
    let (functions, _) = Functions::of(&file, file::of_build);
    let mut functions = functions.expect("it has symbols");
    for n in 0..10_000 {
        functions.at(0x1000 + n % 2);
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn a_stripped_file_has_the_names_of_its_debug_file() {
    let note = |id: u8| [&[4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0", &[id; 4]].concat();
    // Of the stripped file, the segment is a note and the symbols are gone; of the other, the third section is one.
    let stripped = |id: u8| {
        let mut bytes = small(&[], b"");
        bytes[60..62].copy_from_slice(&0_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&2_u16.to_le_bytes());
        let mut notes = [0; 56];
        notes[0] = 4;
        notes[8..16].copy_from_slice(&400_u64.to_le_bytes());
        notes[32..40].copy_from_slice(&20_u64.to_le_bytes());
        bytes.resize(400, 0);
        bytes[120..176].copy_from_slice(&notes);
        bytes.extend(note(id));
        bytes
    };
    let debug = |id: u8| {
        let mut bytes = small(&[symbol(1, 0x1000, 64)], b"\0hidden\0");
        bytes[120 + 4..][..4].copy_from_slice(&7_u32.to_le_bytes());
        bytes[120 + 24..][..8].copy_from_slice(&400_u64.to_le_bytes());
        bytes[120 + 32..][..8].copy_from_slice(&20_u64.to_le_bytes());
        bytes.resize(400, 0);
        bytes.extend(note(id));
        holding(&bytes)
    };
    let tables = |of: u8| elf::read(&holding(&stripped(5)), |_| Ok(debug(of))).expect("an ELF file");
    assert_eq!(tables(5).build_id, [5; 4]);
    assert!(tables(5).copy.is_some());
    assert!(tables(6).copy.is_none(), "of another build");
    assert!(elf::read(&holding(&stripped(5)), none).expect("an ELF file").copy.is_none());
}

#[test]
fn a_function_is_told_once_by_however_many_instructions_it_is_met() {
    let function: extern "C" fn() -> u64 = mmtrace_test_touches_pages;
    let ip = function as usize as u64;
    let (range, of, offset) = own(ip);
    let file = mmtrace_model::model::mappings::FileId::OTHERS;
    let asked = Asked { tgid: std::process::id(), mm: 1, ip, range, file, offset };
    let mut reader = Reader::new(None, true, Vec::new(), None);
    let question = |offset| Question { asked: Asked { offset, ..asked }, of, path: Vec::new() };
    assert_eq!(reader.name(&question(offset)), [], "its file was not read");
    reader.meet(&question(offset));
    let records = reader.name(&question(offset));
    assert!(!records.is_empty() && records.iter().all(|r| r.kind() == Some(mmtrace_common::Kind::FunctionName)));
    assert_eq!(reader.name(&question(offset + 1)), []);
}

/// More questions than the thread takes at once are answered later, each once.
#[test]
fn questions_wait_for_the_thread_to_take_them() {
    let file = mmtrace_model::model::mappings::FileId::OTHERS;
    let mappings = Mappings::new(&mmtrace_model::context::Context::default());
    let (ask, asked) = mpsc::sync_channel(QUEUE);
    let (tell, told) = mpsc::sync_channel(QUEUE);
    let mut reader = FunctionReader { thread: Some((ask, told)), backlog: VecDeque::new(), open: 0 };
    let number = 3 * QUEUE as u64 + 1;
    let question = |offset| Asked { tgid: 1, mm: 1, ip: 0, range: (0, 0), file, offset };
    reader.ask((0..number).map(question).collect(), &mappings);
    let mut offsets = Vec::new();
    while reader.is_busy() {
        for question in asked.try_iter() {
            offsets.push(question.asked.offset);
            tell.try_send(Vec::new()).expect("room");
        }
        assert_eq!(reader.records(0).len(), 0);
        reader.ask(Vec::new(), &mappings);
    }
    assert!(offsets.into_iter().eq(0..number), "in their order");
    let many = BACKLOG_MAX as u64 + 2 * QUEUE as u64;
    reader.ask((0..many).map(question).collect(), &mappings);
    assert!(reader.backlog.len() <= BACKLOG_MAX, "memory is bounded");
}
