//! Compression of bodies: zstd with a trained dictionary, with contexts that each thread keeps.
//!
//! A dictionary is part of the disk format: its number stands in each row, it is never changed, a better one gets
//! the next number. How it was made: `dictionary/README.md`.

use std::{cell::RefCell, sync::LazyLock};

use zstd::{
    bulk::{Compressor, Decompressor},
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::{CParameter, get_frame_content_size},
};

use super::{ChunkError, Shape};

const NOT_COMPRESSED: u8 = 0;
const NEWEST_DICTIONARY: u8 = 1;
static DICTIONARY_1: &[u8] = include_bytes!("dictionary/1.zdict");
/// Larger, for the blocks of the archive: a conversation of a few hundred entries has little to learn from itself.
const ARCHIVE_DICTIONARY: u8 = 2;
static DICTIONARY_2: &[u8] = include_bytes!("dictionary/2.zdict");

/// Settled by `tidings bench store`, see docs/formats.md.
const SMALL_LEVEL: i32 = 1;
const CHUNK_LEVEL: i32 = 3;
/// The archive packs once, slowly, what is kept for years.
const BLOCK_LEVEL: i32 = 19;

/// What each zstd frame begins with; not stored.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// No body is larger: a limit for what a broken length may allocate.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

static SMALL_ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY_1, SMALL_LEVEL));
static CHUNK_ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY_1, CHUNK_LEVEL));
static BLOCK_ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY_2, BLOCK_LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY_1));
static BLOCK_DECODER: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY_2));

struct Contexts {
    small: Compressor<'static>,
    chunk: Compressor<'static>,
    decompressor: Decompressor<'static>,
    frame: Vec<u8>,
    body: Vec<u8>,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = RefCell::new(Contexts {
        small: compressor(&SMALL_ENCODER),
        chunk: compressor(&CHUNK_ENCODER),
        decompressor: Decompressor::with_prepared_dictionary(&DECODER).expect("the dictionary is a valid one"),
        frame: Vec::new(),
        body: Vec::new(),
    });
}

fn compressor(dictionary: &'static EncoderDictionary<'static>) -> Compressor<'static> {
    let mut compressor = Compressor::with_prepared_dictionary(dictionary).expect("the dictionary is a valid one");
    // The value has a checksum of its own, and names its dictionary.
    for parameter in [CParameter::ChecksumFlag(false), CParameter::DictIdFlag(false)] {
        compressor.set_parameter(parameter).expect("zstd knows these parameters");
    }
    compressor
}

/// Appends `body`, compressed if that makes it shorter, and returns the number of the dictionary.
pub(super) fn append(value: &mut Vec<u8>, body: &[u8], shape: Shape) -> u8 {
    CONTEXTS.with_borrow_mut(|contexts| {
        let compressor = match shape {
            Shape::Small => &mut contexts.small,
            Shape::Chunk => &mut contexts.chunk,
        };
        contexts.frame.clear();
        contexts.frame.reserve(zstd::zstd_safe::compress_bound(body.len()));
        compressor.compress_to_buffer(body, &mut contexts.frame).expect("the buffer is large enough");
        let frame = contexts.frame.strip_prefix(&MAGIC).expect("each frame begins with the magic bytes");
        if frame.len() < body.len() {
            value.extend_from_slice(frame);
            NEWEST_DICTIONARY
        } else {
            value.extend_from_slice(body);
            NOT_COMPRESSED
        }
    })
}

/// As [`append`], for a block of the archive: rare, so its context is not kept.
pub(super) fn append_hard(value: &mut Vec<u8>, body: &[u8]) -> u8 {
    let mut compressor = compressor(&BLOCK_ENCODER);
    let frame = compressor.compress(body).expect("the buffer is large enough");
    let frame = frame.strip_prefix(&MAGIC).expect("each frame begins with the magic bytes");
    if frame.len() < body.len() {
        value.extend_from_slice(frame);
        ARCHIVE_DICTIONARY
    } else {
        value.extend_from_slice(body);
        NOT_COMPRESSED
    }
}

/// Calls `read` with the body that `append` was given.
pub(super) fn with_body<T>(
    dictionary: u8,
    stored: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, ChunkError>,
) -> Result<T, ChunkError> {
    match dictionary {
        NOT_COMPRESSED => read(stored),
        NEWEST_DICTIONARY => CONTEXTS.with_borrow_mut(|contexts| {
            let Contexts { decompressor, frame, body, .. } = contexts;
            unpack(decompressor, stored, frame, body)?;
            read(body)
        }),
        ARCHIVE_DICTIONARY => {
            let decompressor = Decompressor::with_prepared_dictionary(&BLOCK_DECODER);
            let mut body = Vec::new();
            let mut decompressor = decompressor.expect("the dictionary is a valid one");
            unpack(&mut decompressor, stored, &mut Vec::new(), &mut body)?;
            read(&body)
        }
        unknown => Err(ChunkError::UnknownDictionary(unknown)),
    }
}

fn unpack(
    decompressor: &mut Decompressor<'static>,
    stored: &[u8],
    frame: &mut Vec<u8>,
    body: &mut Vec<u8>,
) -> Result<(), ChunkError> {
    frame.clear();
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(stored);
    let length = match get_frame_content_size(frame) {
        Ok(Some(length)) if length <= BODY_BYTES_MAX => usize::try_from(length).expect("checked above"),
        _ => return Err(ChunkError::Malformed("the length of its body")),
    };
    body.clear();
    body.reserve(length);
    decompressor.decompress_to_buffer(frame, body).map_err(|_| ChunkError::Malformed("its zstd frame"))?;
    Ok(())
}
