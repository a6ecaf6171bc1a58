//! A hostile sender and an honest one, on one channel: the hostile one sends any packets with
//! any file descriptors, through a real socket. All messages of the honest one are received, in
//! order, by every way to receive.

#![no_main]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::internals::frame::{CODEC, Dialect, Head, Kind, Position, VERSION};
use strait::ipc::{
    self, IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender, IpcSharedMemory,
    IpcSyncSender, SharedMemoryReader, SharedMemoryWriter,
};
use strait::{IpcError, TryRecvError};
use uuid::Uuid;

/// The message type of the channel.
#[derive(Debug, Serialize, Deserialize)]
enum Value {
    /// From the honest sender: the hostile sender does not know the secret of this run.
    Honest {
        secret: u128,
        number: u32,
        content: Vec<u8>,
        memory: Option<IpcSharedMemory>,
    },
    Sender(IpcSender<u8>),
    Receiver(IpcReceiver<u8>),
    Memory(IpcSharedMemory),
    Handle(Handle<File>),
    Bounded(IpcSyncSender<u8>),
    Several(Vec<Value>),
    MemoryReader(SharedMemoryReader),
    MemoryWriter(SharedMemoryWriter),
}

#[derive(Arbitrary, Debug)]
struct Input {
    way: Way,
    steps: Vec<Step>,
}

/// How messages are received.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Way {
    Receiver,
    Set,
    /// As the receiver of a bounded channel. The honest sender keeps the bound, the hostile
    /// one does not.
    Bounded,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Random bytes, which are seldom a frame.
    Noise { bytes: Vec<u8>, objects: Vec<Object> },
    /// A frame with one false field.
    Frame {
        kind: Any,
        wrong_count: Option<u8>,
        wrong_len: Option<u32>,
        body: Vec<u8>,
        objects: Vec<Object>,
    },
    /// A value with attachments that may be missing, or of another kind.
    Forged { kind: u8, index: u32, len: u16, objects: Vec<Object> },
    /// A message of the honest sender, in one piece or in parts of that size.
    Honest { len: u8, with_memory: bool, part: Option<u8> },
    /// Receives some of the queued messages.
    Receive { count: u8 },
    /// Moves the receiver.
    Move,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Any {
    Message,
    First { id: u8, bytes: u16, attachments: u8 },
    FirstOfMany { id: u8, bytes: u64, attachments: u32 },
    Middle { id: u8 },
    Last { id: u8 },
    Abort { id: u8 },
    WakeUp,
    PermitRequest,
    RingOffer { elsewhere: bool },
    Hello { version: Option<u8>, codec: Option<u8> },
}

/// The kinds of file descriptors.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Object {
    SealedMemory,
    RingMemory,
    OpenMemory,
    ShortMemory,
    WrittenMemory,
    Pipe,
    PipeToWrite,
    File,
    Directory,
    Event,
    Epoll,
    Stream,
    PacketSocket,
    UnconnectedSocket,
    Listener,
    Itself,
}

/// One object of each kind; duplicates of them are sent.
struct Objects {
    all: Vec<OwnedFd>,
    _other_ends: Vec<OwnedFd>,
}

static OBJECTS: LazyLock<Objects> = LazyLock::new(|| {
    let memory = |len, seals| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("fuzz", flags).unwrap();
        rustix::fs::ftruncate(&fd, len).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    };
    let sockets = || {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
    };
    let unconnected = || {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap()
    };
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (stream, other_stream) = UnixStream::pair().unwrap();
    let (packets, other_packets) = sockets();
    let path = std::env::temp_dir().join(format!("strait-fuzz-{}", Uuid::new_v4().simple()));
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let written = memory(4096, SealFlags::SHRINK);
    rustix::io::pwrite(&written, &[1; 4096], 0).unwrap();
    rustix::fs::fcntl_add_seals(&written, SealFlags::FUTURE_WRITE).unwrap();
    let all = vec![
        memory(4096, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL | SealFlags::WRITE),
        memory(4096 + 65536, SealFlags::SHRINK),
        memory(4096, SealFlags::empty()),
        memory(1, SealFlags::SHRINK),
        written,
        reader,
        writer,
        File::open("/dev/null").unwrap().into(),
        File::open("/").unwrap().into(),
        eventfd(1, EventfdFlags::CLOEXEC).unwrap(),
        epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
        stream.into(),
        packets,
        unconnected(),
        listener.into(),
    ];
    Objects { all, _other_ends: vec![other_stream.into(), other_packets] }
});

/// The maximum of packets, and of bytes of packets, that wait. All runs in one thread, so no
/// send may block for want of room.
const MAX_WAITING: usize = 60;
const MAX_BYTES: usize = 1000;

/// The maximum of steps. So many parts of the hostile sender are below strait's limit.
const MAX_STEPS: usize = 300;
const MAX_OBJECTS: usize = 2;

struct Channel {
    way: Way,
    receiver: Option<IpcReceiver<Value>>,
    set: IpcReceiverSet,
    /// A channel to move the receiver through.
    carrier: (IpcSender<IpcReceiver<Value>>, IpcReceiver<IpcReceiver<Value>>),
    honest: Box<dyn Fn(Value)>,
    hostile: OwnedFd,
    waiting: usize,
    secret: u128,
    sent: u32,
    received: u32,
    /// Whether a sender of this channel may be in an incomplete message in this channel.
    holds_itself: bool,
}

impl Channel {
    fn new(way: Way) -> Channel {
        let (honest, hostile, receiver): (Box<dyn Fn(Value)>, _, _) = match way {
            Way::Receiver | Way::Set => {
                let (sender, receiver) = ipc::channel::<Value>().unwrap();
                let hostile = sender.as_fd().try_clone_to_owned().unwrap();
                (Box::new(move |value| sender.send(value).unwrap()), hostile, receiver)
            }
            Way::Bounded => {
                let (sender, receiver) = ipc::sync_channel::<Value>(MAX_WAITING + 1).unwrap();
                let hostile = sender.as_fd().try_clone_to_owned().unwrap();
                (Box::new(move |value| sender.try_send(&value).unwrap()), hostile, receiver)
            }
        };
        let mut channel = Channel {
            way,
            receiver: None,
            set: IpcReceiverSet::new().unwrap(),
            carrier: ipc::channel().unwrap(),
            honest,
            hostile,
            waiting: 0,
            secret: Uuid::new_v4().as_u128(),
            sent: 0,
            received: 0,
            holds_itself: false,
        };
        channel.install(receiver);
        channel
    }

    fn install(&mut self, receiver: IpcReceiver<Value>) {
        match self.way {
            Way::Receiver | Way::Bounded => self.receiver = Some(receiver),
            Way::Set => drop(self.set.add(receiver).unwrap()),
        }
    }

    /// Sends a packet as the hostile sender.
    fn attack(&mut self, packet: &[u8], objects: &[Object]) {
        let fds: Vec<BorrowedFd<'_>> = objects
            .iter()
            .take(MAX_OBJECTS)
            .map(|object| match object {
                Object::Itself => self.hostile.as_fd(),
                object => OBJECTS.all[*object as usize].as_fd(),
            })
            .collect();
        self.holds_itself |= objects.iter().any(|object| matches!(object, Object::Itself));
        let mut space =
            [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_OBJECTS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        let packet = &packet[..packet.len().min(MAX_BYTES)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let slices = [std::io::IoSlice::new(packet)];
        // It need not succeed.
        let _ = rustix::net::sendmsg(&self.hostile, &slices, &mut control, flags);
        self.waiting += 1;
    }

    fn attack_with_frame(
        &mut self,
        kind: Kind,
        wrong_count: Option<u8>,
        wrong_len: Option<u32>,
        body: &[u8],
        objects: &[Object],
    ) {
        let body = &body[..body.len().min(MAX_BYTES / 2)];
        let count = wrong_count.unwrap_or(objects.len().min(MAX_OBJECTS) as u8);
        let len = wrong_len.unwrap_or(body.len() as u32).min(u32::MAX - 100);
        let head = Head::new(kind, count, len);
        self.attack(&[head.as_bytes(), body].concat(), objects);
    }

    fn be_honest(&mut self, len: u8, with_memory: bool, part: Option<u8>) {
        let value = Value::Honest {
            secret: self.secret,
            number: self.sent,
            content: vec![self.sent as u8; len.into()],
            memory: with_memory.then(|| IpcSharedMemory::from_bytes(b"honest")),
        };
        self.sent += 1;
        match part {
            Some(part) if !with_memory => {
                // The parts in which the sender sends a message that does not fit
                // into a packet.
                let config = bincode::config::standard().with_fixed_int_encoding();
                let bytes = bincode::serde::encode_to_vec(&value, config).unwrap();
                let id = Uuid::new_v4().as_u128();
                let mut position = Position::First { bytes: bytes.len() as u64, attachments: 0 };
                let mut parts = bytes.chunks(usize::from(part).max(8)).peekable();
                if parts.len() == 1 {
                    let head = Head::new(Kind::Part { id, position }, 0, 0);
                    rustix::net::send(&self.hostile, head.as_bytes(), SendFlags::NOSIGNAL).unwrap();
                    position = Position::Middle;
                }
                while let Some(part) = parts.next() {
                    if parts.peek().is_none() {
                        position = Position::Last;
                    }
                    let head = Head::new(Kind::Part { id, position }, 0, part.len() as u32);
                    let packet = [head.as_bytes(), part].concat();
                    rustix::net::send(&self.hostile, &packet, SendFlags::NOSIGNAL).unwrap();
                    position = Position::Middle;
                    self.waiting += 1;
                    // Possibly in the middle of the message.
                    self.make_room();
                }
            }
            _ => (self.honest)(value),
        }
        self.waiting += 1;
    }

    fn make_room(&mut self) {
        if self.waiting >= MAX_WAITING {
            while self.receive() {}
            self.waiting = 0;
        }
    }

    /// Receives all messages that can be received at once, or one of them. Returns whether
    /// there was any.
    fn receive(&mut self) -> bool {
        if let Some(receiver) = &self.receiver {
            return match receiver.try_recv() {
                Ok(value) => {
                    self.look_at(value);
                    true
                }
                Err(TryRecvError::Empty) => false,
                Err(TryRecvError::IpcError(IpcError::SerializationError(_))) => true,
                Err(error) => panic!("{error:?}"),
            };
        }
        let Ok(results) = self.set.try_select() else {
            return false;
        };
        for result in results {
            match result {
                IpcSelectionResult::MessageReceived(_, message) => {
                    if let Ok(value) = message.to() {
                        self.look_at(value);
                    }
                }
                IpcSelectionResult::ChannelClosed(_) => panic!("there are senders"),
            }
        }
        true
    }

    /// Uses a value as its receiver would.
    fn look_at(&mut self, value: Value) {
        match value {
            Value::Honest { secret, number, content, memory } => {
                if secret == self.secret {
                    assert_eq!(number, self.received, "lost or out of order");
                    assert!(content.iter().all(|byte| *byte == number as u8));
                    assert!(memory.is_none_or(|memory| *memory == *b"honest"));
                    self.received += 1;
                }
            }
            Value::Sender(sender) => drop(sender),
            Value::Receiver(receiver) => drop(receiver.try_recv()),
            Value::Memory(memory) => {
                std::hint::black_box(memory.iter().map(|byte| u32::from(*byte)).sum::<u32>());
            }
            Value::MemoryReader(reader) => drop(std::hint::black_box(reader.to_vec())),
            Value::MemoryWriter(writer) => {
                writer.write_at(0, &vec![1; writer.len().min(MAX_BYTES)]).unwrap();
                let _ = writer.reader();
            }
            Value::Handle(handle) => drop(handle.metadata()),
            Value::Bounded(sender) => drop(sender.try_send(&1)),
            Value::Several(values) => values.into_iter().for_each(|value| self.look_at(value)),
        }
    }

    fn relocate(&mut self) {
        let receiver = match self.way {
            Way::Receiver | Way::Bounded => self.receiver.take().unwrap(),
            Way::Set => {
                let id = (0..).find_map(|id| self.set.remove(id)).unwrap();
                id.to()
            }
        };
        self.carrier.0.send(receiver).unwrap();
        let receiver = self.carrier.1.recv().unwrap();
        self.install(receiver);
    }
}

impl From<Any> for Kind {
    fn from(kind: Any) -> Kind {
        let part = |id: u8, position| Kind::Part { id: id.into(), position };
        match kind {
            Any::Message => Kind::Message,
            Any::First { id, bytes, attachments } => {
                part(id, Position::First { bytes: bytes.into(), attachments: attachments.into() })
            }
            Any::FirstOfMany { id, bytes, attachments } => {
                part(id, Position::First { bytes, attachments })
            }
            Any::Middle { id } => part(id, Position::Middle),
            Any::Last { id } => part(id, Position::Last),
            Any::Abort { id } => Kind::Abort { id: id.into() },
            Any::WakeUp => Kind::WakeUp,
            Any::PermitRequest => Kind::PermitRequest,
            Any::Hello { version, codec } => {
                let (version, codec) = (version.unwrap_or(VERSION), codec.unwrap_or(CODEC));
                Kind::Hello { dialect: Dialect { version, codec } }
            }
            Any::RingOffer { elsewhere } => {
                let here = strait::internals::clock_domain().unwrap();
                Kind::RingOffer {
                    clock_domain: if elsewhere { !here } else { here },
                    has_messages: elsewhere,
                }
            }
        }
    }
}

fuzz_target!(|input: Input| {
    let mut channel = Channel::new(input.way);
    for step in input.steps.into_iter().take(MAX_STEPS) {
        match step {
            Step::Noise { bytes, objects } => channel.attack(&bytes, &objects),
            Step::Frame { kind, wrong_count, wrong_len, body, objects } => {
                channel.attack_with_frame(kind.into(), wrong_count, wrong_len, &body, &objects);
            }
            Step::Forged { kind, index, len, objects } => {
                let kind = u32::from(kind % 7).to_le_bytes();
                // An index. Memory has a length, too, a sender of a bounded channel another
                // index, and a receiver moves nothing along.
                let memory = [&[1][..], &index.to_le_bytes(), &u64::from(len).to_le_bytes()];
                let body = match kind[0] {
                    3 => [&kind[..], &memory.concat()].concat(),
                    2 => [&kind[..], &index.to_le_bytes(), &[0; 34]].concat(),
                    5 => {
                        let other = 1 - index.min(1);
                        let permits = [&[1][..], &other.to_le_bytes(), &[(len % 2) as u8]];
                        [&kind[..], &index.to_le_bytes(), &permits.concat()].concat()
                    }
                    _ => [&kind[..], &index.to_le_bytes()].concat(),
                };
                channel.attack_with_frame(Kind::Message, None, None, &body, &objects);
            }
            Step::Honest { len, with_memory, part } => channel.be_honest(len, with_memory, part),
            Step::Receive { count } => {
                for _ in 0..count % 8 {
                    channel.receive();
                }
            }
            Step::Move => channel.relocate(),
        }
        channel.make_room();
    }
    while channel.receive() {}
    assert_eq!(channel.received, channel.sent);
    // The channel is disconnected, whatever the hostile sender has left, unless it
    // left a sender.
    let Channel { receiver, mut set, honest, hostile, holds_itself, .. } = channel;
    drop((honest, hostile));
    if holds_itself {
        return;
    }
    if let Some(receiver) = receiver {
        assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
    } else {
        assert!(matches!(set.select().unwrap()[..], [IpcSelectionResult::ChannelClosed(_)]));
    }
});
