//! docs/report.md

use mmtrace_model::model::faults::address_space::Cause;

use super::markdown::{code, head, table};

/// A field of the JSON report: path, type, whether it is always there, meaning. A test holds the table to the
/// reports in testdata/.
const FIELDS: &[(&str, &str, bool, &str)] = &[
    ("kernel.release", "string", true, "`uname -r` of the kernel that was watched"),
    ("kernel.version", "string", true, "`uname -v`"),
    ("kernel.machine", "string", true, "`uname -m`"),
    ("kernel.cpus", "number", true, "CPUs that the kernel may ever have"),
    ("seconds", "number", true, "time from the first to the last event"),
    (
        "part.from_ns",
        "number",
        false,
        "of `replay --from` and `--to`: where the part of the capture begins that the report is about, nanoseconds from the \
         start of the recording; `part` is absent if the report is about all of it. What began before is in progress when \
         the part begins, and in no figure",
    ),
    ("part.to_ns", "number", false, "where it ends"),
    ("part.of_ns", "number", false, "the last event of the capture"),
    ("filter", "string", false, "the filter in use; absent if every task's events were recorded"),
    ("events.total", "number", true, "number of events"),
    ("events.by_kind.EVENT", "number", false, "number of events of this kind; a kind that did not happen is absent"),
    ("lost", "number", true, "events for which the ring buffers had no room"),
    ("missed", "number", true, "events that are missing because the kernel skipped the program's run"),
    ("gaps", "number", true, "places where the capture could not be read"),
    (
        "foreign",
        "number",
        true,
        "records in the rings that no program of mmtrace can have written; each may stand for a missing event of any kind",
    ),
    (
        "faults.CAUSE",
        "number",
        false,
        "page faults by cause, which is their kind (below); a cause that did not happen is absent",
    ),
    (
        "faults_coverage.counted",
        "number",
        false,
        "number of faults that `faults` counts; `faults_coverage` is absent with `--no-validate`",
    ),
    (
        "faults_coverage.of",
        "number",
        false,
        "number of all faults: those that were seen and those that are known to be missing",
    ),
    ("faults_coverage.or_more", "boolean", false, "true if there were more faults than `of`, by an unknown number"),
    (
        "fault_latency.ends",
        "string",
        false,
        "what showed the ends: `functions` is the return of `handle_mm_fault()`; `software_events` is the kernel's count of \
         handled faults, which counts none that fails",
    ),
    (
        "fault_latency.count",
        "number",
        false,
        "number of faults in user mode whose time is known, from the exception until they were handled, with all waits and \
         attempts; absent if there are none, like the others",
    ),
    ("fault_latency.p50_ns", "number", false, "their median, nanoseconds, right to one digit"),
    ("fault_latency.p99_ns", "number", false, "99 of 100 were not longer; likewise"),
    ("fault_latency.max_ns", "number", false, "the longest, nanoseconds"),
    ("fault_latency.sum_ns", "number", false, "all together, nanoseconds"),
    ("fault_latency.coverage.counted", "number", false, "as `count`"),
    (
        "fault_latency.coverage.of",
        "number",
        false,
        "those and the faults in user mode that did not fail and have no known end",
    ),
    ("fault_latency.coverage.or_more", "boolean", false, "false"),
    (
        "lock_users[]",
        "array",
        true,
        "who took mmap_locks, by process, thread name, call and mode; those that held them longest in all come first",
    ),
    (
        "lock_users[].pid",
        "number",
        true,
        "the process; 0 in rows that are not about one: callers beyond the 8,192 rows that tell processes apart, and all rows of `mmtrace report --by call`",
    ),
    (
        "lock_users[].process",
        "string",
        false,
        "the process's name; absent if no event and no answer of the kernel names it",
    ),
    ("lock_users[].thread", "string", false, "the thread's name, as of the event; absent like `process`"),
    ("lock_users[].threads", "number", true, "number of threads of this name"),
    ("lock_users[].tid", "number", true, "the thread, or the first of them"),
    (
        "lock_users[].call",
        "string",
        false,
        "the system call or other entry into the kernel; absent if the events do not say",
    ),
    (
        "lock_users[].cgroup",
        "string",
        false,
        "the path of the cgroup v2 that they were in; `cgroup ID` if the path is not known; absent if the cgroup is not \
         known, and if they were in several",
    ),
    (
        "lock_users[].container",
        "string",
        false,
        "the container, pod or machine that this cgroup is, by its path: `docker 3f2a9c1b04d7`; absent if it is none",
    ),
    ("lock_users[].cgroups", "number", false, "number of cgroups that they were in, if they were in several"),
    (
        "lock_users[].cgroup_beyond",
        "number",
        false,
        "number of cgroups that are told apart, if they were in cgroups that were met after these; absent if they were not",
    ),
    ("lock_users[].write", "boolean", true, "whether the lock was taken for write; a downgraded hold counts as read"),
    ("lock_users[].acquired", "number", true, "acquisitions"),
    (
        "lock_users[].downgraded",
        "number",
        false,
        "holds for write that it downgraded, in the row for read; absent if there were none",
    ),
    ("lock_users[].refused", "number", false, "failed trylocks and killed waits; absent if there were none"),
    (
        "lock_users[].given_up",
        "number",
        false,
        "the waits among them that a signal ended, which are among the waits; absent if there were none",
    ),
    ("lock_users[].held.count", "number", false, "holds that were seen whole; `held` is absent if there were none"),
    ("lock_users[].held.sum_ns", "number", false, "their sum, nanoseconds"),
    (
        "lock_users[].held.p99_ns",
        "number",
        false,
        "their 99th percentile, nanoseconds; absent if too many rows have one",
    ),
    ("lock_users[].held.longest_ns", "number", false, "the longest, nanoseconds"),
    (
        "lock_users[].held.longest_at_ns",
        "number",
        false,
        "when the longest began, nanoseconds from the start of the recording",
    ),
    ("lock_users[].held.longest_tid", "number", false, "the thread whose hold was the longest"),
    (
        "lock_users[].waited.count",
        "number",
        false,
        "waits that were seen whole, however short; `waited` has the members of `held`",
    ),
    ("lock_users[].waited.sum_ns", "number", false, "their sum, nanoseconds"),
    ("lock_users[].waited.p99_ns", "number", false, "their 99th percentile, nanoseconds"),
    ("lock_users[].waited.longest_ns", "number", false, "the longest, nanoseconds"),
    (
        "lock_users[].waited.longest_at_ns",
        "number",
        false,
        "when the longest began, nanoseconds from the start of the recording",
    ),
    ("lock_users[].waited.longest_tid", "number", false, "the thread whose wait was the longest"),
    (
        "lock_users[].contended",
        "object",
        false,
        "the waits among them that were behind somebody: another task held the lock in the way, or this one was queued and \
         blocked, or it took 10 us and more; it has the members of `waited`",
    ),
    (
        "lock_users[].behind[]",
        "array",
        false,
        "whom these waits were behind, longest first, at most 8: holders by name and call, with the members that `lock_users[]` \
         has for that, and `write`",
    ),
    ("lock_users[].behind[].ns", "number", true, "how long they were behind this holder, nanoseconds"),
    (
        "lock_users[].behind[].since_before",
        "boolean",
        false,
        "true if the holder held the lock since before the recording: the call is not known then, and no row has this hold",
    ),
    (
        "lock_users[].behind_others_ns",
        "number",
        false,
        "how long they were behind other holders; what is left is the hand-over of the lock, and holds that were not seen",
    ),
    (
        "lock_users[].behind_unknown_ns",
        "number",
        false,
        "how long those waits were behind nobody knows whom in which events are missing that may have told",
    ),
    (
        "lock_users[].processes",
        "number",
        false,
        "number of processes, if the row is about more than 8 of one name; `pid` and `tid` are then 0",
    ),
    (
        "faults_by[]",
        "array",
        true,
        "whose page faults there were, by process, thread name and call; those with most come first",
    ),
    ("faults_by[].pid", "number", true, "as in `lock_users`, like the next five"),
    ("faults_by[].process", "string", false, "the process's name"),
    ("faults_by[].thread", "string", false, "the thread's name"),
    ("faults_by[].threads", "number", true, "number of threads of this name"),
    ("faults_by[].tid", "number", true, "the thread, or the first of them"),
    ("faults_by[].call", "string", false, "`page fault`, or the call in which the kernel faulted"),
    ("faults_by[].cgroup", "string", false, "as in `lock_users`, like the next two"),
    ("faults_by[].container", "string", false, "the container, pod or machine"),
    ("faults_by[].cgroups", "number", false, "number of cgroups, if several"),
    ("faults_by[].cgroup_beyond", "number", false, "as in `lock_users`"),
    ("faults_by[].count", "number", true, "number of faults"),
    (
        "faults_by[].causes.CAUSE",
        "number",
        false,
        "those with this cause. With `report --by kind`, a row is about one `kind`: the caller is the one with most such \
         faults, `most` of them",
    ),
    ("faults_by[].processes", "number", false, "likewise"),
    (
        "recording_cost.percent",
        "number",
        false,
        "what recording took, in percent of the CPU time of all online CPUs; `recording_cost` is absent without \
         `--max-overhead`",
    ),
    ("recording_cost.programs_percent", "number", false, "of that, in the eBPF programs, as the kernel measured it"),
    ("recording_cost.mmtrace_percent", "number", false, "of that, in mmtrace itself"),
    ("recording_cost.most_percent", "number", false, "what recording took in the second that cost most"),
    ("recording_cost.max_overhead_percent", "number", false, "the limit"),
    ("recording_cost.seconds", "number", false, "seconds that were measured; the last one may be shorter"),
    (
        "recording_cost.seconds_above",
        "number",
        false,
        "seconds that cost more than the limit, and after which nothing was left to shed",
    ),
    (
        "recording_cost.shed[]",
        "array",
        false,
        "events that were shed, in the order in which they were; absent if none were. Figures that need them cover the \
         time before",
    ),
    ("recording_cost.shed[].events[]", "array", true, "the events"),
    (
        "recording_cost.shed[].at_ns",
        "number",
        true,
        "until when they were recorded, nanoseconds from the start of the recording",
    ),
    ("recording_cost.shed[].percent", "number", true, "what recording took in the second before"),
    (
        "standby_attached[]",
        "array",
        false,
        "standby programs that mmtrace attached during the recording, since the kernel had skipped runs of an event's \
         program, in the order in which they were; absent if none were",
    ),
    ("standby_attached[].event", "string", true, "the event"),
    ("standby_attached[].at_ns", "number", true, "when, nanoseconds from the start of the recording"),
    ("standby_attached[].standby_programs", "number", true, "number of standby programs of the event from then on"),
    ("standby_attached[].missed_before", "number", true, "events of the kind that were missed before"),
    ("standby_attached[].missed_since", "number", true, "events of the kind that were missed since"),
    ("marks[]", "array", false, "the labels that `mmtrace mark` put on the time line, oldest first"),
    ("marks[].at_ns", "number", true, "the time of the label, nanoseconds from the start of the recording"),
    ("marks[].text", "string", true, "its text; harmful characters and bytes that are not UTF-8 are escapes"),
    ("marks_omitted", "number", false, "labels beyond the first 1,000"),
    (
        "held_before[]",
        "array",
        false,
        "holds of mmap_locks for write that began before the recording, and are in no figure: those of 1 ms and more, as far as \
         they were seen; the longest 64. The lock's first event that is no wish to acquire it was their release",
    ),
    ("held_before[].pid", "number", true, "the holder's process"),
    ("held_before[].tid", "number", true, "the holder"),
    ("held_before[].task", "string", true, "the names of process and task, with their ids"),
    ("held_before[].at_least_ns", "number", true, "how long it held the lock at least, nanoseconds"),
    ("held_before[].until_ns", "number", true, "time of the release, nanoseconds from the start of the recording"),
    (
        "unfinished[]",
        "array",
        false,
        "holds of mmap_locks and waits for them, of 1 ms and more, that were not over at the end and are in no figure; the \
         longest 64",
    ),
    ("unfinished[].waits", "boolean", true, "the task waits for the lock; else it holds it"),
    ("unfinished[].write", "boolean", true, "for write, else for read"),
    ("unfinished[].pid", "number", false, "its process; absent if it was not seen"),
    ("unfinished[].tid", "number", true, "the task"),
    ("unfinished[].task", "string", true, "the names of process and task, with their ids"),
    ("unfinished[].call", "string", false, "the entry into the kernel; absent if the events do not say"),
    ("unfinished[].since_ns", "number", true, "time when it began, nanoseconds from the start of the recording"),
    ("unfinished[].ns", "number", true, "time from then to the last event, nanoseconds"),
    (
        "faults_by_mapping[]",
        "array",
        false,
        "in which mappings page faults were, by process name and mapping; those with most come first; absent if the events \
         do not tell",
    ),
    (
        "faults_by_mapping[].process",
        "string",
        false,
        "the processes' name; absent if it was not seen, or if there were too many rows",
    ),
    (
        "faults_by_mapping[].mapping",
        "string",
        true,
        "the file, `[heap]`, `[stack]`, `[anon:NAME]` or `anonymous`, and what else is to be said of it; harmful characters \
         and bytes that are not UTF-8 are escapes",
    ),
    (
        "faults_by_mapping[].kind",
        "string",
        true,
        "`file`, `heap`, `stack`, `anonymous`, `named` or `special`; where it is no mapping `unknown`, `outside` or \
         `kernel`; `others` if there were too many rows",
    ),
    ("faults_by_mapping[].shared", "boolean", false, "true if writes are seen by others"),
    ("faults_by_mapping[].hugetlb", "boolean", false, "true if its pages come from a pool of huge pages"),
    ("faults_by_mapping[].userfaultfd", "boolean", false, "true if it was registered with userfaultfd"),
    ("faults_by_mapping[].count", "number", true, "number of faults"),
    ("faults_by_mapping[].causes.CAUSE", "number", false, "those with this cause"),
    ("faults_by_mapping[].mappings", "number", true, "number of mappings"),
    (
        "faults_by_mapping[].top.count",
        "number",
        false,
        "faults of the mapping that has most; absent of what is no mapping",
    ),
    ("faults_by_mapping[].top.start", "string", false, "its first address, as of its last fault, in hexadecimal"),
    ("faults_by_mapping[].top.end", "string", false, "its last address, inclusive"),
    ("faults_by_mapping[].top.mm", "string", false, "its mm, a kernel pointer in hexadecimal"),
    (
        "faults_by_function[]",
        "array",
        false,
        "by which functions page faults were, by process name, function and file; those with most come first; absent if the \
         recording looked for no function",
    ),
    (
        "faults_by_function[].process",
        "string",
        false,
        "the processes' name; absent if it was not seen, or if there were too many rows",
    ),
    (
        "faults_by_function[].kind",
        "string",
        true,
        "`function`; `offset`: an instruction in a file, where no function is known; `memory`: instructions in no file; \
         `kernel`: the kernel accessed user memory; `unknown`: no event shows what is mapped at the instruction; `others` if \
         there were too many rows",
    ),
    (
        "faults_by_function[].function",
        "string",
        false,
        "the function, demangled, of C++ without parameters; harmful characters are escapes; absent if it is not known",
    ),
    (
        "faults_by_function[].file",
        "string",
        false,
        "the file, `[JIT or anonymous]`, `[vdso]` or other memory; absent where it is no mapping",
    ),
    (
        "faults_by_function[].offset",
        "string",
        false,
        "where in the file the function begins, or else the instruction is, bytes in hexadecimal; absent for instructions \
         that came when there were too many rows",
    ),
    (
        "faults_by_function[].build_id",
        "string",
        false,
        "the build id of the file in hexadecimal, its first 20 bytes; absent if it has none, or could not be read",
    ),
    (
        "faults_by_function[].address",
        "string",
        false,
        "of `memory`: the address of the instruction with most faults, in hexadecimal",
    ),
    ("faults_by_function[].call", "string", false, "of `kernel`: the call in which it was"),
    ("faults_by_function[].count", "number", true, "number of faults"),
    (
        "faults_by_function[].timed",
        "number",
        false,
        "those of which it was seen how long they took; absent if it was seen of none",
    ),
    ("faults_by_function[].sum_ns", "number", false, "how long those took together, nanoseconds; absent likewise"),
    (
        "walker.born",
        "number",
        false,
        "PTE tables that were allocated and linked; `walker` is absent if no event showed page tables",
    ),
    ("walker.unlinked", "number", false, "tables that a collapse unlinked"),
    ("walker.deferred", "number", false, "tables that were handed to RCU, to be freed after a grace period"),
    ("walker.freed", "number", false, "tables that were freed after their grace period"),
    ("walker.torn_down", "number", false, "tables that munmap, exit or reclaim freed"),
    ("walker.maps", "number", false, "`pte_offset_map` calls"),
    (
        "walker.compared",
        "number",
        false,
        "calls that were compared with the PMD entry that they used, or with the shadow",
    ),
    ("walker.foretold", "number", false, "calls whose result the shadow predicted"),
    (
        "walker.resynchronised",
        "number",
        false,
        "calls whose result the shadow predicted wrongly: page tables changed without an event",
    ),
    ("walker.divergences", "number", false, "calls whose result contradicts the PMD entry that they used (L47)"),
    ("walker.without_table", "number", false, "calls that found no table"),
    ("walker.hazards.RULE", "number", false, "how often this hazard of walks was met; absent if it cannot be observed"),
    ("rules[]", "array", true, "one entry per rule, in the order of `mmtrace rules`; empty with `--no-validate`"),
    ("rules[].id", "string", true, "the rule: [rules.md](rules.md)"),
    ("rules[].verdict", "string", true, "`held`, `violated`, `unknown` or `not_observable`"),
    ("rules[].evaluations", "number", true, "how often it was evaluated"),
    ("rules[].violations", "number", true, "how often it was broken; for a hazard, how often it was met"),
    (
        "rules[].unjudged",
        "number",
        true,
        "how often it applied and could not be judged: what it needs to know began before recording, or events are missing",
    ),
    ("rules[].severity", "string", true, "`violation`, `consistency`, `hazard` or `measure`"),
    ("rules[].reason", "string", false, "why the verdict is unknown or not observable"),
    (
        "rules[].judged.missing",
        "number",
        false,
        "number of events that it needs and that are missing; `judged` is absent if there are none",
    ),
    ("rules[].judged.gaps", "number", false, "number of times in which they are missing; times that overlap are one"),
    ("rules[].judged.evaluations.counted", "number", false, "how often it was evaluated"),
    (
        "rules[].judged.evaluations.of",
        "number",
        false,
        "how often it was evaluated, or applied since the first gap and could not be judged",
    ),
    ("rules[].judged.evaluations.or_more", "boolean", false, "always false"),
    (
        "rules[].judged.events_of",
        "string",
        false,
        "of the kinds of events that it needs, that of which the smallest share was seen outside the gaps",
    ),
    ("rules[].judged.events.counted", "number", false, "events of that kind that were seen outside the gaps"),
    ("rules[].judged.events.of", "number", false, "all events of that kind, and those known to be missing"),
    ("rules[].judged.events.or_more", "boolean", false, "always false"),
    ("rules[].judged.time.counted", "number", false, "time in which no event that it needs is missing, nanoseconds"),
    ("rules[].judged.time.of", "number", false, "time of the recording, nanoseconds"),
    ("rules[].judged.time.or_more", "boolean", false, "always false"),
    (
        "rules[].judged.median_to_next_ns",
        "number",
        false,
        "median time from the beginning of a gap to the next evaluation after it, nanoseconds; absent if there was none",
    ),
    (
        "rules[].judged_until_ns",
        "number",
        false,
        "until when it was judged, nanoseconds from the start of the recording; absent unless events that it needs were shed",
    ),
    ("rules[].measured.count", "number", false, "for a measure: number of intervals"),
    ("rules[].measured.p50_ns", "number", false, "median, nanoseconds"),
    ("rules[].measured.p99_ns", "number", false, "99th percentile, nanoseconds"),
    ("rules[].measured.max_ns", "number", false, "longest, nanoseconds"),
    ("rules[].measured.sum_ns", "number", false, "sum, nanoseconds"),
    (
        "rules[].coverage.counted",
        "number",
        false,
        "for a measure: how many intervals it measured (M01 to M03: followed); `coverage` is absent for other rules, and \
         for rules that are not observable",
    ),
    (
        "rules[].coverage.of",
        "number",
        false,
        "how many intervals there were: those that were seen, and one for each event that is known to be missing",
    ),
    ("rules[].coverage.or_more", "boolean", false, "true if there were more intervals than `of`, by an unknown number"),
    ("rules[].worst[]", "array", false, "the longest intervals, for measures that know who waited for whom"),
    ("rules[].worst[].waiter", "number", true, "the task that waited for a migration"),
    ("rules[].worst[].writer", "number", true, "the writer that waited for that task"),
    ("rules[].worst[].mm", "string", true, "the mm, a kernel pointer in hexadecimal"),
    ("rules[].worst[].vma", "string", true, "the VMA that the waiter held for read; `0x0` if it held the mmap_lock"),
    ("rules[].worst[].addr", "string", true, "the address on which the waiter faulted"),
    ("rules[].worst[].ns", "number", true, "how long both waited, nanoseconds"),
    ("violations[]", "array", true, "the first violations of each rule"),
    ("violations[].rule", "string", true, "the rule that was broken"),
    ("violations[].statement", "string", true, "the rule's statement"),
    ("violations[].what", "string", true, "what happened, in one sentence"),
    ("violations[].seconds", "number", true, "time of the violation, seconds after recording began"),
    ("violations[].mm", "string", false, "the mm, a kernel pointer in hexadecimal"),
    ("violations[].tids[]", "number", true, "the tasks that took part"),
    ("violations[].events[]", "array", true, "the events that led to it, oldest first"),
    (
        "violations[].events[].ns",
        "number",
        true,
        "time relative to the event that showed the violation, nanoseconds; negative before it",
    ),
    ("violations[].events[].cpu", "number", true, "CPU"),
    ("violations[].events[].tid", "number", true, "task"),
    ("violations[].events[].pid", "number", true, "process"),
    ("violations[].events[].event", "string", true, "the event with its values"),
    (
        "verdict",
        "string",
        false,
        "`violated`: a rule was violated. `unknown`: no rule was, but too little of one could be judged, since events are missing or were shed, or no rule was \
         evaluated. `held`: neither. Absent with `--no-validate`",
    ),
];

/// A member of `mmtrace report --blame --json`, likewise.
const BLAME: &[(&str, &str, bool, &str)] = &[
    (
        "blame[]",
        "array",
        true,
        "what waits for mmap_locks are charged to, the most waited for first; each contended wait (`lock_users[].contended`) is \
         divided into pieces, so that all rows add up to these waits to the nanosecond",
    ),
    (
        "blame[].kind",
        "string",
        true,
        "`hold`: holds of a caller; `hand_over`: no hold in the way was seen until the waiter had the lock; \
         `hand_over_ahead`: none was seen until another task had it; `not_known`: a hold or a writer in the queue may not be \
         known, since events are missing or it came before the recording; `others`: there were too many rows",
    ),
    (
        "blame[].pid",
        "number",
        false,
        "of `hold`: the holder's process; the row has the members that `lock_users[]` has for names and cgroups",
    ),
    ("blame[].write", "boolean", false, "of `hold`: the lock was held for write; a downgraded hold counts as read"),
    ("blame[].since_before", "boolean", false, "true if the holder held the lock since before the recording"),
    (
        "blame[].charged",
        "object",
        true,
        "the time of waits that is charged to it, with the members of `lock_users[].waited`. What one wait is charged counts \
         as one, unless a row puts several callers or ways through the queue together; `longest_at_ns` and `longest_tid` are \
         the begin and the thread of the wait with the longest charge",
    ),
    (
        "blame[].victims[]",
        "array",
        true,
        "whose waits these are, longest first, with the members of `blame[]` for names",
    ),
    ("blame[].victims[].write", "boolean", true, "it waited for write"),
    ("blame[].victims[].ns", "number", true, "nanoseconds of its waits"),
    ("blame[].victims[].count", "number", true, "number of charges"),
    ("blame[].victims[].longest_ns", "number", true, "the longest of them, nanoseconds"),
    (
        "blame[].via[]",
        "array",
        false,
        "writers that waited for these holds, and that the waiters, readers, were behind in the queue; it has the members of \
         `victims[]`",
    ),
];

const INTRO: &str = "
`mmtrace record --json` and `mmtrace replay --json` print one JSON object with these fields. A field keeps its name and
its meaning; new fields may be added. The replay of a capture prints, byte for byte, what its recording printed. The exit
status is 0 if nothing was violated, 1 if something was, and 2 after an error.

In a path, `[]` is each entry of an array, and a word in capitals is any key.

";

const KINDS: &str = "\
The kind of a fault is read: from the page tables when the CPU raised it, from the VMA, and from the result of
`handle_mm_fault()`, or else from the kernel's count of it as minor or major. Where one of them is not recorded, the more general kinds stand for what cannot be told apart.

";

fn fields(fields: &[(&str, &str, bool, &str)]) -> String {
    table(
        &["field", "type", "always", "meaning"],
        fields.iter().map(|(path, ty, always, meaning)| {
            vec![code(path), (*ty).into(), if *always { "yes" } else { "no" }.into(), (*meaning).into()]
        }),
    )
}

/// The page.
pub(super) fn page() -> String {
    let mut text =
        head("The report as JSON", "xtask/src/docs/report.rs, which a test holds to the reports in testdata/");
    text.push_str(INTRO);
    text.push_str(&fields(FIELDS));
    text.push_str("\n## What waits are charged to\n\n");
    text.push_str("`mmtrace report --blame --json` prints one object with these fields.\n\n");
    text.push_str(&fields(BLAME));
    text.push_str("\n## Causes of faults\n\n");
    text.push_str(KINDS);
    text.push_str(&table(
        &["cause", "in words", "meaning"],
        Cause::ALL.iter().map(|cause| vec![code(cause.name()), cause.words().into(), cause.about().into()]),
    ));
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use mmtrace_capture::Capture;
    use mmtrace_model::{
        context::Context,
        model::{measures::Overlap, page_tables::shadow::Counts},
        replay::Engine,
        report::{
            Story, Walker, blame,
            callers::By,
            overhead::{RecordingCost, ShedRow},
            standby::StandbyRow,
        },
        verdict::{RULES, Violation},
    };
    use serde_json::Value;

    use super::*;

    /// Every path of a value, as the table writes it.
    fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            // The table says whose members these have.
            Value::Object(_) if matches!(path, "lock_users[].contended" | "blame[].charged") => {
                found.insert(path.to_owned());
            }
            Value::Object(map) if path == "lock_users[].behind[]" => {
                let own = |key: &&String| matches!(key.as_str(), "ns" | "since_before");
                found.extend(map.keys().filter(own).map(|key| format!("{path}.{key}")));
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let key = match path {
                        "events.by_kind" => "EVENT",
                        "faults" | "faults_by[].causes" | "faults_by_mapping[].causes" => "CAUSE",
                        "walker.hazards" => "RULE",
                        _ => key,
                    };
                    let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                    paths(value, &path, found);
                }
            }
            Value::Array(entries) => {
                found.insert(format!("{path}[]"));
                for value in entries {
                    paths(value, &format!("{path}[]"), found);
                }
            }
            _ => drop(found.insert(path.to_owned())),
        }
    }

    /// Fields that no recorded report has.
    const UNRECORDED: [&str; 41] = [
        "rules[].judged.missing",
        "rules[].judged.gaps",
        "rules[].judged.evaluations.counted",
        "rules[].judged.evaluations.of",
        "rules[].judged.evaluations.or_more",
        "rules[].judged.events_of",
        "rules[].judged.events.counted",
        "rules[].judged.events.of",
        "rules[].judged.events.or_more",
        "rules[].judged.time.counted",
        "rules[].judged.time.of",
        "rules[].judged.time.or_more",
        "rules[].judged.median_to_next_ns",
        "part.from_ns",
        "part.to_ns",
        "part.of_ns",
        "filter",
        "rules[].judged_until_ns",
        "lock_users[].given_up",
        "lock_users[].processes",
        "lock_users[].container",
        "lock_users[].cgroup_beyond",
        "faults_by[].cgroup_beyond",
        "lock_users[].behind_others_ns",
        "lock_users[].behind_unknown_ns",
        "faults_by[].processes",
        "faults_by_mapping[].hugetlb",
        "faults_by_mapping[].userfaultfd",
        "faults_by_function[].timed",
        "faults_by_function[].sum_ns",
        "lock_users[].behind[].since_before",
        "held_before[]",
        "held_before[].pid",
        "held_before[].tid",
        "held_before[].task",
        "held_before[].at_least_ns",
        "held_before[].until_ns",
        "marks[]",
        "marks[].at_ns",
        "marks[].text",
        "marks_omitted",
    ];

    /// A violation, which no recorded report has.
    fn story() -> Value {
        let rule = &RULES[0];
        let events = vec![mmtrace_common::Record { kind: 1, ..mmtrace_common::Record::default() }];
        let violation = Violation { rule: rule.id, ts: 1, mm: 2, tids: vec![3], what: "what".into(), events };
        serde_json::to_value(Story::new(&violation, &Context::default())).expect("JSON")
    }

    /// Nor such a measurement.
    fn overlap() -> Value {
        let overlap = Overlap { rule: "M01", waiter: 1, writer: 2, mm: 3, vma: 4, addr: 5, ns: 6 };
        serde_json::to_value(overlap).expect("JSON")
    }

    /// Nor a limit of what recording may cost.
    fn recording_cost() -> Value {
        let shed = vec![ShedRow { events: vec!["tlb_flush"], at_ns: 1, percent: 2.0 }];
        serde_json::to_value(RecordingCost {
            max_overhead_percent: 1.0,
            percent: 2.0,
            programs_percent: 1.0,
            mmtrace_percent: 1.0,
            most_percent: 2.0,
            seconds: 1,
            seconds_above: 1,
            shed,
        })
        .expect("JSON")
    }

    /// Nor standby programs that were attached while it ran.
    fn standby_attached() -> Value {
        let row = StandbyRow { event: "tlb_flush", at_ns: 1, standby_programs: 1, missed_before: 1, missed_since: 0 };
        serde_json::to_value(vec![row]).expect("JSON")
    }

    /// Nor page tables: they are recorded with tracepoints alone.
    fn walker() -> Value {
        let hazards = [("H01", 1)].into();
        serde_json::to_value(Walker { counts: Counts::default(), hazards }).expect("JSON")
    }

    #[test]
    fn the_table_of_blame_has_every_field_but_names() {
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
        let mut found = BTreeSet::from(["blame[].since_before".to_owned()]);
        for capture in fs::read_dir(testdata).expect("testdata/") {
            let Ok(capture) = Capture::open(&capture.expect("an entry").path().join("capture")) else { continue };
            let mut engine = Engine::new(capture.context().clone(), true);
            capture.records().for_each(|record| engine.apply(&record));
            engine.finish();
            let callers = engine.callers().expect("it judges");
            let rows = blame::rows(callers, engine.tasks(), By::Caller, engine.context().start);
            paths(&serde_json::to_value(rows).expect("JSON"), "blame", &mut found);
        }
        let names = ["process", "thread", "threads", "tid", "call", "cgroup", "cgroups", "container", "pid"];
        let is_name = |path: &str| path.rsplit_once('.').is_some_and(|(_, last)| names.contains(&last));
        found.retain(|path| path == "blame[].pid" || !is_name(path));
        found.retain(|path| !path.starts_with("blame[].via[]."));
        let table: BTreeSet<String> = BLAME.iter().map(|f| f.0.to_owned()).collect();
        assert_eq!(found, table);
    }

    #[test]
    fn the_table_has_every_field_of_the_recorded_reports_and_no_other() {
        let mut found = BTreeSet::new();
        let mut reports = 0;
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
        for capture in fs::read_dir(testdata).expect("testdata/") {
            let Ok(text) = fs::read(capture.expect("an entry").path().join("report.json")) else { continue };
            paths(&serde_json::from_slice(&text).expect("JSON"), "", &mut found);
            reports += 1;
        }
        assert!(reports > 0, "testdata/ has no report.json");
        paths(&story(), "violations[]", &mut found);
        paths(&overlap(), "rules[].worst[]", &mut found);
        found.insert("rules[].worst[]".to_owned());
        paths(&walker(), "walker", &mut found);
        paths(&recording_cost(), "recording_cost", &mut found);
        paths(&standby_attached(), "standby_attached", &mut found);
        found.extend(UNRECORDED.iter().map(|path| (*path).to_owned()));
        let table: BTreeSet<String> = FIELDS.iter().map(|f| f.0.to_owned()).collect();
        let missing: Vec<_> = found.difference(&table).collect();
        let extra: Vec<_> = table.difference(&found).collect();
        assert!(missing.is_empty() && extra.is_empty(), "not in the table: {missing:?}; only in the table: {extra:?}");
    }
}
