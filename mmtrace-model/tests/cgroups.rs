//! Who held mmap_locks, who waited for them and whose faults there were, by cgroup, as the report says it.

use mmtrace_common::{Call, Column, Kind, Record, View as _, event};
use mmtrace_model::{
    context::Context,
    names::{CGROUPS_MAX, Comm, cgroup_path_records, task_cgroup_record},
    replay::Engine,
    report::callers::{By, Tables},
};
use mmtrace_testing::kernel::{Made, START, context};

/// Ids of cgroups in the kernel.
const DOCKER: u64 = 70;
const SERVICE: u64 = 71;
const DOCKER_PATH: &str = "/system.slice/docker-3f2a9c1b04d73f2a9c1b04d73f2a9c1b04d73f2a9c1b04d73f2a9c1b04d70123.scope";
const SERVICE_PATH: &str = "/system.slice/db.service/worker";

/// Processes 1 in a container and 2 in a service. Each faults and holds the lock of the mm, one behind the other.
fn two_cgroups() -> Made {
    let mut m = Made { step: 1_000, ..Made::new() };
    for (pid, name, cgroup, path) in [(1, "redis", DOCKER, DOCKER_PATH), (2, "postgres", SERVICE, SERVICE_PATH)] {
        m.records.extend(cgroup_path_records(cgroup, path.as_bytes(), START));
        m.records.push(task_cgroup_record(pid, pid, cgroup, START));
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        m.records.push(Comm::new(comm).named(pid, pid, START));
    }
    waits_behind(&mut m, 2, 1);
    m
}

/// A process takes the lock, and another one waits for it for 50 us.
fn waits_behind(m: &mut Made, waiter: u32, holder: u32) {
    let begin = m.records.len();
    let call = (Column::Call, u64::from(Call::System(10).number()));
    for pid in [waiter, holder] {
        m.user(pid, START);
    }
    m.say(holder, Kind::StartLocking, &[(Column::Write, 1), call]);
    m.say(holder, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    m.say(waiter, Kind::StartLocking, &[(Column::Write, 1), call]);
    m.later(50_000);
    m.unlock(holder, true);
    m.say(waiter, Kind::AcquireReturned, &[(Column::Write, 1), (Column::Success, 1)]);
    m.unlock(waiter, true);
    m.records[begin..].iter_mut().for_each(|record| record.tgid = record.tid);
}

/// A process is moved with all its threads.
fn moves(m: &mut Made, pid: u32, cgroup_id: u64) {
    let of = pid.cast_signed();
    let mut record = Record { ts: m.now + 1, tid: 9, tgid: 9, ..Record::default() };
    event::CgroupAttachTask { of_tid: of, of_pid: of, cgroup_id, threadgroup: true }.write(&mut record);
    m.records.push(record);
}

fn tables(context: Context, m: &Made, by: By) -> Tables {
    let mut engine = Engine::new(context, true);
    m.records.iter().for_each(|record| engine.apply(record));
    engine.finish();
    Tables::new(engine.callers().expect("it judges"), engine.tasks(), by, START)
}

fn names(tables: &Tables) -> Vec<String> {
    let mut names: Vec<String> = tables.locks.iter().map(|row| row.who.name()).collect();
    names.sort();
    names
}

#[test]
fn a_row_stands_for_a_cgroup_and_says_behind_which_it_waited() {
    let tables = tables(context(), &two_cgroups(), By::Cgroup);
    assert_eq!(names(&tables), ["db.service · 1 process", "docker 3f2a9c1b04d7 · 1 process"]);
    let db = tables.locks.iter().find(|row| row.who.name().starts_with("db")).expect("a row");
    assert_eq!(db.behind_text(1)[0], "98 % behind docker 3f2a9c1b04d7 · 1 process (write)");
    let json = serde_json::to_value(&tables.locks).expect("JSON");
    let docker = json.as_array().expect("rows").iter().find(|row| row["cgroup"] == DOCKER_PATH).expect("the path");
    assert_eq!((&docker["container"], &docker["processes"]), (&"docker 3f2a9c1b04d7".into(), &1.into()));
    let faults: Vec<_> = tables.faults.iter().map(|row| (row.who.cgroup.as_deref(), row.count)).collect();
    assert_eq!(faults, [(Some(SERVICE_PATH), 1), (Some(DOCKER_PATH), 1)]);
}

#[test]
fn names_have_the_cgroup_beside_them_only_where_there_are_several() {
    let both = tables(context(), &two_cgroups(), By::Process);
    assert_eq!(names(&both), ["postgres 2 · db.service", "redis 1 · docker 3f2a9c1b04d7"]);
    assert_eq!(
        both.locks.iter().find_map(|row| row.behind.first()).expect("a holder").who.name(),
        "redis 1 · docker 3f2a9c1b04d7"
    );
    let mut m = two_cgroups();
    m.records.retain(|record| record.kind() != Some(Kind::TaskCgroup));
    let unknown = tables(context(), &m, By::Process);
    assert_eq!(names(&unknown), ["postgres 2", "redis 1"]);
    let mut m = two_cgroups();
    for record in &mut m.records {
        if record.kind() == Some(Kind::TaskCgroup) {
            record.set(Column::CgroupId, DOCKER);
        }
    }
    let one = tables(context(), &m, By::Process);
    assert_eq!(names(&one), ["postgres 2", "redis 1"]);
    assert!(one.locks.iter().all(|row| row.who.cgroup.as_deref() == Some(DOCKER_PATH)), "JSON says it all the same");
}

#[test]
fn what_a_process_did_before_it_moved_stays_where_it_was() {
    let mut m = two_cgroups();
    moves(&mut m, 1, SERVICE);
    waits_behind(&mut m, 1, 2);
    let by_cgroup = tables(context(), &m, By::Cgroup);
    assert_eq!(names(&by_cgroup), ["db.service · 2 processes", "docker 3f2a9c1b04d7 · 1 process"]);
    let acquired: Vec<u64> = by_cgroup.locks.iter().map(|row| row.acquired).collect();
    assert_eq!(acquired.iter().sum::<u64>(), 4);
    assert!(acquired.contains(&1) && acquired.contains(&3), "{acquired:?}");
    let by_process = tables(context(), &m, By::Process);
    assert_eq!(names(&by_process), ["postgres 2 · db.service", "redis 1 · 2 cgroups"]);
    let redis = by_process.locks.iter().find(|row| row.who.pid == 1).expect("a row");
    assert_eq!((redis.who.cgroup.as_deref(), redis.who.cgroups, redis.acquired), (None, Some(2), 2));
}

#[test]
fn the_rows_of_all_cgroups_add_up_to_those_of_all_callers() {
    let mut m = two_cgroups();
    moves(&mut m, 1, SERVICE);
    waits_behind(&mut m, 1, 2);
    // One whose cgroup nobody tells.
    waits_behind(&mut m, 3, 1);
    let sums = |by| {
        let tables = tables(context(), &m, by);
        let held: u64 = tables.locks.iter().filter_map(|row| row.held).map(|held| held.sum_ns).sum();
        (
            held,
            tables.locks.iter().map(|row| row.acquired).sum::<u64>(),
            tables.faults.iter().map(|row| row.count).sum(),
        )
    };
    let all: (u64, u64, u64) = sums(By::Caller);
    assert_eq!(sums(By::Cgroup), all);
    assert!(names(&tables(context(), &m, By::Cgroup)).contains(&"cgroup not known · 1 process".to_owned()));
}

#[test]
fn an_older_capture_has_no_cgroups() {
    let mut old = context();
    old.probes.retain(|probe| probe.event != Kind::CgroupAttachTask.name());
    let tables = tables(old, &two_cgroups(), By::Cgroup);
    assert_eq!(names(&tables), ["cgroup not known · 2 processes"]);
    let json = serde_json::to_value(&tables).expect("JSON");
    assert_eq!(json["lock_users"][0].get("cgroup"), None);
}

/// The bound is said, not "unknown".
#[test]
fn cgroups_beyond_the_bound_are_a_row_that_says_so() {
    let mut m = Made { step: 1_000, ..Made::new() };
    let processes = CGROUPS_MAX as u32 + 2;
    for pid in 1..=processes {
        m.records.push(task_cgroup_record(pid, pid, 100 + u64::from(pid), START));
        m.user(pid, START);
        m.records.last_mut().expect("a fault").tgid = pid;
    }
    let by_cgroup = tables(context(), &m, By::Cgroup);
    let beyond: Vec<_> = by_cgroup.faults.iter().filter(|row| row.who.cgroup.is_none()).collect();
    assert_eq!(beyond.len(), 1);
    assert_eq!((beyond[0].count, beyond[0].who.cgroup_beyond), (2, Some(4_096)));
    assert_eq!(beyond[0].who.name(), "cgroups beyond the first 4,096 · 2 processes");
    let json = serde_json::to_value(beyond[0]).expect("JSON");
    assert_eq!((&json["cgroup_beyond"], json.get("cgroup")), (&4_096.into(), None));
    let by_process = tables(context(), &m, By::Process);
    let names: Vec<String> = by_process.faults.iter().map(|row| row.who.name()).collect();
    assert!(names.contains(&format!("process {processes} · cgroups beyond the first 4,096")), "{}", names[0]);
}
