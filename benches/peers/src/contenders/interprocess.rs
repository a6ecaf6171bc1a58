//! interprocess: local sockets, which carry bytes. A connection is one channel; a message is
//! its length and then its bytes, and a value becomes bytes through serde and bincode. That is
//! what a user would write.
//!
//! It is missing in rows in which an endpoint is moved or many are waited on: it can
//! do neither.

use std::io::{BufReader, IoSlice, Read, Write};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use bincode::config::{Configuration, Fixint, LittleEndian};
use interprocess::local_socket::{
    GenericNamespaced, Listener, ListenerOptions, Name, Stream, prelude::*,
};

use crate::contender::{
    self, Bytes, Channel, Contender, Fresh, Home, Link, Outcome, Payload, Start,
};

pub struct Interprocess;

impl Contender for Interprocess {
    const NAME: &'static str = "interprocess";
    const HOME: Home = Home::Process;
}

const FORMAT: Configuration<LittleEndian, Fixint> =
    bincode::config::standard().with_fixed_int_encoding();

pub struct Sender {
    stream: Stream,
    message: Vec<u8>,
}

pub struct Receiver {
    stream: BufReader<Stream>,
    message: Vec<u8>,
}

impl Sender {
    fn new(stream: Stream) -> Self {
        Self { stream, message: Vec::new() }
    }

    /// Length and bytes, in one system call if the socket has room.
    fn send_bytes(&mut self, bytes: &[u8]) -> Outcome<()> {
        let length = (bytes.len() as u64).to_le_bytes();
        let mut parts = [IoSlice::new(&length), IoSlice::new(bytes)];
        let mut rest = parts.as_mut_slice();
        while !rest.is_empty() {
            let written = self.stream.write_vectored(rest)?;
            if written == 0 {
                return Err("the socket takes no more".into());
            }
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    fn send_value<T: Payload>(&mut self, value: T) -> Outcome<()> {
        self.message.clear();
        self.message.extend([0; 8]);
        bincode::serde::encode_into_std_write(value, &mut self.message, FORMAT)?;
        let length = self.message.len() as u64 - 8;
        self.message[..8].copy_from_slice(&length.to_le_bytes());
        Ok(self.stream.write_all(&self.message)?)
    }
}

impl Receiver {
    fn new(stream: Stream) -> Self {
        Self { stream: BufReader::with_capacity(64 * 1024, stream), message: Vec::new() }
    }

    fn recv_bytes(&mut self) -> Outcome<Option<Vec<u8>>> {
        let Some(length) = self.length()? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(length as usize);
        if self.stream.by_ref().take(length).read_to_end(&mut bytes)? as u64 != length {
            return Err("a message without its end".into());
        }
        Ok(Some(bytes))
    }

    fn recv_value<T: Payload>(&mut self) -> Outcome<Option<T>> {
        let Some(length) = self.length()? else { return Ok(None) };
        self.message.resize(length as usize, 0);
        self.stream.read_exact(&mut self.message)?;
        let (value, _) = bincode::serde::decode_from_slice(&self.message, FORMAT)?;
        Ok(Some(value))
    }

    fn length(&mut self) -> Outcome<Option<u64>> {
        let mut length = [0; 8];
        let first = self.stream.read(&mut length)?;
        if first == 0 {
            return Ok(None);
        }
        self.stream.read_exact(&mut length[first..])?;
        Ok(Some(u64::from_le_bytes(length)))
    }
}

impl<T: Payload> Channel<T> for Interprocess {
    type Sender = Sender;
    type Receiver = Receiver;

    fn send(sender: &mut Sender, value: T) -> Outcome<()> {
        sender.send_value(value)
    }

    fn recv(receiver: &mut Receiver) -> Outcome<Option<T>> {
        receiver.recv_value()
    }
}

impl<Up: Payload, Down: Payload> Link<Up, Down> for Interprocess {
    fn serve(start: Start<'_>) -> Outcome<(Sender, Receiver)> {
        <Self as Bytes>::serve(start, 0)
    }

    fn join(name: &str) -> Outcome<(Sender, Receiver)> {
        <Self as Bytes>::join(name, 0)
    }
}

impl Bytes for Interprocess {
    type Sender = Sender;
    type Receiver = Receiver;

    fn serve(start: Start<'_>, _: usize) -> Outcome<(Sender, Receiver)> {
        let (listener, name) = listen()?;
        start(&name)?;
        let up = listener.accept()?;
        let down = listener.accept()?;
        Ok((Sender::new(up), Receiver::new(down)))
    }

    fn join(name: &str, _: usize) -> Outcome<(Sender, Receiver)> {
        let up = Stream::connect(namespaced(name)?)?;
        let down = Stream::connect(namespaced(name)?)?;
        Ok((Sender::new(down), Receiver::new(up)))
    }

    fn send(sender: &mut Sender, bytes: &[u8]) -> Outcome<()> {
        sender.send_bytes(bytes)
    }

    fn recv(receiver: &mut Receiver) -> Outcome<Option<Vec<u8>>> {
        receiver.recv_bytes()
    }
}

impl<T: Payload> Fresh<T> for Interprocess {
    fn channel() -> Outcome<(contender::Sender<Self, T>, contender::Receiver<Self, T>)> {
        let (listener, name) = listen()?;
        let sender = Stream::connect(namespaced(&name)?)?;
        Ok((Sender::new(sender), Receiver::new(listener.accept()?)))
    }
}

fn namespaced(name: &str) -> Outcome<Name<'_>> {
    Ok(name.to_ns_name::<GenericNamespaced>()?)
}

fn listen() -> Outcome<(Listener, String)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("strait-peers-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let listener = ListenerOptions::new().name(namespaced(&name)?).create_sync()?;
    Ok((listener, name))
}
