//! Refuses to send values that no receiver accepts, and keeps byte sequences from costing more than
//! a copy.
//!
//! A serializer that passes everything on to the format's own one, and
//! - refuses to leave out a field of a structure, which no receiver would notice;
//! - counts how deeply values are nested, and the elements of sequences and maps, like
//!   [`reading`](super::reading);
//! - encodes a sequence of `u8` into the message in one piece, instead of one byte after the other.

use std::fmt;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::bounds::{Depth, MAX_WRITTEN_IN_VAIN, OutOfBounds};
use super::bytes;
use super::format::Output;

/// The level in the value that the serializer is at.
#[derive(Clone, Copy)]
struct Level<'o, 'b> {
    output: &'o Output<'b>,
    depth: Depth,
}

impl Level<'_, '_> {
    #[inline]
    fn within_named<E: Error>(self) -> Result<Self, E> {
        Ok(Level { depth: self.depth.within_named().map_err(refused)?, ..self })
    }

    #[inline]
    fn within_unnamed<E: Error>(self) -> Result<Self, E> {
        Ok(Level { depth: self.depth.within_unnamed().map_err(refused)?, ..self })
    }
}

/// A serializer at some level. The level is by reference, so that this fits into two registers.
struct Writing<'o, 'b, S> {
    inner: S,
    level: &'o Level<'o, 'b>,
}

/// Serialises the elements of something, which are at a level.
struct Compound<'o, 'b, S> {
    inner: S,
    level: Level<'o, 'b>,
}

/// A value at some level.
struct Value<'v, 'o, 'b, T: ?Sized> {
    value: &'v T,
    level: &'o Level<'o, 'b>,
}

impl<T: Serialize + ?Sized> Serialize for Value<'_, '_, '_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Writing { inner, level: self.level })
    }
}

/// A whole value, as it goes into a message.
pub(super) struct Whole<'v, 'o, 'b, T: ?Sized> {
    pub(super) value: &'v T,
    pub(super) output: &'o Output<'b>,
}

impl<T: Serialize + ?Sized> Serialize for Whole<'_, '_, '_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        let level = &Level { output: self.output, depth: Depth::OUTERMOST };
        self.value.serialize(Writing { inner, level })
    }
}

/// Separate, so that it does not slow down everything that is not refused.
#[cold]
#[inline(never)]
fn refused<E: Error>(why: OutOfBounds) -> E {
    E::custom(why)
}

/// The format does not say which fields there are: one that is only sometimes there would be read
/// from what follows it.
#[cold]
#[inline(never)]
fn left_out<E: Error>(field: &str) -> E {
    E::custom(format_args!(
        "the field `{field}` is omitted (`skip_serializing_if`), which a receiver cannot detect: \
         the format has no field names"
    ))
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method(self, $($name: $type),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($name),*)
        }
    )*};
}

impl<'o, 'b, S: Serializer> Serializer for Writing<'o, 'b, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'o, 'b, S::SerializeSeq>;
    type SerializeTuple = Compound<'o, 'b, S::SerializeTuple>;
    type SerializeTupleStruct = Compound<'o, 'b, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<'o, 'b, S::SerializeTupleVariant>;
    type SerializeMap = Compound<'o, 'b, S::SerializeMap>;
    type SerializeStruct = Compound<'o, 'b, S::SerializeStruct>;
    type SerializeStructVariant = Compound<'o, 'b, S::SerializeStructVariant>;

    forward! {
        serialize_bool(v: bool)
        serialize_i8(v: i8) serialize_i16(v: i16) serialize_i32(v: i32)
        serialize_i64(v: i64) serialize_i128(v: i128)
        serialize_u8(v: u8) serialize_u16(v: u16) serialize_u32(v: u32)
        serialize_u64(v: u64) serialize_u128(v: u128)
        serialize_f32(v: f32) serialize_f64(v: f64)
        serialize_char(v: char) serialize_str(v: &str) serialize_bytes(v: &[u8])
        serialize_unit() serialize_unit_struct(name: &'static str)
    }

    // An empty value is a level like others: the reader does not know before.

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.level.within_unnamed()?;
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.level.within_named()?;
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let level = &self.level.within_unnamed()?;
        let value = Value { value, level };
        self.inner.serialize_some(&value)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let level = &self.level.within_named()?;
        let value = Value { value, level };
        self.inner.serialize_newtype_struct(name, &value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let level = &self.level.within_named()?;
        let value = Value { value, level };
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let level = self.level.within_unnamed()?;
        level.output.announce(len.unwrap_or(0));
        Ok(Compound { inner: self.inner.serialize_seq(len)?, level })
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        let level = self.level.within_unnamed()?;
        Ok(Compound { inner: self.inner.serialize_tuple(len)?, level })
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let level = self.level.within_named()?;
        Ok(Compound { inner: self.inner.serialize_tuple_struct(name, len)?, level })
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let level = self.level.within_named()?;
        Ok(Compound {
            inner: self.inner.serialize_tuple_variant(name, index, variant, len)?,
            level,
        })
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let level = self.level.within_unnamed()?;
        level.output.announce(len.unwrap_or(0));
        Ok(Compound { inner: self.inner.serialize_map(len)?, level })
    }

    #[inline]
    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let level = self.level.within_named()?;
        Ok(Compound { inner: self.inner.serialize_struct(name, len)?, level })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let level = self.level.within_named()?;
        Ok(Compound {
            inner: self.inner.serialize_struct_variant(name, index, variant, len)?,
            level,
        })
    }

    fn collect_seq<I>(self, iter: I) -> Result<S::Ok, S::Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        let mut iter = iter.into_iter();
        let (len, most) = iter.size_hint();
        let is_exact = most == Some(len);
        if is_exact && bytes::are_lent::<I::Item>() {
            let Level { output, .. } = self.level.within_unnamed()?;
            output.announce(len);
            return output.write_bytes(iter, len, self.inner);
        }
        let Level { output, .. } = *self.level;
        let mut sequence = self.serialize_seq(is_exact.then_some(len))?;
        if len > MAX_WRITTEN_IN_VAIN {
            let written = output.len();
            for item in iter.by_ref().take(MAX_WRITTEN_IN_VAIN) {
                sequence.serialize_element(&item)?;
            }
            if output.len() == written {
                return Err(refused(OutOfBounds::Elements));
            }
        }
        for item in iter {
            sequence.serialize_element(&item)?;
        }
        sequence.end()
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! sequence {
    ($($trait:ident $method:ident)*) => {$(
        impl<S: $trait> $trait for Compound<'_, '_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                let value = Value { value, level: &self.level };
                self.inner.$method(&value)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

sequence! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

macro_rules! structure {
    ($($trait:ident)*) => {$(
        impl<S: $trait> $trait for Compound<'_, '_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                let value = Value { value, level: &self.level };
                self.inner.serialize_field(key, &value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                Err(left_out(key))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

structure! { SerializeStruct SerializeStructVariant }

impl<S: SerializeMap> SerializeMap for Compound<'_, '_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        let key = Value { value: key, level: &self.level };
        self.inner.serialize_key(&key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = Value { value, level: &self.level };
        self.inner.serialize_value(&value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}
