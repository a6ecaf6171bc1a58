//! The bounds on values that may be sent and received: how deeply they are nested, and how many
//! elements without bytes they have.
//!
//! Both sending and receiving check them, so that `send` refuses what no receiver accepts.
//!
//! Within these bounds, a thread accepts only values for which its stack has room. So a small stack
//! is no risk to a process that receives a recursive type.
//!
//! The depth is passed down, never up. So nothing has to be undone where a level ends, be it by an
//! error or by a panic.

use std::fmt;
use std::ptr;

use crate::platform;

/// How many structs, newtypes and enums may be within each other. A recursive type that is derived
/// goes through one of them at each level, unless it is transparent. So it is these that need
/// stack. Without optimisation, it is up to 13 KiB for each level, most of it in derived code, if
/// the type has half a KiB and is the element of a sequence. That many fit into the 2 MiB that
/// `std` gives a thread; with optimisation it is a third of that.
const MAX_NAMED: u32 = 128;

/// How many levels of either kind there are before the stack is checked for room: few values have
/// more.
const NO_MATTER: u32 = 4;

/// How much of the stack is reserved for the code between two levels, and for the code of the
/// values themselves. It is this part of the stack, but at least so many bytes. Where threads have
/// less than the usual stack, values end earlier than at the limits below and above.
const RESERVED_PART: usize = 8;
const RESERVED_BYTES: usize = 64 << 10;

/// How many sequences, maps, tuples and options may be within each other. It is two for each of the
/// structs or enums that a list or tree consists of. It also limits nesting without any struct or
/// enum.
const MAX_UNNAMED: u32 = 256;

/// How many more elements than bytes a message may have, in all its sequences and maps. A message
/// of a few bytes costs its receiver no more steps than that.
const MAX_EMPTY_ELEMENTS: usize = 1 << 20;

/// How many of these elements may take up memory where they are received, like structs of which
/// every field is skipped. A sender does not know that, so only the receiver checks this bound.
const MAX_EMPTY_ELEMENTS_WITH_SIZE: usize = 1 << 16;

/// After how many elements without bytes encoding a sequence is aborted, if it has as many again.
/// Only values in which more bytes than [`MAX_EMPTY_ELEMENTS`] follow could still be received.
pub(super) const MAX_WRITTEN_IN_VAIN: usize = 2 * MAX_EMPTY_ELEMENTS;

/// How deeply nested a value is: the number of named levels around it in the lower half, and of
/// unnamed ones in the upper. It is one number, because it is passed on often, and reading two at
/// once just after each was written stalls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth(u32);

impl Depth {
    /// The depth of the whole value.
    pub(super) const OUTERMOST: Depth = Depth(0);

    /// Returns the depth within one more struct, newtype or enum.
    #[inline]
    pub(super) fn within_named(self) -> Result<Depth, OutOfBounds> {
        if self.0 & 0xffff >= NO_MATTER {
            self.check_named()?;
        }
        Ok(Depth(self.0 + 1))
    }

    /// Returns the depth within one more sequence, map, tuple or option.
    #[inline]
    pub(super) fn within_unnamed(self) -> Result<Depth, OutOfBounds> {
        if self.0 >> 16 >= NO_MATTER {
            self.check_unnamed()?;
        }
        Ok(Depth(self.0 + (1 << 16)))
    }

    #[cold]
    #[inline(never)]
    fn check_named(self) -> Result<(), OutOfBounds> {
        if self.0 & 0xffff >= MAX_NAMED {
            return Err(OutOfBounds::Named);
        }
        check_stack()
    }

    #[cold]
    #[inline(never)]
    fn check_unnamed(self) -> Result<(), OutOfBounds> {
        if self.0 >> 16 >= MAX_UNNAMED {
            return Err(OutOfBounds::Unnamed);
        }
        check_stack()
    }
}

/// Checks that enough of the stack is left for one more level.
fn check_stack() -> Result<(), OutOfBounds> {
    let Some(stack) = platform::stack() else { return Ok(()) };
    let here = ptr::from_ref(&stack).addr();
    // On a stack that the thread did not start on, the end is not known.
    let is_at_end = stack.contains(&here)
        && here - stack.start < (stack.len() / RESERVED_PART).max(RESERVED_BYTES);
    if is_at_end { Err(OutOfBounds::Stack) } else { Ok(()) }
}

/// Returns how many elements the sequences and maps of a message may have together. Elements with
/// bytes are limited by the message itself.
pub(super) fn most_elements(message_bytes: usize) -> usize {
    message_bytes.saturating_add(MAX_EMPTY_ELEMENTS)
}

/// Returns how many of them may have a size.
pub(super) fn most_elements_with_size(message_bytes: usize) -> usize {
    message_bytes.saturating_add(MAX_EMPTY_ELEMENTS_WITH_SIZE)
}

/// Why a value is neither sent nor received.
#[derive(Clone, Copy, Debug)]
pub(super) enum OutOfBounds {
    Named,
    Unnamed,
    Stack,
    Elements,
    ElementsWithSize,
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutOfBounds::Named => {
                write!(f, "more than {MAX_NAMED} structs and enums are nested in each other")
            }
            OutOfBounds::Unnamed => write!(
                f,
                "more than {MAX_UNNAMED} sequences, maps, tuples and options \
                 are nested in each other"
            ),
            OutOfBounds::Stack => {
                f.write_str("the value is nested too deeply for the stack of this thread")
            }
            OutOfBounds::Elements => write!(
                f,
                "the sequences and maps have over {MAX_EMPTY_ELEMENTS} elements more \
                 than the message has bytes"
            ),
            OutOfBounds::ElementsWithSize => write!(
                f,
                "over {MAX_EMPTY_ELEMENTS_WITH_SIZE} elements more than the message has bytes \
                 would take up memory"
            ),
        }
    }
}

impl std::error::Error for OutOfBounds {}
