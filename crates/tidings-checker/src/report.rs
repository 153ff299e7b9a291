//! What the rules found, for people and for tests. Owns the names of the rules; checks nothing.

use std::fmt;

use serde::Serialize;

/// So many violations of a rule are kept; the rest is counted.
const VIOLATIONS_KEPT: usize = 20;

macro_rules! rules {
    ($($name:ident $wire:literal $promise:literal,)*) => {
        /// A promise that is held against the history. README.md says exactly what each one takes as proof.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Rule {
            $(#[doc = $promise] #[serde(rename = $wire)] $name,)*
        }

        impl Rule {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// What is promised, as one sentence.
            pub fn promise(self) -> &'static str {
                match self { $(Self::$name => $promise,)* }
            }
        }
    };
}

rules! {
    OneEntryPerSeq "one_entry_per_seq" "all observers see the same entry at a seq",
    OneSeqPerMessage "one_seq_per_message" "a client_msg_id of a sender has one seq in a conversation",
    Dense "dense" "seqs are 1, 2, 3 … without a hole",
    Durable "durable" "what was acked or seen is in the log for ever, with its content",
    OnlyWhatWasSent "only_what_was_sent" "nothing is shown that nobody sent, and nothing that was refused",
    RealTimeOrder "real_time_order" "what was sent after something was known comes behind it",
    FreshReads "fresh_reads" "a read shows what was known when it was asked",
    NoGaps "no_gaps" "each session's deliveries are in order and without gaps, over resumes too",
    RepeatsAgree "repeats_agree" "a repeat gets the first one's seq and is called a repeat",
    Blocks "blocks" "a blocked person's sends are void for the blocker, and only those",
    FreshInbox "fresh_inbox" "inbox and sync show what was known when they were asked, and count it right",
    SendOrder "send_order" "sends of one connection take effect in the order sent",
    ReceiptsForward "receipts_forward" "receipts only move forward, and name only what exists",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event that proves something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Its place in the recording, from 1.
    pub line: u32,
    pub at: u64,
    /// Who saw what, as a sentence.
    pub what: String,
}

/// A promise broken: what is wrong, and the events that show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub what: String,
    pub evidence: Vec<Evidence>,
}

/// What one rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub rule: Rule,
    /// How many things it could judge. None: it is green because it had nothing to do.
    pub judged: u64,
    /// The first few.
    pub violations: Vec<Violation>,
    /// How many there were altogether.
    pub violation_count: u64,
}

impl Outcome {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, judged: 0, violations: Vec::new(), violation_count: 0 }
    }

    /// Counts one thing judged.
    pub(crate) fn judge(&mut self) {
        self.judged += 1;
    }

    pub(crate) fn violate(&mut self, what: impl FnOnce() -> (String, Vec<Evidence>)) {
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_KEPT {
            let (what, evidence) = what();
            self.violations.push(Violation { what, evidence });
        }
    }
}

/// What all rules found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub events: u64,
    /// When the first event was, so that people read seconds from there.
    pub start: u64,
    /// In the order of `Rule::ALL`.
    pub outcomes: Vec<Outcome>,
    /// Conversations with acked sends that nobody read at the end: for these, rules 3 and 4 saw little.
    pub without_final_read: u64,
}

impl Report {
    pub fn is_green(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.violation_count == 0)
    }

    pub fn outcome(&self, rule: Rule) -> &Outcome {
        let outcome = self.outcomes.iter().find(|outcome| outcome.rule == rule);
        outcome.expect("every rule has run")
    }

    /// The rules that were broken, in order.
    pub fn red(&self) -> Vec<Rule> {
        let broken = self.outcomes.iter().filter(|outcome| outcome.violation_count > 0);
        broken.map(|outcome| outcome.rule).collect()
    }

    /// For tests: panics with the whole report if a rule was broken, or if one of `exercised` had nothing to judge.
    pub fn assert_green(&self, exercised: &[Rule]) {
        assert!(self.is_green(), "{self}");
        for &rule in exercised {
            assert!(self.outcome(rule).judged > 0, "{rule} had nothing to judge\n{self}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} events", self.events)?;
        for (number, outcome) in (1..).zip(&self.outcomes) {
            let verdict = if outcome.violation_count > 0 { "RED" } else { "ok" };
            write!(f, "{number:>3}. {:<20} {verdict:<4} {:>10} judged", outcome.rule.as_str(), outcome.judged)?;
            if outcome.violation_count > 0 {
                write!(f, ", {} violations", outcome.violation_count)?;
            }
            writeln!(f)?;
        }
        if self.without_final_read > 0 {
            writeln!(f, "{} conversations with acked sends were not read at the end", self.without_final_read)?;
        }
        for outcome in self.outcomes.iter().filter(|outcome| outcome.violation_count > 0) {
            writeln!(f, "\n{}: {}", outcome.rule, outcome.rule.promise())?;
            for violation in &outcome.violations {
                writeln!(f, "  * {}", violation.what)?;
                for evidence in &violation.evidence {
                    let since_start = evidence.at.saturating_sub(self.start);
                    let (seconds, nanos) = (since_start / 1_000_000_000, since_start % 1_000_000_000);
                    writeln!(f, "      line {:<7} {seconds:>4}.{nanos:09} s  {}", evidence.line, evidence.what)?;
                }
            }
            let left_out = outcome.violation_count - outcome.violations.len() as u64;
            if left_out > 0 {
                writeln!(f, "  … and {left_out} more")?;
            }
        }
        Ok(())
    }
}
