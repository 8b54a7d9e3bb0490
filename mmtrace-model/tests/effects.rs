//! What applying an event returns of mmap_locks: who held one how, since when, and whether events are missing in between;
//! and who holds one now.

use mmtrace_common::{Call, Column, Kind};
use mmtrace_model::{
    model::{
        Model,
        effect::{Effect, Interval, What},
        locks::exclusion::Mode,
    },
    replay::Engine,
    stats::locks::Now,
    verdict::{RuleId, Sink},
};
use mmtrace_testing::kernel::{MM, Made, START, context};

/// What the events of a stream come to, and what rules conclude.
fn effects(made: &Made) -> (Vec<Effect>, Sink) {
    let context = context();
    let (mut model, mut sink) = (Model::new(&context), Sink::new(&context));
    let effects = made.records.iter().map(|record| *model.apply(record, &mut sink)).collect();
    (effects, sink)
}

fn last(made: &Made) -> Effect {
    *effects(made).0.last().expect("an event")
}

fn downgrade(made: &mut Made, tid: u32) {
    made.say(tid, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]);
}

#[test]
fn a_release_says_who_held_the_lock_how_and_since_when() {
    for (write, mode) in [(true, Mode::Write), (false, Mode::Read)] {
        let mut m = Made::begun();
        m.lock(2, write);
        let since = m.now;
        m.unlock(2, write);
        let effect = last(&m);
        assert_eq!((effect.tid, effect.tgid, effect.mm, effect.ts), (2, 1, MM, since + m.step));
        let hold = Interval { mode, since, across_loss: false, isolated: false };
        assert_eq!(effect.what, What::Unlocked { write, ended: Some(hold), known_since: None });
    }
}

#[test]
fn an_acquisition_says_how_long_it_was_waited_for_and_a_downgrade_what_it_ended() {
    let mut m = Made::begun();
    let first = m.records.iter().find(|record| record.kind() == Some(Kind::AcquireReturned));
    let complete_since = first.map(|record| record.ts);
    m.write_lock(2);
    let (begun, acquired) = (m.now - m.step, m.now);
    let interval = |since| Some(Interval { mode: Mode::Write, since, across_loss: false, isolated: false });
    assert_eq!(last(&m).what, What::Locked { mode: Mode::Write, waited: interval(begun), ended: None, complete_since });
    downgrade(&mut m, 2);
    let downgraded = m.now;
    assert_eq!(
        last(&m).what,
        What::Locked { mode: Mode::Downgraded, waited: None, ended: interval(acquired), complete_since }
    );
    m.unlock(2, false);
    let What::Unlocked { write: false, ended: Some(hold), .. } = last(&m).what else { panic!("{:?}", last(&m)) };
    assert_eq!((hold.mode, hold.since), (Mode::Downgraded, downgraded));
}

#[test]
fn a_hold_is_measured_across_a_loss_that_cannot_have_ended_it_while_rules_know_nothing_of_it() {
    let hold = |lost: &[Kind]| {
        let mut m = Made::begun();
        let before = effects(&m).1;
        m.write_lock(2);
        let since = m.now;
        lost.iter().for_each(|kind| {
            m.lose(Kind::Loss, *kind, 1);
        });
        m.later(1_000_000).unlock(2, true);
        let (effects, sink) = effects(&m);
        let judged = |sink: &Sink| (sink.evaluations(RuleId::L04), sink.not_judged(RuleId::L04));
        assert_eq!(judged(&sink), (judged(&before).0, judged(&before).1 + 1), "{lost:?}");
        let What::Unlocked { ended, .. } = effects.last().expect("an event").what else { panic!("a release") };
        ended.map(|hold| (hold.since == since, hold.across_loss))
    };
    assert_eq!(hold(&[Kind::StartLocking]), Some((true, true)));
    assert_eq!(hold(&[Kind::AcquireReturned, Kind::Released]), Some((true, true)));
    assert_eq!(hold(&[Kind::StartLocking, Kind::AcquireReturned, Kind::Released]), None);
}

/// The task holds the lock for write until an event that is missing, and has it for read again later.
#[test]
fn a_hold_ends_with_a_release_for_read_whose_downgrade_is_missing() {
    let mut m = Made::begun();
    m.write_lock(2).lose(Kind::Loss, Kind::AcquireReturned, 1).later(1_000_000).unlock(2, false);
    assert_eq!(last(&m).what, What::Unlocked { write: false, ended: None, known_since: None });
    m.later(1_000_000).lock(2, false);
    let What::Locked { mode: Mode::Read, ended: None, .. } = last(&m).what else { panic!("{:?}", last(&m)) };
}

#[test]
fn who_was_in_user_mode_after_a_loss_holds_nothing_from_before() {
    let mut m = Made::begun();
    m.write_lock(2).lose(Kind::Loss, Kind::Released, 1).later(1_000_000).user(2, START);
    m.unlock(2, true);
    assert_eq!(last(&m).what, What::Unlocked { write: true, ended: None, known_since: None });
}

/// Tasks, and whether for write.
type Tasks = Vec<(u32, bool)>;

/// Who holds the first mm's lock, and who waits for it.
fn now(made: &Made) -> (Tasks, Tasks) {
    let mut engine = Engine::new(context(), true);
    made.records.iter().for_each(|record| engine.apply(record));
    let mut locks = Now::all(engine.model().expect("it judges"), engine.open_calls().expect("it judges"));
    let Now { holders, waiting } = locks.remove(&MM).unwrap_or_default();
    let [holders, waiting] = [holders, waiting].map(|list| list.iter().map(|h| (h.tid, h.write)).collect());
    (holders, waiting)
}

#[test]
fn who_holds_a_lock_and_who_waits_for_it_is_known_until_events_are_missing() {
    let mut m = Made::begun();
    assert_eq!(now(&m), (vec![], vec![]));
    m.lock(2, false).lock(3, false).say(1, Kind::StartLocking, &[(Column::Write, 1)]);
    assert_eq!(now(&m), (vec![(2, false), (3, false)], vec![(1, true)]));
    m.unlock(2, false);
    assert_eq!(now(&m), (vec![(3, false)], vec![(1, true)]));
    m.lose(Kind::Loss, Kind::Released, 1);
    assert_eq!(now(&m), (vec![], vec![]));
    m.later(1_000_000).lock(4, false);
    assert_eq!(now(&m), (vec![(4, false)], vec![]));
}

#[test]
fn a_holder_and_a_waiter_are_known_with_their_calls() {
    let mut m = Made::begun();
    let call = |call: Call| (Column::Call, u64::from(call.number()));
    m.say(2, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(10))]);
    m.say(2, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    m.say(1, Kind::StartLocking, &[(Column::Write, 0), call(Call::System(0))]);
    let engine = |made: &Made| {
        let mut engine = Engine::new(context(), true);
        made.records.iter().for_each(|record| engine.apply(record));
        engine
    };
    let calls = |engine: &Engine| {
        let mut locks = Now::all(engine.model().expect("it judges"), engine.open_calls().expect("it judges"));
        let Now { holders, waiting } = locks.remove(&MM).unwrap_or_default();
        [holders, waiting].map(|list| list.iter().map(|h| (h.tid, h.call)).collect::<Vec<_>>())
    };
    let expected = [vec![(2, Some(Call::System(10)))], vec![(1, Some(Call::System(0)))]];
    assert_eq!(calls(&engine(&m)), expected);
    assert_eq!(calls(&engine(&m).checkpoint()), expected, "a copy knows them too");
    // After a downgrade the call is the same.
    m.say(2, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]);
    assert_eq!(calls(&engine(&m))[0], expected[0]);
    m.lose(Kind::Loss, Kind::StartLocking, 1);
    assert!(calls(&engine(&m)).iter().flatten().all(|(_, call)| call.is_none()), "events are missing");
}
