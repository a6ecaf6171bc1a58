//! Copies a byte string as long as a message, over and over.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::contender::{Outcome, Start};
use crate::contenders::Memcpy;
use crate::work::Work;

#[derive(Clone, Copy)]
pub struct Copies(pub usize);

impl Work<Memcpy> for Copies {
    /// From where, and to where.
    type Near = (Vec<u8>, Vec<u8>);

    fn near(&self, _: Start<'_>) -> Outcome<Self::Near> {
        // Not zeros, for which the system may have no memory of their own.
        Ok((vec![1; self.0], vec![2; self.0]))
    }

    fn sample(&self, (from, to): &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            to.copy_from_slice(black_box(from));
            black_box(&mut *to);
        }
        Ok(begun.elapsed())
    }

    fn far(&self, _: &str) -> Outcome<()> {
        Ok(())
    }
}
