//! Names: which server gets a name, which has it, and what is left of it in the file system.
//!
//! A test that needs a stale socket of its own process runs in a process without other tests. A
//! child process that another test starts would have a copy of the socket until its `exec`.

use std::env;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::{Signal, geteuid, kill_process};
use strait::ipc::{self, IpcServer, ServerName};
use strait::os::unix::IpcConnectionExt;

use super::harness::fork::fork;
use super::harness::raw::Random;
use super::harness::{self, watchdog, watchdog_for};
use super::{LONG, fresh_name};

/// A directory of a test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let path = env::temp_dir().join(fresh_name());
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        Directory(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn bind(path: &Path) -> io::Result<IpcServer<u32, u32>> {
    IpcServer::bind(path)
}

#[track_caller]
fn assert_refused(path: &Path, kind: io::ErrorKind) {
    let error = bind(path).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
}

/// Checks that a client that connects by the name reaches this server.
#[track_caller]
fn assert_serves(server: &mut IpcServer<u32, u32>) {
    let (sender, _receiver) = ipc::connect::<u32, u32>(server.name()).unwrap();
    sender.send(5).unwrap();
    let client = server.accept_timeout(LONG).unwrap();
    assert_eq!(client.receiver.recv().unwrap(), 5);
}

/// A socket that is bound to `path`.
fn bound(path: &Path, kind: SocketType) -> OwnedFd {
    let family = AddressFamily::UNIX;
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// A socket that listens at `path`.
fn listen(path: &Path, backlog: i32) -> OwnedFd {
    let socket = bound(path, SocketType::SEQPACKET);
    rustix::net::listen(&socket, backlog).unwrap();
    socket
}

/// Binds the names that it reads, and reports each, until its input ends.
#[test]
fn server_child() {
    harness::child_main(|arguments| {
        let mut server = bind(Path::new(&arguments[0])).unwrap();
        println!("bound");
        for client in server.incoming() {
            let (sender, receiver) = client.unwrap().split();
            let _ = sender.send(receiver.recv().unwrap() + 1);
        }
    });
}

/// A server in another process.
fn server_child_at(path: &Path) -> harness::Child {
    let mut child =
        harness::child_with_pipes(harness::path_of(server_child), &[path.to_str().unwrap()]);
    let output = BufReader::new(child.stdout.take().unwrap());
    // libtest's own output may precede it on the line.
    assert!(output.lines().any(|line| line.unwrap().ends_with("bound")));
    child
}

#[test]
fn dropped_server_leaves_no_file() {
    let _watchdog = watchdog();
    let directory = Directory::new();
    let mut server = bind(&directory.path("x")).unwrap();
    assert_eq!(directory.entries().len(), 2);
    assert_serves(&mut server);
    drop(server);
    assert_eq!(directory.entries(), [""; 0]);
    // Nor does a name that could not be bound.
    fs::write(directory.path("x"), "something").unwrap();
    assert_refused(&directory.path("x"), io::ErrorKind::AlreadyExists);
    assert_eq!(directory.entries(), ["x"]);
    assert_refused(&directory.path("nowhere/x"), io::ErrorKind::NotFound);
}

#[test]
fn the_name_of_a_server_that_was_killed_is_taken_over() {
    let _watchdog = watchdog();
    let directory = Directory::new();
    let path = directory.path("x");
    for _ in 0..3 {
        let child = server_child_at(&path);
        assert_refused(&path, io::ErrorKind::AddrInUse);
        let (sender, receiver) = ipc::connect::<u32, u32>(path.as_path()).unwrap();
        sender.send(1).unwrap();
        assert_eq!(receiver.recv().unwrap(), 2);
        child.killed();
        let error = ipc::connect::<u32, u32>(path.as_path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        let mut server = bind(&path).unwrap();
        assert_serves(&mut server);
    }
    assert_eq!(directory.entries(), [""; 0]);
}

/// The check whether it lives does not affect the server.
#[test]
fn name_of_a_living_server_is_never_taken_over() {
    let _watchdog = watchdog();
    let directory = Directory::new();
    let path = directory.path("x");
    let mut server = bind(&path).unwrap();
    let before = fs::symlink_metadata(&path).unwrap().ino();
    for _ in 0..200 {
        assert_refused(&path, io::ErrorKind::AddrInUse);
    }
    // Not even if the lock file was removed.
    fs::remove_file(directory.path("x.lock")).unwrap();
    for _ in 0..200 {
        assert_refused(&path, io::ErrorKind::AddrInUse);
    }
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
    assert_eq!(directory.entries(), ["x"]);
    assert!(server.try_accept().unwrap_err().is_empty());
    assert_serves(&mut server);
}

#[test]
fn path_of_another_listener_is_in_use() {
    harness::alone(harness::path_of(path_of_another_listener_is_in_use), || {
        let directory = Directory::new();
        let path = directory.path("x");
        // A listener without room in its backlog.
        let other = listen(&path, 0);
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let client = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::connect(&client, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        assert_refused(&path, io::ErrorKind::AddrInUse);
        drop(other);
        drop(bind(&path).unwrap());
        // A listener of another socket type.
        let other = UnixListener::bind(&path).unwrap();
        other.set_nonblocking(true).unwrap();
        assert_refused(&path, io::ErrorKind::AddrInUse);
        assert_eq!(other.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let error = ipc::connect::<u32, u32>(path.as_path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        drop(other);
        drop(bind(&path).unwrap());
        assert_eq!(directory.entries(), [""; 0]);
    });
}

/// By a program that takes no locks.
#[test]
fn a_socket_that_is_bound_and_does_not_listen_yet_is_in_use() {
    harness::alone(
        harness::path_of(a_socket_that_is_bound_and_does_not_listen_yet_is_in_use),
        || {
            let directory = Directory::new();
            let path = directory.path("x");
            for kind in [SocketType::SEQPACKET, SocketType::STREAM, SocketType::DGRAM] {
                let other = bound(&path, kind);
                let before = fs::symlink_metadata(&path).unwrap().ino();
                assert_refused(&path, io::ErrorKind::AddrInUse);
                assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
                drop(other);
                drop(bind(&path).unwrap());
                assert_eq!(directory.entries(), [""; 0]);
            }
        },
    );
}

#[test]
fn check_of_a_name_does_not_connect_to_its_listener() {
    harness::alone(harness::path_of(check_of_a_name_does_not_connect_to_its_listener), || {
        let directory = Directory::new();
        let path = directory.path("x");
        let other = listen(&path, 5);
        rustix::io::ioctl_fionbio(&other, true).unwrap();
        assert_refused(&path, io::ErrorKind::AddrInUse);
        assert_eq!(rustix::net::accept(&other).unwrap_err(), Errno::AGAIN);
    });
}

#[test]
fn path_of_another_file_is_left_alone() {
    let _watchdog = watchdog();
    let directory = Directory::new();
    let path = directory.path("x");
    let stale = directory.path("stale");
    drop(listen(&stale, 1));
    fs::write(&path, "content").unwrap();
    assert_refused(&path, io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"content");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_refused(&path, io::ErrorKind::AlreadyExists);
    fs::remove_dir(&path).unwrap();
    for target in ["nowhere", "stale"] {
        symlink(target, &path).unwrap();
        assert_refused(&path, io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
        fs::remove_file(&path).unwrap();
    }
    assert!(stale.exists());
    // A file at the path of the lock that is no lock.
    let lock = directory.path("x.lock");
    fs::write(&lock, "content").unwrap();
    assert_refused(&path, io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&lock).unwrap(), b"content");
    fs::remove_file(&lock).unwrap();
    symlink("stale.lock", &lock).unwrap();
    assert!(bind(&path).is_err());
    assert!(!directory.path("stale.lock").exists());
}

#[test]
fn file_that_replaced_the_socket_stays() {
    let _watchdog = watchdog();
    let directory = Directory::new();
    let path = directory.path("x");
    let server = bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = listen(&path, 1);
    drop(server);
    assert_eq!(directory.entries(), ["x"]);
}

#[test]
fn a_forked_child_leaves_the_name_alone() {
    harness::alone(harness::path_of(a_forked_child_leaves_the_name_alone), || {
        let directory = Directory::new();
        let path = directory.path("x");
        let mut inherited = Some(bind(&path).unwrap());
        fork(|| drop(inherited.take())).completed();
        assert_eq!(directory.entries().len(), 2);
        assert_refused(&path, io::ErrorKind::AddrInUse);
        assert_serves(inherited.as_mut().unwrap());
        drop(inherited);
        assert_eq!(directory.entries(), [""; 0]);
    });
}

/// Binds each path that it reads, reports the outcome, and keeps the server until it reads the
/// next path.
#[test]
fn racing_child() {
    harness::child_main(|_| {
        let mut server = None;
        println!();
        for path in io::stdin().lines() {
            drop(server.take());
            server = bind(Path::new(&path.unwrap())).ok();
            println!("{}", if server.is_some() { "won" } else { "lost" });
        }
    });
}

#[test]
fn one_of_several_servers_takes_over_a_stale_name() {
    harness::alone(harness::path_of(one_of_several_servers_takes_over_a_stale_name), || {
        const RACERS: usize = 4;
        const ROUNDS: usize = 100;

        let directory = Directory::new();
        let mut racers: Vec<_> = (0..RACERS)
            .map(|_| {
                let mut child = harness::child_with_pipes(harness::path_of(racing_child), &[]);
                let output = child.stdout.take().unwrap();
                let results = BufReader::new(output).lines().map(Result::unwrap);
                (child, results.filter(|line| line == "won" || line == "lost"))
            })
            .collect();
        for round in 0..ROUNDS {
            let path = directory.path(&round.to_string());
            // In each round the name is stale, as after a crash, with and without a lock file.
            drop(listen(&path, 1));
            if round % 2 == 0 {
                fs::write(directory.path(&format!("{round}.lock")), "").unwrap();
            }
            for (child, _) in &mut racers {
                writeln!(child.stdin.as_mut().unwrap(), "{}", path.display()).unwrap();
            }
            let results: Vec<String> =
                racers.iter_mut().map(|(_, results)| results.next().unwrap()).collect();
            let won = results.iter().filter(|&result| result == "won").count();
            assert_eq!(won, 1, "{results:?}");
        }
        for (mut child, _) in racers {
            drop(child.stdin.take());
            child.completed();
        }
        assert_eq!(directory.entries(), [""; 0]);
    });
}

/// Binds a name again and again, connects to it, and sometimes crashes while it has it.
#[test]
fn churning_child() {
    harness::child_main(|arguments| {
        let path = Path::new(&arguments[0]);
        let mut random = Random::new(arguments[1].parse().unwrap());
        let mut taken = 0;
        while taken < 1500 {
            if random.below(4) == 0 {
                // It crashes, whether it has the name or not.
                fork(|| {
                    let _server = bind(path);
                    kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
                })
                .reaped();
            }
            let mut server = match bind(path) {
                Ok(server) => server,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
                    thread::yield_now();
                    continue;
                }
            };
            taken += 1;
            let (sender, _receiver) = ipc::connect::<u32, u32>(path).unwrap();
            sender.send(std::process::id()).unwrap();
            let client = server.accept_timeout(LONG).unwrap();
            assert_eq!(client.peer().unwrap().pid, std::process::id());
            assert_eq!(client.receiver.recv().unwrap(), std::process::id());
        }
    });
}

#[test]
fn clients_reach_the_server_that_owns_the_name() {
    let _watchdog = watchdog();
    let directory = Directory::new();
    let path = directory.path("x");
    let path = path.to_str().unwrap();
    let seeds = ["1", "2", "3", "4"];
    let children =
        seeds.map(|seed| harness::child(harness::path_of(churning_child), &[path, seed]));
    children.into_iter().for_each(harness::Child::completed);
    drop(bind(Path::new(path)).unwrap());
    assert_eq!(directory.entries(), [""; 0]);
}

/// Binds a private name and connects to it, and reports the outcome.
#[test]
fn private_child() {
    harness::child_main(|arguments| {
        let expected = arguments[0].as_str();
        let server = IpcServer::<u32, u32>::bind("private");
        if expected == "refused" {
            assert_eq!(server.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            let error = ipc::connect::<u32, u32>("private").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            return;
        }
        assert_serves(&mut server.unwrap());
        let _server = IpcServer::<u32, u32>::bind("private").unwrap();
        let mut directory = PathBuf::from(expected);
        if let Some(beginning) = expected.strip_suffix('*') {
            let (parent, _) = beginning.rsplit_once('/').unwrap();
            let entries = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
            let is_own = |path: &PathBuf| fs::metadata(path).unwrap().uid() == geteuid().as_raw();
            let found: Vec<_> = entries
                .filter(|path| path.to_str().unwrap().starts_with(beginning))
                .filter(is_own)
                .collect();
            directory = found[0].clone();
            assert_eq!(found.len(), 1, "{found:?}");
        }
        let directory = directory.as_path();
        let metadata = fs::symlink_metadata(directory).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o700, geteuid().as_raw()));
        assert!(directory.join("private.socket").exists());
    });
}

/// Binds a private name with these directories for temporary files and for runtime files. Its
/// socket must be in `expected`.
fn serve_privately(temporary: &Path, runtime: Option<&Path>, expected: &str) {
    let function = harness::path_of(private_child);
    let mut command = harness::command(function, &[expected]);
    command.env("TMPDIR", temporary).env_remove("XDG_RUNTIME_DIR");
    if let Some(runtime) = runtime {
        command.env("XDG_RUNTIME_DIR", runtime);
    }
    harness::start(function, &mut command).completed();
}

#[test]
fn private_names_are_in_a_private_directory() {
    let _watchdog = watchdog();
    let directory = Directory::new();
    let (temporary, runtime) = (directory.path("temporary"), directory.path("runtime"));
    fs::create_dir(&temporary).unwrap();
    fs::create_dir(&runtime).unwrap();
    fs::set_permissions(&runtime, Permissions::from_mode(0o700)).unwrap();
    let own = temporary.join(format!("strait-{}", geteuid().as_raw()));
    let of_runtime = runtime.join("strait");
    let (own_name, runtime_name) = (own.to_str().unwrap(), of_runtime.to_str().unwrap());
    serve_privately(&temporary, None, own_name);
    // The second time, the directory exists.
    serve_privately(&temporary, None, own_name);
    serve_privately(&temporary, Some(&runtime), runtime_name);
    // A runtime directory is ignored if other users have access, if it does not exist, or if
    // its path is relative.
    fs::set_permissions(&runtime, Permissions::from_mode(0o750)).unwrap();
    for runtime in [runtime.as_path(), &directory.path("nowhere"), Path::new("."), Path::new("")] {
        serve_privately(&temporary, Some(runtime), own_name);
    }
    // A directory that another user might have made.
    fs::set_permissions(&own, Permissions::from_mode(0o770)).unwrap();
    serve_privately(&temporary, None, "refused");
    fs::remove_dir(&own).unwrap();
    symlink(&of_runtime, &own).unwrap();
    serve_privately(&temporary, None, "refused");
    fs::remove_file(&own).unwrap();
    fs::write(&own, "").unwrap();
    serve_privately(&temporary, None, "refused");
    fs::remove_file(&own).unwrap();
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, Permissions::from_mode(0o700)).unwrap();
}

/// Another user has created the directory of this user's private names.
#[test]
fn another_user_cannot_block_private_names() {
    let _watchdog = watchdog();
    if !geteuid().is_root() {
        // Only root can become another user.
        return;
    }
    let directory = Directory::new();
    let temporary = directory.path("temporary");
    fs::create_dir(&temporary).unwrap();
    let own = temporary.join(format!("strait-{}", geteuid().as_raw()));
    let own_name = own.to_str().unwrap();
    let squat = |path: &Path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
        chown(path, Some(65534), None).is_ok()
    };
    if !squat(&own) {
        // There is no such user in this user namespace.
        return;
    }
    let function = harness::path_of(client_without_server);
    let mut client = harness::command(function, &[]);
    client.env("TMPDIR", &temporary).env_remove("XDG_RUNTIME_DIR");
    harness::start(function, &mut client).completed();
    let elsewhere = format!("{own_name}-*");
    serve_privately(&temporary, None, &elsewhere);
    let made = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| *path != own).collect()
    };
    let first = made();
    assert_eq!(first.len(), 1);
    // The second time, the directory exists, also if the other user's directory was removed.
    serve_privately(&temporary, None, &elsewhere);
    fs::remove_dir(&own).unwrap();
    serve_privately(&temporary, None, &elsewhere);
    assert_eq!(made(), first);
    assert!(!own.exists());
    // A directory with a similar name.
    assert!(squat(&own));
    assert!(squat(&temporary.join(format!("{own_name}-00000000"))));
    serve_privately(&temporary, None, &elsewhere);
    assert_eq!(made().len(), 2);
}

#[test]
fn client_without_server() {
    harness::child_main(|_| {
        let error = ipc::connect::<u32, u32>("private").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    });
}

#[test]
fn long_temporary_directory_is_supported() {
    let _watchdog = watchdog();
    let directory = Directory::new();
    let temporary = directory.path(&"long".repeat(30));
    fs::create_dir(&temporary).unwrap();
    let own = format!("/tmp/strait-{}", geteuid().as_raw());
    serve_privately(&temporary, None, &own);
}

/// It does not change the socket.
#[test]
fn connect_blocks_while_the_backlog_is_full() {
    let _watchdog = watchdog_for(LONG * 2);
    let name = ServerName::Abstract(fresh_name());
    let mut server = IpcServer::<u32, u32>::bind(&name).unwrap();
    let connect = |timeout| ipc::connect_timeout::<u32, u32>(&name, timeout);
    let mut clients = Vec::new();
    let error = loop {
        match connect(std::time::Duration::from_millis(30)) {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(clients.len() >= 128, "{}", clients.len());
    let error = connect(std::time::Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    for (sender, _) in &clients {
        assert_eq!(sockopt::socket_timeout(sender.as_fd(), sockopt::Timeout::Send), Ok(None));
        let flags = rustix::fs::fcntl_getfl(sender.as_fd()).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
        sender.send(3).unwrap();
    }
    let waiting = thread::spawn({
        let name = name.clone();
        move || {
            let (sender, receiver) = ipc::connect::<u32, u32>(&name).unwrap();
            sender.send(3).unwrap();
            receiver
        }
    });
    for _ in 0..=clients.len() {
        assert_eq!(server.accept().unwrap().receiver.recv().unwrap(), 3);
    }
    assert!(waiting.join().unwrap().recv().unwrap_err().is_disconnected());
    assert!(server.try_accept().unwrap_err().is_empty());
}
