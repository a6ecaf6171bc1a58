//! The same cases on strait's channels.

use strait::mpsc;

#[path = "bounded/mod.rs"]
mod bounded;
#[path = "unbounded/mod.rs"]
mod unbounded;
