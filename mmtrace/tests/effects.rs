//! Every effect is told by some capture: an effect that nothing sets leaves the figures that count it at 0.

#[path = "common/golden.rs"]
mod golden;

use std::{collections::BTreeSet, path::Path};

use mmtrace_model::{
    model::{Model, effect::What},
    verdict::Sink,
};

use golden::{TESTDATA, captures, goldens};

/// Effects whose events no capture has.
const IN_NO_CAPTURE: [&str; 0] = [];

/// Names every effect and says which these are; a new one does not compile until it stands here.
macro_rules! effects {
    ($($name:ident),* $(,)?) => {
        const EFFECTS: &[&str] = &[$(stringify!($name)),*];

        fn name(what: &What) -> &'static str {
            match what {
                $(What::$name { .. } => stringify!($name),)*
            }
        }
    };
}

effects!(
    Nothing,
    Missing,
    Faulted,
    Handles,
    Handled,
    HandledUnseen,
    Accounted,
    LockAwaited,
    LockBlocked,
    LockRefused,
    Locked,
    Unlocked,
    VmaGranted,
    VmaAwaited,
    VmaLocked,
    VmaFreed,
    VmaStored,
    MapsRead,
    Unmapped,
    Exited,
    Scanned,
    Collapsed,
    RetractEnded,
    TableUnlinked,
    Migrated,
    EntrySet,
    EntryRemoved,
    MigrationAwaited,
    MigrationAwaitedUnseen,
    MigrationSlept,
    HugeEntryMet,
    Compacted,
);

#[test]
fn some_capture_has_each_effect() {
    let mut told = BTreeSet::new();
    let others = ["bugs", "missed"].map(|folder| captures(&Path::new(TESTDATA).join(folder)));
    for golden in goldens().iter().chain(others.iter().flatten()) {
        assert!(!golden.records.is_empty(), "{} has no events", golden.name);
        let (mut model, mut sink) = (Model::new(&golden.context), Sink::new(&golden.context));
        told.extend(golden.records.iter().map(|record| name(&model.apply(record, &mut sink).what)));
    }
    let untold: Vec<&str> = EFFECTS.iter().copied().filter(|effect| !told.contains(effect)).collect();
    assert_eq!(untold, IN_NO_CAPTURE);
}
