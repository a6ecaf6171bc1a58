//! What a worker might do once its input has taken it over. With `--drill` a file can ask for it by
//! its first line: the word `drill:` and the name of the deed. None of the deeds may harm the
//! parent, another file's counts, or the system.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::process::{self, Command};
use std::thread;

use strait::IpcError;
use strait::ipc::{IpcReceiver, IpcSender};

use crate::protocol::{BYTES_PER_REPORT, MAX_WORDS_PER_REPLY, Order, Reply, Totals};

/// A misdeed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drill {
    /// Aborts.
    Crash,
    /// Sends no answer, and does not end.
    Hang,
    /// Reads some of the file and hangs.
    Stall,
    /// Receives the next job, too, and drops it.
    Grab,
    /// Drops the sender of replies, and continues.
    Silence,
    /// Sends bytes that are not a reply.
    Noise,
    /// Sends more words at once than allowed.
    Flood,
    /// Sends a message that is longer than any reply.
    Bloat,
    /// Claims to have read more than there is.
    Boast,
    /// Sends a word that a terminal would obey.
    Forge,
    /// Claims to have counted more words than the file has bytes.
    Lie,
    /// Sends two answers.
    Twice,
    /// Tries to use files, networks and processes, and reports each success as a word.
    Escape,
}

impl Drill {
    /// Returns the deed that the file that begins with `bytes` asks for.
    pub(crate) fn find(bytes: &[u8]) -> Option<Drill> {
        let line = bytes.split(|&byte| byte == b'\n').next()?;
        match line.strip_prefix(b"drill: ")? {
            b"crash" => Some(Drill::Crash),
            b"hang" => Some(Drill::Hang),
            b"stall" => Some(Drill::Stall),
            b"grab" => Some(Drill::Grab),
            b"silence" => Some(Drill::Silence),
            b"noise" => Some(Drill::Noise),
            b"flood" => Some(Drill::Flood),
            b"bloat" => Some(Drill::Bloat),
            b"boast" => Some(Drill::Boast),
            b"forge" => Some(Drill::Forge),
            b"lie" => Some(Drill::Lie),
            b"twice" => Some(Drill::Twice),
            b"escape" => Some(Drill::Escape),
            _ => None,
        }
    }

    /// Performs the deed.
    pub(crate) fn act(
        self,
        reply: IpcSender<Reply>,
        orders: &IpcReceiver<Order>,
    ) -> Result<(), IpcError> {
        let word = |text: &str| (String::from(text), 1);
        match self {
            Drill::Crash => process::abort(),
            Drill::Hang => hang(),
            Drill::Stall => {
                reply.send(Reply::Read(BYTES_PER_REPORT))?;
                hang()
            }
            Drill::Grab => {
                drop(orders.recv()?);
                reply.send(Reply::Words(vec![word("grabbed")]))?;
                reply.send(Reply::Done(Totals { bytes: 1, words: 1 }))
            }
            Drill::Silence => Ok(()),
            Drill::Noise => Ok(reply.to_opaque().to_bytes().send(&[0xff; 100])?),
            Drill::Flood => reply.send(Reply::Words(vec![word("x"); MAX_WORDS_PER_REPLY + 1])),
            Drill::Bloat => reply.send(Reply::Words(vec![(String::from("x").repeat(1 << 20), 1)])),
            Drill::Boast => reply.send(Reply::Read(1 << 40)),
            Drill::Forge => reply.send(Reply::Words(vec![word("\x1b[2J")])),
            Drill::Lie => reply.send(Reply::Words(vec![(String::from("lie"), u64::MAX)])),
            Drill::Twice => {
                reply.send_ref(&Reply::Words(vec![word("once")]))?;
                reply.send(Reply::Done(Totals { bytes: 1, words: 1 }))?;
                reply.send(Reply::Words(vec![word("again")]))?;
                reply.send(Reply::Done(Totals { bytes: 1, words: 1 }))
            }
            Drill::Escape => {
                reply.send(Reply::Words(escapes().into_iter().map(word).collect()))?;
                reply.send(Reply::Done(Totals { bytes: 100, words: 20 }))
            }
        }
    }
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}

fn escapes() -> Vec<&'static str> {
    let file = std::env::temp_dir().join(format!("strait-drill-{}", process::id()));
    let created = File::create(&file).is_ok();
    if created {
        // A failure is ignored: the word below reports the file.
        let _ = fs::remove_file(&file);
    }
    let attempts = [
        ("tried", true),
        ("read", File::open("/etc/passwd").is_ok()),
        ("listed", fs::read_dir("/").is_ok()),
        ("created", created),
        ("listened", TcpListener::bind("127.0.0.1:0").is_ok()),
        ("bound", UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("spawned", Command::new("/bin/true").spawn().is_ok()),
        ("threaded", thread::Builder::new().spawn(|| {}).is_ok()),
    ];
    attempts.into_iter().filter(|(_, done)| *done).map(|(name, _)| name).collect()
}
