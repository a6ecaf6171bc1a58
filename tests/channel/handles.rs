//! Handles of the operating system in messages, wrapped or as fields.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc;

#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
use crate::harness;
use crate::harness::watchdog;

fn pass<T: AsFd + From<OwnedFd>>(object: T) -> T {
    let (sender, receiver) = ipc::channel().unwrap();
    sender.send(Handle(object)).unwrap();
    receiver.recv().unwrap().into_inner()
}

/// A file of its own, without a name.
fn file(content: &[u8]) -> File {
    let path = std::env::temp_dir()
        .join(format!("strait-test-{}", strait::internals::unique_id().unwrap()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

#[cfg(target_os = "linux")]
fn pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (reader.into(), writer.into())
}

fn rest_of(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn files_keep_their_position() {
    let _watchdog = watchdog();
    let mut original = file(b"0123456789");
    original.seek(SeekFrom::Start(4)).unwrap();
    let mut passed = pass(original.try_clone().unwrap());
    assert_eq!(passed.stream_position().unwrap(), 4);
    assert_eq!(rest_of(&passed), "456789");
    // It is the same open file.
    assert_eq!(original.stream_position().unwrap(), 10);
    passed.write_all(b"ab").unwrap();
    original.rewind().unwrap();
    assert_eq!(rest_of(original), "0123456789ab");
}

#[test]
fn sockets_stay_connected() {
    let _watchdog = watchdog();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut theirs = pass(theirs);
    ours.write_all(b"stream").unwrap();
    theirs.write_all(b"back").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest_of(&theirs), "stream");
    drop(theirs);
    assert_eq!(rest_of(ours), "back");

    let (ours, theirs) = UnixDatagram::pair().unwrap();
    pass(theirs).send(b"datagram").unwrap();
    let mut buffer = [0; 20];
    assert_eq!(ours.recv(&mut buffer).unwrap(), 8);

    let listener = pass(TcpListener::bind("127.0.0.1:0").unwrap());
    let mut client = pass(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let (server, _) = listener.accept().unwrap();
    client.write_all(b"tcp").unwrap();
    drop(client);
    assert_eq!(rest_of(pass(server)), "tcp");

    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = pass(UdpSocket::bind("127.0.0.1:0").unwrap());
    theirs.send_to(b"udp", ours.local_addr().unwrap()).unwrap();
    assert_eq!(ours.recv(&mut buffer).unwrap(), 3);

    let path = std::env::temp_dir()
        .join(format!("strait-test-{}", strait::internals::unique_id().unwrap()));
    let listener = pass(UnixListener::bind(&path).unwrap());
    let client = UnixStream::connect(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    listener.accept().unwrap();
    drop(client);
}

#[cfg(target_os = "linux")]
#[test]
fn pipes_end_when_the_last_writer_is_dropped() {
    let _watchdog = watchdog();
    let (reader, mut writer) = pipe();
    let (sender, receiver) = ipc::channel::<Handle<File>>().unwrap();
    writer.write_all(b"here ").unwrap();
    sender.send(Handle(writer)).unwrap();
    let mut writer = receiver.recv().unwrap();
    writer.write_all(b"and there").unwrap();
    drop(writer);
    assert_eq!(rest_of(pass(reader)), "here and there");
}

#[test]
fn received_handle_is_a_duplicate() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel().unwrap();
    let original = Handle(file(b"still mine"));
    sender.send_ref(&original).unwrap();
    drop(receiver.recv().unwrap());
    assert_eq!(rest_of(&*original), "still mine");
    // And it may be closed before the message is received.
    sender.send(original).unwrap();
    let mut received = receiver.recv().unwrap();
    received.rewind().unwrap();
    assert_eq!(rest_of(received.into_inner()), "still mine");
}

#[test]
fn wrapper_serializes_like_its_field() {
    let mut wrapped = Handle::from(vec![1, 2]);
    wrapped.push(3);
    assert_eq!(wrapped.len(), 3);
    assert_eq!(wrapped, Handle(vec![1, 2, 3]));
    assert_eq!(wrapped.clone().into_inner(), [1, 2, 3]);
    assert_eq!(Handle::<u8>::default().0, 0);
}

#[derive(Serialize, Deserialize)]
struct Job {
    name: String,
    #[serde(with = "strait::handle")]
    input: File,
    #[serde(with = "strait::handle")]
    output: OwnedFd,
    more: Vec<Handle<File>>,
    maybe: Option<Handle<UnixStream>>,
    reply: ipc::IpcSender<u8>,
}

#[test]
fn handles_can_be_fields() {
    let _watchdog = watchdog();
    let (reader, writer) = UnixStream::pair().unwrap();
    let (reply, answer) = ipc::channel().unwrap();
    let (sender, receiver) = ipc::channel().unwrap();
    let job = Job {
        name: "copy".into(),
        input: file(b"input"),
        output: writer.into(),
        more: (0..3).map(|number| Handle(file(&[b'0' + number]))).collect(),
        maybe: None,
        reply,
    };
    sender.send(job).unwrap();
    let job = receiver.recv().unwrap();
    assert_eq!(job.name, "copy");
    assert!(job.maybe.is_none());
    let mut output = File::from(job.output);
    io::copy(&mut &job.input, &mut output).unwrap();
    for file in job.more {
        io::copy(&mut &*file, &mut output).unwrap();
    }
    drop(output);
    assert_eq!(rest_of(reader), "input012");
    job.reply.send(1).unwrap();
    assert_eq!(answer.recv().unwrap(), 1);
}

#[test]
fn hundreds_fit_into_one_message() {
    let _watchdog = watchdog();
    let (sender, receiver) = ipc::channel().unwrap();
    let original = file(b"x");
    let inode = |file: &File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
    let many = (0..300).map(|_| Handle(original.try_clone().unwrap()));
    sender.send(many.collect::<Vec<_>>()).unwrap();
    let many = receiver.recv().unwrap();
    assert_eq!(many.len(), 300);
    assert!(many.iter().all(|file| inode(file) == inode(&original)));
}

#[test]
fn other_formats_refuse_them() {
    let config = bincode::config::standard();
    let error = bincode::serde::encode_to_vec(Handle(file(b"")), config).unwrap_err();
    assert!(error.to_string().contains("only be sent in messages"), "{error}");
    let result = bincode::serde::decode_from_slice::<Handle<File>, _>(&[0], config);
    let error = result.map(drop).unwrap_err();
    assert!(error.to_string().contains("only be received in messages"), "{error}");
}

/// No file descriptor is left of handles that were sent, received, refused or dropped in
/// flight, and all have CLOEXEC.
#[cfg(all(target_os = "linux", not(feature = "force-inprocess")))]
#[test]
fn no_descriptor_leaks() {
    harness::alone(harness::path_of(no_descriptor_leaks), || {
        let before = harness::handles();
        {
            let (sender, receiver) = ipc::channel::<Vec<Handle<File>>>().unwrap();
            let five = || (0..5).map(|_| Handle(file(b"x"))).collect::<Vec<_>>();
            sender.send(five()).unwrap();
            let received = receiver.recv().unwrap();
            let new = harness::handles_besides(&before);
            assert_eq!(new.len(), 2 + 5);
            assert!(new.iter().all(|handle| handle.closes_on_exec), "{new:#?}");
            drop(received);
            // Not decoded, not received, not sent.
            sender.send(five()).unwrap();
            let undecoded = receiver.to_opaque().to::<Vec<String>>();
            assert!(undecoded.recv().is_err());
            sender.send(five()).unwrap();
            drop(undecoded);
            assert!(sender.send(five()).unwrap_err().is_disconnected());
        }
        assert_eq!(harness::handles(), before);
    });
}
