//! Reading a capture ahead: a thread decodes its records while they are judged.

use std::{sync::mpsc, thread};

use mmtrace_common::Record;

/// Records that pass from thread to thread together. Each time costs a wake-up where one thread waits for the other.
pub(super) const TOGETHER: usize = 8192;
/// Parcels of records that wait to be judged. Another one is being filled, and another one judged.
const WAITING: usize = 2;

/// Hands the records to `take`, in order. `read` replaces the contents of a list by the next ones, [`TOGETHER`] at most, and
/// returns whether there are any. Where no thread can be started, they are read between one call and the next.
pub(super) fn for_each(mut read: impl FnMut(&mut Vec<Record>) -> bool + Send, mut take: impl FnMut(&Record)) {
    let is_done = thread::scope(|scope| {
        let (sender, parcels) = mpsc::sync_channel::<Vec<Record>>(WAITING);
        // A list is used again: new ones would take new memory from the kernel.
        let (emptied, empty) = mpsc::channel::<Vec<Record>>();
        let read = &mut read;
        let decode = move || {
            loop {
                let mut parcel = empty.try_recv().unwrap_or_default();
                if !read(&mut parcel) || sender.send(parcel).is_err() {
                    return;
                }
            }
        };
        if thread::Builder::new().name("mmtrace-decode".to_owned()).spawn_scoped(scope, decode).is_err() {
            return false;
        }
        for parcel in parcels {
            parcel.iter().for_each(&mut take);
            // Nobody takes the last ones.
            let _ = emptied.send(parcel);
        }
        true
    });
    if !is_done {
        let mut parcel = Vec::new();
        while read(&mut parcel) {
            parcel.iter().for_each(&mut take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_arrives_once_and_in_order() {
        for length in [0, 1, TOGETHER as u64, 20 * TOGETHER as u64 + 1] {
            let mut seen = Vec::new();
            let mut records = (0..length).map(|ts| Record { ts, ..Record::default() });
            let read = |parcel: &mut Vec<Record>| {
                parcel.clear();
                parcel.extend(records.by_ref().take(TOGETHER));
                !parcel.is_empty()
            };
            for_each(read, |record| seen.push(record.ts));
            assert!(seen.into_iter().eq(0..length));
        }
    }
}
