//! The settings file: TOML with a section for each group. Reads it with the line of every value, checks it, and
//! prints the sample that explains all settings.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    layers::{Given, Layers, Place, Problem},
    settings::{Config, SECTIONS, SETTINGS},
};

/// What is wrong with the file at `path`; empty if a server would start with it.
pub fn check(path: &Path) -> Vec<Problem> {
    let mut layers = Layers::default();
    layers.add_file(path);
    layers.finish().err().map(|error| error.0).unwrap_or_default()
}

/// A file with every setting at its default, commented out and explained.
pub fn sample() -> String {
    let mut text = String::from(
        "# Settings of Tidings. A line that begins with `#` and a name shows a default: remove the `#` to change it.\n\
         # An environment variable (in brackets) or a flag wins over this file. `tidings config check FILE` checks it.\n",
    );
    text.push_str(&body(&Config::default()));
    text
}

fn body(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in SETTINGS {
        if setting.section() != section {
            section = setting.section();
            let about = SECTIONS.iter().filter(|(name, _)| *name == section).flat_map(|(_, doc)| doc.iter());
            text.push('\n');
            about.for_each(|line| text.push_str(&format!("#{line}\n")));
            text.push_str(&format!("[{section}]\n"));
        }
        text.push('\n');
        setting.doc.iter().for_each(|line| text.push_str(&format!("#{line}\n")));
        text.push_str(&format!("# {} [{}]\n", capitalized(&setting.expected()), setting.variable()));
        text.push_str(&format!("#{} = {}\n", setting.key(), (setting.write)(config, setting)));
    }
    text
}

fn capitalized(text: &str) -> String {
    text.chars().take(1).flat_map(char::to_uppercase).chain(text.chars().skip(1)).collect()
}

/// The values of a file in their order, and what cannot be read of it.
pub(super) fn read(path: &Path) -> (Vec<Given>, Vec<Problem>) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let place = Place::File { path: path.to_owned(), line: 1 };
            return (Vec::new(), vec![Problem { place, what: format!("the settings file cannot be read: {error}") }]);
        }
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    let mut reader = Reader { path, text: &text, given: Vec::new(), problems: Vec::new() };
    for error in errors {
        let place = reader.place(error.span().map_or(0, |span| span.start));
        reader.problems.push(Problem { place, what: format!("this is not TOML: {}", error.message()) });
    }
    reader.table("", table.get_ref());
    (reader.given, reader.problems)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    given: Vec<Given>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        let mut items: Vec<_> = table.iter().collect();
        items.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in items {
            let name =
                if section.is_empty() { key.get_ref().to_string() } else { format!("{section}.{}", key.get_ref()) };
            self.item(name, key.span().start, value);
        }
    }

    fn item(&mut self, name: String, start: usize, value: &Spanned<DeValue<'_>>) {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Table(table) if !SETTINGS.iter().any(|setting| setting.name == name) => {
                return self.table(&name, table);
            }
            // As it is written: the setting's own message says what must stand there.
            _ => self.text[value.span()].to_owned(),
        };
        let place = self.place(start);
        self.given.push(Given { name, text, place });
    }

    fn place(&self, offset: usize) -> Place {
        let line = 1 + self.text[..offset.min(self.text.len())].matches('\n').count();
        Place::File { path: self.path.to_owned(), line }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    /// The problems of a file that holds `text`, with its path cut off.
    fn problems(text: &str) -> Vec<String> {
        let file = file(text);
        let path = format!("{}:", file.path().display());
        check(file.path()).iter().map(|problem| problem.to_string().replace(&path, "")).collect()
    }

    /// The settings that a file reads as when the `#` of its settings (not of its comments) are taken away.
    fn uncommented(text: &str) -> Config {
        let lines: Vec<&str> = text
            .lines()
            .map(|line| if line.starts_with("# ") { "" } else { line.strip_prefix('#').unwrap_or(line) })
            .collect();
        let file = file(&lines.join("\n"));
        let (given, problems) = read(file.path());
        assert_eq!((given.len(), problems), (SETTINGS.len(), vec![]));
        let mut layers = Layers::default();
        layers.add_file(file.path());
        layers.config
    }

    #[test]
    fn every_setting_comes_back_from_the_sample() {
        assert_eq!(check(file(&sample()).path()), []);
        assert_eq!(uncommented(&sample()), Config::default());

        let candidates = [
            "true",
            "memory",
            "s3",
            "accept",
            "json",
            "jwt",
            "nats",
            "[::1]:1",
            "10.0.0.0/8",
            "1",
            "30",
            "300",
            "3 KiB",
            "9 MiB",
            "a \"b\" \\ \t ä",
        ];
        for setting in SETTINGS {
            let mut config = Config::default();
            let changed = candidates.iter().chain(&["false"]).any(|candidate| {
                (setting.read)(&mut config, setting, candidate).is_ok() && config != Config::default()
            });
            assert!(changed, "no candidate is another value for {}", setting.name);
            assert_eq!(uncommented(&body(&config)), config, "{}", setting.name);
        }
    }

    #[test]
    fn a_problem_names_its_line_and_the_repair() {
        assert_eq!(
            problems("listen = 8080\n\n[limits]\nfetch = 0\ntext_byte = 1\n[limitz]\nfetch = 1\n"),
            [
                "1: `listen` must be an IP address and a port, like 127.0.0.1:8080 or [::1]:8080, not \"8080\"",
                "4: `limits.fetch` must be a whole number from 1 to 10000, not \"0\"",
                "5: unknown setting `limits.text_byte`: did you mean `limits.text_bytes`?",
                "7: unknown setting `limitz.fetch`: did you mean `limits.fetch`?",
            ]
        );
        assert_eq!(
            problems("\nlimits.text_bytes = \"64 KiB\"\nlog.format = [1]\nmetrics = 1\n"),
            [
                "3: `log.format` must be \"text\" or \"json\", not \"[1]\"",
                "4: unknown setting `metrics`: did you mean `metrics.enabled`?",
                "2: `limits.text_bytes`: must be below limits.frame_bytes, or no frame can carry it",
            ]
        );
        assert_eq!(
            problems("listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n"),
            ["2: this is not TOML: duplicate key"]
        );
        assert!(check(Path::new("/does/not/exist.toml"))[0].what.starts_with("the settings file cannot be read"));
    }
}
