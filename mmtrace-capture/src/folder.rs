//! A folder that is held open, and the files beneath it.
//!
//! Whatever becomes of its name, what is written goes into the folder that was looked at: its owner, that nobody else
//! may write into it, and that nothing was planted there. Files are made new (`O_EXCL`), never beyond a symbolic link,
//! and only regular files are opened or removed.

use super::error::{CaptureError, NOTHING_RECORDED};
use super::identity::effective_uid;
use super::rights::{Owners, Rights};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fchmod, fstat, linkat, mkdirat, openat,
    openat2, readlinkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder as a place for others.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A folder to look into, and to flush.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A new file.
const NEW: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A file that is there. A FIFO must not keep us waiting.
const OLD: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// Most symbolic links on the way to a folder, as in the kernel.
const MAX_LINKS: usize = 40;

const PRIVATE_FOLDER: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Modes that let others plant something.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A name in a folder that is held.
#[derive(Clone, Debug)]
pub(super) struct Place {
    parent: Arc<OwnedFd>,
    name: OsString,
    /// As the user wrote it.
    path: PathBuf,
    owners: Owners,
}

/// A folder that is held, of an owner whom we trust.
#[derive(Debug)]
pub(super) struct Folder {
    file: File,
    place: Place,
    rights: Rights,
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Opens beneath a folder, and nowhere else. The names are our own and have no slash, so that `NOFOLLOW` does the same
/// where the system call is missing, or a container forbids it.
fn open_beneath(folder: BorrowedFd<'_>, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = match openat2(folder, name, flags, mode, resolve) {
        Err(Errno::NOSYS | Errno::PERM) if !name.as_bytes().contains(&b'/') => openat(folder, name, flags, mode),
        opened => opened,
    };
    Ok(opened?)
}

/// Opens the folder in which a new one is to be. A symbolic link is followed if it is root's or our own: who may plant
/// one would else choose where root's files go.
fn open_parent(path: &Path, owners: &Owners) -> io::Result<OwnedFd> {
    let parts = |path: &Path| -> Vec<OsString> { path.components().map(|c| c.as_os_str().to_owned()).collect() };
    let mut left: VecDeque<OsString> = parts(path).into();
    // Not "." for an absolute path: where this process was started may be closed to the user.
    let mut at = openat(CWD, if path.is_absolute() { "/" } else { "." }, PLACE, Mode::empty())?;
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        at = match openat(&at, &name, PLACE, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let link = openat(&at, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                let stat = fstat(&link)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    return Err(Errno::NOTDIR.into());
                }
                if !owners.may_lead(stat.st_uid) {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        format!(
                            "{} is a symbolic link that belongs to uid {}, who may turn it elsewhere; name the folder \
                             itself",
                            name.display(),
                            stat.st_uid
                        ),
                    ));
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = readlinkat(&link, "", Vec::new())?;
                for part in parts(Path::new(OsStr::from_bytes(target.as_bytes()))).into_iter().rev() {
                    left.push_front(part);
                }
                continue;
            }
            opened => opened?,
        };
    }
    Ok(at)
}

/// Names the user who called sudo where that user is denied something.
fn denied(path: &Path, owners: &Owners, doing: &'static str, error: io::Error) -> CaptureError {
    match owners.rights().who() {
        Some(user) if error.kind() == io::ErrorKind::PermissionDenied => {
            CaptureError::NotTheirs { path: path.to_path_buf(), doing, user: user.to_string() }
        }
        _ => CaptureError::io(path, doing, NOTHING_RECORDED, error),
    }
}

impl Place {
    /// Returns the place at a path, whether something is there or not; `None` when the folder in which it would be does
    /// not exist.
    pub(super) fn at(path: &Path) -> Result<Option<Self>, CaptureError> {
        let failed = |doing, e| CaptureError::io(path, doing, NOTHING_RECORDED, e);
        let owners = Owners::here().map_err(|e| failed("find out who called sudo", e))?;
        let mut named = path.to_path_buf();
        if path.file_name().is_none() {
            // "." and "..": what the folder is called is to be seen from above.
            named = owners.rights().with(|| path.canonicalize()).map_err(|e| failed("find it", e))?;
        }
        let Some(name) = named.file_name() else { return Err(CaptureError::Occupied { path: path.to_path_buf() }) };
        let parent = named.parent().unwrap_or(Path::new("."));
        let parent = match owners.rights().with(|| open_parent(parent, &owners)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && e.raw_os_error().is_some() => {
                return Err(denied(path, &owners, "open the folder that it is in", e));
            }
            parent => parent.map_err(|e| failed("open the folder that it is in", e))?,
        };
        Ok(Some(Self { parent: Arc::new(parent), name: name.to_owned(), path: path.to_path_buf(), owners }))
    }

    /// Returns the place of another name in the same folder.
    pub(super) fn beside(&self, name: &OsStr) -> Self {
        Self { name: name.to_owned(), path: self.path.with_file_name(name), ..self.clone() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Opens the folder that is there; `None` when nothing is.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Link`] or [`CaptureError::Occupied`] for what is no folder, and [`CaptureError::Foreign`] for
    /// one of an owner who could have this process write anywhere.
    pub(super) fn folder(&self) -> Result<Option<Folder>, CaptureError> {
        let failed = |e| CaptureError::io(&self.path, "open it", NOTHING_RECORDED, e);
        let held = match self.owners.rights().with(|| Ok(openat(&self.parent, &self.name, PLACE, Mode::empty())?)) {
            Ok(held) => held,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if [Errno::LOOP, Errno::NOTDIR].iter().any(|n| e.raw_os_error() == Some(n.raw_os_error())) => {
                let stat = self.owners.rights().with(|| self.stat());
                let link = stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink);
                let path = self.path.clone();
                return Err(if link { CaptureError::Link { path } } else { CaptureError::Occupied { path } });
            }
            Err(e) => return Err(denied(&self.path, &self.owners, "look at it", e)),
        };
        let stat = fstat(&held).map_err(|e| failed(e.into()))?;
        let Some(rights) = self.owners.rights_of(stat.st_uid) else {
            let path = self.path.clone();
            return Err(CaptureError::Foreign { path, owner: stat.st_uid, own: effective_uid() });
        };
        // The same folder once more, to look into it: with its owner's rights.
        let file = rights.with(|| Ok(openat(&held, ".", LIST, Mode::empty())?)).map_err(failed)?;
        Ok(Some(Folder { file: File::from(file), place: self.clone(), rights }))
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Makes a new folder with these rights, that nobody else may look into.
    fn make(&self, rights: &Rights) -> io::Result<()> {
        rights.with(|| Ok(mkdirat(&self.parent, &self.name, PRIVATE_FOLDER)?))
    }

    /// Makes a folder here, or takes an empty one that is there already.
    ///
    /// # Errors
    ///
    /// As [`Place::folder`]; [`CaptureError::Occupied`] when it is not empty, [`CaptureError::Exposed`] when others
    /// may write into it, whatever is done.
    pub(super) fn empty_folder(&self) -> Result<Folder, CaptureError> {
        let is_new = match self.make(&self.owners.rights()) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            made => made.map(|()| true).map_err(|e| self.not_made(e))?,
        };
        self.taken(is_new)
    }

    /// Makes a folder here, with the rights of another one.
    ///
    /// # Errors
    ///
    /// As [`Place::empty_folder`], and when something is there already.
    pub(super) fn new_folder(&self, like: &Folder) -> Result<Folder, CaptureError> {
        self.make(&like.rights).map_err(|e| self.not_made(e))?;
        self.taken(true)
    }

    /// Opens a file for writing, which need not be there, with the rights of who called sudo. What it holds stays. A
    /// symbolic link is refused, and a FIFO that nobody reads. A new file is its owner's alone.
    pub(super) fn file(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.owners.rights().with(|| Ok(openat(&self.parent, &self.name, flags, PRIVATE_FILE)?)).map(File::from)
    }

    fn not_made(&self, error: io::Error) -> CaptureError {
        self.denied("create it", error)
    }

    /// Returns an error of doing something here, with the user who called sudo where that user may not.
    pub(super) fn denied(&self, doing: &'static str, error: io::Error) -> CaptureError {
        denied(&self.path, &self.owners, doing, error)
    }

    /// Opens the folder that is there, if it is empty and only its owner may write into it. `is_new`: it was just
    /// made.
    fn taken(&self, is_new: bool) -> Result<Folder, CaptureError> {
        let gone = || CaptureError::io(&self.path, "open it", NOTHING_RECORDED, Errno::NOENT.into());
        let folder = self.folder()?.ok_or_else(gone)?;
        if let (false, Some(user), None) = (is_new, self.owners.rights().who(), folder.rights.who()) {
            // Root may have made it for something else. A file system without owners shows a new one as root's.
            return Err(CaptureError::Foreign { path: self.path.clone(), owner: effective_uid(), own: user.uid });
        }
        let failed = |doing, e| CaptureError::io(&self.path, doing, NOTHING_RECORDED, e);
        let occupied = || CaptureError::Occupied { path: self.path.clone() };
        let is_empty = |folder: &Folder| folder.names().map(|n| n.is_empty()).map_err(|e| failed("look into it", e));
        // Nothing is changed of a folder that is in use.
        if !is_empty(&folder)? {
            return Err(occupied());
        }
        let mode = |folder: &Folder| fstat(&folder.file).map(|s| s.st_mode & 0o777).map_err(io::Error::from);
        if mode(&folder).map_err(|e| failed("look at it", e))? != PRIVATE_FOLDER.as_raw_mode() {
            let made = folder.rights.with(|| Ok(fchmod(&folder.file, PRIVATE_FOLDER)?));
            let now = mode(&folder).map_err(|e| failed("look at it", e))?;
            if now & WRITABLE_BY_OTHERS != 0 {
                return Err(CaptureError::Exposed { path: self.path.clone(), mode: now });
            }
            made.map_err(|e| failed("make it private", e))?;
            // Now nobody can plant anything any more. Until now they could.
            if !is_empty(&folder)? {
                return Err(occupied());
            }
        }
        Ok(folder)
    }
}

impl Folder {
    /// Returns the path by which it was opened: for messages.
    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Returns a file's path, for messages.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Returns the place of another name in the folder that this one was in when it was opened.
    pub(super) fn beside(&self, name: &OsStr) -> Place {
        self.place.beside(name)
    }

    /// Returns whether its name is still its own.
    pub(super) fn is_in_place(&self) -> io::Result<bool> {
        let (held, named) = (fstat(&self.file)?, self.place.stat()?);
        Ok((held.st_dev, held.st_ino) == (named.st_dev, named.st_ino))
    }

    /// Marks it as being written, for as long as it is held. Whether another process has done so already.
    pub(super) fn lock(&self) -> bool {
        // A file system without locks: the mark is only there to warn.
        !matches!(self.file.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Returns whether another process writes a capture in it.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self.file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Creates a file that only its owner can read.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let name = OsStr::new(name);
        self.rights.with(|| open_beneath(self.file.as_fd(), name, NEW, PRIVATE_FILE).map(File::from))
    }

    /// Opens a regular file for reading.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        let name = OsStr::new(name);
        let file = self.rights.with(|| open_beneath(self.file.as_fd(), name, OLD, Mode::empty()))?;
        if !is_file(&fstat(&file)?) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(File::from(file))
    }

    /// Gives a file another name, which nothing has.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rights.with(|| match renameat_with(&self.file, from, &self.file, to, RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS) => Ok(renameat(&self.file, from, &self.file, to)?),
            renamed => Ok(renamed?),
        })
    }

    /// Puts a file in the place of another.
    pub(super) fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        self.rights.with(|| Ok(renameat(&self.file, from, &self.file, to)?))
    }

    /// Removes a regular file, and nothing else.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.rights.with(|| {
            if !is_file(&statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW)?) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file any more"));
            }
            Ok(unlinkat(&self.file, name, AtFlags::empty())?)
        })
    }

    /// Gives a regular file a name in another folder as well, or copies it there.
    pub(super) fn share(&self, name: &str, with: &Self) -> io::Result<()> {
        let mut from = self.open(name)?;
        let linked = self.rights.with(|| Ok(linkat(&self.file, name, &with.file, name, AtFlags::empty())?));
        if linked.is_ok() {
            return Ok(());
        }
        let mut to = with.create(name)?;
        io::copy(&mut from, &mut to).map(drop)
    }

    /// Lists the names in it.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        self.rights.with(|| {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.file)? {
                let entry = entry?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name != "." && name != ".." {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        })
    }

    /// Returns whether this is a regular file, and of an owner whom we trust.
    pub(super) fn is_our_file(&self, name: &OsStr) -> io::Result<bool> {
        let stat = self.rights.with(|| Ok(statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW)?))?;
        Ok(is_file(&stat) && self.place.owners.rights_of(stat.st_uid).is_some())
    }

    /// Makes renames and new files in it survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Removes it, which must be empty.
    pub(super) fn remove_self(&self) -> io::Result<()> {
        self.rights.with(|| {
            self.still_there()?;
            Ok(unlinkat(&self.place.parent, &self.place.name, AtFlags::REMOVEDIR)?)
        })
    }

    /// Moves a folder that is in it into the folder around it, where nothing has its name.
    pub(super) fn move_out(&self, name: &OsStr) -> io::Result<()> {
        let around = &self.place.parent;
        self.rights.with(|| match renameat_with(&self.file, name, around, name, RenameFlags::NOREPLACE) {
            // Not every file system can. Of what may be there, only an empty folder would be replaced.
            Err(Errno::INVAL | Errno::NOSYS) => Ok(renameat(&self.file, name, around, name)?),
            renamed => Ok(renamed?),
        })
    }

    /// Returns the place of a name in it.
    pub(super) fn place(&self, name: &OsStr) -> io::Result<Place> {
        let parent = Arc::new(self.descriptor()?);
        Ok(Place { parent, name: name.to_owned(), path: self.path().join(name), owners: self.place.owners.clone() })
    }

    /// Returns it as a descriptor of its own.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Returns the folder around it, which is a place only.
    pub(super) fn around(&self) -> BorrowedFd<'_> {
        self.place.parent.as_fd()
    }

    /// Gives it another name in the same folder, which nothing has, with the rights of who called sudo.
    pub(super) fn rename_self(&self, to: &OsStr) -> io::Result<()> {
        let place = &self.place;
        place.owners.rights().with(|| {
            self.still_there()?;
            match renameat_with(&place.parent, &place.name, &place.parent, to, RenameFlags::NOREPLACE) {
                // Not every file system can. Of what may be there, only an empty folder would be replaced.
                Err(Errno::INVAL | Errno::NOSYS) => Ok(renameat(&place.parent, &place.name, &place.parent, to)?),
                renamed => Ok(renamed?),
            }
        })
    }

    fn still_there(&self) -> io::Result<()> {
        if self.is_in_place()? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "another has been put in its place"))
    }
}
