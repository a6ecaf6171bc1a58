//! A ring: the records of one sending process on their way to one receiver, through memory that both have mapped.
//!
//! Neither side trusts the other. What a peer wrote is loaded once, checked, and only then believed; the worst that a lie does is
//! that the liar's own messages are lost. No system call stands between a record that is pushed and one that is taken, nobody
//! waits for anybody, and what was published survives the process that published it.
//!
//! # Positions
//!
//! The stream of records is endless, and a position in it is the number of bytes before it: a multiple of 16 that only
//! grows and never wraps. `tail` is the position up to which records are published, `head` the one up to which they are
//! consumed. Each is written by one side only, but for two bits in `tail`:
//!
//! ```text
//! tail   63        62      61 ............. 0
//!        SLEEPING  CLOSED  position
//!
//!              published                                   not written yet
//!        ------------------------------------------|----------------------------
//!        | consumed        | to be read            | room            | JUMP |
//!                          head                    tail                     head + length of the segment
//! ```
//!
//! The consumer sets `SLEEPING` by a compare-and-swap that fails if there is a record it has not seen; the producer publishes by *one*
//! swap, which takes the bit away and shows that it was there. So either the consumer sees the record or the producer sees the
//! sleeper. With the bit in a word of its own this needs a fence on both sides, and still loses wake-ups if the bit is cleared
//! at the wrong moment. In the same way the consumer retires the ring by setting `CLOSED` and takes what the word was just then for
//! the final position: the swap of a record that came later shows that it came too late, and it goes another way.
//!
//! # Segments
//!
//! Records lie in one segment of the memory at a time, which is used again and again from its start. When it is full, and nobody
//! reads, the producer goes on in a new one: a JUMP record says where. There is always room left for that record. So sending never
//! has to wait. When everything was read, another JUMP leads back to the [first segment](Place::FIRST), which is small enough to
//! stay in a cache, and the others are given back.
//!
//! The memory itself, and the words in it, are the business of the platform: see [`memory`].

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

/// In `tail`: the consumer sleeps, and whoever takes this bit away wakes it.
pub const SLEEPING: u64 = 1 << 63;

/// In `tail`: the ring is retired. What is published after this bit was set does not count.
pub const CLOSED: u64 = 1 << 62;

/// In `tail`: the position.
pub const POSITION: u64 = CLOSED - 1;

/// How far what was published is ahead of what was read at most: no memory of a ring is as long, and no segment is used twice before it was
/// read.
pub const MAX_UNREAD: u64 = 1 << 33;

/// Where no honest ring ever gets: at 10 GB/s in seven years.
pub const MAX_POSITION: u64 = 1 << 61;
