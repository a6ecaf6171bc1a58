//! Whole programs for common tasks, to copy. This module has no items.
//!
//! A crate that sends values of its own types needs serde with its derive macros:
//!
//! ```toml
//! [dependencies]
//! serde = { version = "1", features = ["derive"] }
//! strait = "0.1"
//! ```
//!
//! Each program starts itself again as its child, with an argument for that. A child can also be
//! another program.
//!
//! - [A worker pool](#a-worker-pool)
//! - [A supervisor](#a-supervisor) that replaces a crashed child
//! - [Request and response](#request-and-response)
//! - [A bounded channel to a child](#a-bounded-channel-to-a-child)
//! - [tokio](#tokio)
//!
//! # A worker pool
//!
//! Each worker has a channel for its jobs, and all workers send their results into one channel. A
//! worker gets its next job when it has finished one, so that slow jobs do not delay the others.
//! A second job in its channel keeps the worker busy until then.
//!
//! ```standalone_crate
//! use std::env;
//! use std::error::Error;
//! use std::process::Command;
//!
//! use strait::ipc::{self, IpcReceiver, IpcSender};
//! use strait::process::{self, ChannelCommand};
//!
//! /// What a worker receives: its number, its jobs, and the sender for its results.
//! type Setup = (usize, IpcReceiver<u64>, IpcSender<(usize, u64)>);
//!
//! fn work() -> Result<(), Box<dyn Error>> {
//!     let (_, from_parent) = process::parent::<(), Setup>()?;
//!     let (worker, jobs, results) = from_parent.recv()?;
//!     // Ends when the parent drops the sender of the jobs, or ends itself.
//!     for job in jobs {
//!         results.send((worker, job * job))?;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//! #   if !strait::process::is_supported() {
//! #       return Ok(());
//! #   }
//!     if env::args().nth(1).as_deref() == Some("worker") {
//!         return work();
//!     }
//!
//!     let (to_parent, results) = ipc::channel()?;
//!     let mut jobs = 1..=100;
//!     let mut inboxes = Vec::new();
//!     let mut children = Vec::new();
//!     for worker in 0..2 {
//!         let (inbox, jobs_of_worker) = ipc::channel()?;
//!         let mut command = Command::new(env::current_exe()?);
//!         let (child, to_child, _) = command.arg("worker").spawn_with_channel::<Setup, ()>()?;
//!         to_child.send((worker, jobs_of_worker, to_parent.clone()))?;
//!         for job in jobs.by_ref().take(2) {
//!             inbox.send(job)?;
//!         }
//!         inboxes.push(Some(inbox));
//!         children.push(child);
//!     }
//!     // Only the workers have senders now, so that the results end with them.
//!     drop(to_parent);
//!
//!     let mut sum = 0;
//!     for (worker, square) in results {
//!         sum += square;
//!         match (jobs.next(), &inboxes[worker]) {
//!             (Some(job), Some(inbox)) => inbox.send(job)?,
//!             // The worker finishes the job that it still has, and ends.
//!             _ => inboxes[worker] = None,
//!         }
//!     }
//!     for mut child in children {
//!         assert!(child.wait()?.success());
//!     }
//!     assert_eq!(sum, 338_350);
//!     Ok(())
//! }
//! ```
//!
//! `send` to a worker that has crashed fails with
//! [`Disconnected`](crate::IpcError::Disconnected), and the jobs that the worker had are lost.
//! Keep a copy of each job until its result has arrived, as the next recipe does.
//!
//! # A supervisor
//!
//! The supervisor keeps the job until the child has answered. If the child ends before that,
//! `recv_timeout` fails with `Disconnected`; if it hangs, with `Empty`. In both cases the
//! supervisor starts another child and sends the job again, three times at most.
//!
//! ```standalone_crate
//! use std::env;
//! use std::error::Error;
//! use std::io;
//! use std::process::Command;
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use strait::TryRecvError;
//! use strait::ipc::{IpcReceiver, IpcSender};
//! use strait::process::{self, ChannelCommand, Child};
//!
//! #[derive(Clone, Debug, Serialize, Deserialize)]
//! struct Job {
//!     number: u64,
//!     attempt: u32,
//! }
//!
//! struct Worker {
//!     child: Child,
//!     jobs: IpcSender<Job>,
//!     squares: IpcReceiver<u64>,
//! }
//!
//! impl Worker {
//!     fn start() -> io::Result<Worker> {
//!         let mut command = Command::new(env::current_exe()?);
//!         let (mut child, jobs, squares) = command.arg("worker").spawn_with_channel()?;
//!         // A child that hangs is killed when the supervisor replaces it.
//!         child.kill_on_drop(true);
//!         Ok(Worker { child, jobs, squares })
//!     }
//!
//!     fn square(&self, job: &Job) -> Result<u64, TryRecvError> {
//!         self.jobs.send_ref(job)?;
//!         self.squares.recv_timeout(Duration::from_secs(60))
//!     }
//! }
//!
//! fn work() -> Result<(), Box<dyn Error>> {
//!     let (squares, jobs) = process::parent::<u64, Job>()?;
//!     for job in jobs {
//!         if job.number == 2 && job.attempt == 1 {
//!             std::process::exit(1); // A crash.
//!         }
//!         squares.send(job.number * job.number)?;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//! #   if !strait::process::is_supported() {
//! #       return Ok(());
//! #   }
//!     if env::args().nth(1).as_deref() == Some("worker") {
//!         return work();
//!     }
//!
//!     let mut worker = Worker::start()?;
//!     let mut squares = Vec::new();
//!     for number in 1..=3 {
//!         let mut job = Job { number, attempt: 1 };
//!         let square = loop {
//!             match worker.square(&job) {
//!                 Ok(square) => break square,
//!                 Err(error) if job.attempt == 3 => return Err(error.into()),
//!                 Err(error) => eprintln!("{job:?}, process {}: {error}", worker.child.id()),
//!             }
//!             worker = Worker::start()?;
//!             job.attempt += 1;
//!         };
//!         squares.push(square);
//!     }
//!     assert_eq!(squares, [1, 4, 9]);
//!     Ok(())
//! }
//! ```
//!
//! # Request and response
//!
//! A request contains the sender for its response. Any number of clients, in any processes, can
//! send requests into one channel.
//!
//! ```standalone_crate
//! use std::env;
//! use std::error::Error;
//! use std::process::Command;
//!
//! use serde::{Deserialize, Serialize};
//! use strait::IpcError;
//! use strait::ipc::{self, IpcSender};
//! use strait::process::{self, ChannelCommand};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Request {
//!     text: String,
//!     reply: IpcSender<Result<u64, String>>,
//! }
//!
//! /// Fails with `Disconnected` if the service ends before it has answered.
//! fn parse(service: &IpcSender<Request>, text: &str) -> Result<Result<u64, String>, IpcError> {
//!     let (reply, response) = ipc::channel()?;
//!     service.send(Request { text: text.to_string(), reply })?;
//!     response.recv()
//! }
//!
//! fn serve() -> Result<(), Box<dyn Error>> {
//!     let (_, requests) = process::parent::<(), Request>()?;
//!     for Request { text, reply } in requests {
//!         // Fails if the client has ended. The service continues.
//!         let _ = reply.send(text.parse().map_err(|error| format!("{error}")));
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//! #   if !strait::process::is_supported() {
//! #       return Ok(());
//! #   }
//!     if env::args().nth(1).as_deref() == Some("service") {
//!         return serve();
//!     }
//!
//!     let mut command = Command::new(env::current_exe()?);
//!     let (mut child, service, _) =
//!         command.arg("service").spawn_with_channel::<Request, ()>()?;
//!     assert_eq!(parse(&service, "42")?, Ok(42));
//!     assert!(parse(&service, "forty-two")?.is_err());
//!     drop(service);
//!     child.wait()?;
//!     Ok(())
//! }
//! ```
//!
//! A channel for each response costs some 20 µs. While the request is open, it also costs two
//! file descriptors in the client and one in the service. One channel for all responses to a
//! client, with a number in each request and response, costs none of that. If the service ends
//! without having received a request, the sender in the request is dropped with it. So the client
//! does not block forever.
//!
//! Processes that did not start each other find a service by its name. See
//! [`IpcServer`](crate::ipc::IpcServer), which makes a channel in each direction for each client.
//!
//! # A bounded channel to a child
//!
//! The channels of [`spawn_with_channel`](crate::process::ChannelCommand::spawn_with_channel) are
//! unbounded. For backpressure, make a bounded channel and send its receiver as the first
//! message.
//!
//! ```standalone_crate
//! use std::env;
//! use std::error::Error;
//! use std::process::Command;
//!
//! use strait::ipc::{self, IpcReceiver};
//! use strait::process::{self, ChannelCommand};
//!
//! fn work() -> Result<(), Box<dyn Error>> {
//!     let (sum, from_parent) = process::parent::<u64, IpcReceiver<u64>>()?;
//!     let numbers = from_parent.recv()?;
//!     sum.send(numbers.iter().sum())?;
//!     Ok(())
//! }
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//! #   if !strait::process::is_supported() {
//! #       return Ok(());
//! #   }
//!     if env::args().nth(1).as_deref() == Some("worker") {
//!         return work();
//!     }
//!
//!     let mut command = Command::new(env::current_exe()?);
//!     let (mut child, to_child, sum) =
//!         command.arg("worker").spawn_with_channel::<IpcReceiver<u64>, u64>()?;
//!     let (numbers, receiver) = ipc::sync_channel(8)?;
//!     to_child.send(receiver)?;
//!     for number in 1..=1000 {
//!         // Blocks while eight numbers have not been received, and fails if the child has ended.
//!         numbers.send(number)?;
//!     }
//!     drop(numbers);
//!     assert_eq!(sum.recv()?, 500_500);
//!     child.wait()?;
//!     Ok(())
//! }
//! ```
//!
//! # tokio
//!
//! With the feature `async`, receivers and servers are streams, and a starting process is a
//! future, on any runtime. Sending has no future: `try_send` never blocks, and the task sleeps
//! while the channel is full. [The table](crate#what-may-block) lists the calls that a task
//! must not make.
//!
//! ```standalone_crate
//! # #[cfg(not(all(target_os = "linux", feature = "async", not(feature = "force-inprocess"))))]
//! # fn main() {}
//! # #[cfg(all(target_os = "linux", feature = "async", not(feature = "force-inprocess")))]
//! # mod program {
//! use std::env;
//! use std::error::Error;
//! use std::process::Command;
//! use std::time::Duration;
//!
//! use futures_lite::StreamExt; // Or that of `futures` or `tokio-stream`.
//! use serde::Serialize;
//! use strait::ipc::IpcSender;
//! use strait::process::{self, ChannelCommand};
//! use strait::{IpcError, TrySendError};
//! use tokio::{task, time};
//!
//! async fn send<T: Serialize>(sender: &IpcSender<T>, value: &T) -> Result<(), IpcError> {
//!     loop {
//!         match sender.try_send(value) {
//!             Ok(()) => return Ok(()),
//!             Err(TrySendError::Full) => time::sleep(Duration::from_millis(1)).await,
//!             Err(TrySendError::IpcError(error)) => return Err(error),
//!         }
//!     }
//! }
//!
//! async fn run() -> Result<(), Box<dyn Error>> {
//!     let mut command = Command::new(env::current_exe()?);
//!     let starting = command.arg("worker").start_with_channel::<u64, u64>()?;
//!     let (mut child, to_child, from_child) =
//!         time::timeout(Duration::from_secs(60), starting).await??;
//!
//!     for number in 1..=3 {
//!         send(&to_child, &number).await?;
//!     }
//!     drop(to_child);
//!     let mut squares = from_child.to_stream();
//!     let mut sum = 0;
//!     while let Some(square) = squares.next().await {
//!         sum += square?;
//!     }
//!     assert_eq!(sum, 1 + 4 + 9);
//!
//!     // `wait` blocks a thread.
//!     let status = task::spawn_blocking(move || child.wait()).await??;
//!     assert!(status.success());
//!     Ok(())
//! }
//!
//! fn work() -> Result<(), Box<dyn Error>> {
//!     let (squares, numbers) = process::parent::<u64, u64>()?;
//!     for number in numbers {
//!         squares.send(number * number)?;
//!     }
//!     Ok(())
//! }
//!
//! # pub
//! fn main() -> Result<(), Box<dyn Error>> {
//!     // Before the runtime starts threads: see `strait::process`.
//!     if env::args().nth(1).as_deref() == Some("worker") {
//!         return work();
//!     }
//!     tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
//! }
//! # }
//! # #[cfg(all(target_os = "linux", feature = "async", not(feature = "force-inprocess")))]
//! # use program::main;
//! ```
//!
//! Without the feature `async`, put a receiver into tokio's `AsyncFd`: `strait::os::unix` has a
//! program for that.
