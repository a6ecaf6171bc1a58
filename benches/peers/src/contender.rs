//! What a crate must offer to be measured, cut into small traits: a crate implements those it can, and takes part in
//! the rows that need no more.

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Anything that may travel in a typed message.
pub trait Payload: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Payload for T {}

/// Where the far side of a row runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Process,
    Thread,
}

/// Starts the far side and tells it the name under which the near side waits.
pub type Start<'a> = &'a mut dyn FnMut(&str) -> Outcome<()>;

pub trait Contender: 'static {
    const NAME: &'static str;
    const HOME: Home;
}

/// Channels of values, one in each direction between the two sides.
pub trait Typed: Contender {
    type Sender<T: Payload>: Send;
    type Receiver<T: Payload>: Send;

    /// The near side: waits under some name, starts the far side, returns the near ends.
    fn serve<Up: Payload, Down: Payload>(
        start: Start<'_>,
    ) -> Outcome<(Self::Sender<Up>, Self::Receiver<Down>)>;

    /// The far side: finds the near side by its name.
    fn join<Up: Payload, Down: Payload>(
        name: &str,
    ) -> Outcome<(Self::Sender<Down>, Self::Receiver<Up>)>;

    fn send<T: Payload>(sender: &Self::Sender<T>, value: T) -> Outcome<()>;

    /// `None` when every sender is gone.
    fn recv<T: Payload>(receiver: &Self::Receiver<T>) -> Outcome<Option<T>>;
}

/// Channels of byte strings, one in each direction between the two sides.
pub trait Bytes: Contender {
    type Sender: Send;
    type Receiver: Send;

    fn serve(start: Start<'_>) -> Outcome<(Self::Sender, Self::Receiver)>;

    fn join(name: &str) -> Outcome<(Self::Sender, Self::Receiver)>;

    fn send(sender: &Self::Sender, bytes: &[u8]) -> Outcome<()>;

    /// `None` when every sender is gone.
    fn recv(receiver: &Self::Receiver) -> Outcome<Option<Vec<u8>>>;
}

/// Both ends of a fresh channel, in one process.
pub trait Fresh: Typed {
    fn channel<T: Payload>() -> Outcome<(Self::Sender<T>, Self::Receiver<T>)>;
}

/// Waiting on many receivers at once.
pub trait Sets: Fresh {
    type Set;

    fn set() -> Outcome<Self::Set>;

    fn add<T: Payload>(set: &mut Self::Set, receiver: Self::Receiver<T>) -> Outcome<()>;

    /// Waits until something happens, passes every decoded message to `each`, and returns how many members closed.
    fn select<T: Payload>(
        set: &mut Self::Set,
        each: impl FnMut(T) -> Outcome<()>,
    ) -> Outcome<usize>;
}
