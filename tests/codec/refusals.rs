//! Values that cannot be sent, and the texts of the errors.

use std::error::Error;

use strait::internals::limits::{MAX_MESSAGE_ATTACHMENTS, MAX_MESSAGE_BYTES};
use strait::ipc::{IpcReceiver, IpcSharedMemory};
use strait::{IpcError, SerDeError};

use super::*;

/// Returns the text of the error of a send.
fn refused(result: Result<(), IpcError>) -> String {
    match result {
        Err(IpcError::SerializationError(error)) => why(error),
        other => panic!("{other:?}"),
    }
}

fn why(error: SerDeError) -> String {
    error.source().unwrap().to_string()
}

struct Zeros(usize);

impl Serialize for Zeros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&vec![0; self.0])
    }
}

impl<'de> Deserialize<'de> for Zeros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Zeros, D::Error> {
        Vec::deserialize(deserializer).map(|zeros: Vec<u8>| Zeros(zeros.len()))
    }
}

#[test]
fn of_large_messages_name_the_size() {
    let _watchdog = harness::watchdog();
    let (sender, receiver) = ipc::channel::<Zeros>().unwrap();
    let text = refused(sender.send(Zeros(MAX_MESSAGE_BYTES - 7)));
    assert_eq!(text, "the message is larger than 1073741824 bytes");
    sender.send(Zeros(1)).unwrap();
    assert_eq!(receiver.recv().unwrap().0, 1);
}

#[test]
fn of_many_handles_name_the_count_and_return_receivers() {
    let _watchdog = harness::watchdog();
    let (kept, receiver) = ipc::channel::<u32>().unwrap();
    let (carrier, carried) = ipc::channel().unwrap();
    let memory = IpcSharedMemory::try_from_byte(1, 1).unwrap();
    let mut value = (receiver, vec![memory; MAX_MESSAGE_ATTACHMENTS]);
    let text = refused(carrier.send_ref(&value));
    assert_eq!(text, "the message has 65537 handles, more than the maximum of 65536");
    kept.send(1).unwrap();
    assert_eq!(value.0.recv().unwrap(), 1);
    value.1.truncate(1);
    carrier.send(value).unwrap();
    let (receiver, _): (IpcReceiver<u32>, Vec<IpcSharedMemory>) = carried.recv().unwrap();
    kept.send(2).unwrap();
    assert_eq!(receiver.recv().unwrap(), 2);
}

/// A sequence without a length, or one that fails to be encoded.
#[derive(Deserialize)]
struct Odd(bool);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            return Err(serde::ser::Error::custom("it is odd"));
        }
        serializer.serialize_seq(None)?.end()
    }
}

#[test]
fn have_readable_messages() {
    let _watchdog = harness::watchdog();
    let (sender, _receiver) = ipc::channel::<Odd>().unwrap();
    assert_eq!(refused(sender.send(Odd(true))), "it is odd");
    let text = "the length of a sequence or map is unknown";
    assert_eq!(refused(sender.send(Odd(false))), text);

    fn not_decoded<T: DeserializeOwned>(bytes: &[u8]) -> String {
        why(decode_bytes::<T>(bytes).map(drop).unwrap_err())
    }

    assert_eq!(not_decoded::<u32>(&[1]), "the message ends 3 bytes too early");
    for announced in [1, 2, 1000] {
        let message = [&u64::to_le_bytes(announced)[..], &[0; 1]].concat();
        let message = &message[..if announced == 1 { 8 } else { 9 }];
        let text = "the message ends 1 bytes too early";
        assert_eq!(not_decoded::<Vec<u8>>(message), text);
        assert_eq!(not_decoded::<Vec<i8>>(message), text);
        assert_eq!(
            not_decoded::<Vec<Vec<u8>>>(&[&[1, 0, 0, 0, 0, 0, 0, 0], message].concat()),
            text
        );
    }
    assert_eq!(not_decoded::<Vec<u8>>(&[0; 7]), "the message ends 1 bytes too early");
    assert_eq!(not_decoded::<Vec<u8>>(&[0; 9]), "the message is longer than a value of this type");
    let text = "the sequences and maps have over 1048576 elements more than the message has bytes";
    assert_eq!(not_decoded::<Vec<u8>>(&[0xff; 100]), text);
    assert_eq!(not_decoded::<Vec<i8>>(&[0xff; 100]), text);
    assert_eq!(not_decoded::<bool>(&[2]), "a `bool` is encoded as 2, which is neither 0 nor 1");
    assert_eq!(not_decoded::<char>(&[0xff; 4]), "a `char` is not valid UTF-8");
    assert_eq!(not_decoded::<Option<u8>>(&[3, 0]), "Option<T> has no variant 3");
    let text = "the type requires a self-describing format, which that of messages is not";
    assert_eq!(not_decoded::<serde::de::IgnoredAny>(&[]), text);
    let text = "invalid value: integer `99`, expected variant index 0 <= i < 19";
    assert_eq!(not_decoded::<Rich>(&[99, 0, 0, 0]), text);
}
