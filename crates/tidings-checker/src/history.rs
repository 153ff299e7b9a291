//! A history: all records in the order of their times. Reads JSON lines; judges nothing.

use std::io::BufRead;

use crate::event::Record;

/// Why something is no history: the recording is at fault, not the server.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("line {line}: {cause}")]
    Json { line: u32, cause: serde_json::Error },
    #[error("line {line}: {what}")]
    Inconsistent { line: u32, what: String },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What clients recorded, with any number of recorders of one machine.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Each with its line in the recording, from 1.
    numbered: Vec<(u32, Record)>,
}

impl History {
    /// Sorts by time; records of equal time keep their order.
    pub fn new(records: impl IntoIterator<Item = Record>) -> Self {
        Self::sorted((1..).zip(records).collect())
    }

    /// One record a line; empty lines are skipped.
    pub fn from_jsonl(mut reader: impl BufRead) -> Result<Self, HistoryError> {
        let mut numbered = Vec::new();
        let mut text = String::new();
        for line in 1.. {
            text.clear();
            if reader.read_line(&mut text)? == 0 {
                break;
            }
            if !text.trim_ascii().is_empty() {
                let record = serde_json::from_str(&text).map_err(|cause| HistoryError::Json { line, cause })?;
                numbered.push((line, record));
            }
        }
        Ok(Self::sorted(numbered))
    }

    fn sorted(mut numbered: Vec<(u32, Record)>) -> Self {
        numbered.sort_by_key(|(_, record)| record.at);
        Self { numbered }
    }

    /// In the order of their times.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.numbered.iter().map(|(_, record)| record)
    }

    /// In the order of their times.
    pub fn into_records(self) -> Vec<Record> {
        self.numbered.into_iter().map(|(_, record)| record).collect()
    }

    pub(crate) fn record(&self, place: usize) -> &Record {
        &self.numbered[place].1
    }

    /// Where the record stood in the recording, from 1.
    pub(crate) fn line(&self, place: usize) -> u32 {
        self.numbered[place].0
    }
}
