//! Channels that cross processes.
//!
//! strait has the channels of `ipc-channel`, under its names, and those of `std::sync::mpsc`: swap it in and a thread can become a process. What a crashed
//! or hostile process at the other end does is an error here, not a panic, a hang or a leak.
//!
//! # Hello over two processes
//!
//! One process starts another, which has a channel in each direction from the beginning.
//!
//! ```no_run
//! use std::process::Command;
//! use strait::process::{self, ChannelCommand};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! if std::env::args().nth(1).is_none() {
//!     let mut command = Command::new(std::env::current_exe()?);
//!     let (mut child, to_child, _) = command.arg("child").spawn_with_channel::<String, ()>()?;
//!     to_child.send("hello".to_string())?;
//!     child.wait()?;
//! } else {
//!     let (_, from_parent) = process::parent::<(), String>()?;
//!     println!("{}", from_parent.recv()?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Starting processes
//!
//! What [`spawn_with_channel`](process::ChannelCommand::spawn_with_channel) starts inherits one handle, whatever other threads are starting at
//! the same time, and [`process::parent`] makes the channels of it. A child that ends without asking for them, or does not ask in time, is an
//! error and not a hang. Several can [get ready at the same time](process::ChannelCommand::start_with_channel). The
//! [child](process::Child) can be waited for with a timeout, and need not outlive its owner.
//!
//! # Meeting by name
//!
//! Processes that did not start each other meet by a name, as with ipc-channel. One makes a server and tells the other its name, which connects
//! and sends the first message: usually the sender of a channel for the way back.
//!
//! ```
//! use strait::ipc::{self, IpcOneShotServer, IpcSender};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (server, name) = IpcOneShotServer::<IpcSender<String>>::new()?;
//! # let elsewhere = std::thread::spawn(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! // In the other process:
//! let (to_me, receiver) = ipc::channel::<String>()?;
//! IpcSender::connect(name)?.send(to_me)?;
//! # assert_eq!(receiver.recv()?, "hello");
//! # Ok(())
//! # });
//! // Here:
//! let (_, to_client) = server.accept()?;
//! to_client.send("hello".to_string())?;
//! # elsewhere.join().unwrap().unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! # Coming from std
//!
//! Change the `use` line. What is sent has to be what serde can encode, and [`mpsc`] says what else differs; names, errors and what the
//! channels do are those of `std::sync::mpsc`.
//!
//! ```
//! use std::thread;
//!
//! use strait::mpsc::{self, Receiver, Sender}; // was: use std::sync::mpsc::{…};
//!
//! fn work(jobs: Receiver<u32>, results: Sender<u32>) {
//!     for job in jobs {
//!         results.send(job * job).unwrap();
//!     }
//! }
//!
//! let (jobs, inbox) = mpsc::channel();
//! let (answers, results) = mpsc::channel();
//! let worker = thread::spawn(move || work(inbox, answers));
//! jobs.send(3).unwrap();
//! assert_eq!(results.recv(), Ok(9));
//! # drop(jobs);
//! # worker.join().unwrap();
//! ```
//!
//! To have `work` run in another process, send the two ends there instead, as above the sender of a channel: everything that is said of
//! `ipc`'s ends holds for them, and [`From`] makes one of the other.
//!
//! # Kinds of channels
//!
//! - [`ipc::channel`] carries values of any type that serde can serialise, [`ipc::bytes_channel`] bytes as they are. Both
//!   are unbounded in their API; [what that means for `send`](#what-is-not-guaranteed) stands below.
//! - [`ipc::sync_channel`] has a bound: if so many messages wait to be received, whoever sends one more waits, too, in whatever process. With a
//!   bound of zero each message is handed over to somebody who is just receiving.
//! - [`mpsc::channel`] and [`mpsc::sync_channel`] are the same with the names and errors of std. They stay in the memory of their process until an end
//!   leaves it: made in a fraction of a microsecond, without a handle. `ipc`'s channels are like that if [they are told
//!   to](ipc::ChannelOptions::lazy); otherwise they are objects of the operating system from the start, which a forked child inherits.
//! - [`IpcSharedMemory`](ipc::IpcSharedMemory) is for data that is too large to be copied.
//!
//! Senders can be cloned, receivers cannot.
//!
//! ```
//! use strait::{TrySendError, ipc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (jobs, inbox) = ipc::sync_channel::<String>(1)?;
//! jobs.send("one".to_string())?;
//! assert!(matches!(jobs.try_send(&"another".to_string()), Err(TrySendError::Full)));
//! assert_eq!(inbox.recv()?, "one");
//! # Ok(())
//! # }
//! ```
//!
//! # Channels over channels
//!
//! Senders and receivers are values like others. A receiver that is sent takes with it what it has not delivered.
//!
//! ```
//! use strait::ipc::{self, IpcSender};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (requests, inbox) = ipc::channel::<(u32, IpcSender<u32>)>()?;
//! let (reply_to, reply) = ipc::channel()?;
//! requests.send((20, reply_to))?;
//!
//! // Elsewhere:
//! let (number, reply_to) = inbox.recv()?;
//! reply_to.send(number + 1)?;
//! # assert_eq!(reply.recv()?, 21);
//! # Ok(())
//! # }
//! ```
//!
//! So are files, sockets and other handles of the operating system: see [`handle`].
//!
//! # Disconnection
//!
//! `recv` returns [`Disconnected`](IpcError::Disconnected) when every sender in every process is gone, those inside messages
//! that nobody received included, and everything that was sent has been received. `send` returns it when the receiver is gone. Both
//! hold when a process is killed.
//!
//! # Waiting, polling, timing out
//!
//! ```
//! use std::time::Duration;
//! use strait::{TryRecvError, ipc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (sender, receiver) = ipc::channel::<u32>()?;
//! assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
//! assert!(matches!(receiver.recv_timeout(Duration::from_millis(1)), Err(TryRecvError::Empty)));
//! sender.send(1)?;
//! assert_eq!(receiver.recv()?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! On Linux a receiver is also a descriptor for `poll`, `epoll`, mio or tokio, readable while there may be something to receive: see
//! [`os`].
//!
//! # Many receivers
//!
//! - [`IpcReceiverSet`](ipc::IpcReceiverSet) waits for many at once.
//! - [`router::ROUTER`] calls back, on a thread of its own, or passes messages on to crossbeam channels.
//! - With the feature `async` a receiver becomes a stream, on any runtime: `IpcReceiver::to_stream`.
//!
//! # Servers
//!
//! An [`IpcServer`](ipc::IpcServer) is found by a [name](ipc::ServerName) that its clients know beforehand, serves as many as come, and
//! takes its name over from one that was killed. Each client gets a channel in each direction, and may send at once.
//!
//! ```
//! use strait::ipc::{self, IpcServer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("squares-{}", std::process::id());
//! # let name = name.as_str();
//! // The name is "squares", say.
//! let mut server = IpcServer::<u64, u32>::bind(name)?;
//!
//! // In other processes:
//! let (numbers, squares) = ipc::connect::<u32, u64>(name)?;
//! numbers.send(12)?;
//!
//! // In the server, for each of them:
//! let (squares_to_client, numbers_from_client) = server.accept()?.split();
//! let number = u64::from(numbers_from_client.recv()?);
//! squares_to_client.send(number * number)?;
//! # assert_eq!(squares.recv()?, 144);
//! # Ok(())
//! # }
//! ```
//!
//! New clients can be waited for together with the messages of those that are there: a server can be
//! [a member of a set](ipc::IpcReceiverSet::add_server), or with the feature `async` a stream. Only processes of the same user and root
//! get in; on Unix, a filter in [`os`] says who else, and who they are.
//!
//! # Options
//!
//! A receiver decides [how its channel behaves](ipc::ChannelOptions): whether messages of different senders are put into order,
//! which takes time; [how much it takes](ipc::Limits) from senders that it does not trust; how long it waits without going to sleep; whether
//! senders may share memory with it, and how long that is kept.
//!
//! # Features
//!
//! - `async`: streams. Adds `futures-core`.
//! - `force-inprocess`: the in-process backend even where there is a better one.
//!
//! # Platforms
//!
//! | platform | channels | handles in messages | shared memory |
//! |---|---|---|---|
//! | Linux | between processes: Unix sockets, and shared memory where they are busy | descriptors | sealed memfds |
//! | other Unixes, macOS, Windows, wasm | within the process | within the process | within the process |
//!
//! Processes with channels are started on Linux only, so far.
//!
//! # What is guaranteed
//!
//! - Messages of one sender arrive in the order they were sent in. If one `send` returned before another was called, anywhere,
//!   and on whatever sender of the channel, its message arrives first.
//! - A message whose `send` returned `Ok` survives its sender.
//! - Nothing that a peer sends makes this process panic, hang, leak or crash. A message that is malformed or of another type
//!   is one error, and the channel goes on. A sender that stops in the middle of a large message holds up nobody else. What a peer
//!   does *not* do can hold up one call: `recv`, of course, and `send` where it can wait, as said below.
//! - `send` never waits for a reader: what the receiver does not take waits in memory of the sender, which grows as std's channel does.
//!   Messages with handles can wait; see below.
//! - A receiver set serves its members in turn, however much some of them send.
//! - An idle channel costs two handles altogether, and neither processor time nor a thread. One that is used gets shared memory: one
//!   handle and some 70 KiB up to 1 MiB for each process that sends, and the same handle for the receiver. It is given back when it
//!   was not used for a second or two. A sender that a process receives again, or gets back, is the same one; so are its clones in one message.
//!
//! # What is not guaranteed
//!
//! - `send` of a message with handles in it (endpoints, files, shared memory) can wait: on Linux while 278 such messages are not
//!   received, or the user's limit on handles in flight is reached. Where shared memory is not to be had, because a sandbox
//!   forbids `memfd_create` or `/proc` was never accessible, every `send` can wait, while some 200 KiB are not received.
//! - After a `fork` one process may go on receiving from a receiver that both have. Both may send.
//! - Messages are limited to [1 GiB](ipc::MAX_MESSAGE_BYTES) and [65,536 handles](ipc::MAX_MESSAGE_ATTACHMENTS), and values
//!   to 128 structs and enums, and 256 sequences, maps, tuples and options, within each other. Without optimisation, the 2 MiB of
//!   stack that a thread usually has are too few to receive that many of a type that itself has much more than half a KiB.
//! - A receiver keeps at most 1 GiB of messages that are not complete ([less](ipc::Limits), if it is told so), all receivers together three in four of the handles that this
//!   process may have in such messages. A sender that was killed in the middle of a message with more than 253 handles leaves some
//!   of them here, until others need the room or the receiver is dropped.
//! - Handles are closed by the operating system, and a file system that a peer runs itself (FUSE) is asked when they are. Whoever
//!   shares a socket with this process can also have signals sent to it (`F_SETOWN`); a sandbox that forbids `kill` forbids that as well.
//! - Whoever has a sender can disconnect the channel for all its senders, since the socket is shared. Do not give clones of
//!   one sender to processes that must not be able to silence each other: give each a channel, and put the receivers into a set.
//! - Both ends have to run the same version of strait.

#![deny(missing_docs, missing_debug_implementations)]

mod channel;
mod codec;
mod error;
mod platform;

#[cfg(feature = "async")]
pub mod asynch;
pub mod handle;
pub mod ipc;
pub mod mpsc;
pub mod os;
pub mod process;
pub mod router;

pub use error::{IpcError, SerDeError, TryRecvError, TrySelectError, TrySendError};

/// What the tests and fuzz targets of this crate need to reach. Not part of the API: it may change at any time.
#[doc(hidden)]
pub mod internals {
    pub use crate::channel::{assembly, frame, limits, ring};
    pub use crate::codec::decode_bytes;
    pub use crate::platform::*;
}
