//! The contract at the top of `src/platform/mod.rs`, sentence by sentence, kept by every backend that compiles here.

#![allow(clippy::duplicate_mod, reason = "the same cases run on every backend")]

mod harness;

#[path = "contract/inprocess.rs"]
mod inprocess;

#[cfg(target_os = "linux")]
#[path = "contract/unix.rs"]
mod unix;
