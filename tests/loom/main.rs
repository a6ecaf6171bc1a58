//! Concurrent accesses of two threads to shared memory, in every order that weakly ordered
//! memory allows.
//!
//! `RUSTFLAGS="--cfg strait_loom" cargo test --release --test loom`

#![cfg(strait_loom)]

#[path = "../harness/mod.rs"]
mod harness;

mod memory;
mod ring;
mod words;
