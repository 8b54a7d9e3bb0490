//! Records of every kind, for captures made up.

use std::collections::BTreeMap;

use mmtrace_common::{Column, FieldType, Kind, Record, SPECS};
use mmtrace_model::context::{Context, Form, Kernel, ProbeState};

/// A kernel with one probe, attached in its second-best form.
pub fn context() -> Context {
    let results = [("SCAN_FAIL", 0), ("SCAN_SUCCEED", 1), ("SCAN_ODD", -1)];
    let results: BTreeMap<String, i64> = results.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    let modes = BTreeMap::from([("MIGRATE_ASYNC".to_owned(), 0), ("MIGRATE_SYNC".to_owned(), 2)]);
    Context {
        kernel: Kernel { release: "6.18.0".to_owned(), machine: "x86_64".to_owned(), cpus: 2, ..Kernel::default() },
        probes: vec![ProbeState {
            event: "mm_migrate_pages".to_owned(),
            form: Some(Form::RawTp),
            absent: vec!["large_folio_split".to_owned()],
            reason: Some("no BTF".to_owned()),
        }],
        enums: BTreeMap::from([("scan_result".to_owned(), results), ("migrate_mode".to_owned(), modes)]),
        start: 900,
        ..Context::default()
    }
}

/// A record of each kind in turn, every field set, times one microsecond apart.
pub fn records(n: usize) -> Vec<Record> {
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    (0..n)
        .map(|i| {
            let spec = &SPECS[i % SPECS.len()];
            let ts = 1000 * (i as u64 + 1);
            let mm = if i % 3 == 0 { 0 } else { 0xffff_8881_0000_0000 + i as u64 * 64 };
            let mut record =
                Record { ts, mm, tgid: 7, tid: 8, kind: spec.kind as u16, cpu: (i % 2) as u16, ..Record::default() };
            for field in spec.fields {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let lacking = spec.kind == Kind::MigratePages && field.column == Column::LargeFolioSplit;
                let value = match field.column.ty() {
                    _ if lacking => 0,
                    FieldType::Int => bits >> 32,
                    FieldType::Bool => bits >> 63,
                    FieldType::Enum(_) | FieldType::Kind | FieldType::Call => bits >> 62,
                    _ => bits,
                };
                field.set(&mut record, value);
            }
            record
        })
        .collect()
}

/// The first of the above, with few columns among them.
pub fn few(n: usize) -> Vec<Record> {
    let mut all = records(n * SPECS.len());
    all.retain(|r| r.kind < 6);
    all.truncate(n);
    all
}
