//! Users: who called sudo, and who a name or a number is.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    fmt, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    sync::OnceLock,
};

/// The group of those whose group nobody knows: `nogroup`, the kernel's `overflowgid`.
const NO_GROUP: u32 = 65_534;
/// Most bytes of an entry of the user database that are read.
const MAX_ENTRY: usize = 1 << 20;
/// Most groups of a user, `NGROUPS_MAX`.
const MAX_GROUPS: usize = 1 << 16;

/// A user, as far as the kernel and a shell want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one included.
    pub groups: Vec<u32>,
    /// Login name, if the user database has one.
    pub name: Option<OsString>,
    /// Home directory, if the user database has one.
    pub home: Option<PathBuf>,
}

impl User {
    /// Finds the user with this number. One whom the user database does not have belongs to `nogroup` alone.
    ///
    /// # Errors
    /// The user database cannot be read.
    pub fn by_uid(uid: u32) -> io::Result<Self> {
        let found = lookup(|entry, buffer, result| {
            // SAFETY: the entry, the buffer with its length and the result outlive the call, which fills them.
            unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), result) }
        })?;
        Ok(found.unwrap_or_else(|| Self { uid, gid: NO_GROUP, groups: vec![NO_GROUP], name: None, home: None }))
    }

    /// Finds the user with this name; `None` where there is none.
    ///
    /// # Errors
    /// The user database cannot be read.
    pub fn by_name(name: &str) -> io::Result<Option<Self>> {
        let Ok(name) = CString::new(name) else { return Ok(None) };
        lookup(|entry, buffer, result| {
            // SAFETY: as in `by_uid`; the name ends with a zero.
            unsafe { libc::getpwnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), result) }
        })
    }

    /// Finds the user who called sudo: `SUDO_UID` and `SUDO_GID`, which mean something only where this process is root.
    /// `None` when nobody did, or the number is none. The user database is asked once: a process that has confined itself
    /// cannot read it any more.
    ///
    /// # Errors
    /// The user database cannot be read.
    pub fn invoking() -> io::Result<Option<Self>> {
        static FOUND: OnceLock<Option<User>> = OnceLock::new();
        if effective_uid() != 0 {
            return Ok(None);
        }
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found = Self::who_called_sudo()?;
        Ok(FOUND.get_or_init(|| found).clone())
    }

    fn who_called_sudo() -> io::Result<Option<Self>> {
        let variable = |name| std::env::var_os(name).and_then(|value| parse_uid(&value));
        let Some(uid) = variable("SUDO_UID") else { return Ok(None) };
        let mut user = Self::by_uid(uid)?;
        if let Some(gid) = variable("SUDO_GID")
            && gid != user.gid
        {
            user.gid = gid;
            user.groups = user.name.as_ref().map_or_else(|| vec![gid], |name| groups(name, gid));
        }
        Ok(Some(user))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}", name.display()),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// Returns the effective user of this process.
#[must_use]
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Parses the number of a user or group. The largest is none: the kernel takes it for "leave as it is".
#[must_use]
pub fn parse_uid(text: &OsStr) -> Option<u32> {
    let text = text.to_str().filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()))?;
    text.parse().ok().filter(|n| *n != u32::MAX)
}

/// Calls one of the `getpw*_r` functions with a buffer that is large enough.
fn lookup(
    mut call: impl FnMut(*mut libc::passwd, &mut [libc::c_char], *mut *mut libc::passwd) -> libc::c_int,
) -> io::Result<Option<User>> {
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        // SAFETY: plain data; null pointers mean "nothing".
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut result = std::ptr::null_mut();
        match call(&raw mut entry, &mut buffer, &raw mut result) {
            0 if result.is_null() => return Ok(None),
            0 => {
                // SAFETY: the call succeeded, so both are strings in the buffer, which is not changed meanwhile.
                let (name, home) = unsafe { (string(entry.pw_name), string(entry.pw_dir)) };
                let (name, home) = (name.unwrap_or_default(), home.map(PathBuf::from));
                let groups = groups(&name, entry.pw_gid);
                return Ok(Some(User { uid: entry.pw_uid, gid: entry.pw_gid, groups, name: Some(name), home }));
            }
            libc::ERANGE if buffer.len() < MAX_ENTRY => buffer.resize(buffer.len() * 4, 0),
            libc::EINTR => {}
            // Codes that glibc returns if there is no such user, or no database.
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Copies a C string; `None` for a null pointer.
///
/// # Safety
/// The pointer is null, or to a string that ends with a zero and is not changed meanwhile.
unsafe fn string(text: *const libc::c_char) -> Option<OsString> {
    // SAFETY: promised by the caller.
    (!text.is_null()).then(|| OsString::from_vec(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()))
}

/// Lists the groups that the group database has for a user, and `gid`.
fn groups(name: &OsStr, gid: u32) -> Vec<u32> {
    let Ok(name) = CString::new(name.as_bytes()) else { return vec![gid] };
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut n = groups.len() as libc::c_int;
        // SAFETY: at most `n` groups are written, for which there is room; the name ends with a zero.
        let fits = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut n) } >= 0;
        if fits {
            groups.truncate(usize::try_from(n).unwrap_or(0));
            return groups;
        }
        if groups.len() >= MAX_GROUPS {
            return vec![gid];
        }
        groups.resize(groups.len() * 4, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_the_number_of_a_user() {
        for (text, means) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("4294967294", Some(u32::MAX - 1)),
            ("4294967295", None),
            ("4294967296", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            (" 1", None),
            ("1000x", None),
            ("0x10", None),
            ("root", None),
        ] {
            assert_eq!(parse_uid(OsStr::new(text)), means, "{text:?}");
        }
        assert_eq!(parse_uid(OsStr::from_bytes(b"1\xff")), None);
    }

    #[test]
    fn a_user_is_found_by_number_and_by_name() {
        let root = User::by_uid(0).expect("read");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        if let Some(name) = root.name.as_ref().and_then(|n| n.to_str()) {
            assert_eq!(User::by_name(name).expect("read").as_ref(), Some(&root));
        }
        assert_eq!(User::by_name("no such user").expect("read"), None);
        assert_eq!(User::by_name("a\0b").expect("read"), None);
    }

    #[test]
    fn a_number_without_a_name_belongs_to_no_group() {
        let user = User::by_uid(u32::MAX - 7).expect("read");
        assert_eq!((user.gid, user.groups.as_slice(), user.name), (NO_GROUP, &[NO_GROUP][..], None));
    }
}
