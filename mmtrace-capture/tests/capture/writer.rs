//! What goes in comes out, into files that are as they should be.

use std::{
    fs,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::Path,
    process::Command,
    time::Duration,
};

use mmtrace_capture::{CaptureError, CaptureWriter, Condition, FinalInfo, Manifest, State, WriterOptions, make_room};
use mmtrace_common::{Column, FieldType, Kind, Record, SPECS, Slot};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::fixtures::{context, read, records, small, start, temp, write};

#[test]
fn every_kind_comes_back_as_it_went_in() {
    let (_temp, dir) = temp();
    let all = records(1000);
    let manifest = write(&dir, &all, 300, 400);
    assert_eq!(manifest.state, State::Complete);
    assert_eq!(manifest.totals.events, 1000);
    assert_eq!(manifest.segments.iter().map(|s| s.rows).collect::<Vec<_>>(), [600, 400]);
    let (back, capture) = read(&dir);
    assert_eq!(back, all);
    assert_eq!(capture.condition(), Condition::Complete);
    assert_eq!(capture.problems(), []);
    let summary = capture.summary();
    assert_eq!((summary.events, summary.span), (1000, Some((1000, 1_000_000))));
    assert_eq!(summary.kinds["exit_mmap"], all.iter().filter(|r| r.kind() == Some(Kind::ExitMmap)).count() as u64);
    assert_eq!(Manifest::load(&dir).expect("manifest"), manifest);
    assert!(!dir.join("segment-000001.arrows").exists() && !dir.join("segment-000002.parquet.part").exists());
}

#[test]
fn a_batch_is_flushed_when_it_is_full() {
    let (_temp, dir) = temp();
    let all = records(40_000);
    let mut writer = CaptureWriter::create(&dir, &context(), vec![], small(20_000)).expect("create");
    for record in &all {
        writer.append(record).expect("append");
    }
    let manifest = writer.finish(FinalInfo::default()).expect("finish");
    assert_eq!(manifest.segments.iter().map(|s| s.rows).collect::<Vec<_>>(), [32_768, 7232]);
    assert_eq!(read(&dir).0, all);
}

#[test]
fn runs_of_any_length_come_back_as_they_went_in() {
    let (_temp, dir) = temp();
    // Runs of one kind, some longer than a batch, some without an mm in their midst.
    let kinds = records(1000);
    let (mut all, mut ts) = (Vec::new(), 0);
    for (n, record) in kinds.iter().enumerate() {
        let length = if n % 333 == 0 { 20_000 } else { n % 23 };
        for at in 0..length {
            ts += 1;
            let mm = if (at + n).is_multiple_of(7) { 0 } else { record.mm };
            all.push(Record { ts, mm, ..*record });
        }
    }
    let mut writer = CaptureWriter::create(&dir, &context(), vec![], small(30_000)).expect("create");
    let mut rest = &all[..];
    for length in [1, 2, 9, 10_000, 7, 50_000].into_iter().cycle() {
        let (now, later) = rest.split_at(rest.len().min(length));
        writer.append_all(now).expect("appended");
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    writer.finish(FinalInfo::default()).expect("finish");
    assert!(read(&dir).0 == all, "other records");
}

#[test]
fn an_empty_capture_is_complete() {
    let (_temp, dir) = temp();
    write(&dir, &[], 1, 10);
    let (back, capture) = read(&dir);
    assert_eq!((back.len(), capture.condition()), (0, Condition::Complete));
}

#[test]
fn an_unknown_kind_is_refused_and_counted() {
    let (_temp, dir) = temp();
    let mut writer = start(&dir, &records(3), 3, small(10));
    let next = SPECS.iter().map(|s| s.kind as u16).max().expect("kinds") + 1;
    writer.append(&Record { kind: next, ..Record::default() }).expect("append");
    writer.append(&Record { kind: 9999, ..Record::default() }).expect("append");
    assert_eq!(writer.unknown(), 2);
    drop(writer);
    assert_eq!(read(&dir).0, records(3));
}

#[test]
fn columns_that_the_kernel_lacks_stay_empty_and_bools_are_bytes() {
    let (_temp, dir) = temp();
    let mut migrate = Record { kind: Kind::MigratePages as u16, args: [1, 2, 3, 4, 5, 6], ..Record::default() };
    let mut file =
        Record { kind: Kind::CollapseFile as u16, args: [0, 0, 0xdead_be00, 0xffff_ffff, 0, 0], ..Record::default() };
    write(&dir, &[migrate, file], 2, 10);
    migrate.set(Column::LargeFolioSplit, 0);
    file.set(Column::IsShmem, 0);
    assert_eq!(read(&dir).0, [migrate, file]);
}

#[test]
fn files_are_for_their_owner_only() {
    let (_temp, dir) = temp();
    let writer = start(&dir, &records(100), 10, small(50));
    drop(writer);
    assert_eq!(fs::metadata(&dir).expect("dir").permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&dir).expect("list") {
        let entry = entry.expect("entry");
        assert_eq!(entry.metadata().expect("file").permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        files += 1;
    }
    assert!(files >= 3, "manifest, segment, open segment");
}

#[test]
fn segments_are_sealed_by_age() {
    let (_temp, dir) = temp();
    let options = WriterOptions { segment_age: Duration::ZERO, ..WriterOptions::default() };
    let manifest = start(&dir, &records(30), 10, options).finish(FinalInfo::default()).expect("finish");
    assert_eq!(manifest.segments.len(), 3);
    assert_eq!(read(&dir).0, records(30));
}

#[test]
fn an_older_capture_makes_room_and_nothing_else_does() {
    let (temp, dir) = temp();
    let old = temp.path().join("c.mmt.old");
    assert_eq!(make_room(&dir).expect("nothing there"), None);
    fs::create_dir(&dir).expect("mkdir");
    assert_eq!(make_room(&dir).expect("empty"), None);
    write(&dir, &records(10), 10, 10);
    assert!(matches!(CaptureWriter::create(&dir, &context(), vec![], small(1)), Err(CaptureError::Occupied { .. })));
    assert_eq!(make_room(&dir).expect("a capture"), Some(old.clone()));
    write(&dir, &records(20), 10, 10);
    assert_eq!(make_room(&dir).expect("two captures"), Some(old.clone()));
    assert_eq!(read(&old).0.len(), 20);

    write(&dir, &records(10), 10, 10);
    fs::write(old.join("notes.txt"), b"mine").expect("note");
    assert!(matches!(make_room(&dir), Err(CaptureError::Mixed { path, .. }) if path == old));
    fs::write(dir.join("notes.txt"), b"mine").expect("note");
    assert!(matches!(make_room(&dir), Err(CaptureError::Mixed { path, .. }) if path == dir));
    fs::remove_dir_all(&dir).expect("remove");
    fs::write(&dir, b"a file").expect("file");
    assert!(matches!(make_room(&dir), Err(CaptureError::Occupied { .. })));
    assert!(old.join("notes.txt").exists() && dir.is_file());
}

/// A file of this process becomes `/dev/full`, which answers every write as a full disk does.
pub(crate) fn fill(file: &Path) {
    let file = fs::canonicalize(file).expect("it is there");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux");
    let mut filled = 0;
    for entry in fs::read_dir("/proc/self/fd").expect("Linux") {
        let entry = entry.expect("a descriptor");
        if fs::read_link(entry.path()).is_ok_and(|target| target == file) {
            let number: i32 = entry.file_name().to_str().and_then(|n| n.parse().ok()).expect("a number");
            // SAFETY: both are descriptors of this process; the one that is replaced stays open for its owner.
            assert!(unsafe { libc::dup2(full.as_raw_fd(), number) } == number);
            filled += 1;
        }
    }
    assert!(filled > 0, "{} is open", file.display());
}

#[test]
fn a_full_disk_ends_the_recording_and_keeps_the_sealed_segments() {
    for name in ["segment-000002.arrows", "segment-000002.parquet.part"] {
        let (_temp, dir) = temp();
        let all = records(1000);
        let mut writer = start(&dir, &[], 1, small(100));
        let error = all.chunks(50).enumerate().find_map(|(i, chunk)| {
            if i == 3 {
                // The first segment must be sealed, and the second open, before the disk is full.
                while Manifest::load(&dir).expect("manifest").segments.is_empty()
                    || dir.join("segment-000001.arrows").exists()
                    || !dir.join(name).exists()
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                fill(&dir.join(name));
            }
            chunk.iter().try_for_each(|r| writer.append(r)).and_then(|()| writer.flush()).err()
        });
        let error = error.unwrap_or_else(|| writer.finish(FinalInfo::default()).expect_err("full"));
        assert!(matches!(&error, CaptureError::DiskFull { path, .. } if path.ends_with(name)), "{name}: {error:?}");
        assert!(error.to_string().contains("sealed segments stay valid"), "{error}");
        let (back, capture) = read(&dir);
        assert!(back.len() >= 100 && back == all[..back.len()], "{name}: {} records", back.len());
        assert_eq!(capture.condition(), Condition::Recovered, "{name}");
    }
}

/// The same for the manifest, whose file is only open while it is replaced: a limit stands for the disk, in a process of
/// its own.
#[test]
fn a_manifest_that_cannot_be_replaced_stays_as_it_was() {
    const ALONE: &str = "MMTRACE_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut again = Command::new(std::env::current_exe().expect("this program"));
        again.args(["--exact", "writer::a_manifest_that_cannot_be_replaced_stays_as_it_was"]).env(ALONE, "1");
        let output = again.output().expect("it starts");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let (_temp, dir) = temp();
    let mut context = context();
    // Larger than any of the segments.
    for i in 0..10 {
        let names = (0..1000).map(|i| (format!("a name that is rather long {i}"), i));
        context.enums.insert(format!("many {i}"), names.collect());
    }
    let mut writer = CaptureWriter::create(&dir, &context, vec![], small(100)).expect("create");
    let all = records(1000);
    let error = all.chunks(100).enumerate().find_map(|(i, chunk)| {
        if i == 1 {
            while Manifest::load(&dir).expect("manifest").segments.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let most = fs::metadata(dir.join("manifest.json")).expect("manifest").len();
            // SAFETY: no memory is involved. Otherwise the kernel would end this process.
            unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
            setrlimit(Resource::Fsize, Rlimit { current: Some(most), maximum: Some(most) }).expect("a limit");
        }
        chunk.iter().try_for_each(|r| writer.append(r)).and_then(|()| writer.flush()).err()
    });
    let error = error.unwrap_or_else(|| writer.finish(FinalInfo::default()).expect_err("full"));
    assert!(matches!(&error, CaptureError::DiskFull { path, .. } if path.ends_with("manifest.json.tmp")), "{error:?}");
    let (back, capture) = read(&dir);
    assert!(back.len() >= 100 && back == all[..back.len()], "{} records", back.len());
    assert_eq!(capture.condition(), Condition::Recovered);
}

mod property {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let header = (any::<u64>(), prop_oneof![Just(0), any::<u64>()], any::<u32>(), any::<u32>(), any::<u16>());
        let values = proptest::collection::vec(prop_oneof![Just(0), Just(u64::MAX), 0..8u64, any::<u64>()], 16);
        (0..SPECS.len(), header, values).prop_map(|(kind, (ts, mm, tgid, tid, cpu), values)| {
            let spec = &SPECS[kind];
            let mut record = Record { ts, mm, tgid, tid, kind: spec.kind as u16, cpu, ..Record::default() };
            for (field, value) in spec.fields.iter().zip(values) {
                let lacking = spec.kind == Kind::MigratePages && field.column == Column::LargeFolioSplit;
                let value = match (field.column.ty(), field.slot) {
                    _ if lacking => 0,
                    (FieldType::Int, Slot::Arg(_)) => u64::from(value as u32),
                    (FieldType::Bool, Slot::Arg(_)) => value & 1,
                    _ => value,
                };
                field.set(&mut record, value);
            }
            record
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn any_records_come_back(
            mut all in proptest::collection::vec(any_record(), 0..300),
            batch in 1..100usize,
            segment in 1..200u64,
            finish in any::<bool>(),
        ) {
            let (_temp, dir) = temp();
            // Segments that begin before the ones before them are not where they were written.
            all.sort_by_key(|record| record.ts);
            let writer = start(&dir, &all, batch, small(segment));
            if finish {
                writer.finish(FinalInfo::default()).expect("finish");
            } else {
                drop(writer);
            }
            let (back, capture) = read(&dir);
            prop_assert_eq!(capture.problems(), vec![]);
            prop_assert_eq!(capture.summary().events, all.len() as u64);
            prop_assert_eq!(back, all);
        }
    }
}
