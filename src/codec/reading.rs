//! Keeps hostile bytes from costing more than they weigh, and byte sequences from costing more than a copy.
//!
//! A deserializer that passes everything on to the format's own one, and
//! - counts how deeply values are nested: a message of a few kilobytes could otherwise overflow the stack of whoever receives
//!   a recursive type;
//! - counts the elements of sequences and maps: elements without bytes, as of a `Vec<()>`, could otherwise be announced by
//!   the billion;
//! - takes strings and byte strings from the message itself, so that they are known to be there before they are copied;
//! - takes a sequence of `u8` from the message in one piece, instead of asking the format for one byte after the other.

use std::any::type_name;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::slice;
use std::str;

use serde::de::value::U8Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::format::Cursor;

/// How deeply a value may be nested. Each struct, enum, tuple, sequence, map, option and newtype is a level. Without
/// optimisation, a level of a type with many or large fields takes up to 9 KiB of a stack of 2 MiB.
const MAX_DEPTH: usize = 128;

/// How many elements without bytes a message may have.
const EMPTY_ELEMENTS: usize = 1 << 16;

/// What a message has left.
#[derive(Debug)]
pub(super) struct Guard<'de> {
    /// The message, as far as it was not read.
    pub(super) cursor: Cursor<'de>,
    elements: Cell<usize>,
    depth: Cell<usize>,
}

impl<'de> Guard<'de> {
    /// For a message.
    pub(super) fn new(message: &'de [u8]) -> Guard<'de> {
        Guard {
            cursor: Cursor::new(message),
            elements: Cell::new(message.len() + EMPTY_ELEMENTS),
            depth: Cell::new(MAX_DEPTH),
        }
    }

    /// Watches over `inner`.
    pub(super) fn deserializer<D>(&self, inner: D) -> Guarded<'_, 'de, D> {
        Guarded { inner, guard: self }
    }

    fn enter<E: Error>(&self) -> Result<Level<'_, 'de>, E> {
        let left = self.depth.get();
        if left == 0 {
            return Err(E::custom("the value is nested too deeply"));
        }
        self.depth.set(left - 1);
        Ok(Level(self))
    }

    fn claim<E: Error>(&self, elements: Option<usize>) -> Result<(), E> {
        let left = self.elements.get().checked_sub(elements.unwrap_or(0));
        self.elements.set(left.ok_or_else(|| {
            E::custom("a sequence announces more elements than the message can have")
        })?);
        Ok(())
    }
}

/// One level of nesting, left on drop.
struct Level<'g, 'de>(&'g Guard<'de>);

impl Drop for Level<'_, '_> {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() + 1);
    }
}

/// Anything that `guard` watches over.
pub(super) struct Guarded<'g, 'de, T> {
    inner: T,
    guard: &'g Guard<'de>,
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
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let _level = self.guard.enter()?;
            self.inner.$method($($name,)* self.guard.watch(visitor, false))
        }
    )*};
}

impl<'de> Guard<'de> {
    fn watch<V>(&self, visitor: V, counts: bool) -> Watched<'_, 'de, V> {
        Watched { visitor, guard: self, counts }
    }
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
        deserialize_option()
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
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

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let _level = self.guard.enter()?;
        self.inner.deserialize_seq(self.guard.watch(visitor, true))
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let _level = self.guard.enter()?;
        self.inner.deserialize_map(self.guard.watch(visitor, true))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, D: Deserializer<'de>> Guarded<'_, 'de, D> {
    /// Takes bytes that follow their number.
    fn take_counted(self) -> Result<&'de [u8], D::Error> {
        let cursor = &self.guard.cursor;
        let len = cursor.length(self.inner)?;
        cursor.take(len).ok_or_else(|| D::Error::custom("the message is too short for a string"))
    }
}

/// A visitor whose nested values are watched, too.
struct Watched<'g, 'de, V> {
    visitor: V,
    guard: &'g Guard<'de>,
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
        self.visitor.visit_some(self.guard.deserializer(inner))
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(self.guard.deserializer(inner))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if self.counts {
            self.guard.claim(inner.size_hint())?;
        }
        // Of a tuple or struct each element has its own type.
        let len = if self.counts { inner.size_hint() } else { None };
        self.visitor.visit_seq(Elements::new(inner, self.guard, len))
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if self.counts {
            self.guard.claim(inner.size_hint())?;
        }
        self.visitor.visit_map(Guarded { inner, guard: self.guard })
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Guarded { inner, guard: self.guard })
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Guarded<'_, 'de, T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        self.inner.deserialize(self.guard.deserializer(inner))
    }
}

/// The elements of a sequence. As long as they are asked for as `u8`, they come from the message directly.
struct Elements<'g, 'de, A> {
    inner: A,
    guard: &'g Guard<'de>,
    /// The bytes that follow, as many as there are elements, while none was read otherwise.
    ahead: slice::Iter<'de, u8>,
    /// How many there were. None of those that were used has been taken from the message yet.
    lent: usize,
    /// How many elements there are that were not taken from the message.
    left: usize,
}

impl<'g, 'de, A> Elements<'g, 'de, A> {
    fn new(inner: A, guard: &'g Guard<'de>, len: Option<usize>) -> Elements<'g, 'de, A> {
        let ahead = len.and_then(|len| guard.cursor.peek(len)).unwrap_or(&[]);
        Elements {
            inner,
            guard,
            ahead: ahead.iter(),
            lent: ahead.len(),
            left: len.unwrap_or(usize::MAX),
        }
    }

    /// Takes from the message what was used of it.
    #[inline]
    fn settle(&mut self) {
        if self.lent != 0 {
            let used = self.lent - self.ahead.len();
            self.guard.cursor.take(used);
            self.left -= used;
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
        // Whether the two types are the same is known to the compiler; a name that is spelled otherwise one day costs
        // only speed. There is one way to deserialise this seed, which is as a `u8`.
        if type_name::<T>() == type_name::<PhantomData<u8>>() {
            if let Some(byte) = self.ahead.next() {
                let byte: U8Deserializer<A::Error> = byte.into_deserializer();
                return seed.deserialize(byte).map(Some);
            }
        }
        self.settle();
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.inner.next_element_seed(Guarded { inner: seed, guard: self.guard })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guarded<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(Guarded { inner: seed, guard: self.guard })
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(Guarded { inner: seed, guard: self.guard })
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
        let guard = self.guard;
        let (value, inner) = self.inner.variant_seed(Guarded { inner: seed, guard })?;
        Ok((value, Guarded { inner, guard }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guarded<'_, 'de, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Guarded { inner: seed, guard: self.guard })
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.guard.watch(visitor, false))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.guard.watch(visitor, false))
    }
}
