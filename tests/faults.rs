//! Every system call that strait makes fails once, at each place, with each errno that
//! is possible with valid arguments. No call hangs or panics, and no message is lost
//! without an error.
//!
//! A run is one program, one system call, one errno and one place, in a process of its own.
//! The program's sends count as sent when they returned `Ok`. A message that does not arrive
//! must have been reported to the receiver, and each error stands for one message at most.
//! The exception are errors of sandboxes: a receiver that may not use shared memory reports
//! that once.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

mod harness;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, waitpid};
use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{
    self, ChannelOptions, IpcError, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender,
    IpcServer, IpcSharedMemory, ServerName, TryRecvError, TrySelectError,
};
use strait::router::RouterProxy;

use harness::faults::{Call, Faults, Kind, census};
use harness::fork::fork;

// ---- What fails ----

fn any(_: &Call) -> bool {
    true
}

/// Maps a file, and not private memory.
fn of_file(call: &Call) -> bool {
    call.args[4] as i32 != -1
}

fn duplicates(call: &Call) -> bool {
    call.args[1] as i32 == libc::F_DUPFD_CLOEXEC
}

fn is_about_seals(call: &Call) -> bool {
    [libc::F_ADD_SEALS, libc::F_GET_SEALS].contains(&(call.args[1] as i32))
}

fn is_no_removal(call: &Call) -> bool {
    call.args[1] as i32 != libc::EPOLL_CTL_DEL
}

const NO_ROOM: &[Errno] = &[Errno::MFILE, Errno::NFILE, Errno::NOMEM];

/// Whether the errno that is injected in this process comes from sandboxes only.
static IS_FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// The errnos of sandboxes.
const FORBIDDEN: &[Errno] = &[Errno::PERM, Errno::NOSYS];

const KINDS: &[Kind] = &[
    Kind { name: "socketpair", number: libc::SYS_socketpair, is_meant: any, errnos: NO_ROOM },
    Kind { name: "socket", number: libc::SYS_socket, is_meant: any, errnos: NO_ROOM },
    Kind {
        name: "sendmsg",
        number: libc::SYS_sendmsg,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::NOBUFS, Errno::NOMEM],
    },
    Kind {
        name: "recvmsg",
        number: libc::SYS_recvmsg,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::NOMEM],
    },
    Kind {
        name: "recvfrom",
        number: libc::SYS_recvfrom,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::NOMEM],
    },
    Kind {
        name: "mincore",
        number: libc::SYS_mincore,
        is_meant: any,
        errnos: &[Errno::AGAIN, Errno::NOSYS],
    },
    Kind {
        name: "pwrite64",
        number: libc::SYS_pwrite64,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::NOSPC],
    },
    Kind {
        name: "io_setup",
        number: libc::SYS_io_setup,
        is_meant: any,
        errnos: &[Errno::AGAIN, Errno::NOSYS],
    },
    Kind {
        name: "io_submit",
        number: libc::SYS_io_submit,
        is_meant: any,
        errnos: &[Errno::AGAIN, Errno::NOSYS],
    },
    Kind {
        name: "memfd_create",
        number: libc::SYS_memfd_create,
        is_meant: any,
        errnos: &[Errno::MFILE, Errno::NOMEM, Errno::NOSYS],
    },
    Kind {
        name: "ftruncate",
        number: libc::SYS_ftruncate,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::PERM],
    },
    Kind {
        name: "fallocate",
        number: libc::SYS_fallocate,
        is_meant: any,
        errnos: &[Errno::NOSPC, Errno::INTR, Errno::OPNOTSUPP],
    },
    Kind {
        name: "mmap",
        number: libc::SYS_mmap,
        is_meant: of_file,
        errnos: &[Errno::NOMEM, Errno::PERM],
    },
    Kind {
        name: "fcntl, duplicates",
        number: libc::SYS_fcntl,
        is_meant: duplicates,
        errnos: &[Errno::MFILE],
    },
    Kind {
        name: "fcntl, seals",
        number: libc::SYS_fcntl,
        is_meant: is_about_seals,
        errnos: FORBIDDEN,
    },
    Kind { name: "fstat", number: libc::SYS_fstat, is_meant: any, errnos: FORBIDDEN },
    Kind { name: "fstatfs", number: libc::SYS_fstatfs, is_meant: any, errnos: FORBIDDEN },
    #[cfg(target_arch = "x86_64")]
    Kind {
        name: "poll",
        number: libc::SYS_poll,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::NOMEM],
    },
    Kind {
        name: "ppoll",
        number: libc::SYS_ppoll,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::NOMEM],
    },
    Kind { name: "epoll_create1", number: libc::SYS_epoll_create1, is_meant: any, errnos: NO_ROOM },
    Kind {
        name: "epoll_ctl",
        number: libc::SYS_epoll_ctl,
        is_meant: is_no_removal,
        errnos: &[Errno::NOMEM, Errno::NOSPC],
    },
    #[cfg(target_arch = "x86_64")]
    Kind {
        name: "epoll_wait",
        number: libc::SYS_epoll_wait,
        is_meant: any,
        errnos: &[Errno::INTR],
    },
    Kind {
        name: "epoll_pwait",
        number: libc::SYS_epoll_pwait,
        is_meant: any,
        errnos: &[Errno::INTR],
    },
    Kind { name: "eventfd2", number: libc::SYS_eventfd2, is_meant: any, errnos: NO_ROOM },
    Kind { name: "pipe2", number: libc::SYS_pipe2, is_meant: any, errnos: NO_ROOM },
    Kind { name: "getsockopt", number: libc::SYS_getsockopt, is_meant: any, errnos: FORBIDDEN },
    Kind {
        name: "setsockopt",
        number: libc::SYS_setsockopt,
        is_meant: any,
        errnos: &[Errno::PERM, Errno::NOBUFS],
    },
    Kind { name: "ioctl", number: libc::SYS_ioctl, is_meant: any, errnos: FORBIDDEN },
    Kind {
        name: "getrandom",
        number: libc::SYS_getrandom,
        is_meant: any,
        errnos: &[Errno::PERM, Errno::NOSYS, Errno::INTR],
    },
    Kind { name: "read", number: libc::SYS_read, is_meant: any, errnos: &[Errno::INTR] },
    Kind { name: "write", number: libc::SYS_write, is_meant: any, errnos: &[Errno::INTR] },
    Kind {
        name: "accept4",
        number: libc::SYS_accept4,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::MFILE, Errno::CONNABORTED],
    },
    Kind { name: "bind", number: libc::SYS_bind, is_meant: any, errnos: &[Errno::NOMEM] },
    Kind { name: "listen", number: libc::SYS_listen, is_meant: any, errnos: FORBIDDEN },
    Kind {
        name: "preadv2",
        number: libc::SYS_preadv2,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::NOSYS],
    },
    Kind {
        name: "pwritev2",
        number: libc::SYS_pwritev2,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::NOSYS],
    },
    Kind {
        name: "connect",
        number: libc::SYS_connect,
        is_meant: any,
        errnos: &[Errno::INTR, Errno::AGAIN],
    },
    Kind { name: "prlimit64", number: libc::SYS_prlimit64, is_meant: any, errnos: FORBIDDEN },
    Kind {
        name: "openat",
        number: libc::SYS_openat,
        is_meant: any,
        errnos: &[Errno::MFILE, Errno::ACCESS],
    },
    Kind { name: "statx", number: libc::SYS_statx, is_meant: any, errnos: FORBIDDEN },
];

// ---- What is done meanwhile ----

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    number: u32,
    padding: String,
    handle: Option<Handle<OwnedFd>>,
    memory: Option<IpcSharedMemory>,
}

/// The notes that were sent, and the outcome.
#[derive(Debug, Default)]
struct Outcome {
    sent: Vec<u32>,
    received: Vec<u32>,
    errors: usize,
}

impl Outcome {
    /// Checks that every missing note was reported, and that all others were received once
    /// and in order.
    fn check(self) {
        let sent: BTreeSet<u32> = self.sent.iter().copied().collect();
        let received: BTreeSet<u32> = self.received.iter().copied().collect();
        assert_eq!(received.len(), self.received.len(), "{:?}", self.received);
        // A ring that could not be used because of a sandbox, and was reported, may be accepted
        // with the next offer.
        let is_ordered = self.received.is_sorted_by(|one, next| one < next);
        let may_be_late = IS_FORBIDDEN.load(Ordering::Relaxed) && self.errors > 0;
        assert!(is_ordered || may_be_late, "{:?}", self.received);
        let missing: Vec<u32> = sent.difference(&received).copied().collect();
        let is_reported = match IS_FORBIDDEN.load(Ordering::Relaxed) {
            false => missing.len() <= self.errors,
            true => missing.is_empty() || self.errors > 0,
        };
        assert!(is_reported, "{missing:?} are missing, {} errors", self.errors);
        let unsent: Vec<u32> = received.difference(&sent).copied().collect();
        assert!(unsent.is_empty(), "{unsent:?} came although they were refused");
    }
}

/// Repeats the call if it fails: the fault is injected once.
#[track_caller]
fn insist<T, E: std::fmt::Debug>(mut operation: impl FnMut() -> Result<T, E>) -> T {
    operation().or_else(|_| operation()).expect("it fails once")
}

/// Sends small and large notes, with and without handles, more than the socket holds.
fn send_all(sender: &IpcSender<Note>) -> Vec<u32> {
    (0..24)
        .filter(|&number: &u32| {
            let len = if number == 11 { 300_000 } else { [10, 3000][number as usize % 2] };
            let handle = (number % 8 == 5).then(|| Handle(OwnedFd::from(null())));
            let memory = (number % 8 == 7)
                .then(|| insist(|| IpcSharedMemory::try_from_bytes(&number.to_le_bytes())));
            let padding = "x".repeat(len);
            sender.send(Note { number, padding, handle, memory }).is_ok()
        })
        .collect()
}

fn null() -> File {
    insist(|| File::open("/dev/null"))
}

/// A channel whose socket holds little.
fn channel() -> (IpcSender<Note>, IpcReceiver<Note>) {
    let (sender, receiver) = insist(ipc::channel);
    insist(|| rustix::net::sockopt::set_socket_send_buffer_size(sender.as_fd(), 20_000));
    (sender, receiver)
}

/// The maximum of errors in a row: there is one fault.
const PATIENCE: usize = 30;

fn by_recv() {
    let (sender, receiver) = channel();
    let mut outcome = Outcome::default();
    let sending = insist(|| {
        let sender = sender.clone();
        thread::Builder::new().spawn(move || send_all(&sender))
    });
    drop(sender);
    loop {
        match receiver.recv() {
            Ok(note) => outcome.received.push(note.number),
            Err(IpcError::Disconnected) => break,
            Err(_) => outcome.errors += 1,
        }
        assert!(outcome.errors < PATIENCE, "errors for ever");
    }
    outcome.sent = sending.join().unwrap();
    outcome.check();
}

fn late() {
    let (sender, receiver) = channel();
    let mut outcome = Outcome::default();
    // Notes with handles would wait for room, so there are none.
    let send_all = move || -> Vec<u32> {
        let padding = || "x".repeat(3000);
        let note = |number| Note { number, padding: padding(), handle: None, memory: None };
        (0..24).filter(|&number| sender.send(note(number)).is_ok()).collect()
    };
    // If a sandbox allows only the socket, `send` waits for the receiver.
    let sending = thread::spawn(send_all);
    if !IS_FORBIDDEN.load(Ordering::Relaxed) {
        while !sending.is_finished() {
            thread::sleep(Duration::from_micros(100));
        }
    }
    loop {
        match receiver.try_recv_timeout(Duration::from_secs(20)) {
            Ok(note) => outcome.received.push(note.number),
            Err(TryRecvError::IpcError(IpcError::Disconnected)) => break,
            Err(TryRecvError::Empty) => panic!("nothing comes, and no end"),
            Err(_) => outcome.errors += 1,
        }
        assert!(outcome.errors < PATIENCE, "errors for ever");
    }
    outcome.sent = sending.join().unwrap();
    outcome.check();
}

fn by_set() {
    let (sender, receiver) = channel();
    let mut outcome = Outcome::default();
    let mut set = insist(IpcReceiverSet::new);
    // A receiver that could not be added is dropped, and its sender is disconnected.
    if set.add(receiver).is_err() {
        return assert_eq!(send_all(&sender), []);
    }
    let sending = thread::spawn(move || send_all(&sender));
    while !set.is_empty() {
        match set.try_select_timeout(Duration::from_secs(20)) {
            Ok(results) => {
                for result in results {
                    if let IpcSelectionResult::MessageReceived(_, message) = result {
                        match message.to::<Note>() {
                            Ok(note) => outcome.received.push(note.number),
                            Err(_) => outcome.errors += 1,
                        }
                    }
                }
            }
            Err(TrySelectError::Empty) => panic!("nothing comes, and no end"),
            Err(_) => outcome.errors += 1,
        }
        assert!(outcome.errors < PATIENCE, "errors for ever");
    }
    outcome.sent = sending.join().unwrap();
    outcome.check();
}

fn by_router() {
    let (sender, receiver) = channel();
    let mut outcome = Outcome::default();
    let router = RouterProxy::new();
    let (results, routed) = std::sync::mpsc::channel();
    router.add_typed_route(receiver, Box::new(move |result| _ = results.send(result)));
    let sending = thread::spawn(move || send_all(&sender));
    // If the route could not be added, its receiver was dropped, and the sender is
    // disconnected.
    for result in routed {
        match result {
            Ok(note) => outcome.received.push(note.number),
            Err(_) => outcome.errors += 1,
        }
    }
    outcome.sent = sending.join().unwrap();
    // A route that could not be added has received none of the notes that were sent before its
    // sender was disconnected.
    if outcome.received.len() + outcome.errors > 0 {
        outcome.check();
    }
}

fn bounded() {
    let (sender, receiver) = insist(|| ipc::sync_channel::<u32>(3));
    let mut outcome = Outcome::default();
    let sending =
        thread::spawn(move || (0..24).filter(|number| sender.send(*number).is_ok()).collect());
    loop {
        match receiver.try_recv_timeout(Duration::from_secs(20)) {
            Ok(number) => outcome.received.push(number),
            Err(TryRecvError::IpcError(IpcError::Disconnected)) => break,
            Err(TryRecvError::Empty) => panic!("nothing comes, and no end"),
            Err(_) => outcome.errors += 1,
        }
        assert!(outcome.errors < PATIENCE, "errors for ever");
    }
    outcome.sent = sending.join().unwrap();
    outcome.check();
}

/// A receiver with queued messages is moved.
fn moving() {
    let (sender, receiver) = channel();
    let mut outcome = Outcome::default();
    let send = |number| {
        sender.send(Note { number, padding: String::new(), handle: None, memory: None }).is_ok()
    };
    outcome.sent.extend((0..5).filter(|&number| send(number)));
    let (carrier, carried) = insist(ipc::channel::<IpcReceiver<Note>>);
    insist(|| carrier.send_ref(&receiver));
    // A message that could not be received is an error, and the receiver in it is dropped.
    let Ok(receiver) = carried.recv() else { return };
    outcome.sent.extend((5..10).filter(|&number| send(number)));
    drop(sender);
    loop {
        match receiver.try_recv_timeout(Duration::from_secs(20)) {
            Ok(note) => outcome.received.push(note.number),
            Err(TryRecvError::IpcError(IpcError::Disconnected)) => break,
            Err(TryRecvError::Empty) => panic!("nothing comes, and no end"),
            Err(_) => outcome.errors += 1,
        }
        assert!(outcome.errors < PATIENCE, "errors for ever");
    }
    outcome.check();
}

/// A client connects to its server.
fn meeting() {
    let name = ServerName::Abstract(format!("strait-faults-{}", std::process::id()));
    let mut server = insist(|| IpcServer::<u32, u32>::bind(name.clone()));
    let client = thread::spawn(move || {
        // A connection that the server could not accept is closed, so the client
        // connects again.
        for _ in 0..5 {
            let Ok((sender, receiver)) = ipc::connect::<u32, u32>(name.clone()) else { continue };
            if sender.send(1).is_err() {
                continue;
            }
            if receiver.try_recv_timeout(Duration::from_secs(20)).is_ok_and(|answer| answer == 2) {
                return;
            }
        }
        panic!("it was never served");
    });
    while !client.is_finished() {
        let Ok(client) = server.accept_timeout(Duration::from_millis(20)) else { continue };
        let (sender, receiver) = client.split();
        while let Ok(number) = receiver.recv() {
            let _gone = sender.send(number + 1);
        }
    }
    client.join().unwrap();
}

/// Each message is sent after the reply to the one before, so that only the message itself
/// wakes the sleeping receiver.
fn answered() {
    // The receiver does not check for idle rings either.
    let options = ChannelOptions::new().spin(Duration::ZERO).keep_memory(Duration::MAX);
    let channel = || insist(|| options.channel::<u32>());
    let ((sender, receiver), (answer, answers)) = (channel(), channel());
    let answering = thread::spawn(move || {
        loop {
            match receiver.recv() {
                Ok(number) => insist(|| answer.send(number)),
                Err(IpcError::Disconnected) => break,
                Err(_) => {}
            }
        }
    });
    let mut errors = 0;
    for number in 0..150 {
        insist(|| sender.send(number));
        loop {
            match answers.try_recv_timeout(Duration::from_secs(20)) {
                Ok(answered) => break assert_eq!(answered, number),
                Err(TryRecvError::Empty) => panic!("{number} is not answered"),
                Err(_) => errors += 1,
            }
            assert!(errors < PATIENCE, "errors for ever");
        }
    }
    drop(sender);
    answering.join().unwrap();
}

const PROGRAMS: &[(&str, fn())] = &[
    ("recv", by_recv),
    ("late", late),
    ("set", by_set),
    ("router", by_router),
    ("bounded", bounded),
    ("moving", moving),
    ("meeting", meeting),
    ("answered", answered),
];

// ---- Every run ----

/// The exit status of a process in which the place was reached, ...
const REACHED: i32 = 7;

/// ... and in which it was not.
const NOT_REACHED: i32 = 9;

/// The number of failed runs after which the test stops: a run that hangs takes a minute.
const MANY_COMPLAINTS: usize = 5;

/// Runs the program in a process of its own; returns whether the place was reached.
fn run(program: fn(), kind: Kind, errno: Errno, place: usize) -> Result<bool, WaitStatus> {
    let child = fork(|| {
        end_at_panic();
        IS_FORBIDDEN.store(FORBIDDEN.contains(&errno), Ordering::Relaxed);
        let faults = Faults::inject(kind, errno, place);
        program();
        if !faults.happened() {
            std::process::exit(NOT_REACHED);
        }
    });
    let (_, status) = waitpid(Some(child.0), WaitOptions::empty()).unwrap().unwrap();
    match status.exit_status() {
        Some(REACHED) => Ok(true),
        Some(NOT_REACHED) => Ok(false),
        _ => Err(status),
    }
}

/// Ends the process at a panic on any thread, even if it is caught.
fn end_at_panic() {
    std::panic::set_hook(Box::new(|panic| {
        // Not by `eprintln`, which libtest captures.
        let text = format!("{panic}\n{}\n", std::backtrace::Backtrace::capture());
        let _unheard = rustix::io::write(std::io::stderr(), text.as_bytes());
        std::process::abort();
    }));
}

#[track_caller]
fn run_all(what: &str, program: fn()) {
    run_kinds(what, program, |_| true);
}

#[track_caller]
fn run_kinds(what: &str, program: fn(), is_meant: fn(&Kind) -> bool) {
    let _watchdog = harness::watchdog_for(Duration::from_secs(500));
    let mut failed = 0;
    let mut complaints = Vec::new();
    for &kind in KINDS.iter().filter(|kind| is_meant(kind)) {
        for &errno in kind.errnos {
            for place in 0.. {
                match run(program, kind, errno, place) {
                    Ok(false) => break,
                    Ok(true) => failed += 1,
                    Err(status) => {
                        complaints.push(format!("{} at {place}, {errno:?}: {status:?}", kind.name));
                    }
                }
                assert!(complaints.len() < MANY_COMPLAINTS, "{what}: {complaints:#?}");
            }
        }
    }
    assert!(complaints.is_empty(), "{what}: {complaints:#?}");
    assert!(failed > 20, "only {failed} calls failed");
}

#[test]
fn of_recv() {
    run_all("recv", by_recv);
}

#[test]
fn of_senders_that_have_ended() {
    run_all("late", late);
}

#[test]
fn of_sets() {
    run_all("set", by_set);
}

#[test]
fn of_routers() {
    run_all("router", by_router);
}

#[test]
fn of_bounded_channels() {
    run_all("bounded", bounded);
}

#[test]
fn of_receivers_that_move() {
    run_all("moving", moving);
}

#[test]
fn of_servers() {
    run_all("meeting", meeting);
}

#[test]
fn of_wake_ups() {
    run_kinds("answered", answered, |kind| kind.name == "sendmsg");
}

/// Calls that are not strait's, or cannot fail with valid arguments: memory and threads of this
/// process, time, `close` and `exit`.
const OTHERS: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_prctl,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_geteuid,
    libc::SYS_lseek,
    libc::SYS_futex,
    libc::SYS_close,
    libc::SYS_shutdown,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// A system call that strait begins to use has to be added to those that fail here.
#[test]
fn of_all_system_calls() {
    harness::alone(harness::path_of(of_all_system_calls), || {
        let calls = census();
        for (_, program) in PROGRAMS {
            program();
        }
        let calls = calls.lock().unwrap().clone();
        let known: BTreeSet<i64> =
            KINDS.iter().map(|kind| kind.number).chain(OTHERS.iter().copied()).collect();
        let unknown: Vec<i64> = calls.difference(&known).copied().collect();
        assert!(unknown.is_empty(), "these may fail, too: {unknown:?}");
        assert!(calls.len() > 20);
    });
}
