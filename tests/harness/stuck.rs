//! Memory and files of a peer that block the kernel: a page whose fault is not resolved
//! (userfaultfd), and a file system whose server does not answer (FUSE). Both need privileges;
//! a test without them reports that and ends.
//!
//! # Safety
//!
//! Calls without a wrapper. What is passed is a descriptor, a number, or a structure of the
//! kernel's interface that lives for the call.

#![allow(unsafe_code)]

use std::env;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process;
use std::ptr;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mm::UserfaultfdFlags;

const PAGE: usize = 4096;
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;

/// A page that blocks each thread that touches it, until this is dropped.
#[derive(Debug)]
pub(crate) struct StuckPage {
    faults: OwnedFd,
    address: usize,
}

impl StuckPage {
    /// `None` where userfaultfd may not block the kernel.
    pub(crate) fn new() -> Option<StuckPage> {
        // One that waits when it is read cannot be polled.
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
        // SAFETY: nothing is registered with it but the page below, which the kernel
        // alone accesses.
        let made = unsafe { rustix::mm::userfaultfd(flags) };
        let faults = match made {
            Ok(faults) => faults,
            Err(errno) => {
                eprintln!("skipped: userfaultfd: {errno}");
                return None;
            }
        };
        let fd = faults.as_raw_fd();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice. It stays: what waits for
        // it may still use it.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        let mut api = [0xaa_u64, 0, 0];
        // SAFETY: the structure has the size that is in the request.
        assert_eq!(unsafe { libc::ioctl(fd, UFFDIO_API, api.as_mut_ptr()) }, 0);
        let mut range = [page as u64, PAGE as u64, 1, 0];
        // SAFETY: as before.
        assert_eq!(unsafe { libc::ioctl(fd, UFFDIO_REGISTER, range.as_mut_ptr()) }, 0);
        Some(StuckPage { faults, address: page as usize })
    }

    /// Starts a thread that reads into the page, and returns when it is blocked there.
    pub(crate) fn read_from(&self, fd: &OwnedFd) {
        let (fd, address) = (fd.try_clone().unwrap(), self.address);
        thread::spawn(move || {
            // SAFETY: the page is mapped for good, and has room for so much.
            unsafe { libc::read(fd.as_raw_fd(), address as *mut libc::c_void, 8) }
        });
        self.await_fault();
    }

    /// Starts a thread that sets a socket filter from the page, and returns when it is blocked
    /// there, with the socket locked.
    pub(crate) fn set_filter(&self, socket: BorrowedFd<'_>) {
        let (socket, address) = (socket.try_clone_to_owned().unwrap(), self.address);
        thread::spawn(move || {
            let program = libc::sock_fprog { len: 1, filter: address as *mut libc::sock_filter };
            let len = size_of::<libc::sock_fprog>() as libc::socklen_t;
            // SAFETY: the structure lives for the call, and what it refers to is mapped for good.
            unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_ATTACH_FILTER,
                    (&raw const program).cast(),
                    len,
                )
            }
        });
        self.await_fault();
    }

    /// Waits until a thread waits for it.
    fn await_fault(&self) {
        poll(&mut [PollFd::new(&self.faults, PollFlags::IN)], None).unwrap();
    }
}

/// A thread in the middle of a `write`, with the file locked, until this is dropped.
#[derive(Debug)]
pub(crate) struct StuckWriter {
    page: Option<StuckPage>,
    writing: Option<JoinHandle<()>>,
}

impl StuckWriter {
    /// Locks the file by writing to it; `None` where userfaultfd may not block the kernel.
    pub(crate) fn new(file: OwnedFd) -> Option<StuckWriter> {
        let page = StuckPage::new()?;
        let address = page.address;
        let writing = thread::spawn(move || {
            let offset = PAGE as libc::off_t;
            // SAFETY: the page is mapped, and stays so.
            unsafe { libc::pwrite(file.as_raw_fd(), address as *const libc::c_void, PAGE, offset) };
        });
        page.await_fault();
        Some(StuckWriter { page: Some(page), writing: Some(writing) })
    }

    /// Whether it still has the lock.
    pub(crate) fn is_stuck(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| !writing.is_finished())
    }
}

impl Drop for StuckWriter {
    fn drop(&mut self) {
        // The page becomes an ordinary one.
        drop(self.page.take());
        if let Some(writing) = self.writing.take() {
            writing.join().unwrap();
        }
    }
}

/// A file on a file system whose server answers what is needed to open and to close it, and
/// nothing else.
pub(crate) struct StuckFile {
    file: File,
    directory: CString,
}

impl StuckFile {
    /// `None` where FUSE cannot be mounted. Gives this thread a mount namespace of its own.
    pub(crate) fn new() -> Option<StuckFile> {
        let device = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                eprintln!("skipped: /dev/fuse: {error}");
                return None;
            }
        };
        let fd = device.as_raw_fd();
        let path = env::temp_dir().join(format!("stuck-{}-{fd}", process::id()));
        fs::create_dir_all(&path).unwrap();
        let directory = CString::new(path.as_os_str().as_bytes()).unwrap();
        if let Err(error) = mount(fd, &directory) {
            eprintln!("skipped: FUSE may not be mounted: {error}");
            let _ = fs::remove_dir(&path);
            return None;
        }
        thread::spawn(move || serve(device));
        let file = File::open(path.join("file")).unwrap();
        Some(StuckFile { file, directory })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for StuckFile {
    fn drop(&mut self) {
        // Calls that wait for an answer fail. SAFETY: the path is a string that lives
        // for the call.
        unsafe { libc::umount2(self.directory.as_ptr(), libc::MNT_FORCE | libc::MNT_DETACH) };
        let _ = fs::remove_dir(OsStr::from_bytes(self.directory.to_bytes()));
    }
}

/// Mounts what `device` serves, for this thread alone.
fn mount(device: RawFd, directory: &CStr) -> io::Result<()> {
    let done = |result| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: it concerns this thread alone.
    done(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the path is a string; the others are not looked at.
    done(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()) })?;
    let options = format!("fd={device},rootmode=40000,user_id=0,group_id=0");
    let options = CString::new(options).unwrap();
    let (name, kind) = (c"stuck", c"fuse");
    // SAFETY: all of them are strings that live for the call.
    done(unsafe {
        let options = options.as_ptr().cast();
        libc::mount(name.as_ptr(), directory.as_ptr(), kind.as_ptr(), libc::MS_NODEV, options)
    })
}

/// Answers INIT, LOOKUP, OPEN and FLUSH, and leaves the rest without an answer.
fn serve(mut device: File) {
    let mut request = vec![0; 1 << 18];
    // It ends with the file system.
    while device.read(&mut request).is_ok_and(|len| len >= 40) {
        let opcode = u32::from_le_bytes(request[4..8].try_into().unwrap());
        let (error, body) = match opcode {
            // INIT: the version, and how much may be written at once.
            26 => (
                0,
                [7, 31, 0, 0, 0, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0_u32]
                    .map(u32::to_le_bytes)
                    .concat(),
            ),
            // LOOKUP: the file is number 2. That is good for an hour, and its attributes are not.
            1 => {
                let entry = [2, 0, 3600, 0, 0, 2, 0, 0, 0, 0, 0].map(u64::to_le_bytes).concat();
                let rest = [0, 0, 0, 0o100_644, 1, 0, 0, 0, 4096, 0].map(u32::to_le_bytes).concat();
                (0, [entry, rest].concat())
            }
            // OPEN.
            14 => (0, vec![0; 16]),
            // FLUSH: there is no need for it.
            25 => (-libc::ENOSYS, Vec::new()),
            _ => continue,
        };
        let header = [(16 + body.len() as i32).to_le_bytes(), error.to_le_bytes()].concat();
        let _ = device.write(&[&header, &request[8..16], &body].concat());
    }
}
