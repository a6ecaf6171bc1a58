//! What a channel costs before anything else: made and dropped, and made for a single message. One process, one thread.

use std::hint::black_box;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::contender::{Fresh, Outcome, Start};
use crate::work::Work;
use crate::work::record::{Small, Value};

#[derive(Clone, Copy)]
pub struct Create;

impl<C: Fresh> Work<C> for Create {
    type Near = ();

    fn near(&self, _: Start<'_>) -> Outcome<()> {
        Ok(())
    }

    fn sample(&self, (): &mut (), rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            black_box(C::channel::<Small>()?);
        }
        Ok(begun.elapsed())
    }

    fn far(&self, _: &str) -> Outcome<()> {
        Ok(())
    }
}

pub struct OneShot<V>(PhantomData<fn() -> V>);

impl<V> OneShot<V> {
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<V> Clone for OneShot<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for OneShot<V> {}

impl<C: Fresh, V: Value> Work<C> for OneShot<V> {
    type Near = ();

    fn near(&self, _: Start<'_>) -> Outcome<()> {
        Ok(())
    }

    fn sample(&self, (): &mut (), rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            let (sender, receiver) = C::channel()?;
            C::send(&sender, black_box(V::make(true)))?;
            black_box(C::recv(&receiver)?.ok_or("the message is lost")?);
        }
        Ok(begun.elapsed())
    }

    fn far(&self, _: &str) -> Outcome<()> {
        Ok(())
    }
}
