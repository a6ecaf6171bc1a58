//! Channels between processes.
//!
//! strait has the channels of `ipc-channel` and of `std::sync::mpsc`, under their names. Replace
//! either of them, and a thread can become a process. Whatever a crashed or hostile peer does is
//! an error here: this process does not panic, hang or leak.
//!
//! # Hello over two processes
//!
//! A process starts a child process, which has a channel in each direction from the beginning.
//!
//! ```standalone_crate
//! use std::process::Command;
//!
//! use strait::process::{self, ChannelCommand};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if !process::is_supported() {
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
//! To send values of its own types, a crate derives `Serialize` and `Deserialize` for them. It
//! needs `serde = { version = "1", features = ["derive"] }` among its dependencies.
//!
//! [The recipes](recipes) are whole programs: a worker pool, a supervisor, request and response,
//! a bounded channel to a child, tokio.
//!
//! # Starting processes
//!
//! [`spawn_with_channel`](process::ChannelCommand::spawn_with_channel) starts a child process.
//! The child inherits one handle, which no other process inherits, and [`process::parent`] makes
//! the channels of it. If the child ends without calling `parent`, or does not call it in time,
//! `spawn_with_channel` fails; it does not hang. Several processes can [start at the same
//! time](process::ChannelCommand::start_with_channel). Waiting for a [child](process::Child) can
//! have a timeout, and a child can be killed on drop.
//!
//! # Connecting by name
//!
//! Processes that did not start each other connect by a name, as with ipc-channel. One process
//! makes a server, which has a name. The client connects to that name and sends the first
//! message: usually the sender of a channel for the way back.
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
//! Change the `use` line. The values must be types that serde can encode; names, errors and
//! behaviour are those of `std::sync::mpsc`. [`mpsc`] lists the differences.
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
//! To run `work` in another process, send the two endpoints there in a message. The endpoints of
//! `mpsc` behave as those of [`ipc`], and [`From`] converts between them.
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
//! - [`ipc::channel`] carries values of types that serde can encode, and [`ipc::bytes_channel`]
//!   carries bytes. Both are unbounded.
//! - [`ipc::sync_channel`] is bounded, for backpressure: while it is full, `send` blocks, in all
//!   processes. With bound 0 (a rendezvous) a message is sent only while the receiver waits for
//!   one.
//! - [`mpsc::channel`] and [`mpsc::sync_channel`] are the same with the names and errors of
//!   `std::sync::mpsc`. They stay in the memory of their process until an endpoint leaves it.
//!   Making one takes a fraction of a microsecond, and no handle.
//! - A channel of `ipc` begins in the memory of its process, too, with [an
//!   option](ipc::ChannelOptions::lazy). Otherwise it is an object of the operating system from
//!   the start, which a forked child inherits.
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
//! Senders and receivers are values that can be sent. A receiver that is moved takes along its
//! undelivered messages.
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
//! Files, sockets and other handles of the operating system can be sent as well: see [`handle`].
//!
//! # Disconnection
//!
//! `recv` returns [`Disconnected`](IpcError::Disconnected) if all senders in all processes have
//! been dropped and all messages have been received. Senders in messages that have not been
//! received count. `send` returns `Disconnected` if the receiver has been dropped.
//! [`is_closed`](ipc::IpcSender::is_closed) reports that without sending. A process that ends or
//! is killed drops all its endpoints.
//!
//! A sender that shares memory with the receiver checks once in a millisecond whether the
//! receiver exists. If a tick of the system's clock is longer, it checks once in a tick. For that
//! long after the receiver's process was killed, `send` can return `Ok`, even if that process has
//! been waited for. That message is discarded, like all messages that the receiver had not
//! received. So `Ok` does not mean that an answer will come. A process that waits for an answer
//! learns that the other process has ended from the channel for answers: it gets `Disconnected`,
//! unless a third process keeps a clone of the sender.
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
//! On Linux a receiver also has a file descriptor for `poll`, `epoll`, mio or tokio. It is
//! readable while there may be something to receive: see [`os`].
//!
//! # What may block
//!
//! Calls that are not listed do not block on other processes. In a task of an async runtime, use
//! the last column.
//!
//! | call | blocks the thread until | at most | in a task |
//! |---|---|---|---|
//! | `recv`, `iter` | a message arrives, or the channel is disconnected | | a stream with the feature `async`, or a descriptor of [`os`] and `try_recv` |
//! | `recv_timeout`, `try_recv_timeout` | the same | the timeout | the same |
//! | `send`, unbounded | does not block, with [two exceptions](ipc::IpcSender#blocking): messages with handles, and channels without shared memory | [10 s](ipc::SEND_TIMEOUT), then an error | `try_send`, and sleeping or yielding while the channel is full |
//! | `send`, bounded | there is room | [10 s](ipc::SEND_TIMEOUT), then an error, while this user has too many handles in flight; else no limit | the same |
//! | `send_timeout`, `send_deadline` | as `send` | the timeout | the same |
//! | `select` of a receiver set | a member has something | | a stream for each receiver, or the descriptor of the set and `try_select` |
//! | `try_select_timeout` | the same | the timeout | the same |
//! | `accept`, `incoming` of an [`IpcServer`](ipc::IpcServer) | a client connects | | the server as a stream |
//! | `accept` of an [`IpcOneShotServer`](ipc::IpcOneShotServer) | the first message arrives | | a blocking thread of the runtime, or an `IpcServer` |
//! | [`ipc::connect`], [`IpcSender::connect`](ipc::IpcSender::connect) | there is room in the server's backlog, if very many clients wait | | a blocking thread, or [`connect_timeout`](ipc::connect_timeout) |
//! | [`spawn_with_channel`](process::ChannelCommand::spawn_with_channel) | the child calls `parent` | [10 s](process::CONNECT_TIMEOUT) | [`start_with_channel`](process::ChannelCommand::start_with_channel) and `.await` |
//! | [`Child::wait`](process::Child::wait) | the child has ended | | a blocking thread, or [`try_wait`](process::Child::try_wait) |
//! | `accept_timeout`, `connect_timeout`, `wait_timeout`, [`Starting::connect`](process::Starting::connect) | the same as without a timeout | the timeout | the same |
//! | dropping a [`Starting`](process::Starting), or a `Child` with [`kill_on_drop`](process::Child::kill_on_drop) | the child, which is killed, has ended | 2 s | a blocking thread |
//! | [`shutdown`](router::RouterProxy::shutdown) of a router, and dropping it | its callback returns | | a blocking thread |
//! | dropping [handles](handle) from a peer, or a receiver with them in its messages | the file is closed | up to the peer (FUSE, `SO_LINGER`) | a blocking thread |
//!
//! `try_send`, `try_accept`, `try_wait`, `is_closed` and [`process::parent`] do not block. Nor do
//! `try_recv`, `try_iter` and `try_select`, except in a rendezvous: if a sender wants to send, they
//! block until its message arrives, for up to 10 ms. Encoding and decoding take processor
//! time, in proportion to the message.
//!
//! # Costs
//!
//! File descriptors on Linux, in each process (`ulimit -n` is usually 1024):
//!
//! | what | descriptors | memory |
//! |---|---|---|
//! | a channel of [`mpsc`], or a [lazy](ipc::ChannelOptions::lazy) one, that stays in its process | none | |
//! | an endpoint of any other channel | 1 | about 1 KiB, and 7 KiB in the kernel for both |
//! | ... bounded | 2 | the same |
//! | a thread that waits for room in a bounded channel | 1 for as long as it waits, 64 at most in a process | |
//! | shared memory of a busy channel, for each sending process | 1 more on both sides | 70 KiB to 1 MiB, more for messages that have not been received |
//! | a clone of a sender, or a sender that is received again | none | |
//! | a receiver whose descriptor is polled | 2 more | |
//! | an [`IpcReceiverSet`](ipc::IpcReceiverSet) | 1, and 1 more if it is polled | |
//! | a member of a receiver set, a route, a stream | none besides those of the receiver | |
//! | a router; all streams of a process together | 2 each, and a thread | |
//! | an [`IpcServer`](ipc::IpcServer) | 3, and 1 for the lock of a name in the file system | |
//! | a client of a server | 2 in the server, 2 in the client | as two channels |
//! | a child with its channels | 2 in the parent, 2 in the child; while it starts, 3 in the parent | as two channels |
//! | an [`IpcSharedMemory`](ipc::IpcSharedMemory) or a [`SharedMemoryWriter`](ipc::SharedMemoryWriter), with its clones | 1 | its bytes |
//! | a process that receives | 1 in reserve | |
//!
//! Shared memory of a channel falls out of use when it has carried no message for a second or
//! two. It is given back once its sender sends again or is dropped. A process that has used three
//! quarters of its descriptors makes no further shared memory for speed alone. An idle channel
//! takes no processor time, and no channel needs a thread.
//!
//! # Many receivers
//!
//! - [`IpcReceiverSet`](ipc::IpcReceiverSet) receives from many receivers.
//! - [`router::ROUTER`] calls callbacks on its own thread, or forwards messages into crossbeam
//!   channels.
//! - With the feature `async` a receiver becomes a stream, on any runtime:
//!   `IpcReceiver::to_stream`.
//!
//! # Servers
//!
//! An [`IpcServer`](ipc::IpcServer) has a [name](ipc::ServerName) that its clients know
//! beforehand, and serves any number of clients. It takes over the name from a server that was
//! killed. Each client gets a channel in each direction, and can send at once.
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
//! A server can be [a member of a set](ipc::IpcReceiverSet::add_server), which receives its
//! clients and their messages. With the feature `async` it can be a stream. It accepts processes
//! of the same user and of root. On Unix, a filter in [`os`] accepts others, and reports their
//! process and user ids.
//!
//! # Options
//!
//! A receiver sets [the options of its channel](ipc::ChannelOptions):
//!
//! - whether messages of different senders are put into order, which takes time;
//! - [limits](ipc::Limits) for senders that are not trusted;
//! - how long the receiver spins before it sleeps;
//! - whether senders share memory with it, and how long that is kept.
//!
//! # Features
//!
//! - `async`: receivers and servers as streams, starting processes as futures. Adds
//!   `futures-core`.
//! - `postcard`: `?` converts an error of the crate postcard into a [`SerDeError`], as with
//!   ipc-channel.
//! - `force-inprocess`: uses the in-process backend also on Linux. Channels cannot leave the
//!   process then.
//!
//! # Platforms
//!
//! | platform | channels | handles in messages | shared memory | names |
//! |---|---|---|---|---|
//! | Linux | between processes | file descriptors | sealed memfds | private, paths, abstract |
//! | other Unixes, macOS, Windows, wasm | within the process | within the process | within the process | within the process |
//!
//! On Linux channels are Unix sockets (`SOCK_SEQPACKET`), and shared memory where they are busy.
//! Processes are started with channels only on Linux so far.
//!
//! # What is guaranteed
//!
//! [`guarantees`] defines the guarantees by number, with their caveats.
//!
//! - **Order** (C3, C4). Messages of one sender arrive in the order in which they were sent. If
//!   one `send` returned before another was called, its message arrives first. This holds for
//!   all senders of the channel, in all processes.
//! - **Durability** (C5). A message whose `send` returned `Ok` is received even if its sender is
//!   killed.
//! - **Disconnection** (C6). `recv` returns `Disconnected` when all senders in all processes have
//!   been dropped and all messages have been received. `send` returns it when the receiver has been
//!   dropped.
//! - **Isolation** (C7). Nothing that a peer sends makes this process panic, hang, leak or crash. A
//!   message that is malformed or of another type is one error, and the channel continues to
//!   work. A sender that stops in the middle of a large message delays no other sender. A silent
//!   peer can make calls block as [listed above](#what-may-block).
//! - The bytes of an [`IpcSharedMemory`](ipc::IpcSharedMemory) do not change while they are
//!   borrowed, whatever any process does.
//! - **No waiting to send** (C1). `send` into an unbounded channel does not block on the receiver.
//!   Messages that the receiver has not taken stay in memory of the sender, which grows as that
//!   of std's channel does. Where that is not possible, `send` returns within [ten
//!   seconds](ipc::SEND_TIMEOUT); see below.
//! - **Bounds** (C2). With [`ipc::sync_channel(n)`](ipc::sync_channel) at most n messages wait
//!   to be received, from all processes together. Each message takes a permit. Senders that
//!   die, or take a permit and do not send, delay the other senders for about a second at most.
//! - **Moving** (C9). Every endpoint can be sent to another process while the channel is in use. A
//!   receiver takes along what it has not delivered.
//! - **Polling** (C8). A receiver, or a receiver set, is one file descriptor for `poll` and
//!   `epoll`: see [`os`].
//! - **Low cost** (C10, C11). A busy channel costs no system call and no allocation per message, an
//!   idle one no thread and no processor time: see [Costs](#costs).
//! - **Fairness.** A receiver set serves its members in turn, however much some of them send. It
//!   keeps its deadline under a flood.
//! - **Servers.** A name belongs to one server at a time, and the name of a killed server to the
//!   next one. A client whose `connect` returned is accepted, and its messages are received even
//!   if it has crashed meanwhile. Silent connections do not keep clients out.
//!
//! # What is not guaranteed
//!
//! - `send` of a message with handles (endpoints, files, shared memory) can block. On Linux it
//!   blocks while 278 such messages (138 with the kernel's own `wmem_max`) have not been
//!   received. It also blocks while the user's limit on handles in flight is reached.
//! - Without shared memory every `send` can block, while some 200 KiB have not been received.
//!   Shared memory is missing if the receiver [does not want
//!   it](ipc::ChannelOptions::shared_memory), if a sandbox forbids `memfd_create`, or if `/proc`
//!   was never accessible. So the receiver decides whether `send` can block, and another process
//!   that has the sender can cause it, too.
//! - In both cases `send` fails after [ten seconds](ipc::SEND_TIMEOUT). `try_send` never blocks,
//!   and `send_timeout` blocks for at most its timeout.
//! - After a `fork` only one process may go on receiving from a receiver that both have. Both may
//!   send. A channel that has not left its process is not shared by a `fork`: in the child its
//!   endpoints return errors.
//! - A bound holds for senders that keep to the protocol. A hostile sender can send more
//!   messages, which wait in its own memory. A message that is sent late, by a sender that was
//!   taken for dead, exceeds the bound.
//! - A message has at most [1 GiB](ipc::MAX_MESSAGE_BYTES) and [65,536
//!   handles](ipc::MAX_MESSAGE_ATTACHMENTS). Values may be nested 128 structs and enums deep, and
//!   256 sequences, maps, tuples and options. A thread whose stack is too
//!   small for a value refuses it (Linux; elsewhere its stack overflows). In a build without
//!   optimisation, a thread's usual 2 MiB are too few to receive values of these depths, if their
//!   types have much more than half a KiB.
//! - All sequences and maps of a message together have at most 1,048,576 elements more than the
//!   message has bytes: a longer `Vec<()>` is not sent. At most 65,536 elements that have no
//!   bytes but take up memory, such as structs with only skipped fields, are received.
//! - A receiver keeps at most 1 GiB of incomplete messages ([less](ipc::Limits), if it is told
//!   so). Such messages of all receivers of a process together have at most three quarters of the
//!   handles that the process may have. A sender that was killed in the middle of a message with
//!   more than 253 handles leaves some of them in the receiver's process. They stay until other
//!   messages need the room or the receiver is dropped.
//! - While its process has no descriptor left, a receiver takes in the bursts of different
//!   senders one after the other. Then only the order of each sender is kept.
//! - If a sandbox forbids `fcntl` with `F_GET_SEALS`, the receiver cannot receive messages that
//!   come through shared memory. Give it
//!   [`shared_memory(false)`](ipc::ChannelOptions::shared_memory) before it enters the sandbox.
//! - A receiver that moves to another process with more than 256 MiB of undelivered messages can
//!   return messages again that were delivered before.
//! - The receivers in one message can have 4 GiB and 16 million undelivered messages; where a
//!   sandbox forbids `memfd_create`, 1 MiB. With more, `send` returns an error, and the receivers
//!   stay.
//! - When a handle is closed, the operating system asks its file system, which a peer can serve
//!   (FUSE): see [`handle`]. Handles that no value took are closed by another thread if closing
//!   them could block. They delay a call by 100 ms at most. If no thread can be started, the call
//!   closes them. A process that shares a socket with this one can have signals sent to it
//!   (`F_SETOWN`); a sandbox that forbids `kill` forbids that as well.
//! - A process that has a sender can disconnect the channel for all its senders, or fill its
//!   queue, since they share the socket. Give processes that must not be able to silence each
//!   other a channel each, and put the receivers into a set.
//! - A read of a [`SharedMemoryReader`](ipc::SharedMemoryReader) can be torn by a concurrent
//!   write, and a writer that is not trusted can write anything. The copy that was read does not
//!   change.
//! - Both peers have to speak the same version of strait's protocol, with the same codec.
//!   Otherwise the handshake fails with [an error](SerDeError) that names both sides' versions
//!   and codecs. Whether pointers have 32 or 64 bits makes no difference.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(docsrs, doc(auto_cfg(hide(feature = "force-inprocess"))))]
#![deny(missing_docs, missing_debug_implementations)]

mod buffers;
mod channel;
mod codec;
mod error;
mod platform;
mod typed;

#[cfg(feature = "async")]
pub mod asynch;
#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}
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
    pub use crate::channel::receive::merge;
    pub use crate::channel::{assembly, frame, hello, limits, ring};
    pub use crate::codec::decode_bytes;
    pub use crate::platform::*;
}

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
