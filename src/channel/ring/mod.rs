//! A ring transports the records of one sending process to one receiver, through memory that both
//! have mapped.
//!
//! Neither trusts the other. What a peer wrote is loaded once, checked, and only then used. The
//! worst effect of a false value is that the messages of the process that wrote it are lost. No
//! system call is made between pushing a record and taking it. Neither the producer nor the
//! consumer blocks for the other, and what was published survives the process that published it.
//!
//! # Positions
//!
//! The stream of records is endless, and a position in it is the number of bytes before it. It is a
//! multiple of 16 that only grows and never wraps. `tail` is the position up to which records are
//! published, `head` the one up to which they are consumed. `tail` is written by the producer,
//! `head` by the consumer, except for two bits in `tail`:
//!
//! ```text
//! tail   63        62      61 ............. 0
//!        SLEEPING  CLOSED  position
//!
//!              published                                   not written yet
//!        ------------------------------------------|----------------------------
//!        | consumed        | to be read            | room            | JUMP |
//!                          head                    tail                     head + segment length
//! ```
//!
//! The consumer sets `SLEEPING` by a compare-and-swap that fails if there is a record it has not
//! seen. The producer publishes by *one* swap, which clears the bit and shows that it was set. So
//! either the consumer sees the record or the producer sees that the consumer sleeps. With the bit
//! in a word of its own, both would need a fence. Wake-ups would still be lost if the bit is
//! cleared at the wrong moment. In the same way the consumer retires the ring by setting `CLOSED`,
//! and takes the position of that moment as the final one. The swap of a later record shows the
//! producer that the record is too late and has to be sent by another path.
//!
//! # Segments
//!
//! Records lie in one segment of the memory at a time, which is reused from its start. When it is
//! full, and the consumer does not read, the producer continues in a new one: a JUMP record says
//! where. There is always room left for that record. So sending never has to block. When everything
//! was read, another JUMP leads back to the [first segment](Place::FIRST), and the other segments
//! are released. The first segment is small enough to stay in a cache.
//!
//! The platform provides the memory itself, and the words in it: see [`memory`].

mod consumer;
pub mod memory;
mod partial;
mod poison;
mod producer;
mod record;

pub use consumer::{Consumer, ConsumerLimits, ConsumerState, Taken};
pub use memory::{FIRST_LEN, MAX_SEGMENT, Memory, Place, Segment, UNIT, Word};
pub use partial::Partial;
pub use poison::{Poisoned, Why};
pub use producer::{Producer, PushError, Pushed, State};
pub use record::{FRAGMENT_BYTES, Kind};

/// In `tail`: the consumer sleeps, and a producer that clears this bit wakes it.
pub const SLEEPING: u64 = 1 << 63;

/// In `tail`: the ring is retired. Records that are published after this bit was set do not count.
pub const CLOSED: u64 = 1 << 62;

/// In `tail`: the position.
pub const POSITION: u64 = CLOSED - 1;

/// The maximum number of bytes that are published and not consumed. The memory of a ring is never
/// that long, and no segment is reused before it was read.
pub const MAX_UNREAD: u64 = 1 << 33;

/// A position that no honest ring reaches: at 10 GB/s it takes seven years.
pub const MAX_POSITION: u64 = 1 << 61;
