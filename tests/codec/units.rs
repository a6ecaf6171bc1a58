//! Elements without bytes.

use std::cell::Cell;
use std::collections::VecDeque;

use serde::de::Error as _;

use super::*;

fn sent<T: Serialize + DeserializeOwned>(value: &T) -> Result<T, String> {
    let (sender, receiver) = ipc::channel::<T>().unwrap();
    sender.send_ref(value).map_err(|error| error.to_string())?;
    receiver.recv().map_err(|error| error.to_string())
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[test]
fn are_received_up_to_a_million() {
    let _watchdog = harness::watchdog();
    for count in [65_545, 100_000, UNITS] {
        assert_eq!(sent(&vec![(); count]).unwrap().len(), count);
        assert_eq!(sent(&VecDeque::from(vec![Unit; count])).unwrap().len(), count);
        assert_eq!(sent(&vec![[(); 3]; count].into_boxed_slice()).unwrap().len(), count);
    }
    // Elements with bytes, before and after, are not limited.
    let value = (vec![7_u64; 1000], vec![(); UNITS], vec![8_u8; 200_000], vec![Some(()); 9]);
    assert_eq!(sent(&value).unwrap(), value);
    let value = vec![vec![(); 20_000]; 52];
    assert_eq!(sent(&value).unwrap(), value);
}

thread_local!(static WRITTEN: Cell<usize> = const { Cell::new(0) });

/// A unit that counts how often it is written.
#[derive(Clone, Debug, Deserialize)]
struct Counted;

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WRITTEN.set(WRITTEN.get() + 1);
        serializer.serialize_unit_struct("Counted")
    }
}

#[test]
fn beyond_a_million_are_refused_without_encoding_all() {
    let _watchdog = harness::watchdog();
    for count in [UNITS + 9, 5_000_000, 50_000_000] {
        let text = sent(&vec![Counted; count]).unwrap_err();
        assert!(text.contains("have over 1048576 elements more"), "{text}");
        assert!(WRITTEN.replace(0) <= 2 * UNITS);
    }
    assert!(sent(&vec![(); UNITS + 9]).is_err());
    assert!(sent(&vec![vec![(); 20_000]; 53]).is_err());
    // Any number of elements with bytes is received.
    assert_eq!(sent(&vec![1_u16; 3 * UNITS]).unwrap().len(), 3 * UNITS);
}

thread_local!(static READ: Cell<usize> = const { Cell::new(0) });

/// Has no bytes in a message, but takes memory.
#[derive(Debug)]
struct Hidden([u64; 16]);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Hidden, D::Error> {
        READ.set(READ.get() + 1);
        Ok(Hidden([0; 16]))
    }
}

#[derive(Debug)]
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Nothing, D::Error> {
        READ.set(READ.get() + 1);
        if READ.get() > 2 * UNITS {
            return Err(D::Error::custom("too many"));
        }
        Ok(Nothing)
    }
}

#[test]
fn cost_a_receiver_a_limited_number_of_steps() {
    let _watchdog = harness::watchdog();
    for count in [UNITS as u64 + 9, 1 << 30, 1 << 60, u64::MAX] {
        assert!(decode_bytes::<Vec<Nothing>>(&count.to_le_bytes()).is_err());
        assert_eq!(READ.get(), 0);
    }
    decode_bytes::<Vec<Nothing>>(&(UNITS as u64 + 8).to_le_bytes()).unwrap();
    assert_eq!(READ.replace(0), UNITS + 8);
    // The limit is lower for elements that take memory.
    let received = decode_bytes::<Vec<Hidden>>(&65_544_u64.to_le_bytes()).unwrap();
    assert_eq!(received.iter().map(|hidden| hidden.0[0]).sum::<u64>(), 0);
    assert_eq!(READ.replace(0), 65_544);
    for message in [&[65_545][..], &[2, 32_780, 32_780], &[1, 1_000_000]] {
        let bytes: Vec<u8> = message.iter().flat_map(|len: &u64| len.to_le_bytes()).collect();
        let error = match message {
            [_] => decode_bytes::<Vec<Hidden>>(&bytes).map(drop),
            _ => decode_bytes::<Vec<Vec<Hidden>>>(&bytes).map(drop),
        };
        let text = error.unwrap_err().to_string();
        assert!(text.contains("over 65536 elements more"), "{text}");
        assert!(READ.replace(0) <= 32_780);
    }
}
