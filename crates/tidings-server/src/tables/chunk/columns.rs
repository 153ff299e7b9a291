//! The body of a log row, and of a block of version 2: what entries have in common stands together, so that it compresses well.
//! Blocks have since got columns of their own, `block/columns.rs`.
//!
//! In this order, each column for all entries before the next one begins:
//!
//! * number of authors, then each: length, name
//! * seq: how many seqs are left out before this entry (only in a run that is not dense)
//! * author: index into the table (only if there is more than one)
//! * `at_ms`, `ord`: difference from the entry before (zigzag), the first from 0
//! * shape: 0 plain message, 1 anything else; plus the kind of its client id: 0 none, 2 UUID (bytes kept outside), 4 text
//! * length of the text of plain messages; of the CBOR of others; of client ids that are text
//! * all CBOR, then all client ids that are text, then all texts

use std::borrow::Borrow;

use minicbor::{Decode, Encode};
use tidings_proto::{Seq, UserId};

use super::{
    ChunkError, Opened, client_ids,
    varint::{Reader, put, put_difference},
};
use crate::conversation::entry::{Body, Entry, Fold, Message};

pub(super) const OTHER: u8 = 1;
pub(super) const ID_UUID: u8 = 2;
pub(super) const ID_TEXT: u8 = 4;

pub(super) struct Columns {
    /// Client ids of 16 bytes, in the order of their entries.
    pub(super) uuids: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// What the columns do not hold of an entry that is not a plain message. The numbers are those of [`Entry`].
#[derive(Encode)]
pub(super) struct RestRef<'a> {
    #[n(5)]
    pub(super) body: &'a Body,
    #[n(6)]
    pub(super) void: bool,
    #[n(7)]
    pub(super) fold: &'a Option<Box<Fold>>,
}

#[derive(Decode)]
pub(super) struct Rest {
    #[n(5)]
    pub(super) body: Body,
    #[n(6)]
    #[cbor(default)]
    pub(super) void: bool,
    #[n(7)]
    pub(super) fold: Option<Box<Fold>>,
}

/// The client id of an entry, and the rest of it.
pub(super) type Contents = (Option<Box<str>>, Rest);

pub(super) fn encode<E: Borrow<Entry>>(entries: &[E], with_gaps: bool) -> Columns {
    let text_bytes: usize = entries.iter().filter_map(|entry| plain(entry.borrow())).map(str::len).sum();
    let mut body = Vec::with_capacity(64 + entries.len() * 16 + text_bytes);
    let (authors, indexes) = authors(entries);
    put(&mut body, authors.len() as u64);
    for author in &authors {
        put(&mut body, author.as_str().len() as u64);
        body.extend_from_slice(author.as_str().as_bytes());
    }
    if with_gaps {
        let mut expected = entries[0].borrow().seq.0;
        for entry in entries {
            let seq = entry.borrow().seq.0;
            put(&mut body, seq.checked_sub(expected).expect("entries ascend by seq"));
            expected = seq + 1;
        }
    } else {
        debug_assert!(entries.windows(2).all(|pair| pair[0].borrow().seq.next() == pair[1].borrow().seq));
    }
    if authors.len() > 1 {
        for index in indexes {
            put(&mut body, index as u64);
        }
    }
    put_differences(&mut body, entries, |entry| entry.at_ms);
    put_differences(&mut body, entries, |entry| entry.ord);
    let uuids = put_contents(&mut body, entries);
    Columns { uuids, body }
}

/// Shapes, lengths and the contents themselves. Returns the client ids that are UUIDs.
fn put_contents<E: Borrow<Entry>>(body: &mut Vec<u8>, entries: &[E]) -> Vec<u8> {
    let mut uuids = Vec::with_capacity(entries.len() * 16);
    let mut text_ids = String::new();
    let mut others = Vec::new();
    let mut lengths = Vec::with_capacity(entries.len() * 2);
    for entry in entries {
        let entry = entry.borrow();
        let length_before = others.len();
        let (shape, length) = match plain(entry) {
            Some(text) => (0, text.len()),
            None => {
                let rest = RestRef { body: &entry.body, void: entry.void, fold: &entry.fold };
                minicbor::encode(rest, &mut others).expect("a vector takes all");
                (OTHER, others.len() - length_before)
            }
        };
        put(&mut lengths, length as u64);
        let id_kind = match entry.client_msg_id.as_deref() {
            None => 0,
            Some(id) => match client_ids::from_text(id) {
                Some(uuid) => {
                    uuids.extend_from_slice(&uuid);
                    ID_UUID
                }
                None => {
                    put(&mut lengths, id.len() as u64);
                    text_ids.push_str(id);
                    ID_TEXT
                }
            },
        };
        body.push(shape | id_kind);
    }
    body.extend_from_slice(&lengths);
    body.extend_from_slice(&others);
    body.extend_from_slice(text_ids.as_bytes());
    for entry in entries {
        if let Some(text) = plain(entry.borrow()) {
            body.extend_from_slice(text.as_bytes());
        }
    }
    uuids
}

pub(super) fn put_differences<E: Borrow<Entry>>(body: &mut Vec<u8>, entries: &[E], field: impl Fn(&Entry) -> u64) {
    let mut before = 0;
    for entry in entries {
        let value = field(entry.borrow());
        put_difference(body, before, value);
        before = value;
    }
}

/// The text of a message that has nothing but text.
pub(super) fn plain(entry: &Entry) -> Option<&str> {
    let Body::Message(Message { text, mentions, reply_to: None, attachments, data: None }) = &entry.body else {
        return None;
    };
    let is_plain = mentions.is_empty() && attachments.is_empty() && !entry.void && entry.fold.is_none();
    is_plain.then_some(text)
}

/// Each author once, and each entry's index among them. A row has few authors: a search in the list is fastest.
fn authors<E: Borrow<Entry>>(entries: &[E]) -> (Vec<&UserId>, Vec<usize>) {
    let mut authors: Vec<&UserId> = Vec::new();
    let indexes = entries.iter().map(|entry| {
        let from = &entry.borrow().from;
        authors.iter().position(|author| *author == from).unwrap_or_else(|| {
            authors.push(from);
            authors.len() - 1
        })
    });
    let indexes = indexes.collect();
    (authors, indexes)
}

pub(super) fn decode(opened: &Opened<'_>, body: &[u8]) -> Result<Vec<Entry>, ChunkError> {
    let mut reader = Reader::new(body);
    let authors = read_authors(&mut reader, opened.count)?;
    let seqs = read_seqs(&mut reader, opened)?;
    let froms = column(opened.count, || {
        let index = if authors.len() > 1 { reader.number()? } else { 0 };
        let author = usize::try_from(index).ok().and_then(|index| authors.get(index));
        author.cloned().ok_or(ChunkError::Malformed("an author"))
    })?;
    let (mut at_ms, mut ord) = (0, 0);
    let times = column(opened.count, || {
        at_ms = reader.difference(at_ms)?;
        Ok(at_ms)
    })?;
    let ords = column(opened.count, || {
        ord = reader.difference(ord)?;
        Ok(ord)
    })?;
    let contents = read_contents(reader, opened)?;
    let heads = seqs.into_iter().zip(froms).zip(times.into_iter().zip(ords));
    let entries = heads.zip(contents).map(|(((seq, from), (at_ms, ord)), (client_msg_id, rest))| {
        let Rest { body, void, fold } = rest;
        Entry { seq, at_ms, from, ord, client_msg_id, body, void, fold }
    });
    Ok(entries.collect())
}

pub(super) fn column<T>(count: usize, mut next: impl FnMut() -> Result<T, ChunkError>) -> Result<Vec<T>, ChunkError> {
    (0..count).map(|_| next()).collect()
}

fn read_authors(reader: &mut Reader<'_>, most: usize) -> Result<Vec<UserId>, ChunkError> {
    let count = reader.number()?;
    if count == 0 || count > most as u64 {
        return Err(ChunkError::Malformed("its number of authors"));
    }
    (0..count)
        .map(|_| UserId::new(text(reader.counted_bytes()?)?).map_err(|_| ChunkError::Malformed("an author's name")))
        .collect()
}

fn read_seqs(reader: &mut Reader<'_>, opened: &Opened<'_>) -> Result<Vec<Seq>, ChunkError> {
    let mut seq = opened.first_seq.0;
    let mut seqs = Vec::with_capacity(opened.count);
    for _ in 0..opened.count {
        if opened.missing > 0 {
            let left_out = reader.number()?;
            seq = seq.checked_add(left_out).ok_or(ChunkError::Malformed("a seq"))?;
        }
        seqs.push(Seq(seq));
        seq = seq.checked_add(1).ok_or(ChunkError::Malformed("a seq"))?;
    }
    if seqs.last() != Some(&opened.last_seq) {
        return Err(ChunkError::Malformed("its last seq"));
    }
    Ok(seqs)
}

fn read_contents(mut reader: Reader<'_>, opened: &Opened<'_>) -> Result<Vec<Contents>, ChunkError> {
    let shapes = reader.bytes(opened.count as u64)?;
    let (mut other_bytes, mut id_bytes) = (0u64, 0u64);
    let mut lengths = Vec::with_capacity(opened.count);
    for shape in shapes {
        let length = reader.number()?;
        let id_length = if shape & ID_TEXT == 0 { 0 } else { reader.number()? };
        if shape & OTHER != 0 {
            other_bytes = other_bytes.saturating_add(length);
        }
        id_bytes = id_bytes.saturating_add(id_length);
        lengths.push((length, id_length));
    }
    let mut others = Reader::new(reader.bytes(other_bytes)?);
    let mut text_ids = Reader::new(reader.bytes(id_bytes)?);
    let mut texts = reader;
    let mut uuids = Reader::new(opened.uuids);
    let contents = shapes.iter().zip(lengths).map(|(shape, (length, id_length))| {
        let id = match shape & !OTHER {
            0 => None,
            ID_UUID => Some(client_ids::to_text(uuids.bytes(16)?.try_into().expect("16 bytes were read"))),
            ID_TEXT => Some(text(text_ids.bytes(id_length)?)?.into()),
            _ => return Err(ChunkError::Malformed("the shape of an entry")),
        };
        let rest = if shape & OTHER == 0 {
            let message = Message { text: text(texts.bytes(length)?)?.into(), ..Message::default() };
            Rest { body: Body::Message(message), void: false, fold: None }
        } else {
            minicbor::decode(others.bytes(length)?).map_err(|_| ChunkError::Malformed("the CBOR of an entry"))?
        };
        Ok((id, rest))
    });
    let contents = contents.collect::<Result<_, _>>()?;
    if uuids.rest().is_empty() && texts.rest().is_empty() {
        Ok(contents)
    } else {
        Err(ChunkError::Malformed("bytes are left over"))
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, ChunkError> {
    std::str::from_utf8(bytes).map_err(|_| ChunkError::Malformed("a text"))
}
