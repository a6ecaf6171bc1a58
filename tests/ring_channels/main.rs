//! Busy channels use rings. The guarantees of channels hold for rings, too, whatever happens to
//! the processes at both endpoints.

#![cfg(all(target_os = "linux", not(feature = "force-inprocess")))]

#[path = "../harness/mod.rs"]
mod harness;

mod many_senders;
mod order_of_paths;
mod overwritten;
mod processes;
mod resources;
mod restricted;
mod sending;

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Signal, kill_process};
use serde::{Deserialize, Serialize};
use strait::ipc::{
    self, IpcError, IpcOneShotServer, IpcReceiver, IpcSender, SharedMemoryWriter, TryRecvError,
};

use harness::Child;
use harness::fork::{Fork, fork};
use harness::raw::Random;
use harness::sandbox::forbid;

/// A message. Its number and plan determine its content.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    from: u32,
    number: u64,
    plan: Plan,
    text: String,
}

/// The lengths of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Plan {
    Small,
    /// Longer than a packet, but not than the socket's buffer.
    Medium,
    /// Several fragments each.
    Large,
    Mixed,
}

impl Plan {
    fn text(self, from: u32, number: u64) -> String {
        let len = match self {
            Plan::Small => number % 50,
            Plan::Medium => 80_000,
            Plan::Large => 250_000 + number * 10_007 % 500_000,
            Plan::Mixed if number % 97 == 13 => 300_000,
            Plan::Mixed if number % 19 == 3 => 17_000,
            Plan::Mixed => number % 300,
        };
        let letter = b'a' + ((number + u64::from(from)) % 26) as u8;
        char::from(letter).to_string().repeat(len as usize)
    }
}

impl Note {
    fn new(from: u32, number: u64, plan: Plan) -> Note {
        Note { from, number, plan, text: plan.text(from, number) }
    }

    /// Checks that the note is complete, and the next of its sender.
    #[track_caller]
    fn check(&self, next: &mut u64) {
        assert_eq!(self.number, *next, "from {}", self.from);
        assert!(
            self.text == self.plan.text(self.from, self.number),
            "note {} is damaged",
            self.number
        );
        *next += 1;
    }
}

/// How many rings this process has.
fn rings() -> usize {
    harness::handles().iter().filter(|handle| handle.what.contains("memfd:strait-ring")).count()
}

/// Whether there is a ring that was accepted, and not just offered.
fn has_mapped_rings() -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().contains("strait-ring")
}

/// Sends messages, which `receive` receives, until there is a ring that is read.
fn heat(sender: &IpcSender<Note>, from: u32, mut receive: impl FnMut()) -> u64 {
    let mut number = 0;
    // Offered, accepted, and used for a while.
    for _ in 0..5 {
        for _ in 0..100 {
            sender.send(Note::new(from, number, Plan::Small)).unwrap();
            number += 1;
        }
        receive();
    }
    number
}
