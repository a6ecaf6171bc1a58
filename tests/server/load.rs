//! A thousand clients that connect, send, disconnect and crash at random.
//!
//! A client process writes each message whose send returned `Ok` to its standard output, which
//! survives the process. It is killed when it has written a random line. The messages that it
//! wrote must have been received, in order and without gaps, and no handle may be left.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use strait::ipc::{
    self, IpcConnection, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender, IpcServer,
    ServerName,
};

use super::fresh_name;
use super::harness;
use super::harness::raw::{self, Random};

/// The number of clients in all.
const CLIENTS: usize = 1000;

/// The number of client processes at a time.
const PROCESSES: usize = 6;

/// The number of clients of a process, in sequence and in parallel.
const CLIENTS_PER_PROCESS: u32 = 25;

#[derive(Serialize, Deserialize)]
struct Note {
    process: u32,
    client: u32,
    number: u32,
    wants_answer: bool,
    padding: Vec<u8>,
}

/// The identity of a client: the numbers of its process, and of the client in it.
type Client = (u32, u32);

type Connection = IpcConnection<u32, Note>;

/// Runs many clients, until it is killed or all are done.
#[test]
fn loading_child() {
    harness::child_main(|arguments| {
        let name = ServerName::Abstract(arguments[0].clone());
        let process: u32 = arguments[1].parse().unwrap();
        let mut random = Random::new(process.into());
        let mut output = std::io::stdout().lock();
        writeln!(output).unwrap();
        let (mut clients, mut silent) = (Vec::new(), Vec::new());
        for client in 0..CLIENTS_PER_PROCESS {
            if random.below(8) == 0 {
                silent.push(misbehave(&arguments[0], &mut random));
            }
            let (sender, receiver) = ipc::connect::<Note, u32>(&name).unwrap();
            writeln!(output, "connected {client}").unwrap();
            clients.push((client, 0, sender, receiver));
            for _ in 0..random.below(4) {
                let index = random.below(clients.len());
                let (client, number, sender, receiver) = &mut clients[index];
                talk(process, *client, number, sender, receiver, &mut random, &mut output);
            }
            if random.below(3) > 0 {
                let index = random.below(clients.len());
                clients.swap_remove(index);
            }
            if random.below(4) == 0 {
                silent.pop();
            }
        }
    });
}

/// Sends a few messages or, by ring then, many, and writes each sent message to
/// standard output.
fn talk(
    process: u32,
    client: u32,
    number: &mut u32,
    sender: &IpcSender<Note>,
    receiver: &IpcReceiver<u32>,
    random: &mut Random,
    output: &mut impl Write,
) {
    let messages = [1, 3, 200][random.below(3)];
    for _ in 0..messages {
        let len = [0, 10, 1000, 100_000][random.below(4)] / messages as usize;
        let wants_answer = random.below(8) == 0;
        let padding = vec![number.to_le_bytes()[0]; len];
        let note = Note { process, client, number: *number, wants_answer, padding };
        sender.send(note).unwrap();
        writeln!(output, "sent {client} {number}").unwrap();
        if wants_answer {
            assert_eq!(receiver.recv().unwrap(), *number);
        }
        *number += 1;
    }
}

/// Connects as a peer that does not follow the protocol.
fn misbehave(name: &str, random: &mut Random) -> impl AsFd + use<> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    if random.below(2) == 0 {
        // It may have been rejected already.
        let _ = raw::send(&socket, &random.bytes(20), &[]);
    }
    socket
}

/// The number of messages of each client whose send returned `Ok`.
type Sent = HashMap<Client, u32>;

/// Runs client processes until there have been enough clients, and kills most of them.
fn run_clients(name: &str) -> Sent {
    let (connected, processes) = (AtomicUsize::new(0), AtomicU32::new(0));
    let killed = AtomicU32::new(0);
    let sent = Mutex::new(Sent::new());
    thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| {
                while connected.load(Ordering::Relaxed) < CLIENTS {
                    let process = processes.fetch_add(1, Ordering::Relaxed);
                    let clients = run_process(name, process, &killed);
                    connected.fetch_add(clients.len(), Ordering::Relaxed);
                    sent.lock().unwrap().extend(clients);
                }
            });
        }
    });
    let (processes, killed) = (processes.into_inner(), killed.into_inner());
    assert!((1..processes).contains(&killed), "{killed} of {processes} were killed");
    sent.into_inner().unwrap()
}

/// Runs one client process to its end or to a random line of its output.
fn run_process(name: &str, process: u32, killed: &AtomicU32) -> Sent {
    let mut child =
        harness::child_with_pipes(harness::path_of(loading_child), &[name, &process.to_string()]);
    let last_line = Random::new(u64::from(process) + 1_000_000).below(4000);
    let mut clients = Sent::new();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut is_killed = false;
    for (place, line) in output.lines().enumerate() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        // Reads all that was written before the process ended.
        match words.as_slice() {
            ["connected", client] => {
                clients.entry((process, client.parse().unwrap())).or_default();
            }
            ["sent", client, number] => {
                let sent = clients.get_mut(&(process, client.parse().unwrap())).unwrap();
                assert_eq!(number.parse(), Ok(*sent));
                *sent += 1;
            }
            _ => {}
        }
        if place == last_line {
            child.kill().unwrap();
            is_killed = true;
        }
    }
    if is_killed {
        child.killed();
        killed.fetch_add(1, Ordering::Relaxed);
    } else {
        child.completed();
    }
    clients
}

/// The messages that the server has received.
#[derive(Default)]
struct Received {
    clients: HashMap<Client, u32>,
}

impl Received {
    /// Records a message, and answers. The client may have ended by then.
    fn note(&mut self, note: Note, sender: &IpcSender<u32>) {
        let next = self.clients.entry((note.process, note.client)).or_default();
        assert_eq!(note.number, *next, "a message was lost, or came out of turn");
        assert!(note.padding.iter().all(|&byte| byte == note.number.to_le_bytes()[0]));
        *next += 1;
        if note.wants_answer {
            let _ = sender.send(note.number);
        }
    }

    /// Checks that every message whose send returned `Ok` was received.
    fn covers(&self, sent: &Sent, connections: usize) {
        assert!(sent.len() >= CLIENTS);
        // Some clients were killed before `connect` returned.
        assert!(connections >= sent.len(), "{connections} of {} were accepted", sent.len());
        for (client, &messages) in sent {
            let received = self.clients.get(client).copied().unwrap_or(0);
            assert!(received >= messages, "{client:?}: {received} of {messages}");
            // At most one more message: one that was sent, and not written before the process
            // was killed.
            assert!(received <= messages + 1, "{client:?}: {received} of {messages}");
        }
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Runs the clients against `serve`, and checks that nothing is left.
fn run(serve: impl FnOnce(IpcServer<u32, Note>, &dyn Fn() -> bool) -> (Received, usize)) {
    harness::room_for_handles();
    let (handles, tasks) = (harness::handles(), threads());
    let name = fresh_name();
    let server = IpcServer::bind(ServerName::Abstract(name.clone())).unwrap();
    let (sent, received, connections) = thread::scope(|scope| {
        let clients = scope.spawn(|| run_clients(&name));
        let (received, connections) = serve(server, &|| clients.is_finished());
        (clients.join().unwrap(), received, connections)
    });
    received.covers(&sent, connections);
    assert_eq!(harness::handles(), handles);
    assert_eq!(threads(), tasks);
}

#[test]
fn a_set_loses_nothing_of_a_thousand_clients_that_crash() {
    harness::alone(harness::path_of(a_set_loses_nothing_of_a_thousand_clients_that_crash), || {
        run(|server, is_over| {
            let mut set = IpcReceiverSet::new().unwrap();
            let server = set.add_server(server).unwrap();
            let (mut received, mut connections) = (Received::default(), 0);
            let mut senders = HashMap::new();
            loop {
                // In this order: after all clients have ended, no further message can arrive.
                let was_over = is_over();
                let results = match set.try_select_timeout(Duration::from_millis(20)) {
                    Ok(results) => results,
                    Err(_) if was_over && set.len() == 1 => break,
                    Err(error) => {
                        assert!(error.is_empty(), "{error}");
                        continue;
                    }
                };
                for result in results {
                    match result {
                        IpcSelectionResult::MessageReceived(id, message) if id == server => {
                            let client: Connection = message.to().unwrap();
                            senders.insert(set.add(client.receiver).unwrap(), client.sender);
                            connections += 1;
                        }
                        IpcSelectionResult::MessageReceived(id, message) => {
                            received.note(message.to().unwrap(), &senders[&id]);
                        }
                        IpcSelectionResult::ChannelClosed(id) => {
                            senders.remove(&id).unwrap();
                        }
                    }
                }
            }
            assert!(senders.is_empty());
            (received, connections)
        });
    });
}

#[test]
fn threads_lose_nothing_of_a_thousand_clients_that_crash() {
    harness::alone(harness::path_of(threads_lose_nothing_of_a_thousand_clients_that_crash), || {
        run(|mut server, is_over| {
            let received = Mutex::new(Received::default());
            let mut connections = 0;
            thread::scope(|scope| {
                loop {
                    let was_over = is_over();
                    match server.accept_timeout(Duration::from_millis(20)) {
                        Ok(client) => {
                            connections += 1;
                            let received = &received;
                            scope.spawn(move || {
                                let (sender, receiver) = client.split();
                                for note in receiver {
                                    received.lock().unwrap().note(note, &sender);
                                }
                            });
                        }
                        Err(error) => {
                            assert!(error.is_empty(), "{error}");
                            if was_over {
                                break;
                            }
                        }
                    }
                }
            });
            (received.into_inner().unwrap(), connections)
        });
    });
}

/// Clients that send no hello do not keep other clients from being accepted.
#[test]
fn silent_clients_delay_no_other_client() {
    harness::alone(harness::path_of(silent_clients_delay_no_other_client), serve_beside_a_crowd);
}

fn serve_beside_a_crowd() {
    let most = 1000.min(harness::room_for_handles() * 2 / 3);
    let name = fresh_name();
    let mut server = IpcServer::<u32, u32>::bind(ServerName::Abstract(name.clone())).unwrap();
    let crowd = thread::spawn({
        let name = name.clone();
        move || {
            let mut random = Random::new(1);
            (0..most).map(|_| misbehave(&name, &mut random)).collect::<Vec<_>>()
        }
    });
    let clients = thread::spawn(move || {
        for number in 0..100 {
            let (sender, receiver) =
                ipc::connect::<u32, u32>(ServerName::Abstract(name.clone())).unwrap();
            sender.send(number).unwrap();
            assert_eq!(receiver.recv().unwrap(), number);
        }
    });
    for number in 0..100 {
        let (sender, receiver) = server.accept().unwrap().split();
        assert_eq!(receiver.recv().unwrap(), number);
        sender.send(number).unwrap();
    }
    clients.join().unwrap();
    // All the others are accepted as connections, and none as a client.
    while !crowd.is_finished() {
        assert!(server.accept_timeout(Duration::from_millis(1)).unwrap_err().is_empty());
    }
    drop(crowd.join().unwrap());
}
