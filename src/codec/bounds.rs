//! What values may be sent and received: how deeply they may be nested, and how many elements without bytes they may have.
//!
//! Both sides ask here, so that `send` refuses what no receiver takes.
//!
//! The depth is handed down, never up. So there is nothing to be undone where a level is left, be it by an error or by a panic.

use std::fmt;

/// How many structs, newtypes and enums may be within each other. A recursive type that is derived goes through one of them at
/// each level, unless it is transparent. So it is these that need stack: without optimisation up to 13 KiB for each level if
/// the type has half a KiB and is the element of a sequence, most of it in derived code. That many fit into the 2 MiB that `std`
/// gives a thread; with optimisation it is a third of that.
const MAX_NAMED: u32 = 128;

/// How many sequences, maps, tuples and options may be within each other: two for each of the structs or enums that a list
/// or tree consists of. It also ends what is nested without any.
const MAX_UNNAMED: u32 = 256;

/// How many more elements than bytes a message may have, in all its sequences and maps.
const MAX_EMPTY_ELEMENTS: usize = 1 << 16;

/// How deeply nested a value is: the number of named things that it is within in the lower half, and of unnamed ones in the
/// upper. In one number, because it is handed on often, and reading two at once just after each was written stalls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth(u32);

impl Depth {
    /// Of the whole value.
    pub(super) const OUTERMOST: Depth = Depth(0);

    /// Within one more struct, newtype or enum.
    #[inline]
    pub(super) fn within_named(self) -> Result<Depth, OutOfBounds> {
        if self.0 & 0xffff >= MAX_NAMED {
            return Err(OutOfBounds::Named);
        }
        Ok(Depth(self.0 + 1))
    }

    /// Within one more sequence, map, tuple or option.
    #[inline]
    pub(super) fn within_unnamed(self) -> Result<Depth, OutOfBounds> {
        if self.0 >> 16 >= MAX_UNNAMED {
            return Err(OutOfBounds::Unnamed);
        }
        Ok(Depth(self.0 + (1 << 16)))
    }
}

/// How many elements the sequences and maps of a message may have together. Those that have bytes are limited by the message
/// itself.
pub(super) fn most_elements(message_bytes: usize) -> usize {
    message_bytes.saturating_add(MAX_EMPTY_ELEMENTS)
}

/// Why a value is neither sent nor received.
#[derive(Clone, Copy, Debug)]
pub(super) enum OutOfBounds {
    Named,
    Unnamed,
    Elements,
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutOfBounds::Named => {
                write!(f, "more than {MAX_NAMED} structs and enums are nested in each other")
            }
            OutOfBounds::Unnamed => write!(
                f,
                "more than {MAX_UNNAMED} sequences, maps, tuples and options are nested in each other"
            ),
            OutOfBounds::Elements => write!(
                f,
                "the sequences and maps have over {MAX_EMPTY_ELEMENTS} elements more than the message has bytes"
            ),
        }
    }
}

impl std::error::Error for OutOfBounds {}
