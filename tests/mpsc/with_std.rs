//! What is right.

use std::sync::mpsc;

#[path = "bounded/mod.rs"]
mod bounded;
#[path = "unbounded/mod.rs"]
mod unbounded;
