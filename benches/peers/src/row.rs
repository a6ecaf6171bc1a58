//! A row: one piece of work and the contenders that do it, with their types erased.

use std::time::Duration;

use crate::contender::{Contender, Home, Outcome};
use crate::far::Far;
use crate::work::Work;

pub struct Row {
    pub name: String,
    pub entries: Vec<Entry>,
}

/// One contender's part in a row.
pub struct Entry {
    pub contender: &'static str,
    near: Box<Near>,
    far: Box<FarSide>,
}

/// Takes the row's name, for the far process to find the same entry.
type Near = dyn Fn(&str) -> Outcome<Running>;
/// Takes the name under which the near side waits.
type FarSide = dyn Fn(&str) -> Outcome<()>;

impl Row {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), entries: Vec::new() }
    }

    /// Adds a contender.
    pub fn on<C: Contender, W: Work<C>>(mut self, work: W) -> Self {
        self.entries.push(Entry {
            contender: C::NAME,
            near: Box::new(move |row| {
                let mut far = None;
                let mut start = |name: &str| {
                    let side = match C::HOME {
                        Home::Process => Far::process(row, C::NAME, name)?,
                        Home::Thread => Far::thread::<C, W>(work, name)?,
                    };
                    far = Some(side);
                    Ok(())
                };
                let mut near = work.near(&mut start)?;
                Ok(Running {
                    sample: Box::new(move |rounds| work.sample(&mut near, rounds)),
                    messages: work.messages(),
                    far,
                    polls: C::POLLS,
                })
            }),
            far: Box::new(move |name| work.far(name)),
        });
        self
    }
}

impl Entry {
    pub fn start(&self, row: &str) -> Outcome<Running> {
        (self.near)(row)
    }

    pub fn far(&self, name: &str) -> Outcome<()> {
        (self.far)(name)
    }
}

/// A contender at work: both sides are started and connected.
pub struct Running {
    // Declared before `far`: the near endpoints are dropped first, which ends the far side.
    sample: Box<dyn FnMut(u64) -> Outcome<Duration>>,
    messages: u64,
    far: Option<Far>,
    polls: bool,
}

impl Running {
    pub fn sample(&mut self, rounds: u64) -> Outcome<Duration> {
        self.let_far_run(true)?;
        let elapsed = (self.sample)(rounds)?;
        self.let_far_run(false)?;
        Ok(elapsed)
    }

    /// Nothing to do for a far side that sleeps while it waits.
    fn let_far_run(&self, run: bool) -> Outcome<()> {
        match &self.far {
            Some(far) if self.polls => far.let_run(run),
            _ => Ok(()),
        }
    }

    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Disconnects, and waits until the far side has ended well.
    pub fn finish(self) -> Outcome<()> {
        self.let_far_run(true)?;
        drop(self.sample);
        match self.far {
            Some(far) => far.finish(),
            None => Ok(()),
        }
    }
}
