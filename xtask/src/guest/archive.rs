//! cpio archives in the `newc` format: what the kernel takes as initramfs, and what comes back on the disk.
//! Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::{self, Read, Write};

/// Bytes of an entry's header.
const HEADER: usize = 110;
/// The entry after the last.
const TRAILER: &str = "TRAILER!!!";

/// Mode of a folder.
const FOLDER: u32 = 0o040_755;
/// Mode of a file.
const FILE: u32 = 0o100_644;
/// Mode of a program.
const PROGRAM: u32 = 0o100_755;

/// Writes an archive.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    entries: u32,
}

impl<W: Write> Writer<W> {
    /// An archive that begins where `out` stands.
    pub const fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// Adds a folder. Those above it must have been added.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, FOLDER, &[])
    }

    /// Adds a file.
    ///
    /// # Errors
    /// It cannot be written, or has 4 GiB or more.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.entry(path, FILE, content)
    }

    /// Adds a file that can be run.
    ///
    /// # Errors
    /// It cannot be written, or has 4 GiB or more.
    pub fn program(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.entry(path, PROGRAM, content)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(TRAILER, 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Returns the writer that the archive goes to.
    pub const fn get_ref(&self) -> &W {
        &self.out
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let bytes = u32::try_from(content.len())
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a cpio archive takes files below 4 GiB"))?;
        self.entries += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        // inode, mode, uid, gid, links, mtime, size, device and rdevice (major, minor each), length of the name, check.
        let name = path.len() as u32 + 1;
        let fields = [self.entries, mode, 0, 0, links, 0, bytes, 0, 0, 0, 0, name, 0];
        let mut header = b"070701".to_vec();
        for field in fields {
            write!(header, "{field:08x}")?;
        }
        header.extend(path.as_bytes());
        header.push(0);
        header.resize(header.len().next_multiple_of(4), 0);
        self.out.write_all(&header)?;
        self.out.write_all(content)?;
        self.out.write_all(&[0; 3][..content.len().next_multiple_of(4) - content.len()])
    }
}

/// The part of an archive that was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Path and content of each file, in order.
    pub files: Vec<(String, Vec<u8>)>,
    /// Whether the archive has its end; without, whoever wrote it did not come to it.
    pub complete: bool,
}

/// Reads as far as there are entries.
///
/// # Errors
/// It cannot be read. An archive that ends early, or is none, is no error.
pub fn read(mut from: impl Read) -> io::Result<Contents> {
    let mut contents = Contents::default();
    while let Some((path, mode, content)) = entry(&mut from)? {
        if path == TRAILER {
            contents.complete = true;
            break;
        }
        if mode & 0o170_000 == FILE & 0o170_000 {
            contents.files.push((path, content));
        }
    }
    Ok(contents)
}

/// The next entry: path, mode, content; `None` where there is none.
fn entry(from: &mut impl Read) -> io::Result<Option<(String, u32, Vec<u8>)>> {
    let header = bytes(from, HEADER)?;
    let field = |index: usize| {
        let text = std::str::from_utf8(header.get(6 + 8 * index..14 + 8 * index)?).ok()?;
        u32::from_str_radix(text, 16).ok()
    };
    let (true, Some(mode), Some(size), Some(name)) = (header.starts_with(b"070701"), field(1), field(6), field(11))
    else {
        return Ok(None);
    };
    let (size, name) = (size as usize, name as usize);
    let mut path = bytes(from, (HEADER + name).next_multiple_of(4) - HEADER)?;
    path.truncate(name.saturating_sub(1));
    let mut content = bytes(from, size.next_multiple_of(4))?;
    if content.len() < size {
        return Ok(None);
    }
    content.truncate(size);
    Ok(String::from_utf8(path).ok().map(|path| (path, mode, content)))
}

/// So many bytes, or those there are.
fn bytes(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new(Vec::new());
        writer.folder("a").unwrap();
        let files = [("a/empty", &b""[..]), ("a/one", b"1"), ("four", b"1234"), ("five", b"12345")];
        for (path, content) in files {
            writer.file(path, content).unwrap();
        }
        writer.program("init", b"#!").unwrap();
        let mut bytes = writer.finish().unwrap();
        let contents = read(&bytes[..]).unwrap();
        assert!(contents.complete);
        let expected: Vec<_> =
            files.iter().chain(&[("init", &b"#!"[..])]).map(|(p, c)| ((*p).to_owned(), c.to_vec())).collect();
        assert_eq!(contents.files, expected);
        // A disk is longer than what is on it.
        bytes.resize(bytes.len() + 512, 0);
        assert_eq!(read(&bytes[..]).unwrap().files, expected);
    }

    #[test]
    fn an_archive_that_ends_early_gives_what_is_whole() {
        let mut writer = Writer::new(Vec::new());
        writer.file("first", b"whole").unwrap();
        writer.file("second", b"cut").unwrap();
        let bytes = writer.finish().unwrap();
        // The last bytes only fill up.
        for length in 0..bytes.len() - 4 {
            let contents = read(&bytes[..length]).unwrap();
            assert!(!contents.complete, "{length}");
            assert!(contents.files.len() <= 2);
            assert!(contents.files.iter().all(|(_, c)| c == b"whole" || c == b"cut"));
        }
        assert_eq!(read(&[0xff; 300][..]).unwrap(), Contents::default());
    }
}
