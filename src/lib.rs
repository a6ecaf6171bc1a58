//! Channels that cross processes.
//!
//! strait has the channels of `ipc-channel`, under its names, and those of `std::sync::mpsc`:
//! replace either, and a thread can become a process. Everything that a crashed or hostile process
//! at the other end does is an error here, not a panic, a hang or a leak.
//!
//! # Hello over two processes
//!
//! A process starts another one, which has a channel in each direction from the beginning.
//!
//! ```standalone_crate
//! use std::process::Command;
//!
//! use strait::process::{self, ChannelCommand};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if cfg!(any(not(target_os = "linux"), feature = "force-inprocess")) {
//! #     return Ok(());
//! # }
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
//! A crate that sends values of its own types derives `Serialize` and `Deserialize` for them, and
//! needs `serde = { version = "1", features = ["derive"] }` among its dependencies.
//!
//! [The recipes](recipes) are whole programs: a worker pool, a supervisor, request and response, a
//! bounded channel to a child, tokio.
//!
//! # Starting processes
//!
//! The process that [`spawn_with_channel`](process::ChannelCommand::spawn_with_channel) starts
//! inherits one handle, which no other process inherits, and [`process::parent`] makes the channels
//! of it. A child that ends without calling it, or does not call it in time, is an error and not a
//! hang. Several processes can [start at the same
//! time](process::ChannelCommand::start_with_channel). Waiting for a [child](process::Child) can
//! have a timeout, and a child can be killed on drop.
//!
//! # Meeting by name
//!
//! Processes that did not start each other meet by a name, as with ipc-channel. One makes a server,
//! and the other connects to its name and sends the first message: usually the sender of a channel
//! for the way back.
//!
//! ```
//! use strait::ipc::{self, IpcOneShotServer, IpcSender};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (server, name) = IpcOneShotServer::<IpcSender<String>>::new()?;
//! # type Error = Box<dyn std::error::Error + Send + Sync>;
//! # let elsewhere = std::thread::spawn(move || -> Result<(), Error> {
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
//! Change the `use` line. Serde has to encode the values; names, errors and behaviour are those of
//! `std::sync::mpsc`. [`mpsc`] lists what differs.
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
//! To run `work` in another process, send the two ends there in a message. The ends of `mpsc`
//! behave as those of [`ipc`], and [`From`] makes one of the other.
//!
//! # Coming from crossbeam or tokio
//!
//! | there | here |
//! |---|---|
//! | `crossbeam_channel::unbounded`, `tokio::sync::mpsc::unbounded_channel` | [`ipc::channel`], [`mpsc::channel`] |
//! | `bounded(n)`, `tokio::sync::mpsc::channel(n)` | [`ipc::sync_channel`], [`mpsc::sync_channel`] |
//! | `select!` over receivers of crossbeam | [`IpcReceiverSet`](ipc::IpcReceiverSet) |
//! | a clone of a crossbeam receiver, for a work queue | one channel for each worker: [a recipe](recipes#a-worker-pool) |
//! | `oneshot` of tokio | a channel for each response: [a recipe](recipes#request-and-response) |
//! | `recv().await`, `select!` of tokio | a stream, with the feature `async`: [a recipe](recipes#tokio) |
//! | `send().await` of tokio | `try_send`, and sleeping while the channel is full: [the same recipe](recipes#tokio) |
//! | `TcpListener`, `UnixListener` of tokio | [`IpcServer`](ipc::IpcServer), with the feature `async` as a stream |
//!
//! # Kinds of channels
//!
//! - [`ipc::channel`] carries values of types that serde can encode, [`ipc::bytes_channel`] bytes.
//!   Both have no bound.
//! - [`ipc::sync_channel`] has a bound: while it is full, `send` blocks, in all processes. With a
//!   bound of zero each message goes to a receiver that is waiting for one at that moment.
//! - [`mpsc::channel`] and [`mpsc::sync_channel`] are the same with the names and errors of
//!   `std::sync::mpsc`. They stay in the memory of their process until an end leaves it: making one
//!   takes a fraction of a microsecond, and no handle. A channel of `ipc` does the same with [an
//!   option](ipc::ChannelOptions::lazy); otherwise it is an object of the operating system from the
//!   start, which a forked child inherits.
//! - [`IpcSharedMemory`](ipc::IpcSharedMemory) is for data that is too large to be copied.
//! - [`SharedMemoryWriter`](ipc::SharedMemoryWriter) is for data that one process changes while
//!   others read it: frames, counters, tables.
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
//! Senders and receivers are values that can be sent. A receiver that is sent takes along the
//! messages that it has not delivered.
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
//! So can files, sockets and other handles of the operating system: see [`handle`].
//!
//! # Disconnection
//!
//! `recv` returns [`Disconnected`](IpcError::Disconnected) if all senders in all processes have
//! been dropped, also those in messages that were not received, and all messages have been
//! received. `send` returns it if the receiver has been dropped;
//! [`is_closed`](ipc::IpcSender::is_closed) tells that without sending. A process that ends or is
//! killed drops all its ends.
//!
//! A sender that shares memory with the receiver checks once in a millisecond whether the receiver
//! is there, or once in a tick of the system's clock if that is longer. For so long after the
//! receiver's process was killed `send` can return `Ok`, even if that process has been waited for.
//! That message is lost, like all messages that the receiver had not received. So `Ok` does not
//! mean that an answer will come. The channel for answers tells a waiting process that the other
//! one has ended, by `Disconnected`, unless a third process keeps a clone of its sender.
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
//! On Linux a receiver also has a file descriptor for `poll`, `epoll`, mio or tokio, which is
//! readable while there may be something to receive: see [`os`].
//!
//! # What may block
//!
//! Calls that are not listed do not wait for other processes. In a task of an async runtime, use the
//! last column.
//!
//! | call | blocks the thread until | at most | in a task |
//! |---|---|---|---|
//! | `recv`, `iter` | a message arrives, or the channel is disconnected | | a stream with the feature `async`, or a descriptor of [`os`] and `try_recv` |
//! | `recv_timeout`, `try_recv_timeout` | the same | the timeout | the same |
//! | `send` without a bound | never, with [two exceptions](ipc::IpcSender#blocking): messages with handles, and channels without shared memory | [10 s](ipc::SEND_PATIENCE), then an error | `try_send`, and sleeping or yielding while the channel is full |
//! | `send` with a bound | there is room | | the same |
//! | `send_timeout`, `send_deadline` | as `send` | the timeout | the same |
//! | `select` of a set | a member has something | | a stream for each receiver, or the descriptor of the set and `try_select` |
//! | `try_select_timeout` | the same | the timeout | the same |
//! | `accept`, `incoming` of an [`IpcServer`](ipc::IpcServer) | a client connects | | the server as a stream |
//! | `accept` of an [`IpcOneShotServer`](ipc::IpcOneShotServer) | the first message arrives | | a blocking thread of the runtime, or an `IpcServer` |
//! | [`ipc::connect`], [`IpcSender::connect`](ipc::IpcSender::connect) | this client can queue, if very many wait to be accepted | | a blocking thread, or [`connect_timeout`](ipc::connect_timeout) |
//! | [`spawn_with_channel`](process::ChannelCommand::spawn_with_channel) | the child calls `parent` | [10 s](process::CONNECT_TIMEOUT) | [`start_with_channel`](process::ChannelCommand::start_with_channel) and `.await` |
//! | [`Child::wait`](process::Child::wait) | the child has ended | | a blocking thread, or [`try_wait`](process::Child::try_wait) |
//! | `accept_timeout`, `connect_timeout`, `wait_timeout`, [`Starting::connect`](process::Starting::connect) | the same as without a timeout | the timeout | the same |
//! | dropping a [`Starting`](process::Starting), or a `Child` with [`kill_on_drop`](process::Child::kill_on_drop) | the child, which is killed, has ended | 2 s | a blocking thread |
//! | [`shutdown`](router::RouterProxy::shutdown) of a router, and dropping it | its callback returns | | a blocking thread |
//! | dropping [handles](handle) from a peer, or a receiver with them in its messages | the file is closed | up to the peer (FUSE, `SO_LINGER`) | a blocking thread |
//!
//! `try_recv`, `try_iter`, `try_send`, `try_select`, `try_accept`, `try_wait`, `is_closed` and
//! [`process::parent`] never block. Encoding and decoding take processor time, in proportion to the
//! message.
//!
//! # Costs
//!
//! File descriptors on Linux, in each process (`ulimit -n` is usually 1024):
//!
//! | what | descriptors | memory |
//! |---|---|---|
//! | a channel of [`mpsc`], or a [lazy](ipc::ChannelOptions::lazy) one, that stays in its process | none | |
//! | an end of another channel, sender or receiver | 1 | about 1 KiB, and 7 KiB in the kernel for both |
//! | ... with a bound | 2 | the same |
//! | shared memory of a busy channel, for each sending process | 1 more on both sides | 70 KiB to 1 MiB, more for what is not received |
//! | a clone of a sender, or a sender that is received again | none | |
//! | a receiver whose descriptor is polled | 2 more | |
//! | an [`IpcReceiverSet`](ipc::IpcReceiverSet) | 1, and 1 more if it is polled | |
//! | a member of a set, a route, a stream | none besides those of the receiver | |
//! | a router; all streams of a process together | 2 each, and a thread | |
//! | an [`IpcServer`](ipc::IpcServer) | 3, and 1 for the lock of a name in the file system | |
//! | a client of a server | 2 in the server, 2 in the client | as two channels |
//! | a child with its channels | 2 in the parent, 2 in the child; while it starts, 3 in the parent | as two channels |
//! | an [`IpcSharedMemory`](ipc::IpcSharedMemory) or a [`SharedMemoryWriter`](ipc::SharedMemoryWriter), with its clones | 1 | its bytes |
//! | a process that receives | 1 in reserve | |
//!
//! Shared memory of a channel is given back when nothing has come through it for a second or two
//! and its sender sends again or is dropped. A process that has used three quarters of its
//! descriptors makes no further shared memory for speed alone. An idle channel takes no processor
//! time, and no channel needs a thread.
//!
//! # Many receivers
//!
//! - [`IpcReceiverSet`](ipc::IpcReceiverSet) receives from many receivers.
//! - [`router::ROUTER`] calls callbacks, on a thread of its own, or sends messages on into
//!   crossbeam channels.
//! - With the feature `async` a receiver becomes a stream, on any runtime:
//!   `IpcReceiver::to_stream`.
//!
//! # Servers
//!
//! An [`IpcServer`](ipc::IpcServer) has a [name](ipc::ServerName) that its clients know beforehand,
//! serves any number of clients, and takes over the name from a server that was killed. Each client
//! gets a channel in each direction, and can send at once.
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
//! A server can be [a member of a set](ipc::IpcReceiverSet::add_server), which receives its clients
//! and their messages, or a stream with the feature `async`. It accepts processes of the same user
//! and of root; on Unix, a filter in [`os`] accepts others, and tells their process and user ids.
//!
//! # Options
//!
//! A receiver sets [the options of its channel](ipc::ChannelOptions): whether messages of different
//! senders are put into order, which takes time; [limits](ipc::Limits) for senders that it does not
//! trust; how long it polls before it sleeps; whether senders share memory with it, and how long
//! that is kept.
//!
//! # Features
//!
//! - `async`: receivers and servers as streams, starting processes as futures. Adds `futures-core`.
//! - `postcard`: an error of the crate postcard becomes a [`SerDeError`] by `?`, as with
//!   ipc-channel.
//! - `force-inprocess`: the in-process backend also on Linux. Channels cannot leave the process
//!   then.
//!
//! # Platforms
//!
//! | platform | channels | handles in messages | shared memory |
//! |---|---|---|---|
//! | Linux | between processes | file descriptors | sealed memfds |
//! | other Unixes, macOS, Windows, wasm | within the process | within the process | within the process |
//!
//! On Linux channels are Unix sockets (`SOCK_SEQPACKET`), and shared memory where they are busy.
//! Only on Linux are processes started with channels so far.
//!
//! # What is guaranteed
//!
//! - **Order.** Messages of one sender arrive in the order they were sent in. If one `send`
//!   returned before another was called, on whichever senders of the channel and in whatever
//!   processes, its message arrives first.
//! - **Durability.** A message whose `send` returned `Ok` is received even if its sender is killed.
//! - **Isolation.** Nothing that a peer sends makes this process panic, hang, leak or crash. A
//!   message that is malformed or of another type is one error, and the channel works on. A sender
//!   that stops in the middle of a large message delays no other. A silent peer can make calls
//!   block as [said above](#what-may-block).
//! - The bytes of an [`IpcSharedMemory`](ipc::IpcSharedMemory) do not change while they are
//!   borrowed, whatever any process does.
//! - **No waiting to send.** `send` into a channel without a bound does not wait for the receiver:
//!   messages that the receiver does not take wait in memory of the sender, which grows as that of
//!   std's channel does. Where that is not possible, `send` returns within [ten
//!   seconds](ipc::SEND_PATIENCE); see below.
//! - **Bounds.** With [`ipc::sync_channel(n)`](ipc::sync_channel) at most n messages wait to be
//!   received, from all processes together. Senders that die, or take a permit to send and do not
//!   send, delay the others for some tenths of a second at most.
//! - **Fairness.** A receiver set serves its members in turn, however much some of them send, and
//!   keeps its deadline under a flood.
//! - **Servers.** A name belongs to one server at a time, and that of a server which was killed to
//!   the next one. A client whose `connect` returned is accepted, and its messages are received
//!   even if it has crashed meanwhile. Silent connections do not keep clients out.
//!
//! # What is not guaranteed
//!
//! - `send` of a message with handles (endpoints, files, shared memory) can block: on Linux while
//!   278 such messages (138 with the kernel's own `wmem_max`) are not received, or the user's limit
//!   on handles in flight is reached. Without shared memory every `send` can block, while some 200
//!   KiB are not received: because the receiver [wants none](ipc::ChannelOptions::shared_memory), a
//!   sandbox forbids `memfd_create`, or `/proc` was never accessible. So the receiver decides
//!   whether `send` can block, and another process that has the sender can bring it about, too.
//!   After [ten seconds](ipc::SEND_PATIENCE) it is an error. `try_send` never blocks, and
//!   `send_timeout` for the time that it is given.
//! - After a `fork` one process may go on receiving from a receiver that both have. Both may send.
//!   A channel that has not left its process is not shared by a `fork`: in the child its ends are
//!   errors.
//! - A bound holds for senders that keep to the protocol: a hostile sender can send more messages,
//!   which wait in its own memory. A message that is sent late by a sender that was taken for dead
//!   exceeds the bound.
//! - A message has at most [1 GiB](ipc::MAX_MESSAGE_BYTES) and [65,536
//!   handles](ipc::MAX_MESSAGE_ATTACHMENTS). Values may be nested 128 structs and enums deep, and
//!   256 sequences, maps, tuples and options. A thread without enough stack for that refuses deeper
//!   values (Linux; elsewhere its stack overflows). Without optimisation, the 2 MiB that a thread
//!   usually has are too few to receive that many of a type that itself has much more than half a
//!   KiB.
//! - All sequences and maps of a message together have at most 1,048,576 elements more than the
//!   message has bytes: a longer `Vec<()>` is not sent. At most 65,536 elements that have no bytes
//!   but take up memory, such as structs with nothing but skipped fields, are received.
//! - A receiver keeps at most 1 GiB of incomplete messages ([less](ipc::Limits), if it is told so).
//!   All receivers of a process together keep three in four of the handles that it may have in such
//!   messages. A sender that was killed in the middle of a message with more than 253 handles
//!   leaves some of them here, until other messages need the room or the receiver is dropped.
//! - While its process has no descriptor left, a receiver takes in the bursts of different senders
//!   one after the other, so that only the order of each sender is kept. If a sandbox forbids it
//!   `fcntl` with `F_GET_SEALS`, it cannot receive messages that come through shared memory: give
//!   it [`shared_memory(false)`](ipc::ChannelOptions::shared_memory) before it enters the sandbox.
//! - A receiver that moves to another process with more than 256 MiB of undelivered messages can
//!   show its new owner messages that were delivered before.
//! - The receivers in one message can have 4 GiB and 16 million messages that they have not
//!   delivered; where a sandbox forbids `memfd_create`, 1 MiB. With more, `send` returns an error,
//!   and they stay.
//! - The operating system closes handles, and asks a file system that a peer serves (FUSE) when it
//!   does: see [`handle`]. Handles that no value took are closed by another thread if closing them
//!   could block, and delay a call by 100 ms at most. If no thread can be started, they are closed
//!   by the call. A process that shares a socket with this one can have signals sent to it
//!   (`F_SETOWN`); a sandbox that forbids `kill` forbids that as well.
//! - A process that has a sender can disconnect the channel for all its senders, or fill its queue,
//!   since they share the socket. Give processes that must not be able to silence each other a
//!   channel each, and put the receivers into a set.
//! - A read of a [`SharedMemoryReader`](ipc::SharedMemoryReader) can be torn by a concurrent write,
//!   and a writer that is not trusted can write anything. The copy that was read does not change.
//! - Both ends have to speak the same version of strait's protocol, with the same codec. Else [meeting](SerDeError) is an error that
//!   names both sides'. Whether pointers have 32 or 64 bits makes no difference.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(docsrs, doc(auto_cfg(hide(feature = "force-inprocess"))))]
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
pub mod recipes;
pub mod router;

pub use error::{IpcError, SerDeError, TryRecvError, TrySelectError, TrySendError};

/// What the tests and fuzz targets of this crate need to reach. Not part of the API: it may change
/// at any time.
#[doc(hidden)]
pub mod internals {
    pub use crate::channel::{assembly, frame, hello, limits, ring};
    pub use crate::codec::decode_bytes;
    pub use crate::platform::*;
}

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
