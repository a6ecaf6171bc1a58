//! The contract in `src/platform/contract.rs`, sentence by sentence, on every backend that
//! compiles here.

#![allow(clippy::duplicate_mod, reason = "the same cases run on every backend")]

mod harness;

#[path = "contract/inprocess.rs"]
mod inprocess;

#[cfg(target_os = "linux")]
#[path = "contract/unix.rs"]
mod unix;
