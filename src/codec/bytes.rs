//! Recognises sequences of bytes, which to serde are sequences like others.
//!
//! The compiler knows whether two types are the same. Types are compared by their names, because
//! types that may borrow have no other identity. If a name is spelled otherwise one day, this costs
//! only speed.

use std::any::type_name;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

/// Returns whether items of this type are references to a `u8`, which can be serialised in one way
/// only.
#[inline]
pub(super) fn are_lent<T>() -> bool {
    type_name::<T>() == type_name::<&u8>()
}

/// Returns whether this seed takes a `u8`, which it can do in one way only.
#[inline]
pub(super) fn are_wanted_by<T>() -> bool {
    type_name::<T>() == type_name::<PhantomData<u8>>()
}

/// Returns what `V` makes of a sequence of bytes, if that is known without it. This is so if `V` is
/// the visitor with which serde makes a `Vec<u8>`. Boxed and counted slices are made of one. `take`
/// takes the bytes, if they are available, and is called only then.
///
/// Serde pushes one element after the other, and no compiler knows that there is room for all of
/// them.
#[inline]
pub(super) fn collect<'de, V: Visitor<'de>, E>(
    take: impl FnOnce() -> Result<Option<&'de [u8]>, E>,
) -> Result<Option<V::Value>, E> {
    let mut value = None;
    // Other visitors may have a `Vec<u8>` as their value, too, but not one of the same bytes.
    if type_name::<V>() == visitor_of_vec() {
        if let Ok(value) = castaway::cast!(&mut value, &mut Option<Vec<u8>>) {
            *value = take()?.map(<[u8]>::to_vec);
        }
    }
    Ok(value)
}

/// Returns the type name of the visitor with which serde makes a `Vec<u8>`. It has no public name,
/// so serde itself is asked.
#[inline]
fn visitor_of_vec() -> &'static str {
    match Vec::<u8>::deserialize(Probe) {
        Ok(_) => "",
        Err(Name(name)) => name,
    }
}

/// A deserializer that finds out which visitor it gets.
struct Probe;

/// The name of a visitor of a sequence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Name(&'static str);

impl Error for Name {
    fn custom<T>(_: T) -> Name {
        Name("")
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Name;

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Name> {
        Err(Name(type_name::<V>()))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Name> {
        Err(Name(""))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf option unit unit_struct newtype_struct tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use serde::de::SeqAccess;
    use serde::de::value::Error as TextError;

    use super::*;

    /// A deserializer of bytes for visitors that let them be collected.
    struct Lent(Option<&'static [u8]>);

    impl<'de> Deserializer<'de> for Lent {
        type Error = TextError;

        fn deserialize_seq<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TextError> {
            collect::<V, _>(|| Ok(self.0))?.ok_or_else(|| Error::custom("not collected"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TextError> {
            Err(Error::custom("no sequence"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
            bytes byte_buf option unit unit_struct newtype_struct tuple tuple_struct map struct enum
            identifier ignored_any
        }
    }

    fn lent<'de, T: Deserialize<'de>>() -> Option<T> {
        assert!(T::deserialize(Lent(None)).is_err());
        T::deserialize(Lent(Some(b"bytes"))).ok()
    }

    #[test]
    fn vectors_of_bytes_are_collected() {
        assert_eq!(lent::<Vec<u8>>().as_deref(), Some(&b"bytes"[..]));
        assert_eq!(lent::<Box<[u8]>>().as_deref(), Some(&b"bytes"[..]));
    }

    /// Has the name and the value of serde's own visitor, and another meaning.
    struct VecVisitor<T>(T);

    impl<'de> Visitor<'de> for VecVisitor<u8> {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "bytes to add {} to", self.0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Vec<u8>, A::Error> {
            Ok(Vec::new())
        }
    }

    #[derive(serde::Deserialize)]
    #[serde(transparent)]
    struct Byte {
        _byte: u8,
    }

    #[test]
    fn other_sequences_are_not_collected() {
        assert!(Lent(Some(b"bytes")).deserialize_seq(VecVisitor(1)).is_err());
        assert!(lent::<Vec<i8>>().is_none());
        assert!(lent::<Vec<bool>>().is_none());
        assert!(lent::<Vec<u16>>().is_none());
        assert!(lent::<Vec<Byte>>().is_none());
        assert!(lent::<Vec<&str>>().is_none());
        assert!(lent::<Vec<Vec<u8>>>().is_none());
        assert!(lent::<VecDeque<u8>>().is_none());
    }

    #[test]
    fn references_to_bytes_are_lent() {
        fn are_lent_by<I: Iterator>(_: I) -> bool {
            are_lent::<I::Item>()
        }

        let bytes = vec![1_u8, 2];
        assert!(are_lent_by(bytes.iter()));
        assert!(are_lent_by(VecDeque::from(bytes.clone()).iter()));
        assert!(are_lent_by(BTreeSet::from_iter(bytes.clone()).iter()));
        assert!(!are_lent_by(bytes.into_iter()));
        assert!(!are_lent_by([1_i8].iter()));
        assert!(!are_lent_by([true].iter()));
        assert!(!are_lent_by([Box::new(1_u8)].iter()));
        assert!(!are_lent_by([&1_u8].iter()));
    }
}
