//! What two sides do to shared memory at the same time, in every order that they and the memory
//! of a weakly ordered machine allow.
//!
//! `RUSTFLAGS="--cfg strait_loom" cargo test --release --test loom`

#![cfg(strait_loom)]

#[path = "../harness/mod.rs"]
mod harness;

mod memory;
mod ring;
mod words;
