//! `tidings config`: the sample file, and what is wrong with one.

use tidings_server::config;

use crate::{
    cli::Config,
    failure::{Failure, Result},
    output,
};

pub fn run(command: &Config, json: bool) -> Result<()> {
    match command {
        Config::Sample => Ok(output::line(config::sample().trim_end())?),
        Config::Check { file } => {
            let problems: Vec<String> = config::check(file).iter().map(ToString::to_string).collect();
            if json {
                output::json(&serde_json::json!({ "file": file, "problems": problems }))?;
            } else if problems.is_empty() {
                output::line(&format!("{}: nothing is wrong", file.display()))?;
            } else {
                problems.iter().try_for_each(|problem| output::line(problem))?;
            }
            match problems.len() {
                0 => Ok(()),
                count => Err(Failure::refused(format!("{count} wrong in {}", file.display()))),
            }
        }
    }
}
