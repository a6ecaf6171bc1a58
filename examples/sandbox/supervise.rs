//! The supervisor in the parent: assigns files, collects answers, and replaces workers that crash,
//! hang or lie.
//!
//! Each job has a reply channel of its own, and ends exactly once, in one of three ways:
//!
//! - Its answer is complete.
//! - Its channel is disconnected before that, because the worker has ended.
//! - Its worker is killed, for an answer that cannot be true or for taking too long.
//!
//! Only a complete answer counts. In the other cases the file returns to the queue, and is skipped
//! once [`MAX_FAULTS`] workers have failed at it.
//!
//! A worker can have a second job ahead. When it ends or is killed, the channels of both are read
//! to their ends first: the answer to the first may be in transit. Then the fault is attributed to
//! the oldest job that has no answer, because a worker does them in order. The other job returns to
//! the queue unchanged.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use strait::handle::Handle;
use strait::ipc::{
    ChannelOptions, IpcMessage, IpcReceiverSet, IpcSelectionResult, IpcSharedMemory,
};
use strait::{IpcError, TrySelectError};

use crate::arguments::Settings;
use crate::assignment::{Answer, Assignment, Fault, MAX_FAULTS, Task};
use crate::chaos::Chaos;
use crate::confine::Measure;
use crate::files;
use crate::launch::{self, Recruit};
use crate::member::{MAX_JOBS, Member};
use crate::progress::Progress;
use crate::protocol::{self, Job, Order, Reply};
use crate::report::Outcome;

/// The number of workers that may end in a row without having a file.
const MAX_DEATHS_WITHOUT_JOB: u32 = 32;

/// The state of the parent while there are files to count.
pub(crate) struct Supervisor<'a> {
    settings: Settings,
    progress: &'a Progress,
    chaos: Option<Chaos>,
    /// The stop words that each worker receives first.
    stop_words: IpcSharedMemory,
    /// The options of the channels from workers.
    from_worker: ChannelOptions,
    set: IpcReceiverSet,
    /// What each member of the set is for.
    sources: HashMap<u64, Source>,
    /// `None` where no worker could be started.
    slots: Vec<Option<Member>>,
    queue: VecDeque<Task>,
    deaths_without_job: u32,
    outcome: Outcome,
}

/// What a receiver is for, and the slot of its worker.
#[derive(Clone, Copy, Debug)]
enum Source {
    Lifeline { slot: usize },
    Reply { slot: usize },
}

impl<'a> Supervisor<'a> {
    /// Starts workers, all at the same time. Some may fail to start. If all do, this fails.
    pub(crate) fn new(
        settings: Settings,
        progress: &'a Progress,
    ) -> Result<Supervisor<'a>, Box<dyn Error>> {
        let mut supervisor = Supervisor {
            settings,
            progress,
            chaos: settings.chaos.then(Chaos::new),
            stop_words: launch::stop_words()?,
            from_worker: protocol::from_worker(),
            set: IpcReceiverSet::new()?,
            sources: HashMap::new(),
            slots: Vec::new(),
            queue: VecDeque::new(),
            deaths_without_job: 0,
            outcome: Outcome::default(),
        };
        let recruits: Vec<_> = (0..settings.workers).map(|_| Recruit::start()).collect();
        for recruit in recruits {
            let slot = supervisor.slots.len();
            supervisor.slots.push(None);
            supervisor.fill(slot, recruit.map_err(Into::into));
        }
        supervisor.check_strength()?;
        Ok(supervisor)
    }

    /// Returns the outcome of the confinement of the workers.
    pub(crate) fn measures(&self) -> &[Measure] {
        let member = self.slots.iter().flatten().next();
        member.map_or(&[], |member| &member.worker.measures)
    }

    /// Counts the words in these files.
    pub(crate) fn count(mut self, files: Vec<(PathBuf, u64)>) -> Result<Outcome, Box<dyn Error>> {
        self.queue = files.into_iter().map(|(path, len)| Task::new(path, len)).collect();
        loop {
            self.hand_out()?;
            // While there are jobs, there is such a time.
            let Some(next) = self.slots.iter().flatten().filter_map(Member::next_moment).min()
            else {
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

    /// Assigns a file to each idle worker, and then a second one to each, if the files are short.
    fn hand_out(&mut self) -> Result<(), Box<dyn Error>> {
        for nth in 0..MAX_JOBS {
            for slot in 0..self.slots.len() {
                loop {
                    let Some(task) = self.queue.pop_front() else {
                        return Ok(());
                    };
                    let member = self.slots[slot].as_ref();
                    if !member.is_some_and(|member| member.takes(nth, task.len)) {
                        self.queue.push_front(task);
                        break;
                    }
                    self.assign(slot, task)?;
                }
            }
        }
        Ok(())
    }

    /// Assigns a file to a worker. If the file cannot be opened, the worker gets no further job.
    fn assign(&mut self, slot: usize, task: Task) -> Result<(), Box<dyn Error>> {
        let (file, len) = match files::open(&task.path) {
            Ok(opened) => opened,
            Err(error) => {
                self.give_up(&task, &error);
                return Ok(());
            }
        };
        let Some(member) = &mut self.slots[slot] else {
            self.queue.push_front(task);
            return Ok(());
        };
        let (reply, replies) = self.from_worker.channel()?;
        match member.worker.orders.send(Order::Count(Job { file: Handle(file), len, reply })) {
            Ok(()) => {}
            Err(IpcError::Disconnected) => {
                self.queue.push_front(task);
                return self.handle_death(slot);
            }
            Err(error) => {
                self.give_up(&task, &error);
                return Ok(());
            }
        }
        let reply = self.set.add(replies)?;
        self.sources.insert(reply, Source::Reply { slot });
        member.jobs.push_back(Assignment::new(task, len, reply));
        if member.jobs.len() == 1 {
            self.begin(slot);
        }
        Ok(())
    }

    /// Records that a worker begins its oldest job.
    fn begin(&mut self, slot: usize) {
        let Some(member) = &mut self.slots[slot] else {
            return;
        };
        let Some(job) = member.jobs.front() else {
            return;
        };
        let now = Instant::now();
        member.deadline = now + job.patience(self.settings.timeout);
        let strike = self.chaos.as_mut().and_then(|chaos| chaos.strike(job.task.strikes));
        member.strike = strike.map(|delay| now + delay);
        self.progress.begin(job.reply, job.len);
    }

    /// Kills the workers whose deadline has passed, and those that chaos has selected.
    fn keep_time(&mut self) -> Result<(), Box<dyn Error>> {
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            let Some(member) = &mut self.slots[slot] else {
                continue;
            };
            let Some(oldest) = member.jobs.front().map(|job| job.reply) else {
                continue;
            };
            if let Some(end) = member.ending {
                if end <= now {
                    member.kill()?;
                    self.stop_listening(slot)?;
                }
            } else if member.strike.is_some_and(|moment| moment <= now) {
                member.kill()?;
                member.is_struck = true;
                self.outcome.struck += 1;
            } else if member.deadline <= now {
                self.fail(slot, oldest, Fault::Timeout)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: IpcSelectionResult) -> Result<(), Box<dyn Error>> {
        match event {
            IpcSelectionResult::MessageReceived(id, message) => match self.sources.get(&id) {
                Some(&Source::Reply { slot }) => self.handle_reply(slot, id, message),
                Some(&Source::Lifeline { slot }) => self.handle_chatter(slot),
                // A message after the end of an answer.
                None => Ok(()),
            },
            IpcSelectionResult::ChannelClosed(id) => match self.sources.remove(&id) {
                Some(Source::Reply { slot }) => self.handle_silence(slot, id),
                Some(Source::Lifeline { slot }) => self.handle_death(slot),
                None => Ok(()),
            },
        }
    }

    fn handle_reply(
        &mut self,
        slot: usize,
        id: u64,
        message: IpcMessage,
    ) -> Result<(), Box<dyn Error>> {
        let job = self.slots[slot].as_mut().and_then(|member| member.job(id));
        let Some(Assignment { audit, .. }) = job else {
            return Ok(());
        };
        let checked = match message.to::<Reply>() {
            Ok(Reply::Words(words)) => audit.words(words),
            Ok(Reply::Read(bytes)) => audit.read(bytes).inspect(|()| self.progress.read(id, bytes)),
            Ok(Reply::Done(totals)) => return self.finish(slot, id, Answer::Counted(totals)),
            Ok(Reply::Binary) => return self.finish(slot, id, Answer::Binary),
            Ok(Reply::Unreadable(code)) => return self.finish(slot, id, Answer::Unreadable(code)),
            Err(_) => return self.fail(slot, id, Fault::Nonsense),
        };
        match checked {
            Ok(()) => Ok(()),
            Err(violation) => self.fail(slot, id, Fault::Answer(violation)),
        }
    }

    /// Handles a message of a worker that is not about a job.
    fn handle_chatter(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        let Some(member) = &mut self.slots[slot] else {
            return Ok(());
        };
        match member.jobs.front().map(|job| job.reply) {
            Some(oldest) => self.fail(slot, oldest, Fault::OutOfTurn),
            None => self.replace_without_job(slot),
        }
    }

    /// Handles the disconnection of a job's channel before the end of the answer.
    fn handle_silence(&mut self, slot: usize, id: u64) -> Result<(), Box<dyn Error>> {
        if let Some(member) = &mut self.slots[slot] {
            member.should_end();
        }
        self.set_fault(slot, id, Fault::NoAnswer(None));
        self.settle(slot)
    }

    /// Handles the end of a worker. If it has jobs, their channels are read first: the answers may
    /// be complete.
    fn handle_death(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        let Some(member) = &mut self.slots[slot] else {
            return Ok(());
        };
        if member.jobs.is_empty() {
            return self.replace_without_job(slot);
        }
        member.has_ended();
        self.settle(slot)
    }

    /// Handles a complete answer to a job.
    fn finish(&mut self, slot: usize, id: u64, answer: Answer) -> Result<(), Box<dyn Error>> {
        let Some(member) = &mut self.slots[slot] else {
            return Ok(());
        };
        let Some(index) = member.jobs.iter().position(|job| job.reply == id) else {
            return Ok(());
        };
        if let Answer::Counted(totals) = answer {
            if let Err(violation) = member.jobs[index].audit.check(totals) {
                return self.fail(slot, id, Fault::Answer(violation));
            }
        }
        let Some(Assignment { task, audit, .. }) = member.jobs.remove(index) else {
            return Ok(());
        };
        let next_begins = index == 0 && member.ending.is_none();
        self.forget(id);
        self.deaths_without_job = 0;
        match answer {
            Answer::Counted(totals) => {
                self.progress.finish(id, task.len, totals.bytes);
                self.outcome.counted += 1;
                self.outcome.totals.bytes += totals.bytes;
                self.outcome.totals.words += totals.words;
                let (words, table) = (audit.into_words(), &mut self.outcome.table);
                self.progress.during("adding up", words.len(), || {
                    for (word, count) in words {
                        *table.entry(word).or_default() += count;
                    }
                });
            }
            Answer::Binary => {
                self.outcome.binary += 1;
                self.progress.fail(id);
                self.progress.leave_out(task.len);
            }
            Answer::Unreadable(code) => {
                self.progress.fail(id);
                self.give_up(&task, &io::Error::from_raw_os_error(code));
            }
        }
        if next_begins {
            self.begin(slot);
        }
        self.settle(slot)
    }

    /// Kills the worker of a job that cannot get a valid answer any more.
    fn fail(&mut self, slot: usize, id: u64, fault: Fault) -> Result<(), Box<dyn Error>> {
        self.set_fault(slot, id, fault);
        if let Some(member) = &mut self.slots[slot] {
            member.kill()?;
        }
        self.settle(slot)
    }

    /// Drops the receiver of a job, and records why.
    fn set_fault(&mut self, slot: usize, id: u64, fault: Fault) {
        self.forget(id);
        self.progress.fail(id);
        if let Some(job) = self.slots[slot].as_mut().and_then(|member| member.job(id)) {
            job.fault.get_or_insert(fault);
        }
    }

    /// Drops the receivers of a worker that was killed, if its channels are not disconnected:
    /// another process must have its senders.
    fn stop_listening(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        let jobs = self.slots[slot].iter().flat_map(|member| &member.jobs);
        let open = jobs.filter(|job| job.fault.is_none()).map(|job| job.reply).collect::<Vec<_>>();
        for id in open {
            self.set_fault(slot, id, Fault::NoAnswer(None));
        }
        self.settle(slot)
    }

    /// Replaces a worker from which no more messages can arrive, and determines at which of its
    /// jobs it failed.
    fn settle(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        let Some(mut member) = self.slots[slot].take_if(|member| member.is_over()) else {
            return Ok(());
        };
        self.forget(member.lifeline);
        let end = member.own_end();
        let Member { jobs, is_struck, .. } = member;
        // The job with a wrong answer, or else the oldest: the worker had not begun the others.
        let is_wrong = |job: &Assignment| !matches!(job.fault, Some(Fault::NoAnswer(_)) | None);
        let failed = jobs.iter().position(is_wrong).unwrap_or(0);
        for (index, Assignment { mut task, fault, .. }) in jobs.into_iter().enumerate().rev() {
            if index != failed {
                self.queue.push_front(task);
            } else if is_struck {
                task.strikes += 1;
                self.queue.push_back(task);
            } else {
                match fault {
                    Some(Fault::NoAnswer(_)) | None => self.blame(task, &Fault::NoAnswer(end)),
                    Some(fault) => self.blame(task, &fault),
                }
            }
        }
        self.hire(slot)
    }

    /// Attributes the failure of a worker to its file, which is assumed to be the cause.
    fn blame(&mut self, mut task: Task, fault: &Fault) {
        task.faults += 1;
        if task.faults < MAX_FAULTS {
            self.queue.push_back(task);
        } else {
            self.give_up(&task, &format!("{MAX_FAULTS} workers failed, the last: {fault}"));
        }
    }

    /// Replaces a worker that has failed without having a job: no file is the cause.
    fn replace_without_job(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        self.deaths_without_job += 1;
        if self.deaths_without_job > MAX_DEATHS_WITHOUT_JOB {
            return Err("too many workers ended before they had a file".into());
        }
        if let Some(member) = self.slots[slot].take() {
            self.forget(member.lifeline);
        }
        self.hire(slot)
    }

    /// Starts a worker in place of one that has ended.
    fn hire(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        self.outcome.replaced += 1;
        self.fill(slot, Recruit::start().map_err(Into::into));
        self.check_strength()
    }

    /// Puts a new worker into a slot. If that fails, the slot stays empty.
    fn fill(&mut self, slot: usize, recruit: Result<Recruit, Box<dyn Error>>) {
        let result = recruit.and_then(|recruit| {
            let (worker, lifeline) = recruit.welcome(&self.stop_words, self.settings.drill)?;
            Ok((worker, self.set.add(lifeline)?))
        });
        match result {
            Ok((worker, lifeline)) => {
                self.sources.insert(lifeline, Source::Lifeline { slot });
                self.slots[slot] = Some(Member::new(worker, lifeline));
            }
            Err(error) => self.progress.say(&format!("a worker could not be started: {error}")),
        }
    }

    fn check_strength(&self) -> Result<(), Box<dyn Error>> {
        if self.slots.iter().all(Option::is_none) {
            return Err("no worker could be started".into());
        }
        Ok(())
    }

    /// Drops a receiver, unless it was dropped already.
    fn forget(&mut self, id: u64) {
        if self.sources.remove(&id).is_some() {
            self.set.remove(id);
        }
    }

    fn give_up(&mut self, task: &Task, reason: &dyn fmt::Display) {
        self.outcome.failed += 1;
        self.progress.skipped(&task.path, reason);
        self.progress.leave_out(task.len);
    }
}
