//! Servers and clients with another version of the protocol or another codec.

use std::fmt::Display;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use strait::internals::frame::{CODEC, Dialect, HEADER_BYTES, Kind, VERSION, parse};
use strait::internals::hello::Hello;
use strait::ipc::{
    self, IpcOneShotServer, IpcReceiverSet, IpcSelectionResult, IpcSender, IpcServer,
};

use crate::harness::raw::{self, field};
use crate::harness::watchdog;

/// Peers that this process does not understand, with the fields of their HELLOs, and how errors
/// name them.
pub(super) fn foreigners() -> Vec<(Dialect, Vec<u8>, &'static str)> {
    let dialect = |version, codec| Dialect { version, codec };
    vec![
        (dialect(VERSION + 1, CODEC), vec![], "protocol 3 with bincode"),
        (dialect(VERSION - 1, CODEC), field(2, b"u8"), "protocol 1 with bincode"),
        (dialect(VERSION, 2), field(1, b"postcard"), "protocol 2 with postcard"),
        // The name that this process has for a dialect counts.
        (dialect(VERSION, 2), field(1, b"cbor"), "protocol 2 with postcard"),
        (
            dialect(255, 77),
            [field(9, b"later"), field(1, b"cbor")].concat(),
            "protocol 255 with cbor",
        ),
        (dialect(0, 0), vec![], "protocol 0 with codec 0"),
        (dialect(VERSION, 77), field(1, b""), "protocol 2 with codec 77"),
    ]
}

/// Checks that an error names the dialects of both processes.
#[track_caller]
pub(super) fn check_dialects(error: impl Display, peer: &str) {
    let expected = format!("this process speaks protocol 2 with bincode, the peer {peer}");
    assert!(error.to_string().contains(&expected), "{error}");
}

/// A connection.
pub(super) fn pair() -> (OwnedFd, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// Receives one packet.
pub(super) fn receive(socket: impl AsFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = vec![0; 10_000];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let slices = &mut [std::io::IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, slices, &mut control, flags).unwrap();
    bytes.truncate(received.bytes);
    let handles = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(handles) => Some(handles),
        _ => None,
    });
    (bytes, handles.flatten().collect())
}

/// Receives a packet that has to be strait's own HELLO.
#[track_caller]
pub(super) fn receive_hello(socket: impl AsFd) -> (Hello, Vec<OwnedFd>) {
    let (packet, handles) = receive(socket);
    let frame = parse(&packet, packet.len(), handles.len()).unwrap();
    assert_eq!(frame.kind, Kind::Hello { dialect: Dialect::OWN });
    let hello = Hello::read(Dialect::OWN, &packet[HEADER_BYTES..]).unwrap();
    assert_eq!(hello.codec.as_deref(), Some("bincode"));
    (hello, handles)
}

fn socket() -> OwnedFd {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn connect(path: impl AsRef<Path>) -> OwnedFd {
    let socket = socket();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_ref()).unwrap()).unwrap();
    socket
}

fn fresh_path() -> PathBuf {
    std::env::temp_dir().join(super::fresh_name())
}

/// Connects as a peer with this dialect, and returns the socket of the reply channel.
fn connect_as(path: &Path, dialect: Dialect, fields: &[u8]) -> (OwnedFd, OwnedFd) {
    let client = connect(path);
    let (back, theirs) = pair();
    raw::send(&client, &raw::hello(dialect, 1, fields), &[theirs.as_fd()]).unwrap();
    (client, back)
}

#[test]
fn a_server_names_both_dialects_and_tells_the_client_its_own() {
    let _watchdog = watchdog();
    let path = fresh_path();
    let mut server = IpcServer::<u8, bool>::bind(path.as_path()).unwrap();
    for (dialect, fields, name) in foreigners() {
        let (_client, back) = connect_as(&path, dialect, &fields);
        check_dialects(server.accept().unwrap_err(), name);
        let (hello, handles) = receive_hello(&back);
        assert_eq!((hello.sent.as_deref(), handles.len()), (Some("u8"), 0));
        assert_eq!(hello.expected.as_deref(), Some("bool"));
        // No other packet was sent.
        assert_eq!(receive(&back).0, []);
        // The server serves the next client.
        let (to_server, from_server) = ipc::connect::<bool, u8>(path.as_path()).unwrap();
        to_server.send(true).unwrap();
        let client = server.try_accept().unwrap();
        assert!(client.receiver.recv().unwrap());
        client.sender.send(5).unwrap();
        assert_eq!(from_server.recv().unwrap(), 5);
    }
    assert!(server.try_accept().unwrap_err().is_empty());
}

#[test]
fn a_server_in_a_set_names_both_dialects() {
    let _watchdog = watchdog();
    let path = fresh_path();
    let mut set = IpcReceiverSet::new().unwrap();
    let id = set.add_server(IpcServer::<u8, bool>::bind(path.as_path()).unwrap()).unwrap();
    for (dialect, fields, name) in foreigners() {
        let (_client, back) = connect_as(&path, dialect, &fields);
        match set.select().unwrap().remove(0) {
            IpcSelectionResult::MessageReceived(from, message) if from == id => {
                check_dialects(message.to::<ipc::IpcConnection<u8, bool>>().unwrap_err(), name);
            }
            other => panic!("{other:?}"),
        }
        receive_hello(&back);
    }
    let _client = ipc::connect::<bool, u8>(path.as_path()).unwrap();
    let (from, message) = set.select().unwrap().remove(0).unwrap();
    assert_eq!(from, id);
    message.to::<ipc::IpcConnection<u8, bool>>().unwrap();
}

#[cfg(feature = "async")]
#[test]
fn a_stream_of_clients_names_both_dialects() {
    use futures_lite::StreamExt;
    use futures_lite::future::block_on;

    let _watchdog = watchdog();
    let path = fresh_path();
    let mut server = IpcServer::<u8, bool>::bind(path.as_path()).unwrap().to_stream();
    for (dialect, fields, name) in foreigners() {
        let (_client, back) = connect_as(&path, dialect, &fields);
        check_dialects(block_on(server.next()).unwrap().unwrap_err(), name);
        receive_hello(&back);
    }
    let _client = ipc::connect::<bool, u8>(path.as_path()).unwrap();
    block_on(server.next()).unwrap().unwrap();
}

#[test]
fn a_client_names_both_dialects_and_then_is_disconnected() {
    let _watchdog = watchdog();
    let path = fresh_path();
    let listener = socket();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    for (dialect, fields, name) in foreigners() {
        let (to_server, from_server) = ipc::connect::<bool, u8>(path.as_path()).unwrap();
        let server = rustix::net::accept(&listener).unwrap();
        let (hello, mut handles) = receive_hello(&server);
        assert_eq!(hello.sent.as_deref(), Some("bool"));
        assert_eq!(hello.expected.as_deref(), Some("u8"));
        let back = handles.pop().unwrap();
        assert!(handles.is_empty());
        raw::send(&back, &raw::hello(dialect, 0, &fields), &[]).unwrap();
        drop((back, server));
        check_dialects(from_server.recv().unwrap_err(), name);
        assert!(from_server.recv().unwrap_err().is_disconnected());
        // A child that another test is just starting has a copy until its `exec`.
        raw::wait_until_disconnected(|| to_server.send(true));
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_one_shot_server_names_both_dialects() {
    let _watchdog = watchdog();
    for (dialect, fields, name) in foreigners() {
        let (server, path) = IpcOneShotServer::<u8>::new().unwrap();
        let client = connect(&path);
        raw::send(&client, &raw::hello(dialect, 0, &fields), &[]).unwrap();
        check_dialects(server.accept().unwrap_err(), name);
    }
}

#[test]
fn client_of_a_one_shot_server_sends_hello_first() {
    let _watchdog = watchdog();
    let path = fresh_path();
    let listener = socket();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let name = path.to_str().unwrap().to_string();
    let sender = IpcSender::<Vec<u8>>::connect(name).unwrap();
    let server = rustix::net::accept(&listener).unwrap();
    let (hello, handles) = receive_hello(&server);
    assert_eq!(hello.sent.as_deref(), Some(std::any::type_name::<Vec<u8>>()));
    assert_eq!((hello.expected, handles.len()), (None, 0));
    sender.send(b"abc".to_vec()).unwrap();
    assert!(receive(&server).0.ends_with(&raw::encoded("abc")));
    std::fs::remove_file(path).unwrap();
}
