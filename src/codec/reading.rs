//! Keeps hostile bytes from costing more than they weigh, and byte sequences from costing more than
//! a copy.
//!
//! A deserializer that passes everything on to the format's own one, and
//! - counts how deeply values are nested: a message of a few kilobytes could otherwise overflow the
//!   stack of a process that receives a recursive type;
//! - counts the elements of sequences and maps: elements without bytes, as of a `Vec<()>`, could
//!   otherwise be announced by the billion;
//! - takes strings and byte strings from the message itself, so that they are known to be there
//!   before they are copied;
//! - takes a sequence of `u8` from the message in one piece, instead of decoding one byte after the
//!   other, and makes a `Vec<u8>` of it by a copy.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::slice;
use std::str;

use serde::de::value::U8Deserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::bounds::{Depth, OutOfBounds, most_elements, most_elements_with_size};
use super::bytes;
use super::format::Cursor;

/// Up to how many bytes the value of an element may be copied carelessly.
const SMALL: usize = 128;

/// The budget of a message that is being decoded.
#[derive(Debug)]
pub(super) struct Guard<'de> {
    /// The unread rest of the message.
    pub(super) cursor: Cursor<'de>,
    /// How many elements its sequences and maps may still announce.
    elements: Cell<usize>,
    /// How many of them may still take up memory.
    with_size: Cell<usize>,
}

impl<'de> Guard<'de> {
    /// Makes the budget of a message.
    pub(super) fn new(message: &'de [u8]) -> Guard<'de> {
        let elements = Cell::new(most_elements(message.len()));
        let with_size = Cell::new(most_elements_with_size(message.len()));
        Guard { cursor: Cursor::new(message), elements, with_size }
    }

    /// Returns the seed of the whole value.
    #[inline]
    pub(super) fn whole<T>(&self) -> Whole<'_, 'de, T> {
        Whole { guard: self, value: PhantomData }
    }

    /// Takes the next sequence, if its elements are bytes and all there.
    #[inline]
    fn take_bytes<E: Error>(&self) -> Result<Option<&'de [u8]>, E> {
        let elements = self.cursor.peek_bytes();
        if let Some(elements) = elements {
            self.claim(Some(elements.len()))?;
            self.cursor.take_bytes(elements);
        }
        Ok(elements)
    }

    /// Counts elements of which each may take up memory.
    #[inline]
    fn claim<E: Error>(&self, elements: Option<usize>) -> Result<(), E> {
        if self.claim_sequence(elements.unwrap_or(0))? {
            return Err(refused(OutOfBounds::ElementsWithSize));
        }
        Ok(())
    }

    /// Counts elements. Returns whether there are so many that none of them may take up memory.
    /// Otherwise they count as taking up memory for now.
    #[inline]
    fn claim_sequence<E: Error>(&self, elements: usize) -> Result<bool, E> {
        let left = self.elements.get().checked_sub(elements);
        self.elements.set(left.ok_or_else(|| refused(OutOfBounds::Elements))?);
        let with_size = self.with_size.get().checked_sub(elements);
        self.with_size.set(with_size.unwrap_or(self.with_size.get()));
        Ok(with_size.is_none())
    }

    /// Stops counting these elements as taking up memory.
    fn give_back(&self, elements: usize) {
        self.with_size.set(self.with_size.get() + elements);
    }
}

/// The seed of a whole value, as it comes from a message.
pub(super) struct Whole<'g, 'de, T> {
    guard: &'g Guard<'de>,
    value: PhantomData<fn() -> T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Whole<'_, 'de, T> {
    type Value = T;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        let level = &Level { guard: self.guard, depth: Depth::OUTERMOST };
        T::deserialize(Guarded { inner, level })
    }
}

/// The level in the value that the deserializer is at.
struct Level<'g, 'de> {
    guard: &'g Guard<'de>,
    depth: Depth,
}

impl<'de> Level<'_, 'de> {
    /// Wraps `inner`, which is at this level.
    #[inline]
    fn watch<T>(&self, inner: T) -> Guarded<'_, 'de, T> {
        Guarded { inner, level: self }
    }

    #[inline]
    fn within_named<E: Error>(&self) -> Result<Self, E> {
        Ok(Level { guard: self.guard, depth: self.depth.within_named().map_err(refused)? })
    }

    #[inline]
    fn within_unnamed<E: Error>(&self) -> Result<Self, E> {
        Ok(Level { guard: self.guard, depth: self.depth.within_unnamed().map_err(refused)? })
    }
}

/// A wrapper that enforces the bounds. The level is by reference, so that a deserializer with it
/// fits into two registers.
struct Guarded<'g, 'de, T> {
    inner: T,
    level: &'g Level<'g, 'de>,
}

macro_rules! forward {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

macro_rules! nested {
    ($within:ident: $($method:ident($($name:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, D::Error> {
            let level = &self.level.$within()?;
            self.inner.$method($($name,)* Watched { visitor, level, counts: false })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guarded<'_, 'de, D> {
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char
        deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    nested! {
        within_unnamed:
        deserialize_option()
        deserialize_tuple(len: usize)
    }

    nested! {
        within_named:
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let level = &self.level.within_unnamed()?;
        // A sequence that is not complete is refused like others.
        if let Some(value) = bytes::collect::<V, _>(|| self.level.guard.take_bytes())? {
            return Ok(value);
        }
        self.inner.deserialize_seq(Watched { visitor, level, counts: true })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let level = &self.level.within_unnamed()?;
        self.inner.deserialize_map(Watched { visitor, level, counts: true })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let bytes = self.take_counted()?;
        let text = str::from_utf8(bytes)
            .map_err(|_| D::Error::invalid_value(Unexpected::Bytes(bytes), &"text in UTF-8"))?;
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_borrowed_bytes(self.take_counted()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, D: Deserializer<'de>> Guarded<'_, 'de, D> {
    /// Takes bytes that follow their number.
    fn take_counted(self) -> Result<&'de [u8], D::Error> {
        let cursor = &self.level.guard.cursor;
        let len = cursor.length(self.inner)?;
        cursor.take(len).ok_or_else(|| D::Error::custom("the message is too short for a string"))
    }
}

/// A visitor whose nested values are wrapped, too.
struct Watched<'g, 'de, V> {
    visitor: V,
    /// The level of the nested values.
    level: &'g Level<'g, 'de>,
    /// Whether the number of elements is the peer's choice, not the type's.
    counts: bool,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watched<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(self.level.watch(inner))
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(self.level.watch(inner))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        // Each element of a tuple or struct has its own type.
        let len = if self.counts { inner.size_hint() } else { None };
        let left = match len {
            Some(len) if self.level.guard.claim_sequence(len)? => Left::Units(len),
            Some(len) => Left::Untouched(len),
            None => Left::ByType,
        };
        self.visitor.visit_seq(Elements::new(inner, self.level, left))
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if self.counts {
            self.level.guard.claim(inner.size_hint())?;
        }
        self.visitor.visit_map(self.level.watch(inner))
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(self.level.watch(inner))
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Guarded<'_, 'de, T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        self.inner.deserialize(self.level.watch(inner))
    }
}

/// The elements of a sequence. As long as they are decoded as `u8`, they come from the message
/// directly.
struct Elements<'g, 'de, A> {
    inner: A,
    level: &'g Level<'g, 'de>,
    /// The bytes that follow, as many as there are elements, while none was decoded otherwise.
    ahead: slice::Iter<'de, u8>,
    /// How many bytes there were. None of the used ones has been taken from the message yet.
    lent: usize,
    /// How many elements were not taken from the message.
    left: Left,
}

/// How many elements a sequence has left.
#[derive(Clone, Copy)]
enum Left {
    /// So many, according to the message.
    Some(usize),
    /// The same, and only lent ones were decoded yet.
    Untouched(usize),
    /// The same, but they are so many that they may have no size. Nothing is reserved for them.
    Units(usize),
    /// As the type says.
    ByType,
}

impl<'g, 'de, A> Elements<'g, 'de, A> {
    #[inline]
    fn new(inner: A, level: &'g Level<'g, 'de>, left: Left) -> Elements<'g, 'de, A> {
        let ahead = match left {
            Left::Untouched(len) => level.guard.cursor.peek(len).unwrap_or(&[]),
            _ => &[],
        };
        Elements { inner, level, ahead: ahead.iter(), lent: ahead.len(), left }
    }

    /// Returns how many of the lent elements were used.
    #[inline]
    fn used(&self) -> usize {
        self.lent - self.ahead.len()
    }

    /// Takes the used elements from the message.
    #[inline]
    fn settle(&mut self) {
        if self.lent != 0 {
            self.level.guard.cursor.take(self.used());
            let used = self.used();
            if let Left::Untouched(left) | Left::Some(left) = &mut self.left {
                *left -= used;
            }
            self.lent = 0;
            self.ahead = [].iter();
        }
    }
}

impl<A> Drop for Elements<'_, '_, A> {
    #[inline]
    fn drop(&mut self) {
        self.settle();
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        if bytes::are_wanted_by::<T>() {
            if let Some(byte) = self.ahead.next() {
                return as_element(seed, *byte);
            }
        }
        self.settle();
        let has_size = size_of::<T::Value>() != 0;
        match &mut self.left {
            Left::Some(0) | Left::Untouched(0) | Left::Units(0) => return Ok(None),
            Left::Some(left) => *left -= 1,
            Left::Untouched(left) => {
                let left = *left;
                if !has_size {
                    self.level.guard.give_back(left);
                }
                self.left = Left::Some(left - 1);
            }
            Left::Units(_) if has_size => return Err(refused(OutOfBounds::ElementsWithSize)),
            Left::Units(left) => *left -= 1,
            Left::ByType => {}
        }
        if size_of::<T::Value>() <= SMALL {
            return self.inner.next_element_seed(self.level.watch(seed));
        }
        let mut value = None;
        let seed = self.level.watch(Placing { seed, place: &mut value });
        let found = self.inner.next_element_seed(seed);
        found.map(|_| value.take())
    }

    fn size_hint(&self) -> Option<usize> {
        // The format does not know of the lent elements.
        match self.left {
            Left::Some(left) | Left::Untouched(left) => Some(left - self.used()),
            Left::Units(_) => None,
            Left::ByType => self.inner.size_hint(),
        }
    }
}

/// Separate, so that it does not slow down everything that is not refused.
#[cold]
#[inline(never)]
fn refused<E: Error>(why: OutOfBounds) -> E {
    E::custom(why)
}

/// Makes an element of a byte. Separate, because without optimisation the stack frames of all
/// sequences would have room for its result, also where they are nested deeply.
#[inline]
fn as_element<'de, T: DeserializeSeed<'de>, E: Error>(
    seed: T,
    byte: u8,
) -> Result<Option<T::Value>, E> {
    let byte: U8Deserializer<E> = byte.into_deserializer();
    seed.deserialize(byte).map(Some)
}

/// A seed whose value does not pass through the format's code. Without optimisation, its stack
/// frame would have room for five of them at each level.
struct Placing<'p, T, V> {
    seed: T,
    place: &'p mut Option<V>,
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Placing<'_, T, T::Value> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        let place = self.place;
        self.seed.deserialize(inner).map(|value| *place = Some(value))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guarded<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(self.level.watch(seed))
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(self.level.watch(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'g, A: EnumAccess<'de>> EnumAccess<'de> for Guarded<'g, 'de, A> {
    type Error = A::Error;
    type Variant = Guarded<'g, 'de, A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), A::Error> {
        let (value, inner) = self.inner.variant_seed(self.level.watch(seed))?;
        Ok((value, self.level.watch(inner)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guarded<'_, 'de, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(self.level.watch(seed))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Watched { visitor, level: self.level, counts: false })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Watched { visitor, level: self.level, counts: false })
    }
}
