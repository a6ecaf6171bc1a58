//! What a crate must offer to be measured, cut into small traits: a crate implements those it
//! can, and takes part in the rows that need no more.

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Any value of a typed message.
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
    /// Whether a side that waits keeps its processor busy. Such a far side is stopped while
    /// others are measured.
    const POLLS: bool = false;
}

/// Channels of values of one type. A crate implements it for the types it can carry.
///
/// The endpoints are `&mut`, and a message is a value: the smallest interface that every
/// crate has.
pub trait Channel<T>: Contender {
    type Sender;
    type Receiver;

    fn send(sender: &mut Self::Sender, value: T) -> Outcome<()>;

    /// `None` when all senders have been dropped.
    fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<T>>;
}

pub type Sender<C, T> = <C as Channel<T>>::Sender;
pub type Receiver<C, T> = <C as Channel<T>>::Receiver;

/// Channels of values, one in each direction between the two sides.
pub trait Link<Up, Down>: Channel<Up> + Channel<Down> {
    /// The near side: waits under some name, starts the far side, returns the near ends.
    fn serve(start: Start<'_>) -> Outcome<(Sender<Self, Up>, Receiver<Self, Down>)>;

    /// The far side: finds the near side by its name.
    fn join(name: &str) -> Outcome<(Sender<Self, Down>, Receiver<Self, Up>)>;
}

/// Channels of byte strings, one in each direction between the two sides.
pub trait Bytes: Contender {
    type Sender;
    type Receiver;

    /// `longest` is the length of the longest message, for crates that must know it beforehand.
    fn serve(start: Start<'_>, longest: usize) -> Outcome<(Self::Sender, Self::Receiver)>;

    fn join(name: &str, longest: usize) -> Outcome<(Self::Sender, Self::Receiver)>;

    fn send(sender: &mut Self::Sender, bytes: &[u8]) -> Outcome<()>;

    /// `None` when all senders have been dropped.
    fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<Vec<u8>>>;
}

/// Both ends of a fresh channel, in one process.
pub trait Fresh<T>: Channel<T> {
    fn channel() -> Outcome<(Sender<Self, T>, Receiver<Self, T>)>;
}

/// Waiting on many receivers at once.
pub trait Sets<T>: Fresh<T> {
    type Set;

    fn set() -> Outcome<Self::Set>;

    fn add(set: &mut Self::Set, receiver: Receiver<Self, T>) -> Outcome<()>;

    /// Waits until something happens, passes every decoded message to `each`, and returns how
    /// many members closed.
    fn select(set: &mut Self::Set, each: impl FnMut(T) -> Outcome<()>) -> Outcome<usize>;
}

/// Servers that clients find by name.
pub trait Meets: Contender {
    type Server;

    fn server() -> Outcome<Self::Server>;

    /// Connects one more client; server and client receive a message from each other.
    fn meet(server: &mut Self::Server) -> Outcome<()>;
}
