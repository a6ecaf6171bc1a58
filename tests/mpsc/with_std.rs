//! The cases on std's channels, which define the outcomes.

use std::sync::mpsc;

#[path = "bounded/mod.rs"]
mod bounded;
#[path = "unbounded/mod.rs"]
mod unbounded;
