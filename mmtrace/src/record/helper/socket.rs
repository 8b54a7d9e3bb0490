//! A pair of sockets that messages and descriptors pass through.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
    time::Duration,
};

/// Bytes of the buffer for a control message with one descriptor; it has to be aligned as its header is.
const CONTROL: usize = 64;

/// A buffer for a control message.
#[repr(C, align(16))]
struct Control([u8; CONTROL]);

/// Returns two ends, each of which gets whole messages from the other.
///
/// # Errors
/// No descriptor is left.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two numbers, which outlive the call.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned these descriptors, and nobody else knows them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Has the end give up waiting for a message after a time.
///
/// # Errors
/// The kernel refuses.
pub(super) fn set_patience(end: &OwnedFd, most: Duration) -> io::Result<()> {
    let time = libc::timeval { tv_sec: most.as_secs() as i64, tv_usec: i64::from(most.subsec_micros()) };
    let (value, length) = ((&raw const time).cast(), size_of::<libc::timeval>() as libc::socklen_t);
    // SAFETY: the kernel reads one struct, which outlives the call.
    match unsafe { libc::setsockopt(end.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, value, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a message, and a descriptor with it.
///
/// # Errors
/// Nobody has the other end.
pub(super) fn send(end: &OwnedFd, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    if descriptor.is_none() {
        return send_bytes(end, message);
    }
    let mut part = libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
    let mut control = Control([0; CONTROL]);
    // SAFETY: plain data, for which zeros mean that nothing is sent.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if let Some(descriptor) = descriptor {
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: computes a number; the buffer has room for one descriptor, so that the first header is there.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(size_of::<i32>() as u32) as _;
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(size_of::<i32>() as u32) as _;
            ptr::write_unaligned(libc::CMSG_DATA(first).cast(), descriptor.as_raw_fd());
        }
    }
    loop {
        // SAFETY: the header leads to the message and the control message, which outlive the call.
        if unsafe { libc::sendmsg(end.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A confined recorder may use this call only: sendmsg(2) can send to another address.
fn send_bytes(end: &OwnedFd, message: &[u8]) -> io::Result<()> {
    loop {
        // SAFETY: the kernel reads as many bytes as the message has.
        let sent = unsafe { libc::send(end.as_raw_fd(), message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Waits for a message. Returns its length, 0 if nobody has the other end, and the descriptor that came with it.
///
/// # Errors
/// It does not fit into the buffer, or it did not come in time.
pub(super) fn receive(end: &OwnedFd, message: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() };
    let mut control = Control([0; CONTROL]);
    // SAFETY: plain data, for which zeros mean that nothing is received.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: computes a number. There is room for one descriptor: the kernel closes others.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<i32>() as u32) } as _;
    let length = loop {
        // SAFETY: the header leads to the two buffers with their lengths, which outlive the call.
        let length = unsafe { libc::recvmsg(end.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        if let Ok(length) = usize::try_from(length) {
            break length;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    // SAFETY: the kernel has filled the header; one whose length says that it holds a descriptor holds one, which is new.
    let descriptor = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        let is_descriptor = !first.is_null()
            && ((*first).cmsg_level, (*first).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS)
            && (*first).cmsg_len >= libc::CMSG_LEN(size_of::<i32>() as u32) as _;
        is_descriptor.then(|| OwnedFd::from_raw_fd(ptr::read_unaligned(libc::CMSG_DATA(first).cast::<i32>())))
    };
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((length, descriptor))
}
