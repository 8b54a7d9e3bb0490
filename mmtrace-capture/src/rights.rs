//! With whose rights the files of a capture are worked on.
//!
//! mmtrace needs root's rights for the kernel, not for files. Under sudo a capture belongs to who called sudo, and so
//! do the rights with which it is written: a file that this user could not write is not written by root for them.

use crate::identity::{self, User};
use rustix::process::getgroups;
use rustix::thread::{CapabilitySet, Gid, capabilities, set_capabilities, set_thread_groups};
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

/// Capabilities that let a process do to files what their modes forbid.
const OF_FILES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::MAC_OVERRIDE);

/// Capabilities with which a thread takes another user's rights.
const OF_USERS: CapabilitySet = CapabilitySet::SETUID.union(CapabilitySet::SETGID);

/// A user's rights to files.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    /// `None`: those that this process has anyway.
    user: Option<Arc<User>>,
}

/// The users in whose folders a capture is written.
#[derive(Clone, Debug)]
pub(super) struct Owners {
    own: u32,
    /// The user who called sudo, if that is another.
    invoking: Option<Arc<User>>,
}

impl Owners {
    /// Finds the effective user, and the user who called sudo.
    ///
    /// # Errors
    /// The user database cannot be read.
    pub(super) fn here() -> io::Result<Self> {
        let own = identity::effective_uid();
        let invoking = User::invoking()?.filter(|user| user.uid != own).map(Arc::new);
        Ok(Self { own, invoking })
    }

    /// Returns the rights with which something new is made.
    pub(super) fn rights(&self) -> Rights {
        Rights { user: self.invoking.clone() }
    }

    /// Returns the rights of the owner of what is there already; `None` for a stranger.
    pub(super) fn rights_of(&self, uid: u32) -> Option<Rights> {
        match &self.invoking {
            Some(user) if user.uid == uid => Some(self.rights()),
            _ => (uid == self.own).then_some(Rights { user: None }),
        }
    }

    /// Returns whether a symbolic link of this user is followed on the way to a folder.
    pub(super) fn may_lead(&self, uid: u32) -> bool {
        uid == 0 || self.rights_of(uid).is_some()
    }
}

impl Rights {
    /// Returns whose they are, if not this process's own.
    pub(super) fn who(&self) -> Option<&User> {
        self.user.as_deref()
    }

    /// Does file work with these rights alone.
    ///
    /// # Errors
    /// An error of `work`, or the rights cannot be taken; nothing was done then.
    pub(super) fn with<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let user = self.user.as_deref().filter(|user| !has_for_good(user));
        let _acting = user.map(Acting::begin).transpose()?;
        work()
    }
}

/// Whether this thread has a user's rights to files and no others, as that of a process that has given up its own.
fn has_for_good(user: &User) -> bool {
    // What does not exist changes nothing, and returns what is.
    let is_user = (set_fsuid(u32::MAX), set_fsgid(u32::MAX)) == (user.uid, user.gid);
    is_user
        && capabilities(None).is_ok_and(|sets| !sets.permitted.intersects(OF_FILES.union(OF_USERS)))
        && getgroups().is_ok_and(|groups| {
            let sorted = |mut ids: Vec<u32>| {
                ids.sort_unstable();
                ids
            };
            sorted(groups.iter().map(|gid| gid.as_raw()).collect()) == sorted(user.groups.clone())
        })
}

/// This thread has another user's rights to files, and no capability for them, until this is dropped.
struct Acting {
    uid: u32,
    gid: u32,
    groups: Vec<Gid>,
    effective: CapabilitySet,
    /// Rights are a thread's.
    _of_this_thread: PhantomData<*const ()>,
}

/// Sets the user for file accesses of this thread, and returns the one before.
fn set_fsuid(uid: u32) -> u32 {
    // SAFETY: no memory is involved; the system call is about the calling thread alone.
    unsafe { libc::setfsuid(uid) as u32 }
}

/// Sets the group, as [`set_fsuid`] does the user.
fn set_fsgid(gid: u32) -> u32 {
    // SAFETY: as above.
    unsafe { libc::setfsgid(gid) as u32 }
}

impl Acting {
    fn begin(user: &User) -> io::Result<Self> {
        let groups = getgroups()?;
        let effective = capabilities(None)?.effective;
        let wanted: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&wanted).map_err(|e| refused(user, &e.into()))?;
        // From here on, what was changed is changed back however this ends.
        let (gid, uid) = (set_fsgid(user.gid), set_fsuid(user.uid));
        let acting = Self { uid, gid, groups, effective, _of_this_thread: PhantomData };
        // Neither call says whether it worked; what does not exist changes nothing, and returns what is.
        if set_fsuid(u32::MAX) != user.uid || set_fsgid(u32::MAX) != user.gid {
            return Err(refused(user, &io::Error::from_raw_os_error(libc::EPERM)));
        }
        // The kernel takes these away with the user, unless the process was told to keep them.
        let mut sets = capabilities(None)?;
        if sets.effective.intersects(OF_FILES) {
            sets.effective.remove(OF_FILES);
            set_capabilities(None, sets)?;
        }
        Ok(acting)
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        // All of this is permitted to who could do the reverse. The kernel gives the capabilities back with the user.
        set_fsuid(self.uid);
        set_fsgid(self.gid);
        let _ = set_thread_groups(&self.groups);
        if let Ok(mut sets) = capabilities(None)
            && sets.effective != self.effective
        {
            sets.effective = self.effective;
            let _ = set_capabilities(None, sets);
        }
    }
}

fn refused(user: &User, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!(
            "the rights of {user}, who called sudo, cannot be taken: {error}; to record with root's: env -u SUDO_UID \
             mmtrace record"
        ),
    )
}
