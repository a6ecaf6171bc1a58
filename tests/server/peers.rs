//! The identity of clients, and which clients are accepted.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process;
use std::sync::mpsc;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Gid, Signal, Uid, geteuid, getgid, pidfd_send_signal};
use strait::ipc::{self, IpcOneShotServer, IpcReceiverSet, IpcSender, IpcServer, ServerName};
use strait::os::unix::{IpcConnectionExt, IpcServerExt, Peer, connect_if};

use super::harness::fork::fork;
use super::harness::{self, watchdog};
use super::{connect, fresh_name, server, wait_until_disconnected};

/// Connects, sends its process id, and waits until it is told to end.
#[test]
fn client_child() {
    harness::child_main(|arguments| {
        let (sender, receiver) = connect(&arguments[0]);
        // It may have been rejected by now.
        let _ = sender.send(process::id());
        assert!(receiver.recv().is_err());
    });
}

#[test]
fn accept_returns_the_process_of_the_client() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let child = harness::child(harness::path_of(client_child), &[&name]);
    let client = server.accept().unwrap();
    let peer = client.peer().unwrap();
    assert_eq!(peer.pid, child.id());
    assert_eq!(peer.pid, client.receiver.recv().unwrap());
    assert_eq!((peer.uid, peer.gid), (geteuid().as_raw(), getgid().as_raw()));
    // The peer is known also in a set, and in a message.
    let mut set = IpcReceiverSet::new().unwrap();
    set.add_server(server).unwrap();
    let another = harness::child(harness::path_of(client_child), &[&name]);
    let (_, message) = set.select().unwrap().remove(0).unwrap();
    let in_set = message.to::<ipc::IpcConnection<u32, u32>>().unwrap();
    assert_eq!(in_set.peer().unwrap().pid, another.id());
    let (carrier, carried) = ipc::channel().unwrap();
    carrier.send_ref(&in_set).unwrap();
    assert_eq!(in_set.peer().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(carried.recv().unwrap().peer().unwrap().pid, another.id());
    // All handles of it are closed: the child ends.
    drop((client, in_set));
    child.completed();
    another.completed();
}

#[test]
fn a_process_handle_is_of_that_process() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let child = harness::child(harness::path_of(client_child), &[&name]);
    let client = server.accept().unwrap();
    let handle = match client.process_handle() {
        Ok(handle) => handle,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            return;
        }
    };
    let flags = rustix::io::fcntl_getfd(&handle).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let has_ended = |timeout| {
        let mut fds = [PollFd::new(&handle, PollFlags::IN)];
        poll(&mut fds, timeout).unwrap() > 0
    };
    let now = Timespec::default();
    assert!(!has_ended(Some(&now)));
    pidfd_send_signal(&handle, Signal::KILL).unwrap();
    assert!(has_ended(None));
    // Its connection still exists, but the process was reaped: no other process is
    // taken for it.
    child.killed();
    assert_eq!(pidfd_send_signal(&handle, Signal::KILL), Err(Errno::SRCH));
}

#[test]
fn filter_decides_which_clients_are_accepted() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let (asked, was_asked) = mpsc::channel();
    let visits = Cell::new(0);
    server.set_filter(move |peer| {
        asked.send(*peer).unwrap();
        visits.set(visits.get() + 1);
        visits.get() % 2 == 0
    });
    let clients: Vec<_> = (0..10).map(|_| connect(&name)).collect();
    for (number, (sender, _)) in (0..).zip(&clients) {
        sender.send(number).unwrap();
    }
    for number in [1, 3, 5, 7, 9] {
        let client = server.accept().unwrap();
        assert_eq!(client.receiver.recv().unwrap(), number);
    }
    assert!(server.try_accept().unwrap_err().is_empty());
    for peer in was_asked.try_iter() {
        assert_eq!((peer.pid, peer.uid), (process::id(), geteuid().as_raw()));
    }
    for (_, receiver) in clients {
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }
}

/// A filter that panics loses that client, and no other.
#[test]
fn filter_that_panics_rejects_only_its_client() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let visits = Cell::new(0);
    server.set_filter(move |_| {
        visits.set(visits.get() + 1);
        assert!(visits.get() != 2, "on purpose");
        true
    });
    let clients: Vec<_> = (0..4).map(|_| connect(&name)).collect();
    for (number, (sender, _)) in (0..).zip(&clients) {
        sender.send(number).unwrap();
    }
    assert_eq!(server.accept().unwrap().receiver.recv().unwrap(), 0);
    let mut panics = 0;
    for number in [2, 3] {
        let client = loop {
            match catch_unwind(AssertUnwindSafe(|| server.accept())) {
                Ok(client) => break client.unwrap(),
                Err(_) => panics += 1,
            }
        };
        assert_eq!(client.receiver.recv().unwrap(), number);
    }
    assert_eq!(panics, 1);
    assert!(clients[1].1.recv().unwrap_err().is_disconnected());
}

#[test]
fn client_gets_the_process_of_the_server() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let distrusted = connect_if::<u32, u32>(name.as_str(), None, |peer| {
        assert_eq!(peer.pid, process::id());
        false
    });
    assert_eq!(distrusted.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert!(server.try_accept().unwrap_err().is_empty());
    let (sender, _receiver) =
        connect_if::<u32, u32>(name.as_str(), Some(super::LONG), Peer::is_same_user).unwrap();
    sender.send(1).unwrap();
    assert_eq!(server.accept().unwrap().receiver.recv().unwrap(), 1);
}

/// Runs `body` on a thread of another user; `None` if there is none.
fn as_another_user<R: Send>(body: impl FnOnce() -> R + Send) -> Option<R> {
    if !geteuid().is_root() {
        // Only root can become another user.
        return None;
    }
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
            rustix::thread::set_thread_res_gid(gid, gid, gid).ok()?;
            // There may be no such user in this user namespace.
            rustix::thread::set_thread_res_uid(uid, uid, uid).ok()?;
            Some(body())
        });
        thread.join().unwrap()
    })
}

#[test]
fn clients_of_other_users_need_a_filter() {
    let _watchdog = watchdog();
    let path = std::env::temp_dir().join(fresh_name());
    let mut server = IpcServer::<u32, u32>::bind(path.as_path()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    let connect = || ipc::connect::<u32, u32>(path.as_path()).unwrap();
    let Some((sender, receiver)) = as_another_user(connect) else { return };
    let own = connect();
    own.0.send(2).unwrap();
    let client = server.accept().unwrap();
    assert_eq!(client.receiver.recv().unwrap(), 2);
    assert!(receiver.recv().unwrap_err().is_disconnected());
    wait_until_disconnected(&sender);

    server.set_filter(|peer| peer.uid == 65534);
    let (sender, _receiver) = as_another_user(connect).unwrap();
    sender.send(3).unwrap();
    let client = server.accept().unwrap();
    let peer = client.peer().unwrap();
    assert_eq!((peer.uid, peer.gid, peer.is_same_user()), (65534, 65534, false));
    assert_eq!(client.receiver.recv().unwrap(), 3);
}

/// The first process that binds an abstract name has it.
#[test]
fn abstract_name_of_another_user_is_not_connected_to() {
    let _watchdog = watchdog();
    let name = fresh_name();
    let squat = || {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        rustix::net::listen(&socket, 10).unwrap();
        socket
    };
    let Some(squatter) = as_another_user(squat) else { return };
    let name = ServerName::Abstract(name);
    let error = IpcServer::<u32, u32>::bind(&name).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    let error = ipc::connect::<u32, u32>(&name).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    let heard = rustix::net::accept(&squatter).unwrap();
    assert_eq!(rustix::io::read(&heard, &mut [0; 10]), Ok(0));
    assert!(connect_if::<u32, u32>(&name, None, |peer| peer.uid == 65534).is_ok());
}

/// Becomes another user, as far as this process may; so that its files in `/proc` are its own.
#[allow(unsafe_code)]
fn become_user(number: u32) {
    if geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        // SAFETY: it reads and writes no memory of this process.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
    }
}

/// Runs a server in a user namespace that maps one user, to user 65534. All users that are not
/// mapped show as user 65534, too.
#[test]
#[allow(unsafe_code)]
fn user_namespace_child() {
    harness::child_main(|arguments| {
        let path = Path::new(&arguments[0]);
        let (mut is_bound, mut bound) = UnixStream::pair().unwrap();
        let server = fork(|| {
            become_user(1000);
            let outside = geteuid().as_raw();
            // SAFETY: it has no conditions.
            if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0
                || fs::write("/proc/self/uid_map", format!("65534 {outside} 1")).is_err()
            {
                // There are no user namespaces here.
                bound.write_all(b"0").unwrap();
                return;
            }
            assert_eq!(geteuid().as_raw(), 65534);
            // Names that only this user can reach work as usual.
            let mut private = IpcServer::<u32, u32>::bind("private").unwrap();
            let _client = ipc::connect::<u32, u32>("private").unwrap();
            let client = private.accept().unwrap();
            assert!(!client.peer().unwrap().is_same_user());
            let (one_shot, name) = IpcOneShotServer::<u32>::new().unwrap();
            IpcSender::connect(name).unwrap().send(1).unwrap();
            assert_eq!(one_shot.accept().unwrap().1, 1);

            let mut server = IpcServer::<u32, u32>::bind(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
            bound.write_all(b"1").unwrap();
            for client in server.incoming() {
                client.unwrap().sender.send(1).unwrap();
            }
        });
        drop(bound);
        let mut answer = [0];
        is_bound.read_exact(&mut answer).unwrap();
        if answer == *b"0" {
            return server.completed();
        }
        let (mut answers, mut answered) = UnixStream::pair().unwrap();
        fork(|| {
            become_user(2000);
            let refused = match ipc::connect::<u32, u32>(path) {
                Ok((_sender, receiver)) => {
                    receiver.recv().is_err_and(|error| error.is_disconnected())
                }
                // It was rejected before it could send.
                Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
            };
            answered.write_all(&[refused.into()]).unwrap();
        })
        .completed();
        answers.read_exact(&mut answer).unwrap();
        server.killed();
        assert_eq!(answer, [1], "it was admitted");
    });
}

#[test]
fn overflow_user_in_a_user_namespace_is_not_the_same_user() {
    let _watchdog = watchdog();
    let temporary = std::env::temp_dir().join(fresh_name());
    fs::create_dir(&temporary).unwrap();
    fs::set_permissions(&temporary, Permissions::from_mode(0o1777)).unwrap();
    let path = temporary.join("x");
    let function = harness::path_of(user_namespace_child);
    let mut command = harness::command(function, &[path.to_str().unwrap()]);
    command.env("TMPDIR", &temporary).env_remove("XDG_RUNTIME_DIR");
    harness::start(function, &mut command).completed();
    fs::remove_dir_all(&temporary).unwrap();
}

/// Outside of user namespaces, the overflow user is an ordinary user.
#[test]
fn processes_of_the_overflow_user_are_of_the_same_user() {
    let _watchdog = watchdog();
    if !fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295") {
        // This process is in such a namespace.
        return;
    }
    let name = ServerName::Abstract(fresh_name());
    let served = as_another_user(|| {
        let mut server = IpcServer::<u32, u32>::bind(&name).unwrap();
        let (sender, _receiver) = ipc::connect::<u32, u32>(&name).unwrap();
        sender.send(1).unwrap();
        server.accept().unwrap().receiver.recv().unwrap()
    });
    // Only root can become that user.
    assert!(served.is_none_or(|number| number == 1));
}
