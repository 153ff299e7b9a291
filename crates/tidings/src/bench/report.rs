//! The figures: each with its baseline of the same run, their ratio, and what it is to reach. One aligned table, or an
//! object of JSON a line.

use std::{
    io::{self, Write},
    path::Path,
    time::Instant,
};

use serde::Serialize;

/// One measured number.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub scenario: &'static str,
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    /// What it is compared with: its name and its number, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<(&'static str, f64)>,
    /// `value` to the baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// What a figure is to reach: its ratio, where it has one, else its value. An aim below `least` says that less is better.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Goal {
    pub least: f64,
    pub aim: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Aim,
    Reached,
    Missed,
}

impl Figure {
    pub fn new(scenario: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let what = what.into();
        Self { scenario, what, value, unit, baseline: None, ratio: None, goal: None, verdict: None }
    }

    #[must_use]
    pub fn against(mut self, name: &'static str, value: f64) -> Self {
        self.baseline = Some((name, value));
        self.ratio = Some(self.value / value);
        self
    }

    #[must_use]
    pub fn goal(mut self, least: f64, aim: f64) -> Self {
        let judged = self.ratio.unwrap_or(self.value);
        let reaches = |bound: f64| if aim < least { judged <= bound } else { judged >= bound };
        self.goal = Some(Goal { least, aim });
        self.verdict = Some(match () {
            () if reaches(aim) => Verdict::Aim,
            () if reaches(least) => Verdict::Reached,
            () => Verdict::Missed,
        });
        self
    }
}

/// Where figures go. With JSON each is printed at once, the table at the end.
pub struct Report {
    json: bool,
    began: Instant,
    figures: Vec<Figure>,
}

impl Report {
    pub fn begin(json: bool, folder: &Path) -> io::Result<Self> {
        let report = Self { json, began: Instant::now(), figures: Vec::new() };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        report.progress(&format!("{cores} cores, data in {}", folder.display()))?;
        Ok(report)
    }

    pub fn add(&mut self, figure: Figure) -> io::Result<()> {
        if self.json {
            writeln!(io::stdout().lock(), "{}", serde_json::to_string(&figure).map_err(io::Error::from)?)?;
        }
        self.figures.push(figure);
        Ok(())
    }

    /// Says on standard error what is being done now.
    pub fn progress(&self, what: &str) -> io::Result<()> {
        writeln!(io::stderr().lock(), "{:>5.0} s  {what}", self.began.elapsed().as_secs_f64())
    }

    pub fn end(&self) -> io::Result<()> {
        if self.json || self.figures.is_empty() {
            return Ok(());
        }
        let head = ["scenario", "figure", "value", "baseline", "", "ratio", "at least", "aim", ""].map(str::to_owned);
        let rows: Vec<_> = [head].into_iter().chain(self.figures.iter().map(row)).collect();
        let widths: Vec<usize> =
            (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
        let mut out = io::stdout().lock();
        for row in rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| match at {
                0 | 1 | 4 | 8 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn row(figure: &Figure) -> [String; 9] {
    let unit = if figure.ratio.is_some() { "x" } else { figure.unit };
    let bound = |bound: f64| format!("{} {unit}", number(bound));
    let verdict = figure.verdict.map_or("", |verdict| match verdict {
        Verdict::Aim => "aim",
        Verdict::Reached => "reached",
        Verdict::Missed => "MISSED",
    });
    [
        figure.scenario.to_owned(),
        figure.what.clone(),
        format!("{} {}", number(figure.value), figure.unit),
        figure.baseline.map_or(String::new(), |(_, value)| format!("{} {}", number(value), figure.unit)),
        figure.baseline.map_or(String::new(), |(name, _)| name.to_owned()),
        figure.ratio.map_or(String::new(), |ratio| format!("{ratio:.2} x")),
        figure.goal.map_or(String::new(), |goal| bound(goal.least)),
        figure.goal.map_or(String::new(), |goal| bound(goal.aim)),
        verdict.to_owned(),
    ]
}

/// Three digits that count; thousands apart.
fn number(value: f64) -> String {
    match value.abs() {
        1000.0.. => {
            let digits = format!("{value:.0}");
            let parts: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
            parts.join(",")
        }
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The middle one; of an even count the lower of the two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// `values` sorted; `share` from 0 to 1.
pub fn percentile<T: Copy>(values: &[T], share: f64) -> Option<T> {
    values.get(((values.len().checked_sub(1)?) as f64 * share) as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_knows_which_way_is_better() {
        let more = |value| Figure::new("relay", "", value, "/s").against("memory", 100.0).goal(0.5, 0.8).verdict;
        assert_eq!([more(49.0), more(50.0), more(81.0)], [Verdict::Missed, Verdict::Reached, Verdict::Aim].map(Some));
        let less = |value| Figure::new("idle", "", value, "KiB").goal(16.0, 8.0).verdict;
        assert_eq!([less(16.1), less(9.0), less(7.9)], [Verdict::Missed, Verdict::Reached, Verdict::Aim].map(Some));
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0.123, 12.34, 123.4, 1234.5, 1234567.0].map(number), ["0.12", "12.3", "123", "1,234", "1,234,567"]);
    }
}
