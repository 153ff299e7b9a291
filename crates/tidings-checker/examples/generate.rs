//! `cargo run -p tidings-checker --example generate -- SEED STEPS > history.jsonl`: a good history, to try the command on.

#[path = "../tests/it/model/mod.rs"]
mod model;

use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse().expect("SEED and STEPS are numbers"));
    let (seed, steps) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(6_000));
    let settings =
        model::Settings { steps: usize::try_from(steps).expect("a count of steps"), ..model::Settings::mixed(seed) };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for record in model::good_history(&settings).records() {
        serde_json::to_writer(&mut out, record)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
