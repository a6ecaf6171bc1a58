//! Limits of the process: file descriptors, memory, system calls, /proc. Every call works or
//! returns an error, and once there is enough again every call works.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

mod descriptors;
mod in_flight;
mod many_handles;
mod system;

use std::error::Error;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Gid, Resource, Uid};
use strait::handle::Handle;
use strait::ipc::{
    self, IpcError, IpcOneShotServer, IpcReceiver, IpcReceiverSet, IpcSender, IpcServer,
    IpcSharedMemory, ServerName, SharedMemoryReader, SharedMemoryWriter, TryRecvError,
};
use strait::router::{ROUTER, RouterProxy};

use harness::raw;
use harness::sandbox::forbid;
use harness::table;
use harness::ways::{Next, ways};

type Outcome = Result<(), Box<dyn Error>>;

/// A call, and its name.
type Call = (&'static str, fn() -> Outcome);

/// Calls of strait, each with objects of its own. Wrong results panic; refusals are errors.
const CALLS: &[Call] = &[
    ("a message", || {
        let (sender, receiver) = ipc::channel::<String>()?;
        sender.send("small".to_string())?;
        assert_eq!(receiver.recv()?, "small");
        Ok(())
    }),
    ("a large message", || {
        let (sender, receiver) = ipc::channel::<String>()?;
        let large = "large".repeat(100_000);
        let sending = thread::spawn({
            let large = large.clone();
            move || sender.send(large)
        });
        let received = receiver.recv();
        drop(receiver);
        let sent = sending.join().expect("sending does not panic");
        assert_eq!(received?, large);
        Ok(sent?)
    }),
    ("a timeout", || {
        let (_sender, receiver) = ipc::bytes_channel()?;
        match receiver.try_recv_timeout(Duration::from_millis(1)) {
            Err(TryRecvError::Empty) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => panic!("there is no message"),
        }
    }),
    ("endpoints", || {
        let (sender, receiver) = ipc::channel::<(IpcSender<u32>, IpcReceiver<u32>)>()?;
        let (tx, rx) = ipc::channel()?;
        sender.send((tx, rx))?;
        let (tx, rx) = receiver.recv()?;
        tx.send(5)?;
        assert_eq!(rx.recv()?, 5);
        Ok(())
    }),
    ("an exposed receiver", || {
        let (sender, receiver) = ipc::channel::<IpcReceiver<u32>>()?;
        let (tx, rx) = ipc::channel()?;
        rx.as_fd();
        if let Err(error) = sender.send_ref(&rx) {
            // The value is unchanged.
            tx.send(4)?;
            assert_eq!(rx.recv()?, 4);
            return Err(error.into());
        }
        let rx = receiver.recv()?;
        tx.send(5)?;
        assert_eq!(rx.recv()?, 5);
        Ok(())
    }),
    ("a handle", || {
        let (sender, receiver) = ipc::channel::<Handle<UnixStream>>()?;
        let (one, other) = UnixStream::pair()?;
        sender.send(Handle(one))?;
        let one = receiver.recv()?;
        rustix::io::write(&*one, b"x")?;
        assert_eq!(rustix::io::read(&other, &mut [0; 9])?, 1);
        Ok(())
    }),
    ("memory", || {
        let (sender, receiver) = ipc::channel::<IpcSharedMemory>()?;
        sender.send(IpcSharedMemory::try_from_bytes(b"memory")?)?;
        assert_eq!(&*receiver.recv()?, b"memory");
        Ok(())
    }),
    ("written memory", || {
        let (sender, receiver) = ipc::channel::<SharedMemoryReader>()?;
        let writer = SharedMemoryWriter::new(100_000)?;
        sender.send(writer.reader()?)?;
        writer.write_at(99_994, b"memory")?;
        assert_eq!(&receiver.recv()?.to_vec()?[99_993..], b"\0memory");
        Ok(())
    }),
    ("a set", || {
        let mut set = IpcReceiverSet::new()?;
        let (sender, receiver) = ipc::channel::<u32>()?;
        let id = set.add(receiver)?;
        set.as_fd();
        sender.send(5)?;
        let (from, message) = set.select()?.remove(0).unwrap();
        assert_eq!((from, message.to::<u32>()?), (id, 5));
        drop(sender);
        set.try_select_timeout(Duration::from_secs(60))?;
        assert!(set.is_empty());
        Ok(())
    }),
    ("a server", || {
        let (server, name) = IpcOneShotServer::<String>::new()?;
        let client = IpcSender::connect(name)?;
        client.send("hello".to_string())?;
        let (receiver, greeting) = match server.accept_timeout(Duration::from_secs(60)) {
            Err(TryRecvError::Empty) => panic!("the client is not heard"),
            accepted => accepted?,
        };
        assert_eq!(greeting, "hello");
        client.send("again".to_string())?;
        assert_eq!(receiver.recv()?, "again");
        Ok(())
    }),
    ("a server of many", || {
        let name = ServerName::Abstract(format!("strait-limits-{}", std::process::id()));
        let mut server = IpcServer::<u32, u32>::bind(&name)?;
        let (sender, receiver) = ipc::connect::<u32, u32>(&name)?;
        sender.send(1)?;
        let client = match server.accept_timeout(Duration::from_secs(60)) {
            Err(TryRecvError::Empty) => panic!("the client is not heard"),
            accepted => accepted?,
        };
        assert_eq!(client.receiver.recv()?, 1);
        client.sender.send(2)?;
        assert_eq!(receiver.recv()?, 2);
        Ok(())
    }),
    ("conversions", || {
        let (sender, receiver) = ipc::channel::<u32>()?;
        let sender: OwnedFd = sender.try_into()?;
        let sender = IpcSender::<u32>::try_from(sender)?;
        let receiver: OwnedFd = receiver.try_into().map_err(|_| "the receiver is idle")?;
        let receiver = IpcReceiver::<u32>::try_from(receiver)?;
        sender.send(5)?;
        assert_eq!(receiver.recv()?, 5);
        Ok(())
    }),
    #[cfg(feature = "async")]
    ("a stream", || {
        use futures_lite::StreamExt;

        let (sender, receiver) = ipc::channel::<u32>()?;
        sender.send(5)?;
        let mut stream = receiver.to_stream();
        let item = futures_lite::future::block_on(stream.next());
        assert_eq!(item.expect("it goes on")?, 5);
        Ok(())
    }),
];

#[track_caller]
fn assert_business_as_usual() {
    for (what, call) in CALLS {
        if let Err(error) = call() {
            panic!("{what}: {error:?}");
        }
    }
}

fn limit(resource: Resource, limit: u64) {
    let mut limits = rustix::process::getrlimit(resource);
    limits.current = Some(limit);
    rustix::process::setrlimit(resource, limits).unwrap();
}

/// Raises the limit on descriptors as far as it goes.
fn raise_descriptor_limit() -> u64 {
    let mut limits = rustix::process::getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    rustix::process::setrlimit(Resource::Nofile, limits).unwrap();
    limits.current.unwrap_or(u64::MAX)
}

/// The number that the next descriptor gets.
fn next_descriptor() -> u64 {
    use std::os::fd::AsRawFd;

    io::stdin().as_fd().try_clone_to_owned().unwrap().as_raw_fd() as u64
}

/// Takes all descriptors that are left, but for `spare`.
fn take_descriptors(spare: usize) -> Vec<OwnedFd> {
    limit(Resource::Nofile, next_descriptor() + 100);
    let mut taken = Vec::new();
    while let Ok(fd) = io::stdin().as_fd().try_clone_to_owned() {
        taken.push(fd);
    }
    taken.truncate(taken.len() - spare);
    taken
}
