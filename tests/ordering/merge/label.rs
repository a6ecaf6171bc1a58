//! Descriptions of moves.

use std::fmt::{self, Display};

use super::state::{FRAMES, MESSAGES, NONE};
use crate::ordering::algorithm::Step;

/// The event of a move, and the message that it delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(super) deed: Deed,
    pub(super) delivered: [u8; FRAMES],
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Sends { thread: usize, step: Step, message: usize, stamp: u8 },
    Returns { thread: usize, message: usize },
    Leaves(usize),
    Dies(usize),
    LooksAhead(usize, u8),
    LoadsA(usize, u8),
    PassesOver(usize),
    LoadsB(usize, u8),
    Counts(usize),
    Reads(usize),
    ReadsAnnouncement(usize),
    ReadsNothing,
    ReadsEnd,
    Decides,
    LooksAtEnd(usize, u8),
    Retires(usize, u8),
}

impl Label {
    pub(super) fn new(deed: Deed) -> Self {
        Self { deed, delivered: [NONE; FRAMES] }
    }
}

/// Messages are letters, in the order of the scenario.
fn letter(message: usize) -> char {
    if message < MESSAGES { (b'a' + message as u8) as char } else { '?' }
}

impl Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.deed {
            Deed::Sends { thread, step, message, stamp } => {
                let message = letter(message);
                write!(formatter, "thread {thread}: {step:?} of {message}")?;
                if stamp != NONE {
                    write!(formatter, " (stamp {stamp})")?;
                }
            }
            Deed::Returns { thread, message } => {
                write!(formatter, "thread {thread}: the send of {} returns", letter(message))?;
            }
            Deed::Leaves(process) => write!(formatter, "process {process} lets go of the channel")?,
            Deed::Dies(process) => write!(formatter, "process {process} dies")?,
            Deed::LooksAhead(ring, tail) => {
                write!(formatter, "receiver: looks ahead, ring {ring} is at {tail}")?;
            }
            Deed::LoadsA(ring, tail) => write!(formatter, "receiver: A of ring {ring} is {tail}")?,
            Deed::PassesOver(ring) => write!(formatter, "receiver: passes over ring {ring}")?,
            Deed::LoadsB(ring, tail) => write!(formatter, "receiver: B of ring {ring} is {tail}")?,
            Deed::Counts(frames) => write!(formatter, "receiver: {frames} frames in the socket")?,
            Deed::Reads(message) => write!(formatter, "receiver: reads {}", letter(message))?,
            Deed::ReadsAnnouncement(ring) => write!(formatter, "receiver: attaches ring {ring}")?,
            Deed::ReadsNothing => write!(formatter, "receiver: the socket is empty")?,
            Deed::ReadsEnd => write!(formatter, "receiver: the socket is at its end")?,
            Deed::Decides => write!(formatter, "receiver: decides")?,
            Deed::LooksAtEnd(ring, tail) => {
                write!(formatter, "receiver: will retire ring {ring}, now at {tail}")?;
            }
            Deed::Retires(ring, tail) => {
                write!(formatter, "receiver: retires ring {ring} at {tail}")?;
            }
        }
        for &message in self.delivered.iter().take_while(|&&message| message != NONE) {
            write!(formatter, "; delivers {}", letter(message as usize))?;
        }
        Ok(())
    }
}
