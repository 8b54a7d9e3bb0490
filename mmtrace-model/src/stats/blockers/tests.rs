use mmtrace_common::Call;

use super::*;
use crate::names::ThreadId;

const MM: u64 = 0xffff_8880_0000_1000;
/// The task whose wait is divided.
const WAITER: u32 = 99;

fn by(nr: u16) -> Caller {
    Caller { thread: ThreadId::OTHERS, call: Some(Call::System(nr)) }
}

fn over(nr: u16, write: bool, since: u64, until: u64) -> Over {
    Over { by: by(nr), held: HeldAs::of(write), since, until }
}

/// A number for a culprit: that of the holder, with a hundred times that of the writer in between; else 0.
fn number(culprit: Culprit) -> u16 {
    let nr = |caller: Caller| match caller.call {
        Some(Call::System(nr)) => nr,
        other => panic!("{other:?}"),
    };
    match culprit {
        Culprit::Hold { by, via, .. } => nr(by) + via.map_or(0, |via| 100 * nr(via)),
        Culprit::HandOver => FREE,
        Culprit::HandOverAhead => AHEAD,
        Culprit::Unknown => UNKNOWN,
        Culprit::Others => panic!("there are few"),
    }
}

const FREE: u16 = 10_001;
const AHEAD: u16 = 10_002;
const UNKNOWN: u16 = 10_003;

fn divided(blockers: &Blockers, wait: Wait) -> Vec<(u16, u64)> {
    let mut pieces: Vec<Part> = Vec::new();
    blockers.divide(&wait, |part| match pieces.last_mut() {
        Some(last) if last.culprit == part.culprit => last.ns += part.ns,
        _ => pieces.push(part),
    });
    assert_eq!(pieces.iter().map(|part| part.ns).sum::<u64>(), wait.until - wait.since, "{pieces:?}");
    pieces.iter().map(|part| (number(part.culprit), part.ns)).collect()
}

fn wait(write: bool, since: u64, until: u64) -> Wait {
    Wait { mm: MM, write, since, until, complete_since: Some(0) }
}

type Event = Box<dyn Fn(&mut Blockers)>;

/// Each hold: its number, whether for write, since when it was waited for, when it began and ended.
fn blockers(holds: &[(u16, bool, u64, u64, u64)], write: bool, since: u64, until: u64) -> Blockers {
    let mut blockers = Blockers::default();
    let mut events: Vec<(u64, Event)> = vec![(since, Box::new(move |b| b.awaited(MM, WAITER, write, since)))];
    for &(nr, write, awaited, since, until) in holds {
        let tid = u32::from(nr);
        events.push((awaited, Box::new(move |b| b.awaited(MM, tid, write, awaited))));
        events.push((since, Box::new(move |b| b.acquired(MM, tid, write, since, Some(awaited)))));
        events.push((until, Box::new(move |b| b.over(MM, over(nr, write, since, until)))));
    }
    events.sort_by_key(|(ts, _)| *ts);
    events.iter().filter(|(ts, _)| *ts <= until).for_each(|(_, event)| event(&mut blockers));
    blockers
}

fn parts(holds: &[(u16, bool, u64, u64, u64)], write: bool, since: u64, until: u64) -> Vec<(u16, u64)> {
    divided(&blockers(holds, write, since, until), wait(write, since, until))
}

#[test]
fn holds_one_after_another_share_the_wait() {
    let holds = [(1, true, 0, 1, 100), (2, true, 40, 110, 150), (3, true, 40, 160, 200)];
    assert_eq!(parts(&holds, false, 50, 205), [(FREE, 5), (3, 40), (AHEAD, 10), (2, 40), (AHEAD, 10), (1, 50)]);
}

#[test]
fn a_reader_does_not_wait_for_readers() {
    let reads = [(1, false, 0, 1, 100)];
    assert_eq!(parts(&reads, false, 50, 105), [(FREE, 55)]);
    assert_eq!(parts(&reads, true, 50, 105), [(FREE, 5), (1, 50)]);
}

#[test]
fn a_reader_behind_a_writer_is_behind_the_readers_before_it() {
    let holds = [(1, false, 0, 1, 100), (2, true, 20, 105, 120)];
    assert_eq!(parts(&holds, false, 60, 125), [(FREE, 5), (2, 15), (AHEAD, 5), (201, 40)]);
}

/// It waited for a CPU, or had not asked for the lock yet.
#[test]
fn a_reader_is_behind_no_reader_before_a_writer_is_in_the_queue() {
    let holds = [(1, false, 0, 1, 100), (2, true, 90, 105, 120)];
    assert_eq!(parts(&holds, false, 60, 125), [(FREE, 5), (2, 15), (AHEAD, 5), (201, 10), (AHEAD, 30)]);
}

/// It may have been granted the lock by then, together with the reader that is seen to hold it.
#[test]
fn a_writer_that_gets_the_lock_later_was_not_ahead() {
    let holds = [(1, true, 0, 1, 100), (2, false, 50, 105, 120), (3, true, 104, 125, 140)];
    assert_eq!(parts(&holds, false, 60, 110), [(FREE, 10), (1, 40)]);
}

#[test]
fn of_several_writers_in_the_queue_the_one_that_gets_the_lock_next_is_named() {
    let holds = [(1, false, 0, 1, 100), (2, true, 50, 105, 120), (3, true, 20, 125, 140)];
    let expected = [(FREE, 5), (3, 15), (AHEAD, 5), (2, 15), (AHEAD, 5), (201, 50), (301, 20)];
    assert_eq!(parts(&holds, false, 30, 145), expected);
}

#[test]
fn a_writer_whose_wait_was_not_seen_leaves_the_readers_before_it_unknown() {
    let mut blockers = Blockers::default();
    blockers.awaited(MM, WAITER, false, 50);
    blockers.over(MM, over(1, false, 1, 100));
    blockers.acquired(MM, 2, true, 105, None);
    blockers.over(MM, over(2, true, 105, 120));
    assert_eq!(divided(&blockers, wait(false, 50, 125)), [(FREE, 5), (2, 15), (AHEAD, 5), (UNKNOWN, 50)]);
}

#[test]
fn a_writer_that_gave_up_leaves_a_reader_behind_nobody_knows_whom() {
    let mut blockers = Blockers::default();
    blockers.awaited(MM, 2, true, 40);
    blockers.awaited(MM, WAITER, false, 50);
    blockers.refused(MM, 2, true, 90);
    assert_eq!(divided(&blockers, wait(false, 50, 100)), [(FREE, 10), (UNKNOWN, 40)]);
    assert_eq!(divided(&blockers, wait(true, 50, 100)), [(FREE, 50)], "it keeps no writer out");
}

#[test]
fn of_readers_together_the_one_that_ends_last_is_charged() {
    let holds = [(1, false, 0, 1, 80), (2, false, 5, 10, 90), (3, false, 60, 70, 100)];
    assert_eq!(parts(&holds, true, 20, 105), [(FREE, 5), (3, 30), (2, 50)]);
}

#[test]
fn what_ended_before_the_wait_is_no_part_of_it() {
    assert_eq!(parts(&[(1, true, 0, 1, 50)], true, 50, 60), [(FREE, 10)]);
}

#[test]
fn before_all_holders_are_known_who_is_seen_is_named_and_the_rest_is_unknown() {
    let reads = blockers(&[(1, false, 0, 60, 100)], true, 50, 105);
    let unknown = Wait { complete_since: None, ..wait(true, 50, 105) };
    assert_eq!(divided(&reads, unknown), [(UNKNOWN, 5), (1, 40), (UNKNOWN, 10)]);
    let in_between = Wait { complete_since: Some(102), ..unknown };
    assert_eq!(divided(&reads, in_between), [(FREE, 3), (UNKNOWN, 2), (1, 40), (UNKNOWN, 10)]);
}

#[test]
fn after_a_loss_only_holds_for_write_are_named_until_all_holders_are_known() {
    let after_loss = |complete_since| {
        let mut blockers = Blockers::default();
        blockers.lost(40);
        blockers.awaited(MM, WAITER, true, 50);
        blockers.over(MM, over(1, false, 45, 70));
        blockers.over(MM, over(2, true, 75, 80));
        divided(&blockers, Wait { complete_since, ..wait(true, 50, 90) })
    };
    assert_eq!(after_loss(None), [(UNKNOWN, 10), (2, 5), (UNKNOWN, 25)]);
    assert_eq!(after_loss(Some(75)), [(FREE, 10), (2, 5), (UNKNOWN, 25)]);
    assert_eq!(after_loss(Some(42)), [(FREE, 10), (2, 5), (AHEAD, 5), (1, 20)]);
}

#[test]
fn a_wait_from_before_a_loss_is_charged_to_what_was_seen_whole_after_it() {
    let mut blockers = Blockers::default();
    blockers.awaited(MM, WAITER, true, 10);
    blockers.over(MM, over(1, true, 1, 20));
    blockers.lost(40);
    assert_eq!(divided(&blockers, wait(true, 10, 50)), [(UNKNOWN, 40)]);
    blockers.awaited(MM, 5, true, 55);
    blockers.over(MM, over(2, true, 50, 60));
    assert_eq!(divided(&blockers, wait(true, 10, 62)), [(FREE, 2), (2, 10), (UNKNOWN, 40)]);
}

#[test]
fn holds_are_kept_while_somebody_waits() {
    let mut blockers = Blockers::default();
    let hold = over(1, true, 0, 9);
    blockers.over(MM, hold);
    blockers.awaited(MM, 1, true, 1);
    assert!(!blockers.has_holds(&wait(true, 0, 9)), "nobody waited for it");
    blockers.awaited(MM, 2, true, 1);
    blockers.over(MM, hold);
    blockers.acquired(MM, 1, true, 9, Some(1));
    assert!(blockers.has_holds(&wait(true, 1, 9)));
    blockers.refused(MM, 2, true, 10);
    blockers.refused(MM, 2, true, 10);
    assert!(!blockers.has_holds(&wait(true, 1, 9)));
    assert_eq!(blockers.all, 0);
}

#[test]
fn memory_is_bounded() {
    let mut blockers = Blockers::default();
    for mm in 0..100 {
        for tid in 0..8 {
            blockers.awaited(mm, tid, true, 0);
        }
        for n in 0..10_000 {
            blockers.over(mm, Over { by: by(1), held: HeldAs::WriteBefore, since: n, until: n + 1 });
            assert!(blockers.all <= HOLDS_ALL_MAX);
        }
        for ts in 1..1_000 {
            blockers.awaited(mm, 9, true, 1);
            blockers.refused(mm, 9, true, ts);
        }
        assert!(blockers.locks.values().all(|lock| lock.gave_up.len() <= GAVE_UP_MAX));
    }
    (0..10_000).for_each(|mm| blockers.awaited(mm, 1, true, 0));
    (0..10_000).for_each(|tid| blockers.awaited(1, tid, true, 0));
    assert!(blockers.locks.len() <= LOCKS_MAX);
    assert!(blockers.locks.values().all(|lock| lock.waiting.len() <= WAITERS_MAX));
    assert_eq!(blockers.all, blockers.locks.values().map(|lock| lock.over.len()).sum::<usize>());
}
