//! What is shared in memory, in CBOR: `Arc`s are what they point to. For minicbor's `with`.

use std::sync::Arc;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// `Arc<T>`.
pub mod shared {
    use super::*;

    pub fn encode<C, T: Encode<C>, W: encode::Write>(
        value: &Arc<T>,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        (**value).encode(encoder, context)
    }

    pub fn decode<'b, C, T: Decode<'b, C>>(
        decoder: &mut Decoder<'b>,
        context: &mut C,
    ) -> Result<Arc<T>, decode::Error> {
        T::decode(decoder, context).map(Arc::new)
    }
}

/// `Option<Arc<T>>`: the value, or null.
pub mod optional_shared {
    use super::*;

    pub fn encode<C, T: Encode<C>, W: encode::Write>(
        value: &Option<Arc<T>>,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        value.as_deref().encode(encoder, context)
    }

    pub fn decode<'b, C, T: Decode<'b, C>>(
        decoder: &mut Decoder<'b>,
        context: &mut C,
    ) -> Result<Option<Arc<T>>, decode::Error> {
        Ok(Option::<T>::decode(decoder, context)?.map(Arc::new))
    }
}

/// `Arc<str>`.
pub mod shared_text {
    use super::*;

    pub fn encode<C, W: encode::Write>(
        value: &Arc<str>,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.str(value)?.ok()
    }

    pub fn decode<'b, C>(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Arc<str>, decode::Error> {
        decoder.str().map(Into::into)
    }
}

/// `Vec<Arc<T>>`.
pub mod all_shared {
    use super::*;

    pub fn encode<C, T: Encode<C>, W: encode::Write>(
        values: &[Arc<T>],
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.array(values.len() as u64)?;
        values.iter().try_for_each(|value| (**value).encode(encoder, context))
    }

    pub fn decode<'b, C, T: Decode<'b, C>>(
        decoder: &mut Decoder<'b>,
        context: &mut C,
    ) -> Result<Vec<Arc<T>>, decode::Error> {
        Ok(Vec::<T>::decode(decoder, context)?.into_iter().map(Arc::new).collect())
    }
}
