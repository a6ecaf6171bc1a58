//! What channels with a bound do, room for nothing included. `mpsc` is the one that is tested.

mod ends;
mod meetings;
mod room;
mod threads;

use super::mpsc;
use crate::LONG;
use crate::harness::watchdog;
