//! Text formats, used within messages: an endpoint in such a text would also become an entry of
//! the message, which no decoder takes.

use serde::de::value::Error as TextError;
use serde::de::{DeserializeOwned, IntoDeserializer};
use strait::ipc::{IpcBytesSender, IpcReceiver, IpcSender, IpcSharedMemory, OpaqueIpcReceiver};

use super::*;

/// A value that is sent as its text, and what is received of it: `None` if it has no text.
enum AsText<T> {
    Value(T),
    Text(Option<String>),
}

impl<T: Serialize> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Text<'a, T>(&'a T);

        impl<T: Serialize> fmt::Display for Text<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.serialize(f)
            }
        }

        match self {
            AsText::Value(value) => {
                let mut text = String::new();
                let result = fmt::Write::write_fmt(&mut text, format_args!("{}", Text(value)));
                result.ok().map(|()| text).serialize(serializer)
            }
            AsText::Text(text) => text.serialize(serializer),
        }
    }
}

impl<'de, T> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(AsText::Text)
    }
}

/// Decodes an endpoint from a text with an index. Always fails, with the reason.
struct FromText<T> {
    refusal: Option<String>,
    _type: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for FromText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let result: Result<T, TextError> = T::deserialize(index.into_deserializer());
        let refusal = result.err().map(|error| error.to_string());
        Ok(FromText { refusal, _type: PhantomData })
    }
}

/// Never called; the type of a receiver needs it.
impl<T> Serialize for FromText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.refusal.serialize(serializer)
    }
}

/// Checks that it has no text and comes back.
#[track_caller]
fn assert_not_sent<T: Serialize>(value: T) -> T {
    let (sender, receiver) = ipc::channel().unwrap();
    let value = AsText::Value(value);
    sender.send_ref(&value).unwrap();
    assert!(matches!(receiver.recv().unwrap(), AsText::Text(None)));
    match value {
        AsText::Value(value) => value,
        AsText::Text(_) => unreachable!("it was made a value"),
    }
}

#[test]
fn do_not_take_endpoints_along() {
    let _watchdog = harness::watchdog();
    let (carrier, carried) = ipc::channel().unwrap();
    carrier.send(AsText::Value(7_u8)).unwrap();
    assert!(matches!(carried.recv().unwrap(), AsText::Text(Some(text)) if text == "7"));

    let (sender, receiver) = ipc::channel::<u8>().unwrap();
    let sender = assert_not_sent(sender);
    sender.send(1).unwrap();
    let receiver = assert_not_sent(receiver);
    assert_eq!(receiver.recv().unwrap(), 1);
    assert_not_sent(receiver.to_opaque());
    let (sender, receiver) = ipc::bytes_channel().unwrap();
    assert_not_sent(sender);
    assert_not_sent(receiver);
    assert_not_sent(IpcSharedMemory::from_byte(1, 10));
    assert_not_sent(IpcSharedMemory::from_byte(1, 0));
    #[cfg(unix)]
    assert_not_sent(strait::handle::Handle(std::fs::File::open("Cargo.toml").unwrap()));

    // An endpoint that waits in a message keeps its channel connected, so a leak would
    // be noticed.
    let (sender, receiver) = ipc::channel::<u8>().unwrap();
    let (carrier, _carried) = ipc::channel().unwrap();
    carrier.send(AsText::Value(sender)).unwrap();
    let error = receiver.try_recv().unwrap_err();
    assert!(error.is_disconnected(), "{error:?}");
}

#[track_caller]
fn assert_not_taken<T: DeserializeOwned>() {
    let (sender, receiver) = ipc::channel::<IpcSender<u8>>().unwrap();
    let (one, _) = ipc::channel().unwrap();
    sender.send(one).unwrap();
    let receiver: IpcReceiver<FromText<T>> = receiver.to_opaque().to();
    assert_eq!(
        receiver.recv().unwrap().refusal.unwrap(),
        "channel endpoints, handles and shared memory can only be received in messages of a channel"
    );
}

#[test]
fn do_not_take_endpoints_out() {
    let _watchdog = harness::watchdog();
    assert_not_taken::<IpcSender<u8>>();
    assert_not_taken::<IpcReceiver<u8>>();
    assert_not_taken::<IpcBytesSender>();
    assert_not_taken::<OpaqueIpcReceiver>();
    assert_not_taken::<IpcSharedMemory>();
    #[cfg(unix)]
    assert_not_taken::<strait::handle::Handle<std::fs::File>>();
}
