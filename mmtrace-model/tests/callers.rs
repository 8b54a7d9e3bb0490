//! Who held mmap_locks, who waited for them and whose faults there were, as the report says it.

use mmtrace_common::{Call, Column, Kind, Record, View as _, event};
use mmtrace_model::{
    names::Comm,
    replay::Engine,
    report::{
        Output, Report, Style,
        callers::{By, Held, LockRow, Tables},
    },
};
use mmtrace_testing::kernel::{Made, START, context};

/// The process whose threads [`Made`] makes events of.
const PROCESS: u32 = 1;

fn call(call: Call) -> (Column, u64) {
    (Column::Call, call.number().into())
}

/// A task has a name when the recording begins.
fn begins_as(m: &mut Made, tid: u32, text: &str) {
    name(m, tid, text);
    let record = m.records.pop().expect("the name");
    m.records.insert(0, Record { ts: START, ..record });
}

/// A task gets a name.
fn name(m: &mut Made, tid: u32, text: &str) {
    let mut bytes = [0; 16];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    let [comm, comm_tail] = Comm::new(bytes).words();
    let mut record = Record { ts: m.now, tid, tgid: PROCESS, ..Record::default() };
    event::TaskName { comm, comm_tail }.write(&mut record);
    m.records.push(record);
}

/// A task takes the mmap_lock by a call and releases it.
fn hold(m: &mut Made, tid: u32, by: Call, write: bool) {
    m.say(tid, Kind::StartLocking, &[(Column::Write, write.into()), call(by)]);
    m.say(tid, Kind::AcquireReturned, &[(Column::Write, write.into()), (Column::Success, 1)]);
    m.unlock(tid, write);
}

fn judged(m: &Made) -> Engine {
    let mut engine = Engine::new(context(), true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    engine
}

fn tables(engine: &Engine, by: By) -> Tables {
    Tables::new(engine.callers().expect("it judges"), engine.tasks(), by, START)
}

/// mprotect and munmap of two named threads, one fault in read().
fn contention() -> Made {
    let mut m = Made { step: 9_000, ..Made::begun() };
    for (tid, text) in [(PROCESS, "contend"), (2, "jit-protector"), (3, "fault-worker"), (4, "fault-worker")] {
        begins_as(&mut m, tid, text);
    }
    (0..3).for_each(|_| hold(&mut m, 2, Call::System(10), true));
    hold(&mut m, 3, Call::System(11), true);
    hold(&mut m, 4, Call::System(11), false);
    m.say(3, Kind::PageFaultKernel, &[(Column::Addr, 0x7000), call(Call::System(0))]);
    m
}

#[test]
fn holds_and_waits_have_the_thread_and_the_call() {
    let report = Report::new(&judged(&contention()));
    let rows: Vec<(String, u64)> =
        report.callers.locks.iter().map(|row| (row.who.caller(Some(row.mode())), row.acquired)).collect();
    let named = |text: &str, acquired| (text.to_owned(), acquired);
    assert_eq!(rows[0], named("contend 1 · jit-protector 2: mprotect (write)", 3));
    assert!(rows.contains(&named("contend 1 · fault-worker (2 threads): munmap (write)", 1)), "{rows:?}");
    assert!(rows.contains(&named("contend 1 · fault-worker (2 threads): munmap (read)", 1)), "{rows:?}");
    let protect = &report.callers.locks[0];
    let (held, waited) = (protect.held.expect("holds"), protect.waited.expect("waits"));
    assert_eq!((held.count, waited.count, held.longest_tid), (3, 3, 2));
    assert_eq!(held.sum_ns, 3 * held.longest_ns);
    let faults: Vec<String> = report.callers.faults.iter().map(|row| row.text()).collect();
    let in_read = "contend 1 · fault-worker (2 threads) in read: unknown";
    assert!(faults.iter().any(|text| text.starts_with(in_read)), "{faults:?}");
}

#[test]
fn the_first_lines_of_the_report_answer_who_and_by_which_call() {
    let mut text = Vec::new();
    Report::new(&judged(&contention())).print(Output::Text, Style::plain(), &mut text).expect("to memory");
    let text = String::from_utf8(text).expect("UTF-8");
    let first: Vec<&str> = text.lines().take(10).collect();
    assert!(first[0].contains("rules held"), "{text}");
    // 27 us of 55 us; two faults of five.
    let holds = "; most: contend 1 · jit-protector 2: mprotect (write), 49 %: 27.0 us, longest 9.00 us";
    assert!(first.iter().any(|line| line.starts_with("Holds") && line.ends_with(holds)), "{text}");
    let faults = "5; most: contend 1 · fault-worker (2 threads), 40 %: refault";
    assert!(first.iter().any(|line| line.starts_with("Faults") && line.ends_with(faults)), "{text}");
    let mapping = "most in: 5 contend · unknown mapping, 100 %: refault 60 %, unknown 40 %";
    assert!(first.iter().any(|line| line.ends_with(mapping)), "{text}");
}

/// Whatever the answers are, the mapping of most faults is among the first ten lines of a report.
#[test]
fn the_first_ten_lines_have_all_answers() {
    let mut m = contention();
    // Two callers wait for a third.
    for tid in [3, 4] {
        m.say(2, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(10))]);
        m.say(2, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
        m.say(tid, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(u16::try_from(tid).expect("small")))]);
        m.later(50_000).unlock(2, true);
        m.say(tid, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]).unlock(tid, true);
    }
    let mut text = Vec::new();
    Report::new(&judged(&m)).print(Output::Text, Style::plain(), &mut text).expect("to memory");
    let text = String::from_utf8(text).expect("UTF-8");
    let first: Vec<&str> = text.lines().take(10).collect();
    for title in ["Waits", "of that", "Holds", "then", "Faults", "most in"] {
        assert!(first.iter().any(|line| line.trim_start().starts_with(title)), "{title}: {text}");
    }
}

/// Nobody waits for the last user of an mm.
#[test]
fn holds_of_a_task_that_exits_do_not_hide_the_others() {
    let mut m = contention();
    m.say(4, Kind::StartLocking, &[(Column::Write, 0), call(Call::Exiting)]);
    m.say(4, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]);
    m.later(5_000_000).unlock(4, false);
    let mut text = Vec::new();
    Report::new(&judged(&m)).print(Output::Text, Style::plain(), &mut text).expect("to memory");
    let text = String::from_utf8(text).expect("UTF-8");
    let holds = text.lines().find(|line| line.starts_with("Holds")).expect("there are holds");
    assert!(holds.contains("of that by tasks that exit; most else: contend 1 · jit-protector 2: mprotect"), "{text}");
    assert!(text.contains("fault-worker (2 threads): exit of the task (read)"), "the table has it: {text}");
}

#[test]
fn a_hold_that_was_downgraded_is_called_so() {
    let mut m = Made { step: 9_000, ..Made::begun() };
    begins_as(&mut m, PROCESS, "unmapper");
    m.say(1, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(11))]);
    m.say(1, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    m.say(1, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]);
    m.say(2, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(9))]);
    m.later(50_000).unlock(1, false);
    m.say(2, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]).unlock(2, true);
    let report = Report::new(&judged(&m));
    let rows: Vec<String> = report.callers.locks.iter().map(|row| row.who.caller(Some(row.mode()))).collect();
    assert!(rows.contains(&"unmapper 1: munmap (downgraded)".to_owned()), "{rows:?}");
    let waited = report.callers.locks.iter().find_map(|row| row.behind.first()).expect("somebody waited");
    assert_eq!(waited.who.caller(Some(waited.held())), "unmapper 1: munmap (downgraded)");
}

#[test]
fn rows_put_together_add_up_to_the_same() {
    let engine = judged(&contention());
    let sums = |by| {
        let tables = tables(&engine, by);
        let held =
            tables.locks.iter().filter_map(|row| row.held).fold((0, 0), |(n, ns), h| (n + h.count, ns + h.sum_ns));
        let faults: u64 = tables.faults.iter().map(|row| row.count).sum();
        (held, tables.locks.iter().map(|row| row.acquired).sum::<u64>(), faults)
    };
    for by in [By::Thread, By::Process, By::Call] {
        assert_eq!(sums(by), sums(By::Caller), "{by:?}");
    }
    let process = &tables(&engine, By::Process).locks[0].who;
    assert_eq!((process.name(), process.call.as_deref()), ("contend 1".to_owned(), None));
    assert_eq!(tables(&engine, By::Call).locks[0].who.caller(None), "mprotect");
}

/// jit-protector holds the lock in mprotect while fault-worker waits in munmap, and a maps-poller beside it.
fn convoy() -> Made {
    let mut m = contention();
    let (write, got) = ((Column::Write, 1), (Column::Success, 1));
    m.say(2, Kind::StartLocking, &[write, call(Call::System(10))]);
    m.say(2, Kind::AcquireReturned, &[write, got]);
    m.say(3, Kind::StartLocking, &[write, call(Call::System(11))]);
    m.later(50_000);
    m.unlock(2, true);
    m.say(3, Kind::AcquireReturned, &[write, got]);
    m.say(4, Kind::StartLocking, &[(Column::Write, 0), call(Call::System(0))]);
    m.later(20_000);
    m.unlock(3, true);
    m.say(4, Kind::AcquireReturned, &[(Column::Write, 0), got]);
    m.unlock(4, false);
    m
}

#[test]
fn a_wait_names_the_holder_that_it_was_behind() {
    let report = Report::new(&judged(&convoy()));
    let row = |text: &str| {
        let mut rows = report.callers.locks.iter();
        rows.find(|row| row.who.caller(Some(row.mode())) == text).expect("a row").clone()
    };
    let unmaps = row("contend 1 · fault-worker (2 threads): munmap (write)");
    let (waited, contended) = (unmaps.waited.expect("waits"), unmaps.contended.expect("a contended wait"));
    assert_eq!((waited.count, contended.count), (2, 1), "the other acquisition waited for nobody");
    assert!(contended.sum_ns >= 50_000, "{contended:?}");
    let behind: Vec<_> = unmaps.behind.iter().map(|row| (row.who.caller(Some(row.held())), row.ns)).collect();
    assert_eq!(behind.len(), 1, "{behind:?}");
    assert_eq!(behind[0].0, "contend 1 · jit-protector 2: mprotect (write)");
    assert!(behind[0].1 >= 50_000 && behind[0].1 <= contended.sum_ns, "{behind:?}");
    let read = row("contend 1 · fault-worker (2 threads): read (read)");
    assert_eq!(read.behind[0].who.caller(Some(Held::Write)), "contend 1 · fault-worker (2 threads): munmap (write)");
    let by_call = tables(&judged(&convoy()), By::Call);
    let unmaps = by_call.locks.iter().find(|row| row.who.caller(Some(row.mode())) == "munmap (write)").expect("a row");
    assert_eq!(unmaps.behind[0].who.caller(Some(Held::Write)), "mprotect (write)");
    let mut text = Vec::new();
    report.print(Output::Text, Style::plain(), &mut text).expect("to memory");
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains("% behind contend 1 · jit-protector 2: mprotect (write)"), "{text}");
}

/// A shell forks, and the child takes the mmap_lock before and after it runs another program.
#[test]
fn a_process_that_runs_another_program_has_a_row_for_each() {
    let mut m = Made { step: 9_000, ..Made::begun() };
    begins_as(&mut m, PROCESS, "sh");
    let child = PROCESS + 9;
    let holds = |m: &mut Made| {
        let begin = m.records.len();
        hold(m, child, Call::System(9), true);
        m.records[begin..].iter_mut().for_each(|record| record.tgid = child);
    };
    let event = |m: &mut Made, tid: u32, write: &dyn Fn(&mut Record)| {
        let mut record = Record { ts: m.now + 1, tid, tgid: tid, ..Record::default() };
        write(&mut record);
        m.records.push(record);
    };
    let id = child.cast_signed();
    event(&mut m, PROCESS, &|r| event::Fork { child_pid: id, child_tid: id, cgroup_id: 0 }.write(r));
    holds(&mut m);
    let [comm, comm_tail] = Comm::new(*b"true\0\0\0\0\0\0\0\0\0\0\0\0").words();
    event(&mut m, child, &|r| event::TaskRename { of_tid: id, comm, comm_tail }.write(r));
    event(&mut m, child, &|r| event::Exec { old_pid: id }.write(r));
    holds(&mut m);
    holds(&mut m);
    for by in [By::Process, By::Caller] {
        let rows = tables(&judged(&m), by).locks;
        let counts = |name: &str| rows.iter().find(|row| row.who.name() == name).map(|row| row.acquired);
        assert_eq!([counts("sh 10"), counts("true 10")], [Some(1), Some(2)], "{by:?}: {rows:?}");
    }
}

/// `others` are several: a single one has a name.
#[test]
fn the_only_other_holder_is_named() {
    let mut m = Made { step: 1_000, ..Made::begun() };
    let hold_by = |m: &mut Made, tid: u32, ns: u64| {
        m.say(tid, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(10))]);
        m.say(tid, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]).later(ns).unlock(tid, true);
    };
    for (tid, text) in [(PROCESS, "waiter"), (2, "first"), (3, "second"), (4, "third")] {
        begins_as(&mut m, tid, text);
    }
    m.say(1, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(11))]);
    hold_by(&mut m, 2, 6_000_000);
    hold_by(&mut m, 3, 3_000_000);
    m.say(1, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]).unlock(1, true);
    let behind = |m: &Made| {
        let tables = tables(&judged(m), By::Caller);
        let is_waiter = |row: &&LockRow| row.who.call.as_deref() == Some("munmap");
        tables.locks.iter().find(is_waiter).expect("it waited").behind_text(1)
    };
    let two = behind(&m);
    assert_eq!(
        two,
        ["67 % behind waiter 1 · first 2: mprotect (write)", "33 % behind waiter 1 · second 3: mprotect (write)"]
    );
    m.say(1, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(11))]);
    hold_by(&mut m, 4, 3_000_000);
    m.say(1, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]).unlock(1, true);
    let three = behind(&m);
    assert_eq!(three, ["50 % behind waiter 1 · first 2: mprotect (write)", "50 % behind others"]);
}

#[test]
fn a_long_wait_behind_nobody_that_is_seen_counts_as_one() {
    let mut m = contention();
    m.say(3, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(11))]);
    m.later(50_000);
    m.say(3, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    m.unlock(3, true);
    let report = Report::new(&judged(&m));
    let row = report.callers.locks.iter().find(|row| row.contended.is_some()).expect("a row");
    assert_eq!((row.contended.map(|times| times.count), row.behind.len()), (Some(1), 0));
}

#[test]
fn without_names_and_calls_the_numbers_stand_alone() {
    let mut m = Made::begun();
    m.write_lock(2);
    m.unlock(2, true);
    let mut context = context();
    context.probes.iter_mut().for_each(|probe| probe.absent.push(Column::Call.name().to_owned()));
    let mut engine = Engine::new(context, true);
    m.records.iter().for_each(|record| engine.apply(record));
    let rows = tables(&engine, By::Caller).locks;
    let names: Vec<_> = rows.iter().map(|row| row.who.caller(Some(row.mode()))).collect();
    assert!(names.contains(&"process 1 · task 2 (write)".to_owned()), "{names:?}");
    assert!(engine.nameless_tasks().contains(&(2, PROCESS)), "a recorder asks for it");
    assert_eq!(engine.nameless_tasks(), [], "once");
}

#[test]
fn an_interrupt_on_top_of_a_task_leaves_it_its_call() {
    let mut m = Made::begun();
    begins_as(&mut m, 2, "worker");
    let start = |m: &mut Made, by, write: bool| {
        m.say(2, Kind::StartLocking, &[(Column::Write, write.into()), call(by)]);
    };
    let acquired = |m: &mut Made, write: bool| {
        m.say(2, Kind::AcquireReturned, &[(Column::Write, write.into()), (Column::Success, 1)]);
    };
    start(&mut m, Call::System(11), true);
    // While it waits: an interrupt tries and fails.
    start(&mut m, Call::Interrupt, false);
    m.say(2, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 0)]);
    acquired(&mut m, true);
    acquired(&mut m, false);
    // After the downgrade: an interrupt takes the lock for read as well.
    start(&mut m, Call::Interrupt, false);
    acquired(&mut m, false);
    m.unlock(2, false);
    m.unlock(2, false);
    let rows = tables(&judged(&m), By::Call).locks;
    let of = |call: &str, write| rows.iter().find(|row| row.who.call.as_deref() == Some(call) && row.write == write);
    let (writes, reads) = (of("munmap", true).expect("a row"), of("munmap", false).expect("a row"));
    assert_eq!((writes.acquired, writes.held.expect("a hold").count), (1, 1));
    assert_eq!((reads.acquired, reads.downgraded, reads.held.expect("a hold").count), (0, 1, 1));
    let interrupt = of("interrupt", false).expect("a row");
    assert_eq!((interrupt.acquired, interrupt.refused, interrupt.held.expect("a hold").count), (1, 1, 1));
    assert!(of("interrupt", true).is_none());
}

#[test]
fn callers_beyond_the_rows_keep_their_names_and_calls() {
    let mut m = Made::begun();
    let event = |m: &mut Made, tid, kind, values: &[(Column, u64)]| {
        m.say(tid, kind, values);
        let record = m.records.last_mut().expect("the event");
        record.tgid = tid;
    };
    for tid in 100..40_000 {
        let text = if tid == 39_999 { "late" } else { "short" };
        name(&mut m, tid, text);
        m.records.last_mut().expect("the name").tgid = tid;
        event(&mut m, tid, Kind::StartLocking, &[(Column::Write, 0), call(Call::System(9))]);
        event(&mut m, tid, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 1)]);
        event(&mut m, tid, Kind::Released, &[(Column::Write, 0)]);
    }
    let report = Report::new(&judged(&m));
    let of = |name: &str| report.callers.locks.iter().find(|row| row.who.caller(Some(row.mode())) == name);
    assert_eq!(of("late (several processes): mmap (read)").expect("a row").acquired, 1);
    assert!(of("short (several processes): mmap (read)").expect("a row").acquired > 30_000);
    assert!(report.callers.locks.len() < 9_000, "{}", report.callers.locks.len());
    assert!(report.callers.locks.iter().all(|row| row.who.name() != "others"));
}

#[test]
fn a_trap_in_user_mode_is_a_page_fault_only_if_a_fault_was_seen() {
    let mut m = Made::begun();
    // Tasks begin with a fault. One that is tried again takes the lock again.
    hold(&mut m, 2, Call::UserTrap, false);
    hold(&mut m, 2, Call::UserTrap, true);
    hold(&mut m, 2, Call::System(9), true);
    hold(&mut m, 2, Call::UserTrap, false);
    let rows = tables(&judged(&m), By::Call).locks;
    let of = |call: &str| -> u64 {
        rows.iter().filter(|row| row.who.call.as_deref() == Some(call)).map(|row| row.acquired).sum()
    };
    assert_eq!((of("page fault"), of("interrupt")), (2, 1));
}

#[test]
fn a_mode_and_a_call_stay_with_the_thread_that_renames_itself() {
    let mut m = Made::begun();
    begins_as(&mut m, 2, "before");
    hold(&mut m, 2, Call::System(9), true);
    name(&mut m, 2, "after");
    hold(&mut m, 2, Call::System(9), true);
    let rows = tables(&judged(&m), By::Caller).locks;
    let names: Vec<_> = rows.iter().map(|row| (row.who.thread.as_deref().unwrap_or_default(), row.acquired)).collect();
    assert!(names.contains(&("before", 1)) && names.contains(&("after", 1)), "{names:?}");
}

/// Where a user jumps to, the callers are there: with their sums, without quantiles.
#[test]
fn a_checkpoint_has_the_callers_and_counts_on() {
    let mut whole = contention();
    let before = whole.records.len();
    hold(&mut whole, 2, Call::System(10), true);
    let mut engine = Engine::new(context(), true);
    whole.records[..before].iter().for_each(|record| engine.apply(record));
    let mut copy = engine.checkpoint();
    for engine in [&mut engine, &mut copy] {
        whole.records[before..].iter().for_each(|record| engine.apply(record));
    }
    let rows = |engine: &Engine| -> Vec<_> {
        let rows = tables(engine, By::Caller).locks;
        rows.iter().map(|row| (row.who.caller(Some(row.mode())), row.acquired, row.held.map(|h| h.sum_ns))).collect()
    };
    assert_eq!(rows(&copy), rows(&engine));
    assert!(tables(&engine, By::Caller).locks[0].held.is_some_and(|held| held.p99_ns.is_some()));
    assert!(tables(&copy, By::Caller).locks[0].held.is_some_and(|held| held.p99_ns.is_none()));
    assert!(!copy.callers().expect("it judges").is_partial());
}

/// Seen: a program whose 98 waits were all ended by a signal waited for nobody, as the report had it.
#[test]
fn a_wait_that_a_signal_ended_is_a_wait() {
    let mut m = Made { step: 1_000, ..Made::begun() };
    for (tid, text) in [(PROCESS, "killed"), (2, "long-holder"), (3, "doomed-waiter")] {
        begins_as(&mut m, tid, text);
    }
    m.say(2, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(25))]);
    m.say(2, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    m.say(3, Kind::StartLocking, &[(Column::Write, 1), call(Call::System(9))]);
    m.later(20_000_000);
    m.say(3, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 0)]);
    // A trylock that fails is none, nor one in whose midst the task lost its CPU for a moment.
    for late in [0, 50_000] {
        m.say(4, Kind::StartLocking, &[(Column::Write, 0), call(Call::KernelThread)]);
        m.later(late);
        m.say(4, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 0)]);
    }
    m.unlock(2, true);
    let report = Report::new(&judged(&m));
    let row = |text: &str| report.callers.locks.iter().find(|row| row.who.name().contains(text)).expect("a row");
    let doomed = row("doomed-waiter");
    assert_eq!((doomed.acquired, doomed.refused, doomed.given_up), (0, 1, 1));
    let waited = doomed.contended.expect("it waited");
    assert!(waited.sum_ns >= 20_000_000, "{waited:?}");
    let behind = doomed.behind_text(3);
    assert!(behind[0].starts_with("100 % behind killed 1 · long-holder 2: mremap (write)"), "{behind:?}");
    assert_eq!(behind.last().map(String::as_str), Some("1 of the waits was ended by a signal"));
    let tried = report.callers.locks.iter().find(|row| row.who.tid == 4).expect("a row");
    assert!(tried.given_up == 0 && tried.contended.is_none(), "{tried:?}");
}

/// Seen: a lock that somebody held from before the recording to its end left an empty report.
#[test]
fn who_tries_in_vain_is_told() {
    let mut m = Made { step: 1_000, ..Made::begun() };
    begins_as(&mut m, 4, "khugepaged");
    for _ in 0..112 {
        m.say(4, Kind::StartLocking, &[(Column::Write, 0), call(Call::KernelThread)]);
        m.say(4, Kind::AcquireReturned, &[(Column::Write, 0), (Column::Success, 0)]);
    }
    let mut text = Vec::new();
    Report::new(&judged(&m)).print(Output::Text, Style::plain(), &mut text).expect("printed");
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("tried 112 times to get an mmap_lock, and never did"), "{text}");
}
