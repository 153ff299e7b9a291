//! Runs the `store` bench alone: `bench_store CONVERSATIONS uniform|zipf MESSAGES WINDOW CACHE_MIB [baseline]`.

#[path = "../src/bench"]
mod bench {
    pub mod store;
}

use std::io::Write;

use bench::store;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let spread = match arguments.get(1).map(String::as_str) {
        Some("zipf") => store::Spread::Zipf,
        _ => store::Spread::Uniform,
    };
    let options = store::Options {
        folder: std::env::temp_dir(),
        conversations: u32::try_from(number(0, 10_000)?)?,
        spread,
        messages: number(2, 1_000_000)?,
        senders: 64,
        window: usize::try_from(number(3, 16)?)?,
        cache_bytes: number(4, 256)? << 20,
        with_baseline: arguments.get(5).is_some(),
    };
    let report = store::run(&options)?;
    write!(std::io::stdout(), "{report}")?;
    Ok(())
}
