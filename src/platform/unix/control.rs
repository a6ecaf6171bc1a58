//! Control messages: the file descriptors that come with a packet, and whatever else a peer made
//! the kernel add.
//!
//! A process that had the receiver before may still have the other end of its socket. It can switch
//! on credentials, security labels, time stamps and process descriptors. All of it has to fit
//! beside the file descriptors of a packet, and every file descriptor in it has to be closed.
//! rustix's parser knows neither of the last two.
//!
//! # Safety
//!
//! The kernel's own format is walked with libc's `CMSG_*` functions, over a buffer that the kernel
//! has just filled. Each file descriptor in it was made for this process by that call, and has no
//! other owner yet. It becomes owned in the expression that reads it.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::flavour::{EXTRA_CONTROL_BYTES, OTHER_DESCRIPTORS};
use super::{Attachment, MAX_PACKET_ATTACHMENTS};

/// A buffer for the control messages of one packet.
#[derive(Debug)]
pub(super) struct ControlBuffer {
    /// Words, so that it is aligned like control messages have to be.
    words: [MaybeUninit<usize>; Self::WORDS],
}

impl ControlBuffer {
    const WORDS: usize = (rustix::cmsg_space!(ScmRights(MAX_PACKET_ATTACHMENTS))
        + EXTRA_CONTROL_BYTES)
        .div_ceil(size_of::<usize>());

    pub(super) fn new() -> ControlBuffer {
        ControlBuffer { words: [MaybeUninit::uninit(); Self::WORDS] }
    }

    /// Makes `message` receive control messages in this buffer.
    pub(super) fn attach_to(&mut self, message: &mut libc::msghdr) {
        message.msg_control = self.words.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&self.words) as _;
    }
}

/// Takes the file descriptors out of the control messages of a packet that was received.
///
/// # Safety
///
/// `recvmsg` has succeeded with `message`, whose control buffer still exists, and this is called
/// once for it.
pub(super) unsafe fn take_descriptors(message: &libc::msghdr, attachments: &mut Vec<Attachment>) {
    // SAFETY: the caller's promise: the kernel filled the control buffer of `message`.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: not null, so it is a whole header within the buffer, aligned as the buffer is.
        let header = unsafe { &*next };
        let is_rights = header.cmsg_type == libc::SCM_RIGHTS;
        if header.cmsg_level == libc::SOL_SOCKET
            && (is_rights || header.cmsg_type == OTHER_DESCRIPTORS)
        {
            // SAFETY: the data follow the header.
            let data = unsafe { libc::CMSG_DATA(next) }.cast::<RawFd>();
            // SAFETY: this only computes the length of a header.
            let header_len = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (header.cmsg_len as usize).saturating_sub(header_len) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: `cmsg_len` says that there are so many.
                let fd = unsafe { data.add(index) };
                // SAFETY: it is within the data, which need not be aligned.
                let fd = unsafe { fd.read_unaligned() };
                // A process descriptor that could not be made is an error number.
                if fd >= 0 {
                    #[allow(
                        clippy::disallowed_methods,
                        reason = "this is where descriptors arrive"
                    )]
                    // SAFETY: the kernel made it for this process, in this call, and it is read
                    // once.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    if is_rights {
                        attachments.push(Attachment::received(fd));
                    }
                }
            }
        }
        // SAFETY: `next` came from this message.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}
