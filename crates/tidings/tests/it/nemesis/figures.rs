//! What is told of a run: how much was asked and acknowledged, what was lost, doubled or reordered, and how long nobody was served.

use std::fmt;

use tidings_checker::{Event, History, Report, Rule};

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
        let (mut began, mut last) = (0, None);
        for record in records {
            match &record.event {
                Event::Send(_) | Event::Block(_) | Event::Fetched(_) | Event::Synced(_) | Event::MarkedRead(_) => {
                    figures.ops += 1;
                }
                Event::Sent { repeat, .. } => {
                    figures.acked += 1;
                    figures.repeats += u64::from(*repeat);
                    figures.served(record.at, last);
                    last = Some(record.at);
                }
                Event::Mark { text } => {
                    figures.ends(record.at, began, last);
                    began = record.at;
                    figures.parts.push(Part { mark: text.clone(), ms: 0, acked: 0, longest_gap_ms: 0 });
                }
                _ => {}
            }
        }
        figures
    }

    /// An acknowledgement came.
    fn served(&mut self, at: u64, last: Option<u64>) {
        if let Some(part) = self.parts.last_mut() {
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
        writeln!(f, "{:<44} {:>8} {:>8} {:>18}", "", "for ms", "acked", "longest gap ms")?;
        for part in &self.parts {
            writeln!(f, "{:<44} {:>8} {:>8} {:>18}", part.mark, part.ms, part.acked, part.longest_gap_ms)?;
        }
        let longest = self.parts.iter().map(|part| part.longest_gap_ms).max().unwrap_or(0);
        write!(
            f,
            "ops {}, acked {} ({} repeats), lost {}, doubled {}, reordered {}, longest gap in service {longest} ms",
            self.ops, self.acked, self.repeats, self.lost, self.doubled, self.reordered
        )
    }
}
