//! Servers for many clients: here between threads, in the other files between processes.

#[path = "../harness/mod.rs"]
mod harness;

mod handshake;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod load;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod names;
mod one_shot;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod peers;
#[cfg(feature = "async")]
mod streams;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strait::ipc::{
    self, IpcConnection, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender, IpcServer,
    ServerName,
};
use strait::{IpcError, TryRecvError};

use harness::watchdog;

const LONG: Duration = Duration::from_secs(60);

/// A name that no other test has, nor another run of this one.
fn fresh_name() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("strait-test-{}-{number}", std::process::id())
}

/// A server of a fresh name that sends numbers and receives them.
fn server() -> (IpcServer<u32, u32>, String) {
    let name = fresh_name();
    (IpcServer::bind(name.as_str()).unwrap(), name)
}

fn connect(name: &str) -> (IpcSender<u32>, IpcReceiver<u32>) {
    ipc::connect(name).unwrap()
}

/// Sends until the channel is disconnected. That may take a moment: a child process that
/// another test is just starting has copies of everything until its `exec`.
#[track_caller]
fn wait_until_disconnected(sender: &IpcSender<u32>) {
    loop {
        match sender.send(0) {
            Ok(()) => thread::yield_now(),
            Err(IpcError::Disconnected) => return,
            Err(error) => panic!("another error: {error:?}"),
        }
    }
}

#[test]
fn each_client_has_a_channel_in_each_direction() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let clients: Vec<_> = (0..10).map(|_| connect(&name)).collect();
    for (number, (sender, _)) in (0..).zip(&clients) {
        sender.send(number).unwrap();
    }
    let mut heard = HashSet::new();
    for _ in 0..10 {
        let (sender, receiver) = server.accept().unwrap().split();
        let number = receiver.recv().unwrap();
        sender.send(100 + number).unwrap();
        assert!(heard.insert(number));
    }
    for (number, (_, receiver)) in (0..).zip(&clients) {
        assert_eq!(receiver.recv().unwrap(), 100 + number);
        assert!(receiver.recv().unwrap_err().is_disconnected());
    }
    assert!(server.try_accept().unwrap_err().is_empty());
}

#[test]
fn the_types_of_the_directions_differ() {
    let _watchdog = watchdog();
    let name = fresh_name();
    let mut server = IpcServer::<String, Vec<u8>>::bind(name.clone()).unwrap();
    let (sender, receiver) = ipc::connect::<Vec<u8>, String>(name).unwrap();
    sender.send(vec![7; 300_000]).unwrap();
    let client = server.accept().unwrap();
    assert_eq!(client.receiver.recv().unwrap(), vec![7; 300_000]);
    client.sender.send("thanks".to_string()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "thanks");
}

#[test]
fn every_kind_of_name_is_accepted() {
    // A child process that another test starts has a copy of the socket for a moment.
    harness::alone(harness::path_of(every_kind_of_name_is_accepted), || {
        let fresh = fresh_name();
        let path = std::env::temp_dir().join(&fresh);
        for name in [
            ServerName::from(fresh.as_str()),
            ServerName::from(path.as_path()),
            ServerName::Abstract(fresh.clone()),
        ] {
            let mut server = IpcServer::<u32, u32>::bind(&name).unwrap();
            assert_eq!(server.name(), &name);
            let (sender, _receiver) = ipc::connect::<u32, u32>(&name).unwrap();
            sender.send(1).unwrap();
            assert_eq!(server.accept().unwrap().receiver.recv().unwrap(), 1);
            let error = IpcServer::<u32, u32>::bind(&name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
            drop(server);
            let error = ipc::connect::<u32, u32>(&name).unwrap_err();
            let expected = match name {
                // The kernel does not distinguish the two cases.
                ServerName::Abstract(_)
                    if cfg!(all(target_os = "linux", not(feature = "force-inprocess"))) =>
                {
                    io::ErrorKind::ConnectionRefused
                }
                _ => io::ErrorKind::NotFound,
            };
            assert_eq!(error.kind(), expected, "{error}");
            // The name can be bound again.
            drop(IpcServer::<u32, u32>::bind(&name).unwrap());
        }
    });
}

#[test]
fn invalid_names_are_refused() {
    let _watchdog = watchdog();
    let long = "x".repeat(65);
    let private = ["", ".", "..", "a/b", "/a", "a b", "ü", "a\0b", long.as_str()];
    let mut names: Vec<ServerName> = private.map(ServerName::from).to_vec();
    names.extend(["", "/", "..", "/tmp/.."].map(|path| ServerName::from(Path::new(path))));
    let long = "x".repeat(108);
    let wrong_abstract = ["", "a\0b", long.as_str()];
    names.extend(wrong_abstract.map(|name| ServerName::Abstract(name.to_string())));
    for name in names {
        let error = IpcServer::<u32, u32>::bind(&name).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}: {error}");
        let error = ipc::connect::<u32, u32>(&name).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}: {error}");
    }
    for name in ["a", "A-1_b.c", "...", &"x".repeat(64)] {
        let server = IpcServer::<u32, u32>::bind(format!("{}{name}", std::process::id()).as_str());
        assert_eq!(server.is_ok(), name.len() < 60, "{name}");
    }
}

#[test]
fn accept_without_client_times_out() {
    let _watchdog = watchdog();
    let (mut server, _) = server();
    assert!(matches!(server.try_accept(), Err(TryRecvError::Empty)));
    for nanoseconds in [0, 900_000, 20_300_000] {
        let timeout = Duration::from_nanos(nanoseconds);
        let start = Instant::now();
        assert!(server.accept_timeout(timeout).unwrap_err().is_empty());
        assert!(start.elapsed() >= timeout);
    }
}

#[test]
fn client_within_the_timeout_is_accepted() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    for timeout in [LONG, Duration::MAX] {
        let name = name.clone();
        let client = thread::spawn(move || connect(&name).0.send(1).unwrap());
        let accepted = server.accept_timeout(timeout).unwrap();
        assert_eq!(accepted.receiver.recv().unwrap(), 1);
        client.join().unwrap();
    }
}

#[test]
fn messages_of_a_client_that_disconnected_are_received() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    for number in 0..5 {
        let (sender, _) = connect(&name);
        for message in 0..200 {
            sender.send(1000 * number + message).unwrap();
        }
    }
    for number in 0..5 {
        let (sender, receiver) = server.accept().unwrap().split();
        wait_until_disconnected(&sender);
        let messages: Vec<u32> = receiver.into_iter().collect();
        assert_eq!(messages, (1000 * number..1000 * number + 200).collect::<Vec<_>>());
    }
}

#[test]
fn clients_outlive_their_server() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let (sender, receiver) = connect(&name);
    let (_waiting, unheard) = connect(&name);
    let client = server.accept().unwrap();
    drop(server);
    sender.send(1).unwrap();
    assert_eq!(client.receiver.recv().unwrap(), 1);
    client.sender.send(2).unwrap();
    assert_eq!(receiver.recv().unwrap(), 2);
    // A client that was not accepted is disconnected.
    assert!(unheard.recv().unwrap_err().is_disconnected());
}

#[test]
fn incoming_continues_after_an_error() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let client = thread::spawn(move || {
        for number in 0..100 {
            let (sender, receiver) = connect(&name);
            sender.send(number).unwrap();
            assert_eq!(receiver.recv().unwrap(), number + 1);
        }
    });
    for connection in server.incoming().take(100) {
        let (sender, receiver) = connection.unwrap().split();
        sender.send(receiver.recv().unwrap() + 1).unwrap();
    }
    client.join().unwrap();
}

/// More than the backlog of the kernel, and more than one call handles.
#[test]
fn many_simultaneous_clients_are_all_accepted() {
    harness::alone(harness::path_of(many_simultaneous_clients_are_all_accepted), serve_many);
}

fn serve_many() {
    // Each client has two file descriptors, and the server has two for each.
    let clients = 400.min(harness::room_for_handles() / 5) as u32;
    let (mut server, name) = server();
    let name = Arc::new(name);
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let name = Arc::clone(&name);
            thread::spawn(move || {
                let (sender, receiver) = connect(&name);
                sender.send(number).unwrap();
                assert_eq!(receiver.recv().unwrap(), number + 1);
            })
        })
        .collect();
    let mut served = HashSet::new();
    while served.len() < clients as usize {
        let (sender, receiver) = server.accept().unwrap().split();
        let number = receiver.recv().unwrap();
        sender.send(number + 1).unwrap();
        assert!(served.insert(number));
    }
    threads.into_iter().for_each(|client| client.join().unwrap());
    assert!(server.try_accept().unwrap_err().is_empty());
}

#[test]
fn a_connection_can_be_passed_on() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let (sender, receiver) = connect(&name);
    sender.send(1).unwrap();
    let (workers, worker) = ipc::channel::<IpcConnection<u32, u32>>().unwrap();
    workers.send(server.accept().unwrap()).unwrap();
    let client = worker.recv().unwrap();
    sender.send(2).unwrap();
    assert_eq!(client.receiver.recv().unwrap(), 1);
    assert_eq!(client.receiver.recv().unwrap(), 2);
    client.sender.send(3).unwrap();
    assert_eq!(receiver.recv().unwrap(), 3);
}

#[test]
fn message_of_another_type_is_an_error_of_that_client() {
    let _watchdog = watchdog();
    let (mut server, name) = server();
    let (sender, _receiver) = ipc::connect::<String, u32>(name.as_str()).unwrap();
    sender.send("not a number".to_string()).unwrap();
    let client = server.accept().unwrap();
    assert!(matches!(client.receiver.recv(), Err(IpcError::SerializationError(_))));
}

/// A client that takes it for a one-shot server of that path. In the process, names of the one
/// kind are none of the other.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#[test]
fn client_without_hello_is_rejected() {
    let _watchdog = watchdog();
    let path = std::env::temp_dir().join(fresh_name());
    let mut server = IpcServer::<u32, u32>::bind(path.as_path()).unwrap();
    let other = IpcSender::<u32>::connect(path.to_str().unwrap().to_string()).unwrap();
    other.send(1).unwrap();
    let (sender, _receiver) = ipc::connect::<u32, u32>(path).unwrap();
    sender.send(2).unwrap();
    assert_eq!(server.accept().unwrap().receiver.recv().unwrap(), 2);
    wait_until_disconnected(&other);
}

mod in_a_set {
    use super::*;

    type Client = IpcConnection<u32, u32>;

    /// Selects until the server with this id has accepted so many clients; all other results
    /// are messages.
    fn serve(
        set: &mut IpcReceiverSet,
        server: u64,
        clients: usize,
    ) -> (Vec<Client>, Vec<(u64, u32)>) {
        let (mut connections, mut numbers) = (Vec::new(), Vec::new());
        while connections.len() < clients {
            for result in set.try_select_timeout(LONG).unwrap() {
                match result {
                    IpcSelectionResult::MessageReceived(id, message) if id == server => {
                        connections.push(message.to().unwrap());
                    }
                    IpcSelectionResult::MessageReceived(id, message) => {
                        numbers.push((id, message.to().unwrap()));
                    }
                    IpcSelectionResult::ChannelClosed(_) => {}
                }
            }
        }
        (connections, numbers)
    }

    #[test]
    fn clients_are_messages() {
        let _watchdog = watchdog();
        let (server, name) = server();
        let mut set = IpcReceiverSet::new().unwrap();
        let id = set.add_server(server).unwrap();
        assert_eq!(set.len(), 1);
        for number in 0..20 {
            let (sender, receiver) = connect(&name);
            sender.send(number).unwrap();
            let (mut clients, _) = serve(&mut set, id, 1);
            let (to_client, from_client) = clients.remove(0).split();
            assert_eq!(from_client.recv().unwrap(), number);
            to_client.send(number + 1).unwrap();
            assert_eq!(receiver.recv().unwrap(), number + 1);
        }
        assert!(set.try_select().unwrap_err().is_empty());
    }

    #[test]
    fn a_message_is_a_pair_as_well() {
        let _watchdog = watchdog();
        let (server, name) = server();
        let mut set = IpcReceiverSet::new().unwrap();
        set.add_server(server).unwrap();
        let (sender, _receiver) = connect(&name);
        sender.send(1).unwrap();
        let (_, message) = set.select().unwrap().remove(0).unwrap();
        let (_, receiver) = message.to::<(IpcSender<u32>, IpcReceiver<u32>)>().unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
    }

    #[test]
    fn clients_that_connected_before_are_selected() {
        let _watchdog = watchdog();
        let (mut server, name) = server();
        let _clients: Vec<_> = (0..50).map(|_| connect(&name)).collect();
        // The server has handled more clients than this one.
        server.accept().unwrap();
        let mut set = IpcReceiverSet::new().unwrap();
        let id = set.add_server(server).unwrap();
        serve(&mut set, id, 49);
        // The server continues in another set.
        let _further: Vec<_> = (0..50).map(|_| connect(&name)).collect();
        serve(&mut set, id, 1);
        let mut server = set.remove_server::<u32, u32>(id).unwrap();
        assert!(set.remove_server::<u32, u32>(id).is_none());
        assert!(set.is_empty());
        let rest = (0..).take_while(|_| server.try_accept().is_ok()).count();
        assert!(rest < 50);
        let (sender, _receiver) = connect(&name);
        sender.send(1).unwrap();
        assert!(set.try_select().unwrap_err().is_empty());
        assert_eq!(server.accept().unwrap().receiver.recv().unwrap(), 1);
    }

    #[test]
    fn server_in_a_set_is_not_removed_as_a_receiver() {
        let _watchdog = watchdog();
        let (server, _) = server();
        let mut set = IpcReceiverSet::new().unwrap();
        let id = set.add_server(server).unwrap();
        assert!(set.remove(id).is_none());
        let (_sender, receiver) = ipc::channel::<u32>().unwrap();
        let receiver_id = set.add(receiver).unwrap();
        assert!(set.remove_server::<u32, u32>(receiver_id).is_none());
        assert_eq!(set.len(), 2);
        assert!(set.remove(receiver_id).is_some());
    }

    /// A flood of messages does not delay clients, and a flood of clients does not
    /// delay messages.
    #[test]
    fn server_is_served_beside_busy_members() {
        let _watchdog = watchdog();
        let (server, name) = server();
        let mut set = IpcReceiverSet::new().unwrap();
        let (flood, flooded) = ipc::channel::<u32>().unwrap();
        let flooded = set.add(flooded).unwrap();
        let id = set.add_server(server).unwrap();
        // More than several selections return.
        for number in 0..10_000 {
            flood.send(number).unwrap();
        }
        let _clients: Vec<_> = (0..100).map(|_| connect(&name)).collect();
        let (_, numbers) = serve(&mut set, id, 100);
        assert!(numbers.len() < 10_000, "they came after all the messages");
        assert!(numbers.iter().all(|&(id, _)| id == flooded));
        let (_, message) = set.select().unwrap().remove(0).unwrap();
        assert_eq!(message.to::<u32>().unwrap(), numbers.len() as u32);
    }

    #[test]
    fn many_clients_become_members() {
        const CLIENTS: u32 = 200;

        let _watchdog = watchdog();
        let (server, name) = server();
        let mut set = IpcReceiverSet::new().unwrap();
        let server = set.add_server(server).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let name = name.clone();
                thread::spawn(move || {
                    for client in 0..CLIENTS / 4 {
                        let (sender, receiver) = connect(&name);
                        for number in 0..10 {
                            sender.send(1000 * thread + client).unwrap();
                            assert_eq!(receiver.recv().unwrap(), number);
                        }
                    }
                })
            })
            .collect();
        let (mut clients, mut closed) = (HashMap::new(), 0);
        while closed < CLIENTS {
            for result in set.try_select_timeout(LONG).unwrap() {
                match result {
                    IpcSelectionResult::MessageReceived(id, message) if id == server => {
                        let client: IpcConnection<u32, u32> = message.to().unwrap();
                        let id = set.add(client.receiver).unwrap();
                        clients.insert(id, (client.sender, 0));
                    }
                    IpcSelectionResult::MessageReceived(id, message) => {
                        message.to::<u32>().unwrap();
                        let (sender, number) = clients.get_mut(&id).unwrap();
                        sender.send(*number).unwrap();
                        *number += 1;
                    }
                    IpcSelectionResult::ChannelClosed(id) => {
                        assert_eq!(clients.remove(&id).unwrap().1, 10);
                        closed += 1;
                    }
                }
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((set.len(), clients.len()), (1, 0));
    }
}
