//! Clients that connect to a server by its name, one after another. The time is from `connect`
//! until client and server have received a message from each other. One process, one thread.

use std::time::{Duration, Instant};

use crate::contender::{Meets, Outcome, Start};
use crate::work::Work;

#[derive(Clone, Copy)]
pub struct Meet;

impl<C: Meets> Work<C> for Meet {
    type Near = C::Server;

    fn near(&self, _: Start<'_>) -> Outcome<C::Server> {
        C::server()
    }

    fn sample(&self, server: &mut C::Server, rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            C::meet(server)?;
        }
        Ok(begun.elapsed())
    }

    fn far(&self, _: &str) -> Outcome<()> {
        Ok(())
    }
}
