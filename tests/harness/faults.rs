//! System calls that fail once: the kernel asks this process for the result of each call of a
//! kind (seccomp's user notification).
//!
//! # Safety
//!
//! The structures that are shared with the kernel are plain numbers and are zeroed, as it asks
//! for. A filter is installed for the calling thread and those that it starts. The thread that
//! answers was started before, so its own calls are not filtered.

#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::io::Errno;

/// A system call, as the kernel shows it: its number and arguments.
pub type Call = libc::seccomp_data;

/// A kind of calls, and the errnos with which one may fail although its arguments are valid.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub number: i64,
    /// Selects among the calls of that number.
    pub is_meant: fn(&Call) -> bool,
    pub errnos: &'static [Errno],
}

/// Calls that may fail.
#[derive(Debug)]
pub struct Faults {
    happened: Arc<AtomicBool>,
}

impl Faults {
    /// Makes the call at `place`, counted from 0, fail: of this thread, and those that
    /// it starts.
    pub fn inject(kind: Kind, errno: Errno, place: usize) -> Faults {
        let happened = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&happened);
        let mut seen = 0;
        install(Some(kind.number), move |call| {
            if !(kind.is_meant)(call) {
                return None;
            }
            seen += 1;
            let is_this = seen == place + 1;
            is_this.then(|| {
                flag.store(true, Ordering::Relaxed);
                errno
            })
        });
        Faults { happened }
    }

    /// Whether that call was made.
    pub fn happened(&self) -> bool {
        self.happened.load(Ordering::Relaxed)
    }
}

/// The numbers of all calls that this thread, and those that it starts, make from now on.
pub fn census() -> Arc<Mutex<BTreeSet<i64>>> {
    let calls = Arc::new(Mutex::new(BTreeSet::new()));
    let all = Arc::clone(&calls);
    install(None, move |call| {
        all.lock().unwrap().insert(i64::from(call.nr));
        None
    });
    calls
}

/// Asks `answer` about the calls of that number, or of all: with which error they fail, if they do.
fn install(number: Option<i64>, mut answer: impl FnMut(&Call) -> Option<Errno> + Send + 'static) {
    let installed = Arc::new(AtomicI32::new(-1));
    let to_come = Arc::clone(&installed);
    thread::spawn(move || {
        let listener = loop {
            match to_come.load(Ordering::Acquire) {
                -1 => thread::yield_now(),
                // SAFETY: it was made for this thread, below.
                #[allow(clippy::disallowed_methods, reason = "rustix has no such call")]
                fd => break unsafe { OwnedFd::from_raw_fd(fd) },
            }
        };
        // The thread ends with the process.
        while let Some(request) = next(&listener) {
            reply(&listener, request.id, answer(&request.data));
        }
    });
    // Handing the descriptor on must not need a system call, because no call is
    // answered before.
    installed.store(filter(number), Ordering::Release);
}

/// Installs a filter that asks about calls of that number, or of all. The result is the
/// descriptor by which it asks.
fn filter(number: Option<i64>) -> RawFd {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);
    let ask = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF);
    let allow = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let program = match number {
        Some(number) => {
            let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
            let is_it = libc::sock_filter { code, jt: 0, jf: 1, k: number as u32 };
            vec![load, is_it, ask, allow]
        }
        None => vec![ask],
    };
    // Never freed: until the other thread has the descriptor, no call may be made that is
    // asked about.
    let program = program.leak();
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: this option takes numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    let (operation, flags) =
        (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: `program` and what it points to live until the kernel has copied them.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
    if fd < 0 {
        panic!("{}", std::io::Error::last_os_error());
    }
    fd as RawFd
}

/// The next call that is asked about; `None` if there will be none.
fn next(listener: &OwnedFd) -> Option<libc::seccomp_notif> {
    loop {
        // SAFETY: all zeroes are a valid value, and the one that the kernel asks for.
        let mut request: libc::seccomp_notif = unsafe { mem::zeroed() };
        let operation = libc::SECCOMP_IOCTL_NOTIF_RECV;
        // SAFETY: the kernel writes one such structure.
        match unsafe { libc::ioctl(listener.as_raw_fd(), operation, &raw mut request) } {
            0 => return Some(request),
            // The thread that made it has ended in the meantime, or a signal came.
            _ => match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::ENOENT | libc::EINTR) => {}
                _ => return None,
            },
        }
    }
}

fn reply(listener: &OwnedFd, id: u64, errno: Option<Errno>) {
    let (error, flags) = match errno {
        Some(errno) => (-errno.raw_os_error(), 0),
        None => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
    };
    let mut reply = libc::seccomp_notif_resp { id, val: 0, error, flags };
    let operation = libc::SECCOMP_IOCTL_NOTIF_SEND;
    // SAFETY: the kernel reads one such structure.
    let _gone = unsafe { libc::ioctl(listener.as_raw_fd(), operation, &raw mut reply) };
}
