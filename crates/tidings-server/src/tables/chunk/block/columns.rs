//! The body of a block, version 3: thousands of entries, most of them messages.
//!
//! A string ends with the byte 0xFF, which UTF-8 never has: between texts that costs half of what a column of lengths does. In this
//! order, each column for all entries before the next one begins:
//!
//! * text; empty for what is no message. First, for the dictionary knows how texts begin
//! * number of authors, then their names, in the order of their first entries
//! * author: 0 the next of the names, else 1 and how many others were heard since (the last ones in front)
//! * `at_ms`, `ord`: difference from the entry before (zigzag), the first from 0
//! * shape: 0 plain message, 1 anything else; plus the kind of its client id: 0 none, 2 UUID (bytes kept outside), 4 text, 6 the one
//!   that follows the last text (`client_ids.rs`)
//! * client ids that are text
//! * CBOR of what is no plain message, without its text

use std::borrow::{Borrow, Cow};

use tidings_proto::{Seq, UserId};

use super::super::{
    ChunkError, Opened, client_ids,
    columns::{Columns, Contents, ID_TEXT, ID_UUID, OTHER, Rest, RestRef, column, plain, put_differences, text},
    varint::{Reader, put, put_string},
};
use crate::conversation::entry::{Body, Entry, Message};

const ID_FOLLOWS: u8 = 6;

pub(super) fn encode<E: Borrow<Entry>>(entries: &[E]) -> Columns {
    let text_bytes: usize = entries.iter().map(|entry| text_of(entry.borrow()).len()).sum();
    let mut body = Vec::with_capacity(64 + entries.len() * 16 + text_bytes);
    for entry in entries {
        put_string(&mut body, text_of(entry.borrow()));
    }
    put_authors(&mut body, entries);
    put_differences(&mut body, entries, |entry| entry.at_ms);
    put_differences(&mut body, entries, |entry| entry.ord);
    let uuids = put_rest(&mut body, entries);
    Columns { uuids, body }
}

fn text_of(entry: &Entry) -> &str {
    if let Body::Message(message) = &entry.body { &message.text } else { "" }
}

fn without_text(body: &Body) -> Cow<'_, Body> {
    match body {
        Body::Message(message) => Cow::Owned(Body::Message(Message { text: Box::default(), ..message.clone() })),
        other => Cow::Borrowed(other),
    }
}

fn put_authors<E: Borrow<Entry>>(body: &mut Vec<u8>, entries: &[E]) {
    // Who was heard last stands last.
    let (mut names, mut heard, mut indexes) = (Vec::new(), Vec::<&UserId>::new(), Vec::with_capacity(entries.len()));
    for entry in entries {
        let from = &entry.borrow().from;
        match heard.iter().rposition(|author| *author == from) {
            Some(place) => {
                put(&mut indexes, (heard.len() - place) as u64);
                heard.remove(place);
            }
            None => {
                put(&mut indexes, 0);
                names.push(from);
            }
        }
        heard.push(from);
    }
    put(body, names.len() as u64);
    for name in names {
        put_string(body, name.as_str());
    }
    body.extend_from_slice(&indexes);
}

/// Shapes, client ids, CBOR. Returns the client ids that are UUIDs.
fn put_rest<E: Borrow<Entry>>(body: &mut Vec<u8>, entries: &[E]) -> Vec<u8> {
    let (mut uuids, mut text_ids, mut others) = (Vec::with_capacity(entries.len() * 16), Vec::new(), Vec::new());
    let mut expected = String::new();
    for entry in entries {
        let entry = entry.borrow();
        let shape = if plain(entry).is_some() {
            0
        } else {
            let rest = RestRef { body: &without_text(&entry.body), void: entry.void, fold: &entry.fold };
            minicbor::encode(rest, &mut others).expect("a vector takes all");
            OTHER
        };
        let id = entry.client_msg_id.as_deref();
        let id_kind = match (id, id.and_then(client_ids::from_text)) {
            (None, _) => 0,
            (Some(_), Some(uuid)) => {
                uuids.extend_from_slice(&uuid);
                ID_UUID
            }
            (Some(id), None) => {
                if client_ids::count_up(&mut expected) && expected == id {
                    ID_FOLLOWS
                } else {
                    expected.replace_range(.., id);
                    put_string(&mut text_ids, id);
                    ID_TEXT
                }
            }
        };
        body.push(shape | id_kind);
    }
    body.extend_from_slice(&text_ids);
    body.extend_from_slice(&others);
    uuids
}

pub(super) fn decode(opened: &Opened<'_>, body: &[u8]) -> Result<Vec<Entry>, ChunkError> {
    let mut reader = Reader::new(body);
    let texts = column(opened.count, || text(reader.string()?))?;
    let froms = read_authors(&mut reader, opened.count)?;
    let (mut at_ms, mut ord) = (0, 0);
    let times = column(opened.count, || {
        at_ms = reader.difference(at_ms)?;
        Ok(at_ms)
    })?;
    let ords = column(opened.count, || {
        ord = reader.difference(ord)?;
        Ok(ord)
    })?;
    let contents = read_rest(reader, opened, texts)?;
    let heads = (opened.first_seq.0..).zip(froms).zip(times.into_iter().zip(ords));
    let entries = heads.zip(contents).map(|(((seq, from), (at_ms, ord)), (client_msg_id, rest))| {
        let Rest { body, void, fold } = rest;
        Entry { seq: Seq(seq), at_ms, from, ord, client_msg_id, body, void, fold }
    });
    Ok(entries.collect())
}

fn read_authors(reader: &mut Reader<'_>, count: usize) -> Result<Vec<UserId>, ChunkError> {
    let wrong = || ChunkError::Malformed("an author");
    let number = usize::try_from(reader.number()?).ok().filter(|number| (1..=count).contains(number));
    let number = number.ok_or(ChunkError::Malformed("its number of authors"))?;
    let names =
        column(number, || UserId::new(text(reader.string()?)?).map_err(|_| ChunkError::Malformed("an author's name")))?;
    let (mut names, mut heard) = (names.into_iter(), Vec::<UserId>::with_capacity(number));
    column(count, || {
        let from = match reader.number()? {
            0 => names.next().ok_or_else(wrong)?,
            back => {
                let place = usize::try_from(back).ok().and_then(|back| heard.len().checked_sub(back));
                heard.remove(place.ok_or_else(wrong)?)
            }
        };
        heard.push(from.clone());
        Ok(from)
    })
}

fn read_rest(mut reader: Reader<'_>, opened: &Opened<'_>, texts: Vec<&str>) -> Result<Vec<Contents>, ChunkError> {
    let shapes = reader.bytes(opened.count as u64)?;
    let mut uuids = Reader::new(opened.uuids);
    let mut text_id = String::new();
    let ids = shapes.iter().map(|shape| match shape & !OTHER {
        0 => Ok(None),
        ID_UUID => Ok(Some(client_ids::to_text(uuids.bytes(16)?.try_into().expect("16 bytes were read")))),
        ID_TEXT => {
            text_id.replace_range(.., text(reader.string()?)?);
            Ok(Some(text_id.as_str().into()))
        }
        ID_FOLLOWS if client_ids::count_up(&mut text_id) => Ok(Some(text_id.as_str().into())),
        _ => Err(ChunkError::Malformed("the shape of an entry")),
    });
    let ids = ids.collect::<Result<Vec<_>, ChunkError>>()?;
    let others = reader.rest();
    let mut decoder = minicbor::Decoder::new(others);
    let contents = ids.into_iter().zip(shapes.iter().zip(texts)).map(|(id, (shape, text))| {
        let mut rest = if shape & OTHER == 0 {
            Rest { body: Body::Message(Message::default()), void: false, fold: None }
        } else {
            decoder.decode::<Rest>().map_err(|_| ChunkError::Malformed("the CBOR of an entry"))?
        };
        match &mut rest.body {
            Body::Message(message) => message.text = text.into(),
            _ if text.is_empty() => {}
            _ => return Err(ChunkError::Malformed("the text of no message")),
        }
        Ok((id, rest))
    });
    let contents = contents.collect::<Result<_, _>>()?;
    if uuids.rest().is_empty() && decoder.position() == others.len() {
        Ok(contents)
    } else {
        Err(ChunkError::Malformed("bytes are left over"))
    }
}
