//! Reading a capture ahead: a thread decodes its records while they are judged.

use std::{sync::mpsc, thread};

use mmtrace_common::Record;

/// Records that pass from thread to thread together.
const TOGETHER: usize = 1024;
/// Parcels of records that wait to be judged.
const WAITING: usize = 8;

/// Hands the records to `take`, in order. Where no thread can be started, they are decoded between one call and the next.
pub(super) fn for_each(mut records: impl Iterator<Item = Record> + Send, mut take: impl FnMut(&Record)) {
    let records = &mut records;
    let is_done = thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let records = &mut *records;
        let decode = move || {
            loop {
                let mut parcel = Vec::with_capacity(TOGETHER);
                parcel.extend(records.take(TOGETHER));
                if parcel.is_empty() || sender.send(parcel).is_err() {
                    return;
                }
            }
        };
        if thread::Builder::new().name("mmtrace-decode".to_owned()).spawn_scoped(scope, decode).is_err() {
            return false;
        }
        receiver.into_iter().flatten().for_each(|record| take(&record));
        true
    });
    if !is_done {
        records.for_each(|record| take(&record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_arrives_once_and_in_order() {
        for length in [0, 1, TOGETHER as u64, 20 * TOGETHER as u64 + 1] {
            let mut seen = Vec::new();
            for_each((0..length).map(|ts| Record { ts, ..Record::default() }), |record| seen.push(record.ts));
            assert!(seen.into_iter().eq(0..length));
        }
    }
}
