//! Keeps byte sequences from costing more than a copy.
//!
//! A serializer that passes everything on to the format's own one, except for sequences of `u8`: those go into the message
//! in one piece, instead of one byte after the other.

use std::any::type_name;
use std::fmt;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::format::Output;

/// Anything whose sequences of bytes go to `output`.
struct Writing<'o, 'b, S> {
    inner: S,
    output: &'o Output<'b>,
}

/// A value that is serialised in this way.
pub(super) struct Value<'v, 'o, 'b, T: ?Sized> {
    pub(super) value: &'v T,
    pub(super) output: &'o Output<'b>,
}

impl<T: Serialize + ?Sized> Serialize for Value<'_, '_, '_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Writing { inner, output: self.output })
    }
}

impl<'o, 'b, S> Writing<'o, 'b, S> {
    fn value<'v, T: ?Sized>(&self, value: &'v T) -> Value<'v, 'o, 'b, T> {
        Value { value, output: self.output }
    }
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
    type SerializeSeq = Writing<'o, 'b, S::SerializeSeq>;
    type SerializeTuple = Writing<'o, 'b, S::SerializeTuple>;
    type SerializeTupleStruct = Writing<'o, 'b, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Writing<'o, 'b, S::SerializeTupleVariant>;
    type SerializeMap = Writing<'o, 'b, S::SerializeMap>;
    type SerializeStruct = Writing<'o, 'b, S::SerializeStruct>;
    type SerializeStructVariant = Writing<'o, 'b, S::SerializeStructVariant>;

    forward! {
        serialize_bool(v: bool)
        serialize_i8(v: i8) serialize_i16(v: i16) serialize_i32(v: i32) serialize_i64(v: i64) serialize_i128(v: i128)
        serialize_u8(v: u8) serialize_u16(v: u16) serialize_u32(v: u32) serialize_u64(v: u64) serialize_u128(v: u128)
        serialize_f32(v: f32) serialize_f64(v: f64)
        serialize_char(v: char) serialize_str(v: &str) serialize_bytes(v: &[u8])
        serialize_none() serialize_unit() serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = self.value(value);
        self.inner.serialize_some(&value)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.value(value);
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
        let value = self.value(value);
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let Writing { inner, output } = self;
        Ok(Writing { inner: inner.serialize_seq(len)?, output })
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        let Writing { inner, output } = self;
        Ok(Writing { inner: inner.serialize_tuple(len)?, output })
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let Writing { inner, output } = self;
        Ok(Writing { inner: inner.serialize_tuple_struct(name, len)?, output })
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let Writing { inner, output } = self;
        Ok(Writing { inner: inner.serialize_tuple_variant(name, index, variant, len)?, output })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let Writing { inner, output } = self;
        Ok(Writing { inner: inner.serialize_map(len)?, output })
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let Writing { inner, output } = self;
        Ok(Writing { inner: inner.serialize_struct(name, len)?, output })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let Writing { inner, output } = self;
        Ok(Writing { inner: inner.serialize_struct_variant(name, index, variant, len)?, output })
    }

    fn collect_seq<I>(self, iter: I) -> Result<S::Ok, S::Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        let iter = iter.into_iter();
        let (len, most) = iter.size_hint();
        let is_exact = most == Some(len);
        // Whether the two types are the same is known to the compiler; a name that is spelled otherwise one day costs
        // only speed. A reference to a `u8` has one way to be serialised.
        if is_exact && type_name::<I::Item>() == type_name::<&u8>() {
            return self.output.write_bytes(iter, len, self.inner);
        }
        let mut sequence = self.serialize_seq(is_exact.then_some(len))?;
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
        impl<S: $trait> $trait for Writing<'_, '_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                let value = self.value(value);
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
        impl<S: $trait> $trait for Writing<'_, '_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                let value = self.value(value);
                self.inner.serialize_field(key, &value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

structure! { SerializeStruct SerializeStructVariant }

impl<S: SerializeMap> SerializeMap for Writing<'_, '_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        let key = self.value(key);
        self.inner.serialize_key(&key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = self.value(value);
        self.inner.serialize_value(&value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}
