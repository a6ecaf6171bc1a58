//! The parent at work: hands out files, collects answers, and replaces workers that die, hang or lie.
//!
//! Each worker has one job at a time, each job a reply channel of its own. So a job is in one of three ways over, and in
//! none of them twice: its answer is complete; its channel closes before that, because the worker died; its worker is
//! killed, for an answer that cannot be true or for taking too long. Only a complete answer counts. In the other cases
//! the file goes back into the queue, and is given up once it has cost [`MAX_FAULTS`] workers their lives.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use strait::handle::Handle;
use strait::ipc::{self, IpcMessage, IpcReceiverSet, IpcSelectionResult};
use strait::{IpcError, TrySelectError};

use crate::arguments::Settings;
use crate::assignment::{Answer, Assignment, Fault, MAX_FAULTS, Task};
use crate::chaos::Chaos;
use crate::confine::Measure;
use crate::files;
use crate::launch::{Recruit, Worker};
use crate::progress::Progress;
use crate::protocol::{Job, Order, Reply};
use crate::report::Outcome;

/// How many workers may die between two files without having one.
const MAX_DEATHS_OFF_DUTY: u32 = 32;

/// The parent, as long as there is something to count.
pub(crate) struct Supervisor<'a> {
    settings: Settings,
    progress: &'a Progress,
    chaos: Option<Chaos>,
    set: IpcReceiverSet,
    /// What the members of the set are.
    sources: HashMap<u64, Source>,
    slots: Vec<Slot>,
    queue: VecDeque<Task>,
    deaths_off_duty: u32,
    outcome: Outcome,
}

/// Whose receiver it is.
#[derive(Clone, Copy, Debug)]
enum Source {
    Lifeline { slot: usize },
    Reply { slot: usize },
}

#[derive(Debug)]
enum Slot {
    Vacant,
    Idle(Member),
    Busy(Member, Assignment),
}

#[derive(Debug)]
struct Member {
    worker: Worker,
    lifeline: u64,
    /// Its lifeline has closed.
    is_dead: bool,
}

impl<'a> Supervisor<'a> {
    /// Starts workers, all at the same time. Some may fail to start; if all do, that is an error.
    pub(crate) fn new(
        settings: Settings,
        progress: &'a Progress,
    ) -> Result<Supervisor<'a>, Box<dyn Error>> {
        let mut supervisor = Supervisor {
            settings,
            progress,
            chaos: settings.chaos.then(Chaos::new),
            set: IpcReceiverSet::new()?,
            sources: HashMap::new(),
            slots: Vec::new(),
            queue: VecDeque::new(),
            deaths_off_duty: 0,
            outcome: Outcome::default(),
        };
        let recruits: Vec<_> = (0..settings.workers).map(|_| Recruit::start()).collect();
        for recruit in recruits {
            let slot = supervisor.slots.len();
            supervisor.slots.push(Slot::Vacant);
            supervisor.fill(slot, recruit.map_err(Into::into));
        }
        supervisor.check_strength()?;
        Ok(supervisor)
    }

    /// What became of the confinement of the workers.
    pub(crate) fn measures(&self) -> &[Measure] {
        let member = self.slots.iter().find_map(|slot| match slot {
            Slot::Vacant => None,
            Slot::Idle(member) | Slot::Busy(member, _) => Some(member),
        });
        member.map_or(&[], |member| &member.worker.measures)
    }

    /// Counts the words in these files.
    pub(crate) fn count(mut self, files: Vec<(PathBuf, u64)>) -> Result<Outcome, Box<dyn Error>> {
        self.queue = files.into_iter().map(|(path, len)| Task::new(path, len)).collect();
        loop {
            self.hand_out()?;
            let Some(next) = self.next_moment() else {
                return Ok(self.outcome);
            };
            let timeout = next.saturating_duration_since(Instant::now());
            match self.set.try_select_timeout(timeout) {
                Ok(events) => {
                    for event in events {
                        self.handle(event)?;
                    }
                }
                Err(TrySelectError::Empty) => {}
                Err(TrySelectError::IoError(error)) => return Err(error.into()),
            }
            self.keep_time()?;
        }
    }

    /// Gives every idle worker a file.
    fn hand_out(&mut self) -> Result<(), Box<dyn Error>> {
        for slot in 0..self.slots.len() {
            while let Slot::Idle(_) = self.slots[slot] {
                let Some(task) = self.queue.pop_front() else {
                    return Ok(());
                };
                self.assign(slot, task)?;
            }
        }
        Ok(())
    }

    /// Gives a file to an idle worker. If the file can't be had, the worker stays idle.
    fn assign(&mut self, slot: usize, task: Task) -> Result<(), Box<dyn Error>> {
        let (file, len) = match files::open(&task.path) {
            Ok(opened) => opened,
            Err(error) => {
                self.give_up(&task, &error);
                return Ok(());
            }
        };
        let member = match std::mem::replace(&mut self.slots[slot], Slot::Vacant) {
            Slot::Idle(member) => member,
            other => {
                self.slots[slot] = other;
                self.queue.push_front(task);
                return Ok(());
            }
        };
        let (reply, replies) = ipc::channel()?;
        let order = Order::Count(Job { file: Handle(file), len, reply });
        match member.worker.orders.send(order) {
            Ok(()) => {}
            Err(IpcError::Disconnected) => {
                self.queue.push_front(task);
                return self.replace_off_duty(slot, member);
            }
            Err(error) => {
                self.slots[slot] = Slot::Idle(member);
                self.give_up(&task, &error);
                return Ok(());
            }
        }
        let reply = self.set.add(replies)?;
        self.sources.insert(reply, Source::Reply { slot });
        let strike = self.chaos.as_mut().and_then(|chaos| chaos.strike(task.strikes));
        let assignment = Assignment::new(task, len, reply, self.settings.timeout, strike);
        self.slots[slot] = Slot::Busy(member, assignment);
        Ok(())
    }

    /// When there is something to do even if no worker says anything. There is no such moment when all is done.
    fn next_moment(&self) -> Option<Instant> {
        let moments = self.slots.iter().filter_map(|slot| match slot {
            Slot::Busy(_, assignment) => Some(assignment.next_moment()),
            Slot::Vacant | Slot::Idle(_) => None,
        });
        moments.min()
    }

    /// Kills the workers whose time is up, or on whom chaos has set its eyes.
    fn keep_time(&mut self) -> Result<(), Box<dyn Error>> {
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            let Slot::Busy(member, assignment) = &mut self.slots[slot] else {
                continue;
            };
            if assignment.strike.is_some_and(|moment| moment <= now) {
                // Its death is noticed like any other: its channels close.
                member.worker.strike()?;
                assignment.strike = None;
                assignment.is_struck = true;
                self.outcome.struck += 1;
            } else if assignment.deadline <= now {
                self.fail(slot, Fault::Timeout)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: IpcSelectionResult) -> Result<(), Box<dyn Error>> {
        match event {
            IpcSelectionResult::MessageReceived(id, message) => match self.sources.get(&id) {
                Some(&Source::Reply { slot }) => self.handle_reply(slot, message),
                Some(&Source::Lifeline { slot }) => self.fail(slot, Fault::OutOfTurn),
                // More words after the last.
                None => Ok(()),
            },
            IpcSelectionResult::ChannelClosed(id) => match self.sources.remove(&id) {
                Some(Source::Reply { slot }) => self.fail(slot, Fault::NoAnswer),
                Some(Source::Lifeline { slot }) => self.handle_death(slot),
                None => Ok(()),
            },
        }
    }

    fn handle_reply(&mut self, slot: usize, message: IpcMessage) -> Result<(), Box<dyn Error>> {
        let Slot::Busy(_, assignment) = &mut self.slots[slot] else {
            return Ok(());
        };
        match message.to::<Reply>() {
            Ok(Reply::Words(words)) => match assignment.audit.words(words) {
                Ok(()) => Ok(()),
                Err(violation) => self.fail(slot, Fault::Answer(violation)),
            },
            Ok(Reply::Done(totals)) => self.finish(slot, Answer::Counted(totals)),
            Ok(Reply::Binary) => self.finish(slot, Answer::Binary),
            Ok(Reply::Unreadable(code)) => self.finish(slot, Answer::Unreadable(code)),
            Err(_) => self.fail(slot, Fault::Nonsense),
        }
    }

    /// A worker's lifeline has closed. If it has a job, that job's channel has the last word: the answer may be complete.
    fn handle_death(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        match std::mem::replace(&mut self.slots[slot], Slot::Vacant) {
            Slot::Vacant => Ok(()),
            Slot::Idle(member) => self.replace_off_duty(slot, member),
            Slot::Busy(mut member, assignment) => {
                member.is_dead = true;
                self.slots[slot] = Slot::Busy(member, assignment);
                Ok(())
            }
        }
    }

    /// A worker has answered all there is to answer.
    fn finish(&mut self, slot: usize, answer: Answer) -> Result<(), Box<dyn Error>> {
        let Some((member, assignment)) = self.take_busy(slot) else {
            return Ok(());
        };
        let Assignment { task, audit, is_struck, .. } = assignment;
        match answer {
            Answer::Counted(totals) => match audit.done(totals) {
                Ok(words) => {
                    for (word, count) in words {
                        *self.outcome.table.entry(word).or_default() += count;
                    }
                    self.outcome.totals.bytes += totals.bytes;
                    self.outcome.totals.words += totals.words;
                    self.outcome.counted += 1;
                    self.progress.advance(task.len);
                }
                Err(violation) => {
                    return self.blame(slot, member, task, Fault::Answer(violation));
                }
            },
            Answer::Binary => {
                self.outcome.binary += 1;
                self.progress.advance(task.len);
            }
            Answer::Unreadable(code) => {
                self.give_up(&task, &io::Error::from_raw_os_error(code));
            }
        }
        self.deaths_off_duty = 0;
        if is_struck || member.is_dead {
            self.replace(slot, member)
        } else {
            self.slots[slot] = Slot::Idle(member);
            Ok(())
        }
    }

    /// A worker has failed.
    fn fail(&mut self, slot: usize, fault: Fault) -> Result<(), Box<dyn Error>> {
        match self.take_busy(slot) {
            Some((member, assignment)) if assignment.is_struck => {
                let mut task = assignment.task;
                task.strikes += 1;
                self.queue.push_back(task);
                self.replace(slot, member)
            }
            Some((member, assignment)) => self.blame(slot, member, assignment.task, fault),
            None => match std::mem::replace(&mut self.slots[slot], Slot::Vacant) {
                Slot::Idle(member) => self.replace_off_duty(slot, member),
                Slot::Vacant | Slot::Busy(..) => Ok(()),
            },
        }
    }

    /// A worker has failed because of its file, or so it must seem.
    fn blame(
        &mut self,
        slot: usize,
        member: Member,
        mut task: Task,
        fault: Fault,
    ) -> Result<(), Box<dyn Error>> {
        task.faults += 1;
        if task.faults < MAX_FAULTS {
            self.queue.push_back(task);
            return self.replace(slot, member);
        }
        let Member { worker, lifeline, .. } = member;
        self.forget(lifeline);
        let reason = match (fault, worker.end()) {
            (Fault::NoAnswer, Ok(status)) => format!("{fault}, and ended with {status}"),
            _ => fault.to_string(),
        };
        let reason = format!("{MAX_FAULTS} workers failed, the last: {reason}");
        self.give_up(&task, &reason);
        self.hire(slot)
    }

    /// A worker without a job has died.
    fn replace_off_duty(&mut self, slot: usize, member: Member) -> Result<(), Box<dyn Error>> {
        self.deaths_off_duty += 1;
        if self.deaths_off_duty > MAX_DEATHS_OFF_DUTY {
            return Err("workers keep dying before they get to work".into());
        }
        self.replace(slot, member)
    }

    /// Ends a worker and starts another in its place.
    fn replace(&mut self, slot: usize, member: Member) -> Result<(), Box<dyn Error>> {
        self.forget(member.lifeline);
        drop(member);
        self.hire(slot)
    }

    fn hire(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        self.outcome.replaced += 1;
        self.fill(slot, Recruit::start().map_err(Into::into));
        self.check_strength()
    }

    /// Puts a new worker into a slot. If that fails the slot stays vacant.
    fn fill(&mut self, slot: usize, recruit: Result<Recruit, Box<dyn Error>>) {
        let result = recruit.and_then(|recruit| {
            let (worker, lifeline) = recruit.welcome(self.settings.drill)?;
            Ok((worker, self.set.add(lifeline)?))
        });
        match result {
            Ok((worker, lifeline)) => {
                self.sources.insert(lifeline, Source::Lifeline { slot });
                self.slots[slot] = Slot::Idle(Member { worker, lifeline, is_dead: false });
            }
            Err(error) => self.progress.say(&format!("a worker could not be started: {error}")),
        }
    }

    fn check_strength(&self) -> Result<(), Box<dyn Error>> {
        if self.slots.iter().all(|slot| matches!(slot, Slot::Vacant)) {
            return Err("no worker could be started".into());
        }
        Ok(())
    }

    /// Ends the job of a busy worker: whatever it still says about it is not heard.
    fn take_busy(&mut self, slot: usize) -> Option<(Member, Assignment)> {
        match std::mem::replace(&mut self.slots[slot], Slot::Vacant) {
            Slot::Busy(member, assignment) => {
                self.forget(assignment.reply);
                Some((member, assignment))
            }
            other => {
                self.slots[slot] = other;
                None
            }
        }
    }

    /// Closes a receiver, unless it is closed already.
    fn forget(&mut self, id: u64) {
        if self.sources.remove(&id).is_some() {
            self.set.remove(id);
        }
    }

    fn give_up(&mut self, task: &Task, reason: &dyn fmt::Display) {
        self.outcome.failed += 1;
        self.progress.skipped(&task.path, reason);
        self.progress.advance(task.len);
    }
}
