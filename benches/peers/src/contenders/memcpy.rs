//! One copy from warm memory to warm memory, by one thread: about the limit of a channel that
//! copies bytes. Two processes that copy at the same time, by a ring that fits in the cache,
//! can be a little faster if the byte string does not fit. It does not send, so it takes part
//! with work of its own, [`copy`](crate::work::copy).

use crate::contender::{Contender, Home};

pub struct Memcpy;

impl Contender for Memcpy {
    const NAME: &'static str = "memcpy";
    const HOME: Home = Home::Thread;
}
