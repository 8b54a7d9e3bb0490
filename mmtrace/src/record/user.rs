//! User that the recorded command runs as, and the rights of the recorder that it keeps.

use std::{ffi::OsStr, io, path::Path};

use anyhow::{Context as _, Result, bail};
use mmtrace_capture::{User, effective_uid, parse_uid};
use rustix::process::setsid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, clear_ambient_capability_set, set_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use tokio::process::Command;

use super::{RecordArgs, terminal_input::NoInput};

/// The user of `--user`; `None` without the option.
///
/// # Errors
/// There is no such user, or this process may not run anything as another.
pub(super) fn wanted(args: &RecordArgs) -> Result<Option<User>> {
    let Some(given) = &args.watch.user else { return Ok(None) };
    let own = effective_uid();
    if own != 0 {
        bail!(
            "--user: only root can run the command as another user, and mmtrace runs as uid {own}; nothing was recorded; \
             run mmtrace with sudo, or leave out --user"
        );
    }
    let unreadable = "--user: cannot read the user database";
    let Some(name) = given else {
        return Ok(Some(User::invoking().context(unreadable)?.context(
            "--user: nobody called sudo (SUDO_UID is not set, or is not a number), so mmtrace does not know as whom to \
             run the command; nothing was recorded; name the user: --user NAME",
        )?));
    };
    if let Some(user) = User::by_name(name).context(unreadable)? {
        return Ok(Some(user));
    }
    let uid = parse_uid(OsStr::new(name)).with_context(|| {
        format!("--user: there is no user {name}; nothing was recorded; to list them: getent passwd")
    })?;
    Ok(Some(User::by_uid(uid).context(unreadable)?))
}

/// Takes from this thread what a command that it starts would keep: capabilities of the ambient and the inheritable
/// set. Its own stay.
pub(super) fn keep_rights_from_children() -> Result<()> {
    let failed = "cannot run the command without mmtrace's own capabilities";
    clear_ambient_capability_set().context(failed)?;
    let sets = capabilities(None).context(failed)?;
    if !sets.inheritable.is_empty() {
        set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..sets }).context(failed)?;
    }
    Ok(())
}

/// Makes the command that of a user: its rights, groups and home.
pub(super) fn run_as(command: &mut Command, user: &User) {
    if let Some(name) = &user.name {
        command.env("USER", name).env("LOGNAME", name);
    } else {
        command.env_remove("USER").env_remove("LOGNAME");
    }
    command.env("HOME", user.home.as_deref().unwrap_or(Path::new("/")));
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let no_input = NoInput::new();
    let change = move || {
        if no_input.enter().is_err() {
            // Without a terminal of its own it cannot type into one either. Ctrl-C reaches mmtrace, which ends it.
            setsid()?;
        }
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        if !uid.is_root() {
            // The kernel takes them with the user, unless the process was told to keep them.
            let none = CapabilitySet::empty();
            set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
        }
        leave_keyring()
    };
    // SAFETY: between fork and exec only system calls are made, of the one thread that there is; nothing is allocated.
    unsafe { command.pre_exec(change) };
}

/// Begins a session keyring of the calling process' own: who has one possesses the keys in it, whoever's they are
/// (keyrings(7)). Makes one system call.
fn leave_keyring() -> io::Result<()> {
    /// `KEYCTL_JOIN_SESSION_KEYRING` (include/uapi/linux/keyctl.h)
    const JOIN: libc::c_long = 1;
    // SAFETY: without a name the kernel reads nothing.
    if unsafe { libc::syscall(libc::SYS_keyctl, JOIN, std::ptr::null::<libc::c_char>()) } >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // The kernel has no keys, or a container lets nobody use any.
        Some(libc::ENOSYS | libc::EPERM) => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command as Subcommand};
    use clap::Parser as _;
    use rustix::thread::configure_capability_in_ambient_set;

    fn is_root(what: &str) -> bool {
        let root = effective_uid() == 0;
        if !root {
            eprintln!("not run, since only root can: {what}");
        }
        root
    }

    /// A set of capabilities in a status file of /proc.
    fn set(status: &str, name: &str) -> u64 {
        let bits = status.lines().find_map(|line| line.strip_prefix("Cap")?.strip_prefix(name)?.strip_prefix(":\t"));
        u64::from_str_radix(bits.expect("a set"), 16).expect("bits")
    }

    fn parsed(args: &[&str]) -> Option<RecordArgs> {
        let args = ["mmtrace", "record"].iter().chain(args);
        match Cli::try_parse_from(args).ok()?.command {
            Subcommand::Record(args) => Some(args),
            _ => None,
        }
    }

    #[test]
    fn a_user_is_named_or_is_who_called_sudo_and_there_is_a_command() {
        let user = |args: &[&str]| parsed(args).map(|args| args.watch.user);
        assert_eq!(user(&["--", "make"]), Some(None));
        assert_eq!(user(&["--user", "--", "make"]), Some(Some(None)));
        assert_eq!(user(&["--user", "games", "--", "make"]), Some(Some(Some("games".to_owned()))));
        for refused in
            [&["--user"][..], &["--user", "games"], &["--user=", "--", "make"], &["--user", "", "--", "make"]]
        {
            assert_eq!(user(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn a_user_whom_nobody_knows_is_refused_before_anything_is_recorded() {
        let args = parsed(&["--user", "no such user", "--", "make"]).expect("arguments");
        let error = wanted(&args).expect_err("refused").to_string();
        let says = if effective_uid() == 0 { "there is no user no such user" } else { "only root can" };
        assert!(error.contains(says) && error.contains("nothing was recorded"), "{error}");
    }

    #[test]
    fn a_session_keyring_is_left_behind() {
        /// `KEYCTL_GET_KEYRING_ID` and `KEY_SPEC_SESSION_KEYRING` (include/uapi/linux/keyctl.h)
        const ASK: [libc::c_long; 2] = [0, -3];
        // SAFETY: takes numbers only.
        let session = || unsafe { libc::syscall(libc::SYS_keyctl, ASK[0], ASK[1], 0) };
        // Keyrings are a thread's.
        let [before, after] = std::thread::spawn(move || {
            leave_keyring().expect("left");
            let before = session();
            leave_keyring().expect("left once more");
            [before, session()]
        })
        .join()
        .expect("it ends");
        if before < 0 {
            eprintln!("not run, since this kernel or container has no keys");
            return;
        }
        assert_ne!(before, after);
    }

    #[test]
    fn a_command_inherits_no_capabilities_and_the_recorder_keeps_its_own() {
        if !is_root("raise capabilities") {
            return;
        }
        // Rights are a thread's: this one ends with the test.
        let before = capabilities(None).expect("read");
        set_capabilities(None, CapabilitySets { inheritable: before.permitted, ..before }).expect("raised");
        configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true).expect("raised");
        keep_rights_from_children().expect("kept");
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("read");
        assert_eq!((set(&status, "Inh"), set(&status, "Amb")), (0, 0));
        assert_eq!(capabilities(None).expect("read").effective, before.effective);
    }

    #[test]
    fn the_command_of_a_user_has_their_groups_and_home_and_no_rights_of_root() {
        if !is_root("run a command as another user") {
            return;
        }
        let user = User {
            uid: 65_533,
            gid: 65_532,
            groups: vec![65_532, 65_531],
            name: Some("someone".into()),
            home: Some("/home/someone".into()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let output = runtime.block_on(async {
            let mut command = Command::new("sh");
            command.args(["-c", "cat /proc/self/status; echo $HOME $USER $LOGNAME"]);
            run_as(&mut command, &user);
            command.output().await.expect("it starts")
        });
        let out = String::from_utf8(output.stdout).expect("text");
        assert!(out.contains("Uid:\t65533\t65533\t65533\t65533\n"), "{out}");
        assert!(out.contains("Gid:\t65532\t65532\t65532\t65532\n"), "{out}");
        assert!(out.contains("Groups:\t65531 65532 \n"), "{out}");
        for name in ["Inh", "Prm", "Eff", "Amb"] {
            assert_eq!(set(&out, name), 0, "{name}: {out}");
        }
        assert!(out.ends_with("/home/someone someone someone\n"), "{out}");
    }
}
