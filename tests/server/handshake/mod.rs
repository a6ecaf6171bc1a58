//! The handshake: two processes tell each other the types of their messages, their protocol
//! version and their codec. Here between threads and on every backend; the other files have
//! peers with another dialect.

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod children;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod established;
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod foreign;

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};

use strait::ipc::{
    self, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcReceiverSet, IpcSender, IpcServer,
};
use strait::router::RouterProxy;

use crate::harness::watchdog_without_children as watchdog;

/// A name that no other test has, nor another run of this one.
fn fresh_name() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("strait-hello-{}-{number}", std::process::id())
}

/// Checks that an error names the type that was sent and the one that was to be received.
#[track_caller]
fn check_types<Sent: ?Sized, Received>(error: impl Display) {
    let [sent, received] = [std::any::type_name::<Sent>(), std::any::type_name::<Received>()];
    let expected = format!("sent as `{sent}`, received as `{received}`");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[test]
fn a_one_shot_server_names_the_type_that_its_client_sends() {
    let _watchdog = watchdog();
    let (server, name) = IpcOneShotServer::<bool>::new().unwrap();
    let sender = IpcSender::<u8>::connect(name).unwrap();
    sender.send(7).unwrap();
    check_types::<u8, bool>(server.accept().unwrap_err());

    // The first message may decode as that type all the same.
    let (server, name) = IpcOneShotServer::<bool>::new().unwrap();
    let sender = IpcSender::<u8>::connect(name).unwrap();
    sender.send(1).unwrap();
    sender.send(7).unwrap();
    let (receiver, first) = server.accept().unwrap();
    assert!(first);
    check_types::<u8, bool>(receiver.recv().unwrap_err());

    let (server, name) = IpcOneShotServer::<bool>::new().unwrap();
    IpcBytesSender::connect(name).unwrap().send(&[7]).unwrap();
    check_types::<[u8], bool>(server.accept().unwrap_err());
}

#[test]
fn a_server_and_its_client_name_the_type_that_the_other_sends() {
    let _watchdog = watchdog();
    let name = fresh_name();
    let mut server = IpcServer::<u8, String>::bind(name.as_str()).unwrap();
    let (to_server, from_server) = ipc::connect::<u32, bool>(name.as_str()).unwrap();
    let client = server.accept().unwrap();
    to_server.send(7).unwrap();
    check_types::<u32, String>(client.receiver.recv().unwrap_err());
    client.sender.send(7).unwrap();
    check_types::<u8, bool>(from_server.recv().unwrap_err());
    // Messages that decode are received.
    client.sender.send(1).unwrap();
    assert!(from_server.recv().unwrap());
    // Another type, whose name the receiver has now.
    let from_server = from_server.to_opaque().to::<Option<String>>();
    client.sender.send(9).unwrap();
    check_types::<u8, Option<String>>(from_server.recv().unwrap_err());
}

#[test]
fn a_set_and_a_router_name_the_type_that_the_peer_sends() {
    let _watchdog = watchdog();
    let connect = || {
        let name = fresh_name();
        let mut server = IpcServer::<u8, bool>::bind(name.as_str()).unwrap();
        let (to_server, _) = ipc::connect::<u8, bool>(name.as_str()).unwrap();
        to_server.send(7).unwrap();
        server.accept().unwrap().receiver
    };
    let mut set = IpcReceiverSet::new().unwrap();
    set.add(connect()).unwrap();
    let (_, message) = set.select().unwrap().remove(0).unwrap();
    check_types::<u8, bool>(message.to::<bool>().unwrap_err());

    let (found, errors) = std::sync::mpsc::channel();
    let router = RouterProxy::new();
    router.add_typed_route(connect(), Box::new(move |value| found.send(value).unwrap()));
    check_types::<u8, bool>(errors.recv().unwrap().unwrap_err());
    router.shutdown();
}

/// The connection is a message of the set, and keeps the name of the type.
#[test]
fn client_accepted_by_a_set_names_the_type_that_it_sends() {
    let _watchdog = watchdog();
    let name = fresh_name();
    let mut set = IpcReceiverSet::new().unwrap();
    set.add_server(IpcServer::<bool, String>::bind(name.as_str()).unwrap()).unwrap();
    let (to_server, _from_server) = ipc::connect::<u32, bool>(name.as_str()).unwrap();
    let (_, message) = set.select().unwrap().remove(0).unwrap();
    let client = message.to::<ipc::IpcConnection<bool, String>>().unwrap();
    to_server.send(7).unwrap();
    check_types::<u32, String>(client.receiver.recv().unwrap_err());
}

#[test]
fn receiver_of_a_failed_send_names_the_type_that_the_peer_sends() {
    let _watchdog = watchdog();
    let name = fresh_name();
    let mut server = IpcServer::<bool, String>::bind(name.as_str()).unwrap();
    let (to_server, _from_server) = ipc::connect::<u32, bool>(name.as_str()).unwrap();
    let receiver = server.accept().unwrap().receiver;
    let (carrier, carried) = ipc::channel::<(IpcReceiver<String>, Unsendable)>().unwrap();
    // The receiver comes back if the message cannot be encoded, and if the channel is
    // disconnected.
    let value = (receiver, Unsendable { is_sent: false });
    assert!(carrier.send_ref(&value).is_err());
    to_server.send(7).unwrap();
    check_types::<u32, String>(value.0.recv().unwrap_err());
    drop(carried);
    let value = (value.0, Unsendable { is_sent: true });
    assert!(carrier.send_ref(&value).unwrap_err().is_disconnected());
    to_server.send(8).unwrap();
    check_types::<u32, String>(value.0.recv().unwrap_err());
}

/// A value that may have no encoded form.
#[derive(serde::Deserialize)]
struct Unsendable {
    is_sent: bool,
}

impl serde::Serialize for Unsendable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_sent {
            return Err(serde::ser::Error::custom("not me"));
        }
        self.is_sent.serialize(serializer)
    }
}

#[cfg(feature = "async")]
#[test]
fn a_stream_names_the_type_that_the_peer_sends() {
    use futures_lite::StreamExt;
    use futures_lite::future::block_on;

    let _watchdog = watchdog();
    let name = fresh_name();
    let mut server = IpcServer::<u8, bool>::bind(name.as_str()).unwrap().to_stream();
    let (to_server, _from_server) = ipc::connect::<u8, bool>(name.as_str()).unwrap();
    to_server.send(7).unwrap();
    block_on(async {
        let client = server.next().await.unwrap().unwrap();
        let mut stream = client.receiver.to_stream();
        check_types::<u8, bool>(stream.next().await.unwrap().unwrap_err());
    });
}

#[test]
fn channel_without_handshake_names_only_the_type_of_the_receiver() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel::<u8>().unwrap();
    sender.send(7).unwrap();
    let error = receiver.to_opaque().to::<bool>().recv().unwrap_err();
    assert!(error.to_string().contains("a message is not a valid `bool`"), "{error}");
}

/// A type with a very long name.
#[test]
fn a_long_name_is_cut() {
    type Long = [(Option<Vec<String>>, Result<Vec<Option<u8>>, Vec<String>>, IpcSender<String>); 1];
    type Longer = (Long, Long, Long, Long, Long);

    let _watchdog = watchdog();
    let name = std::any::type_name::<Longer>();
    assert!(name.len() > strait::internals::hello::MAX_NAME_BYTES);
    let (server, server_name) = IpcOneShotServer::<bool>::new().unwrap();
    let sender = IpcSender::<Longer>::connect(server_name).unwrap();
    sender.to_opaque().to::<u8>().send(7).unwrap();
    let error = server.accept().unwrap_err().to_string();
    let shown = &name[..strait::internals::hello::MAX_NAME_BYTES];
    assert!(error.contains(&format!("sent as `{shown}`")), "{error}");
}
