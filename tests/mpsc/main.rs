//! `strait::mpsc` does what `std::sync::mpsc` does: the same cases are compiled against both,
//! so std says what is right. Then what std's channels cannot: ends in messages and in other
//! processes, and values that do not get through.

#![allow(clippy::duplicate_mod, reason = "the same cases run on std's channels and on ours")]

#[path = "../harness/mod.rs"]
mod harness;

mod limits;
mod programs;
mod traits;
mod travel;
mod trouble;
mod with_std;
mod with_strait;

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
mod processes;

use std::time::Duration;

/// Long enough for anything that happens at all.
const LONG: Duration = Duration::from_secs(60);
