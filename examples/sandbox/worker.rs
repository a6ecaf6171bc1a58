//! The worker: a process that gives up all rights that it does not need, and then counts the words
//! in the files that it receives.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::str;

use strait::IpcError;
use strait::handle::Handle;
use strait::ipc::{IpcReceiver, IpcSender, IpcSharedMemory};
use strait::process;

use crate::confine::confine;
use crate::count::Counter;
use crate::drill::Drill;
use crate::protocol::{BYTES_PER_REPORT, Confined, Job, MAX_WORDS_PER_REPLY, Order, Reply, Totals};

const BUFFER_BYTES: usize = 256 << 10;

/// A file with a NUL among this many first bytes is not text. Other programs do not check more,
/// either: grep, diff, git.
const BYTES_TO_JUDGE_BY: usize = 8 << 10;

/// A table with more different words than this is sent to the parent, and a new one is begun.
const TABLE_WORDS: usize = 32 << 10;

/// Receives orders from the parent, until the parent disconnects.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let (parent, orders) = process::parent()?;
    parent.send(Confined(confine()))?;

    let Order::Prepare { stop_words, drill } = orders.recv()? else {
        return Err("a job came before the stop words".into());
    };
    let stop_words = StopWords::new(&stop_words)?;
    let drill = drill.then_some(&orders);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match orders.recv() {
            Ok(Order::Count(job)) => match answer(job, &stop_words, drill, &mut buffer) {
                // The parent has the answer, or has abandoned this job.
                Ok(()) | Err(IpcError::Disconnected) => {}
                Err(error) => return Err(error.into()),
            },
            Ok(Order::Prepare { .. }) => return Err("the stop words came twice".into()),
            Err(IpcError::Disconnected) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Counts one file. A drill also needs the receiver of orders, which a worker that is taken over
/// has.
fn answer(
    job: Job,
    stop_words: &StopWords<'_>,
    drill: Option<&IpcReceiver<Order>>,
    buffer: &mut [u8],
) -> Result<(), IpcError> {
    let Job { file: Handle(mut file), len, reply } = job;
    let mut counter = Counter::default();
    let mut bytes = 0;
    let mut reported = 0;
    // The number of bytes in the buffer that begin an incomplete character.
    let mut left_over = 0;
    while bytes < len {
        let free = &mut buffer[left_over..];
        let most = usize::try_from(len - bytes).map_or(free.len(), |rest| rest.min(free.len()));
        let read = match read(&mut file, &mut free[..most]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => {
                return reply.send(Reply::Unreadable(error.raw_os_error().unwrap_or_default()));
            }
        };
        let filled = left_over + read;
        if bytes == 0 {
            if buffer[..filled.min(BYTES_TO_JUDGE_BY)].contains(&0) {
                return reply.send(Reply::Binary);
            }
            if let Some((orders, exploit)) = drill.zip(Drill::find(&buffer[..filled])) {
                return exploit.act(reply, orders);
            }
        }
        bytes += read as u64;
        let used = counter.feed(&buffer[..filled]);
        buffer.copy_within(used..filled, 0);
        left_over = filled - used;
        if counter.distinct() > TABLE_WORDS {
            send_words(&mut counter, stop_words, &reply)?;
        }
        if bytes - reported >= BYTES_PER_REPORT {
            reply.send(Reply::Read(bytes))?;
            reported = bytes;
        }
    }
    counter.finish();
    send_words(&mut counter, stop_words, &reply)?;
    reply.send(Reply::Done(Totals { bytes, words: counter.total() }))
}

fn read(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn send_words(
    counter: &mut Counter,
    stop_words: &StopWords<'_>,
    reply: &IpcSender<Reply>,
) -> Result<(), IpcError> {
    let mut words = counter.take().into_iter().filter(|(word, _)| !stop_words.contains(word));
    loop {
        let part: Vec<_> = words.by_ref().take(MAX_WORDS_PER_REPLY).collect();
        if part.is_empty() {
            return Ok(());
        }
        reply.send(Reply::Words(part))?;
    }
}

/// The stop words. They are looked up in the shared memory, without a copy.
#[derive(Debug)]
struct StopWords<'a>(Vec<&'a str>);

impl<'a> StopWords<'a> {
    fn new(table: &'a IpcSharedMemory) -> Result<StopWords<'a>, str::Utf8Error> {
        Ok(StopWords(str::from_utf8(table)?.lines().collect()))
    }

    fn contains(&self, word: &str) -> bool {
        self.0.binary_search(&word).is_ok()
    }
}
