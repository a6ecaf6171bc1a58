//! Hostile clients that know the name of a server.

use std::env;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Gid, Uid, geteuid};
use strait::internals::frame::{Dialect, Kind};
use strait::ipc::{self, IpcOneShotServer, IpcSender, IpcServer};
use strait::os::unix::IpcOneShotServerExt;

use crate::harness::raw::{self, Canary, encoded};
use crate::harness::table;
use crate::{assert_refused, harness};

fn connect(name: &str) -> rustix::io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(name)?)?;
    Ok(socket)
}

/// Connects hostile clients: they do all that a client can do instead of sending a
/// valid message.
fn misbehave(name: &str) -> (Vec<OwnedFd>, Canary) {
    let (canary, fd) = Canary::new();
    let connect = || connect(name).unwrap();
    let mut clients = Vec::new();
    // Disconnects.
    drop(connect());
    // Sends nothing.
    clients.push(connect());
    // Sends random bytes, before or after which it may disconnect.
    let noise = [&b""[..], b"noise", &[0; 4000], &raw::abort(1), &raw::last(1, b"x")];
    // Messages with handles that are in no table, or in a malformed one.
    let user = encoded("greeting");
    let tables = [user.clone(), table::with_handles(&user, 2), table::with(&user, &[])];
    let tables = tables.map(|body| raw::message(3, &body));
    for packet in noise.into_iter().chain(tables.iter().map(|packet| &packet[..])) {
        let client = connect();
        raw::send(&client, packet, &[fd.as_fd(); 3]).unwrap();
        clients.push(client);
        let client = connect();
        raw::send(&client, packet, &[]).unwrap();
    }
    // Sends the first part, and stops.
    let client = connect();
    raw::send(&client, &raw::first(1, 1000, b"x"), &[]).unwrap();
    clients.push(client);
    // Sends the first part, and disconnects.
    let client = connect();
    raw::send(&client, &raw::first(1, 1000, b"x"), &[]).unwrap();
    // Sends the last part without a first one.
    let client = connect();
    rustix::net::shutdown(&client, rustix::net::Shutdown::Both).unwrap();
    clients.push(client);
    (clients, canary)
}

#[test]
fn c7_one_shot_server_accepts_its_client_among_hostile_ones() {
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
fn c7_one_shot_server_accepts_its_client_among_hundreds_of_silent_ones() {
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

/// The first message comes in parts, between which other clients send.
#[test]
fn c7_one_shot_server_receives_a_large_first_message() {
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
fn c7_one_shot_server_with_only_hostile_clients_times_out() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let clients = misbehave(&name);
    let timeout = Duration::from_millis(50);
    let start = Instant::now();
    assert!(server.accept_timeout(timeout).unwrap_err().is_empty());
    assert!(start.elapsed() >= timeout);
    drop(clients);
}

/// A message of another type is an error and is not skipped: its client is the accepted one.
#[test]
fn c7_first_message_of_another_type_is_an_error() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let client = connect(&name).unwrap();
    raw::send(&client, &raw::message(0, b"abc"), &[]).unwrap();
    assert_refused(server.accept());
}

/// A message with an endpoint of another protocol version is an error and is not skipped: its
/// client keeps to the protocol.
#[test]
fn c7_first_message_with_a_foreign_endpoint_is_an_error() {
    let _watchdog = harness::watchdog();
    let (server, name) = IpcOneShotServer::<u32>::new().unwrap();
    let (canary, fd) = Canary::new();
    let client = connect(&name).unwrap();
    let foreign = table::Entry { version: 9, ..table::sender() };
    let body = table::with(&table::number(0), &[foreign]);
    raw::send(&client, &raw::message(1, &body), &[fd.as_fd()]).unwrap();
    drop(fd);
    let error = server.accept().unwrap_err().to_string();
    assert!(error.contains("this process speaks protocol"), "{error}");
    canary.wait_until_closed();
}

#[test]
fn c7_filter_decides_which_clients_are_accepted() {
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
fn c7_name_is_accessible_to_its_owner_only_and_is_removed() {
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

/// Even if the directory is accessible to all users.
#[test]
fn c7_clients_of_other_users_are_rejected() {
    let _watchdog = harness::watchdog();
    if !geteuid().is_root() {
        // Only root can become another user.
        return;
    }
    let (server, name) = IpcOneShotServer::<String>::new().unwrap();
    let directory = Path::new(&name).parent().unwrap();
    let as_another_user = |name: String| {
        thread::spawn(move || {
            let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            let socket = connect(&name)?;
            raw::send(&socket, &raw::message(0, &encoded("other user")), &[]).unwrap();
            Ok::<_, rustix::io::Errno>(socket)
        })
        .join()
        .unwrap()
    };
    let refused = as_another_user(name.clone()).unwrap_err();
    if refused == rustix::io::Errno::INVAL {
        // There is no such user in this user namespace.
        return;
    }
    assert_eq!(refused, rustix::io::Errno::ACCESS);
    fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&name, Permissions::from_mode(0o777)).unwrap();
    let _client = as_another_user(name.clone()).unwrap();
    let client = connect(&name).unwrap();
    raw::send(&client, &raw::message(0, &encoded("good")), &[]).unwrap();
    assert_eq!(server.accept().unwrap().1, "good");
}

/// The first packet of a client of a server, with so many handles. One is valid: the sender of
/// the reply channel.
fn hello(handles: u8) -> Vec<u8> {
    raw::hello(Dialect::OWN, handles, &raw::field(2, b"a type"))
}

/// A server at a path of its own.
fn server_of_many() -> (IpcServer<String, String>, String) {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let name = format!("strait-clients-{}-{number}", process::id());
    let path = env::temp_dir().join(name).into_os_string().into_string().unwrap();
    (IpcServer::bind(Path::new(&path)).unwrap(), path)
}

/// Connects clients that send invalid HELLOs.
fn greet_badly(name: &str) -> (Vec<OwnedFd>, Canary) {
    let (canary, fd) = Canary::new();
    let (way_back, _) = ipc::channel::<String>().unwrap();
    let mut clients = Vec::new();
    let mut say = |packets: &[(Vec<u8>, Vec<BorrowedFd<'_>>)]| {
        let client = connect(name).unwrap();
        for (packet, fds) in packets {
            // It may have been rejected after the first packet.
            let _ = raw::send(&client, packet, fds);
        }
        clients.push(client);
    };
    let back = way_back.as_fd();
    // No reply channel, an invalid one, and one too many.
    say(&[(hello(0), vec![])]);
    say(&[(hello(1), vec![fd.as_fd()])]);
    say(&[(hello(2), vec![back, fd.as_fd()])]);
    say(&[(hello(253), vec![fd.as_fd(); 253])]);
    // The same of a process with another version: there is no channel to report that by.
    let foreign = Dialect { version: 77, codec: 7 };
    say(&[(raw::hello(foreign, 0, b""), vec![])]);
    say(&[(raw::hello(foreign, 1, b""), vec![fd.as_fd()])]);
    say(&[(raw::hello(foreign, 2, b""), vec![back, fd.as_fd()])]);
    // Invalid fields, and more than a HELLO has room for.
    let own = Dialect::OWN;
    let cut_short = raw::field(2, b"a type");
    for len in 1..cut_short.len() {
        say(&[(raw::hello(own, 1, &cut_short[..len]), vec![back])]);
    }
    say(&[(raw::hello(own, 1, b"\x02\0\xff\xff"), vec![back])]);
    say(&[(raw::hello(own, 1, &raw::field(9, &[0; 5000])), vec![back])]);
    // Other messages.
    say(&[(raw::message(1, b"strait 1"), vec![back])]);
    say(&[(raw::message(1, b""), vec![back])]);
    // A message, and then the hello.
    say(&[(raw::message(0, b"x"), vec![]), (hello(1), vec![back])]);
    // A long one, and one that is announced to be.
    say(&[(raw::message(1, &[7; 100_000]), vec![back])]);
    say(&[(raw::first(1, 1 << 29, &[7; 50_000]), vec![]), (raw::middle(1, &[7; 50_000]), vec![])]);
    // An offer of shared memory, before the handshake.
    let ring = raw::packet(Kind::RingOffer { clock_domain: 0, has_messages: true }, 1, &[]);
    say(&[(ring, vec![fd.as_fd()]), (hello(1), vec![back])]);
    (clients, canary)
}

#[test]
fn c7_server_accepts_its_clients_among_hostile_ones() {
    let _watchdog = harness::watchdog();
    let (mut server, name) = server_of_many();
    let (clients, canary) = misbehave(&name);
    let (bad_clients, bad_canary) = greet_badly(&name);
    let (sender, receiver) = ipc::connect::<String, String>(Path::new(&name)).unwrap();
    sender.send("good".to_string()).unwrap();
    let client = server.accept().unwrap();
    assert_eq!(client.receiver.recv().unwrap(), "good");
    client.sender.send("better".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "better");
    // None of them was accepted, and none of their handles is kept.
    assert!(server.try_accept().unwrap_err().is_empty());
    canary.wait_until_closed();
    bad_canary.wait_until_closed();
    drop((clients, bad_clients));
}

/// An invalid reply channel affects only its own client.
#[test]
fn c7_invalid_reply_channel_disturbs_no_other_client() {
    let _watchdog = harness::watchdog();
    let (mut server, name) = server_of_many();
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let unconnected = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let bad = connect(&name).unwrap();
    raw::send(&bad, &hello(1), &[unconnected.as_fd()]).unwrap();
    let own = connect(&name).unwrap();
    raw::send(&own, &hello(1), &[own.as_fd()]).unwrap();
    let (sender, _receiver) = ipc::connect::<String, String>(Path::new(&name)).unwrap();
    sender.send("good".to_string()).unwrap();
    let nowhere = server.accept().unwrap();
    assert!(nowhere.sender.send("x".to_string()).is_err());
    let itself = server.accept().unwrap();
    // The client receives what it sends itself.
    itself.sender.send("echo".to_string()).unwrap();
    assert_eq!(itself.receiver.recv().unwrap(), "echo");
    assert_eq!(server.accept().unwrap().receiver.recv().unwrap(), "good");
}

#[test]
fn c7_server_with_only_hostile_clients_times_out() {
    let _watchdog = harness::watchdog();
    let (mut server, name) = server_of_many();
    let _others = (misbehave(&name), greet_badly(&name));
    let timeout = Duration::from_millis(50);
    let start = Instant::now();
    assert!(server.accept_timeout(timeout).unwrap_err().is_empty());
    assert!(start.elapsed() >= timeout);
}

/// A client that is dropped because too many clients are silent can connect again. A client
/// that got the server's hello is accepted.
#[test]
fn c7_clients_whose_hello_was_sent_are_accepted() {
    let _watchdog = harness::watchdog();
    let (mut server, name) = server_of_many();
    let talkers: Vec<_> = (0..4)
        .map(|_| {
            let name = name.clone();
            thread::spawn(move || {
                let mut connected = 0;
                for round in 0..100 {
                    let client = connect(&name).unwrap();
                    // Often as many as the server keeps, so that this client is dropped at
                    // about this time.
                    let silent: Vec<_> =
                        (0..60 + round % 10).map(|_| connect(&name).unwrap()).collect();
                    let (way_back, _) = ipc::channel::<String>().unwrap();
                    // A raw client, which does not connect again, and may wait for any time
                    // between connecting and its HELLO.
                    if raw::send(&client, &hello(1), &[way_back.as_fd()]).is_ok() {
                        connected += 1;
                    }
                    drop(silent);
                }
                connected
            })
        })
        .collect();
    let mut accepted = 0;
    while !talkers.iter().all(thread::JoinHandle::is_finished) {
        match server.accept_timeout(Duration::from_millis(1)) {
            Ok(_) => accepted += 1,
            Err(error) => assert!(error.is_empty(), "{error}"),
        }
    }
    while server.try_accept().is_ok() {
        accepted += 1;
    }
    let connected: u32 = talkers.into_iter().map(|talker| talker.join().unwrap()).sum();
    assert_eq!(accepted, connected);
}
