//! The shape of the API: what users of ipc-channel name, match, bound and derive compiles
//! unchanged, and errors have the same texts.

mod harness;

use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strait::handle::Handle;
use strait::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcConnection, IpcMessage, IpcOneShotServer,
    IpcReceiver, IpcReceiverSet, IpcSelectionResult, IpcSender, IpcServer, IpcSharedMemory,
    IpcSyncSender, OpaqueIpcReceiver, OpaqueIpcSender, OpaqueIpcSyncSender, ServerName,
    SharedMemoryReader, SharedMemoryWriter,
};
use strait::router::{
    ROUTER, RouterMultiHandler, RouterOneShotHandler, RouterProxy, TypedRouterMultiHandler,
    TypedRouterOneShotHandler,
};
use strait::{IpcError, SerDeError, TryRecvError, TrySelectError, TrySendError};

use harness::watchdog;

/// A type without any trait: what holds for its endpoints holds for all endpoints.
struct Nothing(#[expect(dead_code)] Rc<()>);

/// Traits can be derived for a struct with endpoints, without bounds on the message type.
#[derive(Serialize, Deserialize)]
struct Endpoints {
    sender: IpcSender<Nothing>,
    receiver: IpcReceiver<Nothing>,
    opaque_sender: OpaqueIpcSender,
    opaque_receiver: OpaqueIpcReceiver,
    bytes_sender: IpcBytesSender,
    bytes_receiver: IpcBytesReceiver,
    memory: IpcSharedMemory,
}

#[derive(Serialize, Deserialize)]
enum Request<T> {
    Subscribe { name: String, events: IpcSender<T> },
    Answer(IpcReceiver<T>),
    Quit,
}

/// The bound that users' code has most often.
fn pair<T>() -> (IpcSender<T>, IpcReceiver<T>)
where
    T: for<'de> Deserialize<'de> + Serialize,
{
    ipc::channel::<T>().unwrap()
}

mod traits {
    use std::panic::{RefUnwindSafe, UnwindSafe};

    use super::*;

    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    fn is_clone<T: Clone>() {}
    fn is_debug<T: fmt::Debug>() {}
    fn is_unpin<T: Unpin>() {}
    fn is_serde<T: Serialize + for<'de> Deserialize<'de>>() {}

    /// Fails to compile, for ambiguity, if the type has the trait.
    macro_rules! assert_not {
        ($type:ty: $trait:path) => {{
            trait Ambiguous<Which> {
                fn is_ambiguous() {}
            }
            struct WithTrait;
            impl<T> Ambiguous<()> for T {}
            impl<T: $trait> Ambiguous<WithTrait> for T {}
            <$type as Ambiguous<_>>::is_ambiguous()
        }};
    }

    #[test]
    fn senders() {
        is_send::<IpcSender<Nothing>>();
        is_sync::<IpcSender<Nothing>>();
        is_clone::<IpcSender<Nothing>>();
        is_debug::<IpcSender<Nothing>>();
        is_unpin::<IpcSender<Nothing>>();
        is_serde::<IpcSender<Nothing>>();
        is_send::<OpaqueIpcSender>();
        is_sync::<OpaqueIpcSender>();
        is_clone::<OpaqueIpcSender>();
        is_debug::<OpaqueIpcSender>();
        is_serde::<OpaqueIpcSender>();
        is_send::<OpaqueIpcSyncSender>();
        is_sync::<OpaqueIpcSyncSender>();
        is_clone::<OpaqueIpcSyncSender>();
        is_debug::<OpaqueIpcSyncSender>();
        is_serde::<OpaqueIpcSyncSender>();
        is_send::<IpcBytesSender>();
        is_sync::<IpcBytesSender>();
        is_clone::<IpcBytesSender>();
        is_debug::<IpcBytesSender>();
        is_serde::<IpcBytesSender>();
    }

    /// As in `std::sync::mpsc`: a sender of long-lived references also sends shorter ones.
    #[test]
    fn endpoints_are_covariant() {
        fn shorten_sender<'a>(sender: IpcSender<&'static u8>) -> IpcSender<&'a u8> {
            sender
        }
        fn shorten_receiver<'a>(receiver: IpcReceiver<&'static u8>) -> IpcReceiver<&'a u8> {
            receiver
        }
        let _ = (shorten_sender, shorten_receiver);
    }

    #[test]
    fn receivers() {
        is_send::<IpcReceiver<Nothing>>();
        is_debug::<IpcReceiver<Nothing>>();
        is_unpin::<IpcReceiver<Nothing>>();
        is_serde::<IpcReceiver<Nothing>>();
        assert_not!(IpcReceiver<u8>: Sync);
        assert_not!(IpcReceiver<u8>: Clone);
        is_send::<OpaqueIpcReceiver>();
        is_debug::<OpaqueIpcReceiver>();
        is_serde::<OpaqueIpcReceiver>();
        assert_not!(OpaqueIpcReceiver: Sync);
        assert_not!(OpaqueIpcReceiver: Clone);
        is_send::<IpcBytesReceiver>();
        is_debug::<IpcBytesReceiver>();
        is_serde::<IpcBytesReceiver>();
        assert_not!(IpcBytesReceiver: Sync);
        assert_not!(IpcBytesReceiver: Clone);
    }

    #[test]
    fn other_types() {
        is_send::<IpcReceiverSet>();
        is_sync::<IpcReceiverSet>();
        is_debug::<IpcReceiverSet>();
        is_send::<IpcOneShotServer<Nothing>>();
        is_sync::<IpcOneShotServer<Nothing>>();
        is_debug::<IpcOneShotServer<Nothing>>();
        is_send::<IpcServer<Nothing, Nothing>>();
        is_sync::<IpcServer<Nothing, Nothing>>();
        is_debug::<IpcServer<Nothing, Nothing>>();
        is_send::<IpcConnection<Nothing, Nothing>>();
        is_debug::<IpcConnection<Nothing, Nothing>>();
        is_serde::<IpcConnection<Nothing, Nothing>>();
        is_send::<ServerName>();
        is_sync::<ServerName>();
        is_clone::<ServerName>();
        is_debug::<ServerName>();
        is_send::<IpcSharedMemory>();
        is_sync::<IpcSharedMemory>();
        is_clone::<IpcSharedMemory>();
        is_debug::<IpcSharedMemory>();
        is_serde::<IpcSharedMemory>();
        is_send::<SharedMemoryWriter>();
        is_sync::<SharedMemoryWriter>();
        is_clone::<SharedMemoryWriter>();
        is_debug::<SharedMemoryWriter>();
        is_serde::<SharedMemoryWriter>();
        is_send::<SharedMemoryReader>();
        is_sync::<SharedMemoryReader>();
        is_clone::<SharedMemoryReader>();
        is_debug::<SharedMemoryReader>();
        is_serde::<SharedMemoryReader>();
        is_send::<IpcMessage>();
        is_sync::<IpcMessage>();
        is_debug::<IpcMessage>();
        is_send::<IpcSelectionResult>();
        is_sync::<IpcSelectionResult>();
        is_debug::<IpcSelectionResult>();
        is_send::<RouterProxy>();
        is_sync::<RouterProxy>();
        is_debug::<RouterProxy>();
        assert_not!(IpcMessage: Clone);
        // Endpoints implement neither comparison nor `Write`.
        assert_not!(IpcSender<u8>: PartialEq);
        assert_not!(IpcSharedMemory: Eq);
        assert_not!(IpcSharedMemory: std::ops::DerefMut);
        // Nothing is borrowed of what can change.
        assert_not!(SharedMemoryWriter: std::ops::Deref);
        assert_not!(SharedMemoryReader: std::ops::Deref);
        fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
        is_unwind_safe::<IpcSender<u8>>();
        is_unwind_safe::<SerDeError>();
    }

    #[cfg(feature = "async")]
    #[test]
    fn streams() {
        use strait::asynch::IpcStream;

        fn is_stream<T: futures_core::FusedStream<Item = Result<u8, SerDeError>>>() {}
        is_stream::<IpcStream<u8>>();
        is_send::<IpcStream<Nothing>>();
        is_sync::<IpcStream<Nothing>>();
        is_unpin::<IpcStream<Nothing>>();
        is_debug::<IpcStream<Nothing>>();
    }

    #[test]
    fn errors() {
        fn is_error<T: Error + Send + Sync + 'static>() {}
        is_error::<IpcError>();
        is_error::<SerDeError>();
        is_error::<TryRecvError>();
        is_error::<TrySelectError>();
    }
}

#[allow(clippy::type_complexity, reason = "spelled as ipc-channel spells them")]
mod signatures {
    use super::*;

    /// Every function has the type that it has in ipc-channel.
    #[test]
    fn are_those_of_ipc_channel() {
        type T = u32;
        type Timeout = Duration;
        let _: fn() -> Result<(IpcSender<T>, IpcReceiver<T>), io::Error> = ipc::channel::<T>;
        let _: fn() -> Result<(IpcBytesSender, IpcBytesReceiver), io::Error> = ipc::bytes_channel;

        let _: fn(&IpcReceiver<T>) -> Result<T, IpcError> = IpcReceiver::recv;
        let _: fn(&IpcReceiver<T>) -> Result<T, TryRecvError> = IpcReceiver::try_recv;
        let _: fn(&IpcReceiver<T>, Timeout) -> Result<T, TryRecvError> =
            IpcReceiver::try_recv_timeout;
        let _: fn(IpcReceiver<T>) -> OpaqueIpcReceiver = IpcReceiver::to_opaque;

        let _: fn(String) -> Result<IpcSender<T>, io::Error> = IpcSender::connect;
        let _: fn(&IpcSender<T>, T) -> Result<(), IpcError> = IpcSender::send;
        let _: fn(IpcSender<T>) -> OpaqueIpcSender = IpcSender::to_opaque;

        let _: fn(OpaqueIpcSender) -> IpcSender<T> = OpaqueIpcSender::to::<T>;
        let _: fn(OpaqueIpcReceiver) -> IpcReceiver<T> = OpaqueIpcReceiver::to::<T>;

        let _: fn() -> Result<IpcReceiverSet, io::Error> = IpcReceiverSet::new;
        let _: fn(&mut IpcReceiverSet, IpcReceiver<T>) -> Result<u64, io::Error> =
            IpcReceiverSet::add::<T>;
        let _: fn(&mut IpcReceiverSet, OpaqueIpcReceiver) -> Result<u64, io::Error> =
            IpcReceiverSet::add_opaque;
        let _: fn(&mut IpcReceiverSet) -> Result<Vec<IpcSelectionResult>, io::Error> =
            IpcReceiverSet::select;
        let _: fn(&mut IpcReceiverSet) -> Result<Vec<IpcSelectionResult>, TrySelectError> =
            IpcReceiverSet::try_select;
        let _: fn(&mut IpcReceiverSet, Timeout) -> Result<Vec<IpcSelectionResult>, TrySelectError> =
            IpcReceiverSet::try_select_timeout;
        let _: fn(IpcSelectionResult) -> (u64, IpcMessage) = IpcSelectionResult::unwrap;

        let _: fn(Vec<u8>) -> IpcMessage = IpcMessage::from_data;
        let _: fn(IpcMessage) -> Result<T, SerDeError> = IpcMessage::to::<T>;

        let _: fn() -> Result<(IpcOneShotServer<T>, String), io::Error> = IpcOneShotServer::new;
        let _: fn(IpcOneShotServer<T>) -> Result<(IpcReceiver<T>, T), IpcError> =
            IpcOneShotServer::accept;

        let _: fn(&IpcBytesReceiver) -> Result<Vec<u8>, IpcError> = IpcBytesReceiver::recv;
        let _: fn(&IpcBytesReceiver) -> Result<Vec<u8>, TryRecvError> = IpcBytesReceiver::try_recv;
        let _: fn(&IpcBytesSender, &[u8]) -> Result<(), io::Error> = IpcBytesSender::send;

        let _: fn(&[u8]) -> IpcSharedMemory = IpcSharedMemory::from_bytes;
        let _: fn(u8, usize) -> IpcSharedMemory = IpcSharedMemory::from_byte;
        let _: unsafe fn(&mut IpcSharedMemory) -> &mut [u8] = IpcSharedMemory::deref_mut;
        let _: fn(IpcSharedMemory) -> Option<Vec<u8>> = IpcSharedMemory::take;

        let _: fn() -> RouterProxy = RouterProxy::new;
        let _: fn(&RouterProxy, IpcReceiver<T>, TypedRouterMultiHandler<T>) =
            RouterProxy::add_typed_route;
        let _: fn(&RouterProxy, IpcReceiver<T>, TypedRouterOneShotHandler<T>) =
            RouterProxy::add_typed_one_shot_route;
        let _: fn(&RouterProxy) = RouterProxy::shutdown;
        let _: fn(&RouterProxy, IpcReceiver<T>, crossbeam_channel::Sender<T>) =
            RouterProxy::route_ipc_receiver_to_crossbeam_sender;
        let _: fn(&RouterProxy, IpcReceiver<T>) -> crossbeam_channel::Receiver<T> =
            RouterProxy::route_ipc_receiver_to_new_crossbeam_receiver;
        let _: RouterMultiHandler = Box::new(|_: IpcMessage| ());
        let _: RouterOneShotHandler = Box::new(|_: IpcMessage| ());
        let _: &RouterProxy = &ROUTER;

        #[cfg(feature = "async")]
        let _: fn(IpcReceiver<T>) -> strait::asynch::IpcStream<T> = IpcReceiver::to_stream;
        #[cfg(feature = "async")]
        let _: fn(IpcServer<T, T>) -> strait::asynch::IpcServerStream<T, T> = IpcServer::to_stream;
    }

    #[test]
    fn beyond_ipc_channel_are_those_of_std() {
        type T = u32;
        let _: fn(&IpcReceiver<T>, Duration) -> Result<T, TryRecvError> = IpcReceiver::recv_timeout;
        let _: fn(&IpcSender<T>, &T) -> Result<(), IpcError> = IpcSender::send_ref;
        let _: fn(&IpcSender<T>, &T) -> Result<(), TrySendError> = IpcSender::try_send;
        let _: fn(&IpcSender<T>, &T, Duration) -> Result<(), TrySendError> =
            IpcSender::send_timeout;
        let _: fn(&IpcSender<T>, &T, Instant) -> Result<(), TrySendError> =
            IpcSender::send_deadline;
        let _: fn(&IpcBytesSender, &[u8]) -> Result<(), TrySendError> = IpcBytesSender::try_send;
        let _: fn(&IpcBytesSender, &[u8], Duration) -> Result<(), TrySendError> =
            IpcBytesSender::send_timeout;
        let _: fn(&IpcBytesSender, &[u8], Instant) -> Result<(), TrySendError> =
            IpcBytesSender::send_deadline;
        let _: fn(IpcSyncSender<T>) -> OpaqueIpcSyncSender = IpcSyncSender::to_opaque;
        let _: fn(OpaqueIpcSyncSender) -> IpcSyncSender<T> = OpaqueIpcSyncSender::to::<T>;
        let _: fn(&IpcBytesReceiver, Duration) -> Result<Vec<u8>, TryRecvError> =
            IpcBytesReceiver::try_recv_timeout;
        let _: fn(IpcBytesReceiver) -> OpaqueIpcReceiver = IpcBytesReceiver::to_opaque;
        let _: fn(String) -> Result<IpcBytesSender, io::Error> = IpcBytesSender::connect;
        let _: fn(IpcBytesSender) -> OpaqueIpcSender = IpcBytesSender::to_opaque;
        let _: fn(&mut IpcReceiverSet, IpcBytesReceiver) -> Result<u64, io::Error> =
            IpcReceiverSet::add_bytes;
        let _: fn(&mut IpcReceiverSet, u64) -> Option<OpaqueIpcReceiver> = IpcReceiverSet::remove;
        let _: fn(&IpcReceiverSet) -> usize = IpcReceiverSet::len;
        let _: fn(&IpcReceiverSet) -> bool = IpcReceiverSet::is_empty;
        let _: fn(IpcOneShotServer<T>, Duration) -> Result<(IpcReceiver<T>, T), TryRecvError> =
            IpcOneShotServer::accept_timeout;
        let _: fn(&[u8]) -> io::Result<IpcSharedMemory> = IpcSharedMemory::try_from_bytes;
        let _: fn(u8, usize) -> io::Result<IpcSharedMemory> = IpcSharedMemory::try_from_byte;
        let _: fn(&mut IpcSharedMemory) -> io::Result<&mut [u8]> = IpcSharedMemory::make_mut;
        let _: fn(IpcMessage) -> Result<Vec<u8>, SerDeError> = IpcMessage::into_bytes;
        let _: fn(Handle<T>) -> T = Handle::into_inner;
        fn iterates<'a>(receiver: &'a IpcReceiver<T>) -> impl Iterator<Item = T> + 'a {
            receiver.iter().chain(receiver.try_iter()).chain(receiver)
        }
        let _ = iterates;
        let _ = <IpcReceiver<T> as IntoIterator>::into_iter;
    }

    /// Has each of the methods for each of the types.
    macro_rules! all_have {
        ([$($type:ty),*] $methods:tt) => { $( all_have!($type: $methods); )* };
        ($type:ty: { $($method:ident)* }) => { $( let _ = <$type>::$method; )* };
    }

    /// A method of one kind of sender or receiver exists for the others by the same name.
    #[test]
    fn are_the_same_for_all_kinds_of_channels() {
        use strait::mpsc;

        type T = u32;
        all_have!([IpcSender<T>, IpcSyncSender<T>, mpsc::Sender<T>, mpsc::SyncSender<T>] {
            send send_ref try_send send_timeout send_deadline is_closed
        });
        // Bytes are sent by reference anyway.
        all_have!([IpcBytesSender] { send try_send send_timeout send_deadline is_closed });
        all_have!([IpcSender<T>, IpcSyncSender<T>, IpcBytesSender] { to_opaque });
        all_have!([OpaqueIpcSender, OpaqueIpcSyncSender] { is_closed });
        all_have!([IpcSender<T>, IpcBytesSender] { connect });

        all_have!([IpcReceiver<T>, IpcBytesReceiver, mpsc::Receiver<T>] {
            recv try_recv recv_timeout recv_deadline iter try_iter
        });
        all_have!([IpcReceiver<T>, IpcBytesReceiver] {
            try_recv_timeout set_options options to_opaque
        });
        #[cfg(feature = "async")]
        all_have!([IpcReceiver<T>, IpcBytesReceiver] { to_stream });

        fn iterates<R>()
        where
            R: IntoIterator,
            for<'a> &'a R: IntoIterator<Item = R::Item>,
        {
        }
        iterates::<IpcReceiver<T>>();
        iterates::<IpcBytesReceiver>();
        iterates::<mpsc::Receiver<T>>();

        // Those of `mpsc` are the same channels under other names.
        fn converts<A: From<B>, B: From<A>>() {}
        converts::<IpcSender<T>, mpsc::Sender<T>>();
        converts::<IpcSyncSender<T>, mpsc::SyncSender<T>>();
        converts::<IpcReceiver<T>, mpsc::Receiver<T>>();
    }

    #[test]
    #[expect(deprecated, reason = "the names of 0.20 still resolve")]
    fn of_older_releases_still_resolve() {
        use strait::router::{RouterHandler, TypedRouterHandler};

        let _: fn(&RouterProxy, OpaqueIpcReceiver, RouterHandler) = RouterProxy::add_route;
        let _: TypedRouterHandler<u8> = Box::new(|_: Result<u8, SerDeError>| ());
        let _: fn(ipc::IpcError) -> IpcError = |error| error;
        let _: fn(ipc::TryRecvError) -> TryRecvError = |error| error;
        let _: fn(ipc::TrySelectError) -> TrySelectError = |error| error;
        let _: fn(ipc::SerDeError) -> SerDeError = |error| error;
    }

    #[test]
    fn carry_derived_types() {
        let _watchdog = watchdog();
        let (requests, inbox) = pair::<Request<u32>>();
        let (events, event_receiver) = pair();
        let (answer, answer_receiver) = pair();
        let name = "clock".to_string();
        requests.send(Request::Subscribe { name, events }).unwrap();
        requests.send(Request::Answer(answer_receiver)).unwrap();
        requests.send(Request::Quit).unwrap();
        loop {
            match inbox.recv().unwrap() {
                Request::Subscribe { name, events } => {
                    assert_eq!(name, "clock");
                    events.send(1).unwrap();
                }
                Request::Answer(receiver) => {
                    answer.send(2).unwrap();
                    assert_eq!(receiver.recv().unwrap(), 2);
                }
                Request::Quit => break,
            }
        }
        assert_eq!(event_receiver.recv().unwrap(), 1);

        let (sender, receiver) = pair::<Endpoints>();
        let (number_sender, number_receiver) = pair::<u32>();
        let (bytes_sender, bytes_receiver) = ipc::bytes_channel().unwrap();
        sender
            .send(Endpoints {
                // `to` converts an endpoint to any message type, as long as nothing is sent.
                sender: {
                    let (carrier, carried) = pair::<OpaqueIpcSender>();
                    carrier.send(number_sender.clone().to_opaque()).unwrap();
                    carried.to_opaque().to::<IpcSender<Nothing>>().recv().unwrap()
                },
                receiver: {
                    let (carrier, carried) = pair::<OpaqueIpcReceiver>();
                    carrier.send(pair::<u8>().1.to_opaque()).unwrap();
                    carried.to_opaque().to::<IpcReceiver<Nothing>>().recv().unwrap()
                },
                opaque_sender: number_sender.to_opaque(),
                opaque_receiver: number_receiver.to_opaque(),
                bytes_sender,
                bytes_receiver,
                memory: IpcSharedMemory::from_bytes(b"memory"),
            })
            .unwrap();
        let endpoints = receiver.recv().unwrap();
        drop((endpoints.sender, endpoints.receiver));
        endpoints.opaque_sender.to::<u32>().send(5).unwrap();
        assert_eq!(endpoints.opaque_receiver.to::<u32>().recv().unwrap(), 5);
        endpoints.bytes_sender.send(b"bytes").unwrap();
        assert_eq!(endpoints.bytes_receiver.recv().unwrap(), b"bytes");
        assert_eq!(&*endpoints.memory, b"memory");
    }
}

mod errors {
    use super::*;

    /// Matches as users do: without a wildcard, so a further variant would not compile.
    fn describe(error: &TryRecvError) -> &'static str {
        match error {
            TryRecvError::IpcError(IpcError::SerializationError(_)) => "serialization",
            TryRecvError::IpcError(IpcError::Io(_)) => "io",
            TryRecvError::IpcError(IpcError::Disconnected) => "disconnected",
            TryRecvError::Empty => "empty",
        }
    }

    fn describe_selection(error: &TrySelectError) -> &'static str {
        match error {
            TrySelectError::IoError(_) => "io",
            TrySelectError::Empty => "empty",
        }
    }

    #[derive(Debug)]
    struct TheirError;

    impl From<IpcError> for TheirError {
        fn from(_: IpcError) -> TheirError {
            TheirError
        }
    }

    fn a_serialization_error() -> SerDeError {
        IpcMessage::from_data(vec![1]).to::<u64>().unwrap_err()
    }

    #[test]
    fn match_the_failure() {
        let _watchdog = watchdog();
        let (sender, receiver) = pair::<u32>();
        assert_eq!(describe(&receiver.try_recv().unwrap_err()), "empty");
        let timeout = Duration::from_micros(10);
        let error = receiver.try_recv_timeout(timeout).unwrap_err();
        assert_eq!(describe(&error), "empty");
        sender.clone().to_opaque().to::<u8>().send(1).unwrap();
        let error = receiver.try_recv().unwrap_err();
        assert_eq!(describe(&error), "serialization");
        drop(sender);
        let error = receiver.try_recv().unwrap_err();
        assert_eq!(describe(&error), "disconnected");
        let error = receiver.try_recv_timeout(timeout).unwrap_err();
        assert_eq!(describe(&error), "disconnected");
        assert!(matches!(receiver.recv(), Err(IpcError::Disconnected)));
        let mut set = IpcReceiverSet::new().unwrap();
        let error = set.try_select().unwrap_err();
        assert_eq!(describe_selection(&error), "empty");
        let error = set.try_select_timeout(timeout).unwrap_err();
        assert_eq!(describe_selection(&error), "empty");
    }

    #[test]
    fn of_a_send_without_receiver_are_disconnected() {
        let _watchdog = watchdog();
        let (sender, receiver) = pair::<u32>();
        sender.send(1).unwrap();
        drop(receiver);
        for _ in 0..3 {
            assert!(matches!(sender.send(2), Err(IpcError::Disconnected)));
            assert!(matches!(sender.send_ref(&2), Err(IpcError::Disconnected)));
        }
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        drop(receiver);
        let error = sender.send(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(matches!(IpcError::from(error), IpcError::Disconnected));
        assert!(sender.try_send(b"x").unwrap_err().is_disconnected());
        assert!(sender.send_timeout(b"x", Duration::from_secs(60)).unwrap_err().is_disconnected());
    }

    #[test]
    fn convert() {
        fn with_io() -> Result<(), IpcError> {
            ipc::channel::<u8>()?;
            Err(io::Error::other("theirs"))?
        }
        assert!(matches!(with_io(), Err(IpcError::Io(_))));
        fn with_ipc() -> Result<(), TryRecvError> {
            Err(IpcError::Disconnected)?
        }
        assert!(with_ipc().unwrap_err().is_disconnected());
        fn with_serde() -> Result<(), IpcError> {
            Err(a_serialization_error())?
        }
        assert!(matches!(with_serde(), Err(IpcError::SerializationError(_))));
        fn with_selection() -> Result<(), TrySelectError> {
            Err(io::Error::other("theirs"))?
        }
        assert!(matches!(with_selection(), Err(TrySelectError::IoError(_))));
        fn with_theirs() -> Result<(), TheirError> {
            Err(IpcError::Disconnected)?
        }
        assert!(with_theirs().is_err());

        // By way of `io::Error` and back.
        let there_and_back = |error: IpcError| IpcError::from(io::Error::from(error));
        assert!(there_and_back(IpcError::Disconnected).is_disconnected());
        let error = there_and_back(a_serialization_error().into());
        assert!(matches!(error, IpcError::SerializationError(_)), "{error:?}");
        let error = there_and_back(io::Error::other("theirs").into());
        assert!(matches!(&error, IpcError::Io(error) if error.kind() == io::ErrorKind::Other));

        let kind_of = |error: io::Error| error.kind();
        let full = kind_of(IpcError::from(TrySendError::Full).into());
        assert_eq!(full, io::ErrorKind::WouldBlock);
        let empty = kind_of(IpcError::from(TryRecvError::Empty).into());
        assert_eq!(empty, io::ErrorKind::WouldBlock);
        assert_eq!(kind_of(IpcError::Disconnected.into()), io::ErrorKind::ConnectionReset);
        assert_eq!(kind_of(TryRecvError::Empty.into()), io::ErrorKind::WouldBlock);
        assert_eq!(kind_of(TrySelectError::Empty.into()), io::ErrorKind::WouldBlock);
        assert_eq!(kind_of(a_serialization_error().into()), io::ErrorKind::InvalidData);
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(
            kind_of(TryRecvError::from(IpcError::from(refused)).into()),
            io::ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn have_predicates() {
        assert!(IpcError::Disconnected.is_disconnected());
        assert!(!IpcError::Io(io::Error::other("x")).is_disconnected());
        assert!(TryRecvError::IpcError(IpcError::Disconnected).is_disconnected());
        assert!(!TryRecvError::IpcError(IpcError::Disconnected).is_empty());
        assert!(TryRecvError::Empty.is_empty());
        assert!(!TryRecvError::Empty.is_disconnected());
        assert!(TrySelectError::Empty.is_empty());
        assert!(!TrySelectError::IoError(io::Error::other("x")).is_empty());
    }

    /// The text of an error contains its causes, because users of ipc-channel print the error
    /// alone. `source` returns them, too.
    #[test]
    fn display_their_causes() {
        let error = TryRecvError::from(IpcError::from(a_serialization_error()));
        let mut messages = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            messages.push(error.to_string());
            cause = error.source();
        }
        assert!(messages.len() >= 4, "{messages:?}");
        for (message, cause) in messages.iter().zip(&messages[1..]) {
            assert!(message.ends_with(&format!(": {cause}")), "{messages:?}");
        }
        let refused = || io::Error::other("not today");
        assert!(IpcError::Io(refused()).to_string().ends_with(": not today"));
        assert!(TrySelectError::IoError(refused()).to_string().ends_with(": not today"));
        assert!(TryRecvError::Empty.source().is_none());
        assert!(IpcError::Disconnected.source().is_none());
    }
}

mod messages {
    use super::*;

    #[test]
    fn can_be_made_from_data() {
        let message = IpcMessage::from_data(7_u32.to_le_bytes().to_vec());
        assert_eq!(message.to::<u32>().unwrap(), 7);
        assert!(IpcMessage::from_data(vec![1, 2]).to::<u32>().is_err());
        assert!(IpcMessage::from_data(vec![0; 5]).to::<u32>().is_err());
        assert!(IpcMessage::from_data(Vec::new()).to::<()>().is_ok());
        assert_eq!(IpcMessage::from_data(vec![1, 2]).into_bytes().unwrap(), [1, 2]);
        // Endpoints are not bytes.
        let forged = IpcMessage::from_data(0_u32.to_le_bytes().to_vec());
        assert!(forged.to::<IpcSender<u8>>().is_err());
    }

    #[test]
    fn debug_shows_the_first_bytes() {
        let text = format!("{:?}", IpcMessage::from_data(b"hello".to_vec()));
        assert!(text.contains("hello"), "{text}");
        let text = format!("{:?}", IpcMessage::from_data(vec![255; 1_000_000]));
        assert!(text.contains("1000000"), "{text}");
        assert!(text.len() < 2000, "{} bytes", text.len());
    }

    #[test]
    #[should_panic(expected = "disconnection of channel 7")]
    fn unwrap_of_a_closed_channel_panics() {
        IpcSelectionResult::ChannelClosed(7).unwrap();
    }

    #[test]
    fn all_types_implement_debug() {
        let _watchdog = watchdog();
        let (sender, receiver) = pair::<u8>();
        let (bytes_sender, bytes_receiver) = ipc::bytes_channel().unwrap();
        let (server, _) = IpcOneShotServer::<u8>::new().unwrap();
        let name = format!("strait-api-{}", std::process::id());
        let many = IpcServer::<u8, u8>::bind(name).unwrap();
        let memory = IpcSharedMemory::from_byte(1, 1 << 20);
        let memory_writer = SharedMemoryWriter::new(1 << 20).unwrap();
        for (name, text) in [
            ("IpcSender", format!("{sender:?}")),
            ("IpcReceiver", format!("{receiver:?}")),
            ("OpaqueIpcSender", format!("{:?}", sender.to_opaque())),
            ("OpaqueIpcReceiver", format!("{:?}", receiver.to_opaque())),
            ("IpcBytesSender", format!("{bytes_sender:?}")),
            ("IpcBytesReceiver", format!("{bytes_receiver:?}")),
            ("IpcReceiverSet", format!("{:?}", IpcReceiverSet::new().unwrap())),
            ("IpcOneShotServer", format!("{server:?}")),
            ("IpcServer", format!("{many:?}")),
            ("IpcSharedMemory", format!("{memory:?}")),
            ("SharedMemoryWriter", format!("{memory_writer:?}")),
            ("SharedMemoryReader", format!("{:?}", memory_writer.reader().unwrap())),
            ("RouterProxy", format!("{:?}", *ROUTER)),
        ] {
            assert!(text.contains(name), "{text}");
            assert!(text.len() < 2000, "{name} shows too much");
        }
    }
}
