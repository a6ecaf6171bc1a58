//! A request that carries the sender of a channel made for its reply: the usual way to call another process.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contender::{Fresh, Outcome, Payload, Start};
use crate::work::Work;
use crate::work::record::{Small, Value};

#[derive(Clone, Copy)]
pub struct Replies;

#[derive(Serialize, Deserialize)]
pub struct Request<S> {
    body: Small,
    reply: S,
}

impl<C: Fresh> Work<C> for Replies
where
    C::Sender<Small>: Payload,
{
    type Near = (C::Sender<Request<C::Sender<Small>>>, C::Receiver<()>);

    fn near(&self, start: Start<'_>) -> Outcome<Self::Near> {
        C::serve(start)
    }

    fn sample(&self, (sender, _): &mut Self::Near, rounds: u64) -> Outcome<Duration> {
        let begun = Instant::now();
        for _ in 0..rounds {
            let (reply, replies) = C::channel()?;
            C::send(sender, Request { body: black_box(Small::make(false)), reply })?;
            black_box(C::recv(&replies)?.ok_or("no reply")?);
        }
        Ok(begun.elapsed())
    }

    fn far(&self, name: &str) -> Outcome<()> {
        let (_open, receiver) = C::join::<Request<C::Sender<Small>>, ()>(name)?;
        while let Some(request) = C::recv(&receiver)? {
            C::send(&request.reply, request.body)?;
        }
        Ok(())
    }
}
