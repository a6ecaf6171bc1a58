//! A request that carries the sender of a channel made for its reply: the usual way to call
//! another process.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::contender::{Channel, Fresh, Link, Outcome, Receiver, Sender, Start};
use crate::work::Work;
use crate::work::record::{Small, Value};

#[derive(Clone, Copy)]
pub struct Replies;

type Request<C> = (Small, Sender<C, Small>);

impl<C: Fresh<Small> + Link<Request<C>, ()>> Work<C> for Replies {
    type Near = (Sender<C, Request<C>>, Receiver<C, ()>);

    fn near(&self, start: Start<'_>) -> Outcome<Self::Near> {
        <C as Link<Request<C>, ()>>::serve(start)
    }

    fn sample(&self, (sender, _): &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            let (reply, mut replies) = <C as Fresh<Small>>::channel()?;
            <C as Channel<Request<C>>>::send(sender, (black_box(Small::make(false)), reply))?;
            black_box(<C as Channel<Small>>::recv(&mut replies)?.ok_or("no reply")?);
        }
        Ok(begun.elapsed())
    }

    fn far(&self, name: &str) -> Outcome<()> {
        let (_open, mut receiver) = <C as Link<Request<C>, ()>>::join(name)?;
        while let Some((body, mut reply)) = <C as Channel<Request<C>>>::recv(&mut receiver)? {
            <C as Channel<Small>>::send(&mut reply, body)?;
        }
        Ok(())
    }
}
