//! Names and cgroups of tasks that were born before the recording, or out of the filter's sight.

use std::{collections::BTreeSet, fs, io};

use mmtrace_common::Record;
use mmtrace_model::names::{Comm, cgroup_path_records, task_cgroup_record};

use super::helper::{Connection, Request};
use crate::{
    btf::Btf,
    environment::CgroupPaths,
    probe::tasks::{self, Tasks},
};

/// Source of task names: the program that lists tasks, else /proc. The program alone tells cgroups.
pub(super) struct TaskNames {
    /// `None` if the kernel refuses the program that lists tasks.
    tasks: Option<Tasks>,
    /// Thread ids here are those of events.
    initial_pid_namespace: bool,
    /// `None` if cgroups are not told.
    cgroups: Option<CgroupPaths>,
    /// Who finds a cgroup by its id, which takes a capability; `None`: this process itself.
    helper: Option<Connection>,
}

impl TaskNames {
    /// Prepares to ask.
    pub(super) fn new(btf: &Btf, initial_pid_namespace: bool, helper: Option<Connection>) -> Self {
        Self { tasks: Tasks::new(btf).ok(), initial_pid_namespace, cgroups: CgroupPaths::open(), helper }
    }

    /// Whether the kernel still answers this process about tasks, or never did.
    pub(super) fn is_answered(&self) -> bool {
        self.tasks
            .as_ref()
            .is_none_or(|tasks| !matches!(tasks.find(1), Err(error) if error.kind() == io::ErrorKind::PermissionDenied))
    }

    /// Leaves out cgroups from now on: moves are not recorded.
    pub(super) fn leave_out_cgroups(&mut self) {
        self.cgroups = None;
    }

    /// Returns the name and the cgroup of every task that there is, and the paths of those cgroups, as records of the time
    /// `ts`.
    pub(super) fn all(&mut self, ts: u64) -> Vec<Record> {
        match self.tasks.as_ref().map(Tasks::all) {
            Some(Ok(tasks)) => {
                let ids: BTreeSet<u64> = tasks.iter().map(|task| task.cgroup).filter(|id| *id != 0).collect();
                let mut records = self.paths(&Vec::from_iter(ids), ts);
                records.extend(tasks.iter().flat_map(|task| self.told(task, ts)));
                records
            }
            // The ids in /proc are those of events in the initial pid namespace only.
            _ if self.initial_pid_namespace => from_proc(ts).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Returns the paths of cgroups by id, of those that still exist, as records of the time `ts`.
    pub(super) fn paths(&mut self, ids: &[u64], ts: u64) -> Vec<Record> {
        let Some(cgroups) = &mut self.cgroups else { return Vec::new() };
        let helper = self.helper.as_ref();
        let mut of = |id: u64| match helper.map(|helper| helper.ask(&Request::Cgroup { id })) {
            Some(Ok(answer)) => Some(answer.bytes),
            // It has been removed, or is hidden.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
            _ => cgroups.of(id),
        };
        let found = ids.iter().filter_map(|id| Some((*id, of(*id)?)));
        found.flat_map(|(id, path)| cgroup_path_records(id, &path, ts)).collect()
    }

    /// Returns the records that say what a task is called, and in which cgroup it is.
    fn told(&self, task: &tasks::Task, ts: u64) -> impl Iterator<Item = Record> + use<> {
        let cgroup = self.cgroups.as_ref().filter(|_| task.cgroup != 0);
        let is_in = cgroup.map(|_| task_cgroup_record(task.tid, task.tgid, task.cgroup, ts));
        [named(task, ts)].into_iter().chain(is_in)
    }

    /// Returns the names and cgroups of tasks by thread id and process id, of those that still exist.
    pub(super) fn of(&self, asked: &[(u32, u32)], ts: u64) -> Vec<Record> {
        if asked.is_empty() {
            return Vec::new();
        }
        let Some(tasks) = &self.tasks else {
            let known = asked.iter().filter(|_| self.initial_pid_namespace);
            return known.filter_map(|(tid, tgid)| proc_name(*tid, *tgid, ts).ok()).collect();
        };
        if self.initial_pid_namespace {
            let found = asked.iter().filter_map(|(tid, tgid)| Some((tasks.find(*tid).ok()??, *tid, *tgid)));
            return found
                .filter(|(task, tid, tgid)| (task.tid, task.tgid) == (*tid, *tgid))
                .flat_map(|(task, ..)| self.told(&task, ts))
                .collect();
        }
        let all = tasks.all().unwrap_or_default();
        all.iter().filter(|task| asked.contains(&(task.tid, task.tgid))).flat_map(|task| self.told(task, ts)).collect()
    }
}

fn named(task: &tasks::Task, ts: u64) -> Record {
    Comm::new(task.comm).named(task.tid, task.tgid, ts)
}

/// Every task in `/proc`; those that end meanwhile are left out.
fn from_proc(ts: u64) -> io::Result<Vec<Record>> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let Some(tgid) = number(&process?) else { continue };
        let Ok(threads) = fs::read_dir(format!("/proc/{tgid}/task")) else { continue };
        for tid in threads.flatten().filter_map(|thread| number(&thread)) {
            found.extend(proc_name(tid, tgid, ts));
        }
    }
    Ok(found)
}

fn number(entry: &fs::DirEntry) -> Option<u32> {
    entry.file_name().to_str()?.parse().ok()
}

/// The name of one task from `/proc`, where it ends with a newline.
fn proc_name(tid: u32, tgid: u32, ts: u64) -> io::Result<Record> {
    let text = fs::read(format!("/proc/{tgid}/task/{tid}/comm"))?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let mut comm = [0; 16];
    let len = text.len().min(comm.len() - 1);
    comm[..len].copy_from_slice(&text[..len]);
    Ok(Comm::new(comm).named(tid, tgid, ts))
}

#[cfg(test)]
mod tests {
    use mmtrace_common::{View as _, event};

    use super::*;

    #[test]
    fn proc_gives_the_names_of_all_threads() {
        let own = std::process::id();
        let named = std::thread::Builder::new().name("strange\u{1b}name".to_owned());
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let (ready, begun) = std::sync::mpsc::channel();
        let work = move || {
            ready.send(()).expect("awaited");
            told.recv().is_err()
        };
        let thread = named.spawn(work).expect("a thread");
        // A thread names itself before it begins its work.
        begun.recv().expect("it has begun");
        let names: Vec<String> = from_proc(9)
            .expect("/proc")
            .iter()
            .filter(|record| record.tgid == own)
            .map(|record| {
                let name = event::TaskName::of(record);
                Comm::of_words(name.comm, name.comm_tail).to_string()
            })
            .collect();
        assert!(names.iter().any(|name| name == "strange\\u{1b}name"), "{names:?}");
        drop(tell);
        assert!(thread.join().expect("joined"));
    }
}
