//! One copy from warm memory to warm memory, by one thread: what no channel that hands over bytes can beat. It does not
//! send, so it takes part with work of its own, [`copy`](crate::work::copy).

use crate::contender::{Contender, Home};

pub struct Memcpy;

impl Contender for Memcpy {
    const NAME: &'static str = "memcpy";
    const HOME: Home = Home::Thread;
}
