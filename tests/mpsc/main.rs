//! `strait::mpsc` behaves as `std::sync::mpsc`: the same cases are compiled against both, so
//! std defines the outcome. Other tests are for what std's channels cannot do: endpoints in
//! messages and in other processes, and values that cannot be encoded or decoded.

#![allow(clippy::duplicate_mod, reason = "the same cases run on std's channels and on ours")]

#[path = "../harness/mod.rs"]
mod harness;

mod failures;
mod limits;
mod moves;
mod programs;
mod traits;
mod with_std;
mod with_strait;

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod processes;

use std::time::Duration;

/// Long enough for anything that happens at all.
const LONG: Duration = Duration::from_secs(60);
