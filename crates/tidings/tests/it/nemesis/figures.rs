//! What is told of a run: how much was asked and acknowledged, what was lost, doubled or reordered, how long nobody was served, and how
//! long one message took, over all its tries.

use std::{collections::HashMap, fmt};

use tidings_checker::{ClientMsgId, Event, History, OperationId, Report, Rule};

pub struct Figures {
    ops: u64,
    acked: u64,
    repeats: u64,
    lost: u64,
    doubled: u64,
    reordered: u64,
    /// From each mark to the next.
    parts: Vec<Part>,
}

/// What stands between two marks.
struct Part {
    mark: String,
    ms: u64,
    acked: u64,
    longest_gap_ms: u64,
    /// From the first try of a message that was acknowledged here.
    longest_send_ms: u64,
}

/// When messages were first sent, by what each try was.
#[derive(Default)]
struct Tries {
    first: HashMap<ClientMsgId, u64>,
    of: HashMap<OperationId, ClientMsgId>,
}

impl Tries {
    fn note(&mut self, at: u64, operation: OperationId, id: &ClientMsgId) {
        self.first.entry(id.clone()).or_insert(at);
        self.of.insert(operation, id.clone());
    }

    /// How long the message took that this try has brought through. A repeat of what is through counts no more.
    fn took(&mut self, at: u64, operation: OperationId) -> u64 {
        let first = self.of.get(&operation).and_then(|id| self.first.insert(id.clone(), at));
        first.map_or(0, |first| at - first)
    }
}

impl Figures {
    pub fn new(history: &History, report: &Report) -> Self {
        let broken = |rules: &[Rule]| rules.iter().map(|rule| report.outcome(*rule).violation_count).sum();
        let mut figures = Self {
            ops: 0,
            acked: 0,
            repeats: 0,
            lost: broken(&[Rule::Durable, Rule::Dense, Rule::NoGaps, Rule::FreshReads, Rule::FreshInbox]),
            doubled: broken(&[Rule::OneSeqPerMessage, Rule::RepeatsAgree]),
            reordered: broken(&[Rule::OneEntryPerSeq, Rule::RealTimeOrder, Rule::SendOrder]),
            parts: Vec::new(),
        };
        let mut records: Vec<_> = history.records().collect();
        records.sort_by_key(|record| record.at);
        let (mut began, mut last, mut tries) = (0, None, Tries::default());
        for record in records {
            match &record.event {
                Event::Send(send) => {
                    figures.ops += 1;
                    tries.note(record.at, send.operation, &send.client_msg_id);
                }
                Event::Block(_) | Event::Fetched(_) | Event::Synced(_) | Event::MarkedRead(_) => figures.ops += 1,
                Event::Sent { operation, repeat, .. } => {
                    figures.acked += 1;
                    figures.repeats += u64::from(*repeat);
                    figures.served(record.at, last, tries.took(record.at, *operation));
                    last = Some(record.at);
                }
                Event::Mark { text } => {
                    figures.ends(record.at, began, last);
                    began = record.at;
                    let mark = text.clone();
                    figures.parts.push(Part { mark, ms: 0, acked: 0, longest_gap_ms: 0, longest_send_ms: 0 });
                }
                _ => {}
            }
        }
        figures
    }

    /// An acknowledgement came.
    fn served(&mut self, at: u64, last: Option<u64>, took: u64) {
        if let Some(part) = self.parts.last_mut() {
            part.longest_send_ms = part.longest_send_ms.max(ms(took));
            part.acked += 1;
            part.longest_gap_ms = part.longest_gap_ms.max(ms(at - last.unwrap_or(at)));
        }
    }

    fn ends(&mut self, at: u64, began: u64, last: Option<u64>) {
        if let Some(part) = self.parts.last_mut() {
            part.ms = ms(at - began);
            part.longest_gap_ms = part.longest_gap_ms.max(ms(at - last.unwrap_or(at)));
        }
    }

    /// Acknowledgements of what had been acknowledged, or saved, before: somebody was left without an answer.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }
}

fn ms(nanos: u64) -> u64 {
    nanos / 1_000_000
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<40} {:>8} {:>8} {:>15} {:>16}", "", "for ms", "acked", "longest gap ms", "longest send ms")?;
        for Part { mark, ms, acked, longest_gap_ms, longest_send_ms } in &self.parts {
            writeln!(f, "{mark:<40} {ms:>8} {acked:>8} {longest_gap_ms:>15} {longest_send_ms:>16}")?;
        }
        let longest = self.parts.iter().map(|part| part.longest_gap_ms).max().unwrap_or(0);
        write!(
            f,
            "ops {}, acked {} ({} repeats), lost {}, doubled {}, reordered {}, longest gap in service {longest} ms",
            self.ops, self.acked, self.repeats, self.lost, self.doubled, self.reordered
        )
    }
}
