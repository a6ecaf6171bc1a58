//! The same here.

use strait::mpsc;

#[path = "unbounded/mod.rs"]
mod unbounded;
