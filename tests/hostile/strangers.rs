//! Who knows the name of a server and means no good.

use std::fs::{self, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Gid, Uid, geteuid};
use strait::ipc::{IpcOneShotServer, IpcSender};
use strait::os::unix::IpcOneShotServerExt;

use crate::harness::raw::{self, Canary, encoded};
use crate::{assert_refused, harness};

fn connect(name: &str) -> rustix::io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(name)?)?;
    Ok(socket)
}

/// Everything that a client can do instead of sending a message.
fn misbehave(name: &str) -> (Vec<OwnedFd>, Canary) {
    let (canary, fd) = Canary::new();
    let connect = || connect(name).unwrap();
    let mut clients = Vec::new();
    // Leaves.
    drop(connect());
    // Says nothing.
    clients.push(connect());
    // Speaks noise, before or after which it may leave.
    for packet in [&b""[..], b"noise", &[0; 4000], &raw::abort(1), &raw::last(1, b"x")] {
        let client = connect();
        raw::send(&client, packet, &[fd.as_fd(); 3]).unwrap();
        clients.push(client);
        let client = connect();
        raw::send(&client, packet, &[]).unwrap();
    }
    // Begins and does not go on.
    let client = connect();
    raw::send(&client, &raw::first(1, 1000, b"x"), &[]).unwrap();
    clients.push(client);
    // Begins, and leaves.
    let client = connect();
    raw::send(&client, &raw::first(1, 1000, b"x"), &[]).unwrap();
    // Ends what it never begins.
    let client = connect();
    rustix::net::shutdown(&client, rustix::net::Shutdown::Both).unwrap();
    clients.push(client);
    (clients, canary)
}

#[test]
fn c7_a_server_hears_its_client_whoever_else_connects() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let (clients, canary) = misbehave(&name);
    let client = IpcSender::connect(name).unwrap();
    client.send("good".to_string()).unwrap();
    let (receiver, greeting) = server.accept().unwrap();
    assert_eq!(greeting, "good");
    canary.wait_until_closed();
    client.send("better".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "better");
    drop((clients, client));
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn c7_a_server_hears_its_client_among_hundreds_that_are_silent() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let others = thread::spawn({
        let name = name.clone();
        move || (0..300).map(|_| connect(&name).unwrap()).collect::<Vec<_>>()
    });
    let client = thread::spawn(move || {
        let others = others.join().unwrap();
        let client = IpcSender::connect(name).unwrap();
        client.send("good".to_string()).unwrap();
        (others, client)
    });
    let (_, greeting) = server.accept().unwrap();
    assert_eq!(greeting, "good");
    client.join().unwrap();
}

/// A first message in parts, between which others talk.
#[test]
fn c7_a_server_hears_a_large_greeting() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let clients = misbehave(&name);
    let greeting = "greeting ".repeat(100_000);
    let client = thread::spawn({
        let greeting = greeting.clone();
        move || IpcSender::connect(name).unwrap().send(greeting).unwrap()
    });
    assert_eq!(server.accept().unwrap().1, greeting);
    client.join().unwrap();
    drop(clients);
}

#[test]
fn c7_a_server_whom_only_strangers_visit_gives_up_in_time() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let clients = misbehave(&name);
    let timeout = Duration::from_millis(50);
    let start = Instant::now();
    assert!(server.accept_timeout(timeout).unwrap_err().is_empty());
    assert!(start.elapsed() >= timeout);
    drop(clients);
}

/// What is a message, but not of the type, is an error and not passed over: that client is the one.
#[test]
fn c7_a_greeting_of_another_type_is_an_error() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let client = connect(&name).unwrap();
    raw::send(&client, &raw::message(0, b"abc"), &[]).unwrap();
    assert_refused(server.accept());
}

#[test]
fn c7_a_filter_decides_who_enters() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let unwanted = connect(&name).unwrap();
    raw::send(&unwanted, &raw::message(0, &encoded("unwanted")), &[]).unwrap();
    let wanted = connect(&name).unwrap();
    raw::send(&wanted, &raw::message(0, &encoded("wanted")), &[]).unwrap();
    let mut visits = 0;
    let (_, greeting) = server
        .accept_if(None, |peer| {
            assert_eq!(peer.pid, process::id());
            assert_eq!(peer.uid, geteuid().as_raw());
            visits += 1;
            visits == 2
        })
        .unwrap();
    assert_eq!((greeting.as_str(), visits), ("wanted", 2));

    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let unwanted = connect(&name).unwrap();
    raw::send(&unwanted, &raw::message(0, &encoded("unwanted")), &[]).unwrap();
    let timeout = Some(Duration::from_millis(20));
    assert!(server.accept_if(timeout, |_| false).unwrap_err().is_empty());
}

#[test]
fn c7_a_name_is_its_owners_and_disappears() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let directory = Path::new(&name).parent().unwrap();
    let metadata = fs::metadata(directory).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
    let client = IpcSender::connect(name.clone()).unwrap();
    client.send("x".to_string()).unwrap();
    let _accepted = server.accept().unwrap();
    assert!(!directory.exists());
    assert!(IpcSender::<String>::connect(name).is_err());

    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    drop(server);
    assert!(!Path::new(&name).parent().unwrap().exists());
}

/// Even if somebody opened the directory to the world.
#[test]
fn c7_other_users_are_turned_away() {
    let _watchdog = harness::watchdog();
    if !geteuid().is_root() {
        // Nobody else can be played.
        return;
    }
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let directory = Path::new(&name).parent().unwrap();
    let as_somebody_else = |name: String| {
        thread::spawn(move || {
            let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            let socket = connect(&name)?;
            raw::send(&socket, &raw::message(0, &encoded("stranger")), &[]).unwrap();
            Ok::<_, rustix::io::Errno>(socket)
        })
        .join()
        .unwrap()
    };
    let refused = as_somebody_else(name.clone()).unwrap_err();
    if refused == rustix::io::Errno::INVAL {
        // There is no such user in this user namespace.
        return;
    }
    assert_eq!(refused, rustix::io::Errno::ACCESS);
    fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&name, Permissions::from_mode(0o777)).unwrap();
    let _stranger = as_somebody_else(name.clone()).unwrap();
    let client = connect(&name).unwrap();
    raw::send(&client, &raw::message(0, &encoded("good")), &[]).unwrap();
    assert_eq!(server.accept().unwrap().1, "good");
}
