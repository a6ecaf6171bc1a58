//! Servers as streams of their clients.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};
use serde::{Deserialize, Serialize};

use super::reactor::Watched;
use super::turn::Turn;
use crate::buffers;
use crate::channel::{RecvError, Server};
use crate::error::IpcError;
use crate::ipc::{IpcConnection, IpcServer};
use crate::platform::Wait;

/// A stream of the clients of a server.
///
/// The stream never ends, and can return further clients after an `Err` item. After an error of the
/// operating system, the client stays in the backlog until the stream is polled again. The other
/// error is that of a client with another version of the protocol: see [`IpcServer::accept`].
/// Dropping the stream drops the server.
///
/// After 128 items in a row the stream is pending once and wakes its task at once. So other tasks
/// of the runtime run even while many clients connect.
///
/// # Cancel safety
///
/// A client is accepted when the stream returns it. Dropping a future that waits for the next item
/// disconnects no client.
///
/// # Platform
///
/// After a `fork`, the child cannot use the streams of its parent.
///
/// # Examples
///
/// See [`IpcServer::to_stream`].
pub struct IpcServerStream<Out, In> {
    source: Source,
    turn: Turn,
    values: PhantomData<fn() -> (Out, In)>,
}

enum Source {
    /// Not polled yet.
    New(Box<Server>),
    /// Registered with the reactor.
    Watched(Box<Watched<Server>>),
    /// While `New` becomes `Watched`.
    Between,
}

impl<Out, In> IpcServer<Out, In>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    /// Converts the server into a stream of its clients.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::StreamExt;
    /// use strait::ipc::{self, IpcServer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("stream-{}", std::process::id());
    /// # let name = name.as_str();
    /// let mut clients = IpcServer::<String, u32>::bind(name)?.to_stream();
    /// let (sender, receiver) = ipc::connect::<u32, String>(name)?;
    /// sender.send(3)?;
    /// drop(sender);
    /// futures_lite::future::block_on(async {
    ///     if let Some(client) = clients.next().await {
    ///         let (sender, receiver) = client?.split();
    ///         let mut numbers = receiver.to_stream();
    ///         while let Some(number) = numbers.next().await {
    ///             sender.send(format!("{}", number?))?;
    ///         }
    ///     }
    ///     assert_eq!(receiver.recv()?, "3");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn to_stream(self) -> IpcServerStream<Out, In> {
        let source = Source::New(Box::new(self.into_core()));
        IpcServerStream { source, turn: Turn::default(), values: PhantomData }
    }
}

impl<Out, In> Stream for IpcServerStream<Out, In>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    type Item = Result<IpcConnection<Out, In>, IpcError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let IpcServerStream { source, turn, .. } = &mut *self;
        if turn.is_over(cx) {
            return Poll::Pending;
        }
        let client = source.poll_client(cx);
        turn.count(&client);
        client
    }
}

impl<Out, In> FusedStream for IpcServerStream<Out, In>
where
    Out: for<'de> Deserialize<'de> + Serialize,
    In: for<'de> Deserialize<'de> + Serialize,
{
    fn is_terminated(&self) -> bool {
        false
    }
}

impl<Out, In> fmt::Debug for IpcServerStream<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpcServerStream").finish_non_exhaustive()
    }
}

impl Source {
    fn poll_client<Out, In>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<IpcConnection<Out, In>, IpcError>>> {
        let watch = match self.watched() {
            Ok(watch) => watch,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        // Before the server is checked, so that a client that connects meanwhile wakes the task.
        watch.wake(cx.waker());
        let next = buffers::with_receive_buffer(|buffer| watch.source.step(buffer, Wait::Never));
        match next {
            Ok(client) => Poll::Ready(Some(Ok(IpcConnection::from(client)))),
            Err(RecvError::Empty) => Poll::Pending,
            Err(RecvError::Io(error) | RecvError::Broken(error)) => {
                Poll::Ready(Some(Err(error.into())))
            }
            Err(RecvError::Lost(problem)) => {
                Poll::Ready(Some(Err(IpcError::SerializationError(problem.into()))))
            }
            Err(RecvError::BudgetSpent | RecvError::Disconnected) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Registers the server with the reactor, if it is not yet. An attempt after a failure may
    /// succeed.
    fn watched(&mut self) -> Result<&mut Watched<Server>, IpcError> {
        match mem::replace(self, Source::Between) {
            Source::New(server) => match Watched::new(*server) {
                Ok(watch) => *self = Source::Watched(Box::new(watch)),
                Err((error, server)) => {
                    *self = Source::New(Box::new(server));
                    return Err(error.into());
                }
            },
            source => *self = source,
        }
        match self {
            Source::Watched(watch) => Ok(watch),
            Source::New(_) | Source::Between => Err(IpcError::Disconnected),
        }
    }
}
