//! The cost of a channel: made and dropped, and made for a single message. One process,
//! one thread.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::contender::{Fresh, Outcome, Start};
use crate::work::Work;
use crate::work::record::{Record, Small, Value};

#[derive(Clone, Copy)]
pub struct Create;

impl<C: Fresh<Small>> Work<C> for Create {
    type Near = ();

    fn near(&self, _: Start<'_>) -> Outcome<()> {
        Ok(())
    }

    fn sample(&self, (): &mut (), rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            black_box(C::channel()?);
        }
        Ok(begun.elapsed())
    }

    fn far(&self, _: &str) -> Outcome<()> {
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub struct OneMessage;

impl<C: Fresh<Record>> Work<C> for OneMessage {
    type Near = ();

    fn near(&self, _: Start<'_>) -> Outcome<()> {
        Ok(())
    }

    fn sample(&self, (): &mut (), rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            let (mut sender, mut receiver) = C::channel()?;
            C::send(&mut sender, black_box(Record::make(true)))?;
            black_box(C::recv(&mut receiver)?.ok_or("the message is lost")?);
        }
        Ok(begun.elapsed())
    }

    fn far(&self, _: &str) -> Outcome<()> {
        Ok(())
    }
}
