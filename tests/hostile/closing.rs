//! Closing file descriptors that a peer sent and the receiver does not use: it waits for
//! nothing that a peer can block.
//!
//! # Safety
//!
//! A page is mapped and registered with `userfaultfd`; only the kernel reads from it, in a
//! system call of this process, and it stays mapped until the process ends.

#![allow(unsafe_code)]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::PipeFlags;
use strait::ipc::{self, IpcReceiver, IpcReceiverSet, IpcSender};

use crate::harness;
use crate::harness::raw;
use crate::harness::table;

/// Of `linux/userfaultfd.h`.
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFD_API: u64 = 0xaa;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

const PAGE: usize = 4096;

/// A page that blocks each thread that touches it, until this is dropped.
struct StuckPage {
    faults: OwnedFd,
    address: usize,
}

impl StuckPage {
    /// Returns `None` where this process may not have one.
    #[allow(
        clippy::disallowed_methods,
        reason = "rustix has no userfaultfd without a feature of its own"
    )]
    fn new() -> io::Result<StuckPage> {
        // SAFETY: it takes flags, and returns a descriptor or an error.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and has no other owner.
        let faults = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let mut api = [UFFD_API, 0, 0];
        // SAFETY: the argument is a `uffdio_api`, which has three numbers.
        check(unsafe { libc::ioctl(faults.as_raw_fd(), UFFDIO_API, &raw mut api) })?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever there is room.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        let mut range = [page as u64, PAGE as u64, UFFDIO_REGISTER_MODE_MISSING, 0];
        // SAFETY: the argument is a `uffdio_register`, which has four numbers.
        check(unsafe { libc::ioctl(faults.as_raw_fd(), UFFDIO_REGISTER, &raw mut range) })?;
        Ok(StuckPage { faults, address: page as usize })
    }

    /// Starts a thread that makes the kernel read from the page in a call, and waits until it
    /// is blocked there.
    fn hold(&self, call: impl FnOnce(*const libc::c_void) + Send + 'static) {
        let address = self.address;
        thread::spawn(move || call(address as *const libc::c_void));
        let mut event = [0_u8; 32];
        // Waits for the event that the page was touched.
        rustix::io::read(&self.faults, &mut event).unwrap();
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a number with this file descriptor, which the message does not need.
fn send_unasked(sender: &IpcSender<u32>, number: u32, fd: &OwnedFd) {
    let body = table::with_handles(&number.to_le_bytes(), 1);
    raw::send(sender, &raw::message(1, &body), &[fd.as_fd()]).unwrap();
}

/// Waits until the read end of a pipe was closed.
fn wait_until_broken(write: &OwnedFd) {
    let mut polled = [PollFd::new(write, PollFlags::empty())];
    poll(&mut polled, None).unwrap();
    assert!(polled[0].revents().contains(PollFlags::ERR));
}

/// A socket, and a thread that has the socket locked.
fn locked_socket(page: &StuckPage) -> OwnedFd {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let locked = socket.try_clone().unwrap();
    page.hold(move |page| {
        // SAFETY: the page is mapped and has that length.
        unsafe { libc::send(locked.as_raw_fd(), page, PAGE, 0) };
    });
    socket
}

/// Sends the last copy of the read end of a pipe, and starts a thread that has the pipe locked.
fn send_locked_pipe(sender: &IpcSender<u32>, number: u32, page: &StuckPage) {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    page.hold(move |page| {
        // SAFETY: the page is mapped and has that length.
        unsafe { libc::write(write.as_raw_fd(), page, PAGE) };
    });
    send_unasked(sender, number, &read);
}

/// `setsockopt` waited for the lock, uninterruptibly; closing the last file descriptor of a
/// pipe does, too.
#[test]
fn c7_closing_does_not_wait_for_locks_that_a_peer_holds() {
    harness::alone(harness::path_of(c7_closing_does_not_wait_for_locks_that_a_peer_holds), || {
        let page = match StuckPage::new() {
            Ok(page) => page,
            Err(error) => return eprintln!("userfaultfd is not to be had here: {error}"),
        };
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let socket = locked_socket(&page);
        send_unasked(&sender, 1, &socket);
        assert_eq!(receiver.recv().unwrap(), 1);
        let other_page = StuckPage::new().unwrap();
        send_locked_pipe(&sender, 2, &other_page);
        assert_eq!(receiver.recv().unwrap(), 2);
        // Closing threads that are blocked keep no other file descriptor open, even if no
        // more arrive.
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        send_unasked(&sender, 3, &read);
        drop(read);
        assert_eq!(receiver.recv().unwrap(), 3);
        wait_until_broken(&write);
        drop((page, other_page));
    });
}

/// Every kind of file descriptor, however it was received, is closed in the end.
#[test]
fn c7_descriptors_handed_to_the_closing_thread_are_closed() {
    harness::alone(
        harness::path_of(c7_descriptors_handed_to_the_closing_thread_are_closed),
        || {
            let before = harness::handles();
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            for round in 0..20 {
                let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
                send_unasked(&sender, round, &read);
                drop(read);
                assert_eq!(receiver.recv().unwrap(), round);
                wait_until_broken(&write);
            }
            // Undecoded, in a set, with a message that was not received and has a file
            // descriptor of its own.
            let mut set = IpcReceiverSet::new().unwrap();
            let (inner_sender, inner) = ipc::channel::<u32>().unwrap();
            let (canary, fd) = raw::Canary::new();
            send_unasked(&inner_sender, 1, &fd);
            drop(fd);
            let carrier: IpcSender<IpcReceiver<u32>> = sender.to_opaque().to();
            carrier.send(inner).unwrap();
            set.add(receiver).unwrap();
            drop(set.select().unwrap());
            raw::wait_until_disconnected(|| inner_sender.send(2));
            canary.wait_until_closed();
            drop((set, carrier, inner_sender));
            while !harness::handles_besides(&before).is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
        },
    );
}
