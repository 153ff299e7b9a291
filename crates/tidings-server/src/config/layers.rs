//! Where values come from, the later ones winning: defaults, the file, `TIDINGS_*` variables, flags. Collects all
//! problems with the place of each, so that a person repairs them in one go.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    file,
    settings::{Config, SETTINGS},
    value::Setting,
};

/// Variables of the command line and of tests (`TIDINGS_BIN`: which binary to start) that are no settings.
const OTHER_VARIABLES: &[&str] = &["TIDINGS_BIN", "TIDINGS_CONFIG", "TIDINGS_URL"];

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default settings"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Something to repair: where it stands, what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Settings that cannot be used: every problem that was found, never none.
#[derive(Debug)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// A value before it is understood: the setting's name as it was written, its text, and where.
pub(super) struct Given {
    pub name: String,
    pub text: String,
    pub place: Place,
}

impl Config {
    /// The settings of this process: defaults, then `file`, then its environment, then `flags` (dotted name, value).
    pub fn load(file: Option<&Path>, flags: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        Self::layered(file, variables, flags)
    }

    /// As [`Config::load`], with the environment passed in.
    pub fn layered(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        if let Some(path) = file {
            layers.add_file(path);
        }
        layers.add_variables(variables);
        for (name, text) in flags {
            layers.add(&Given { place: Place::Flag(name.clone()), name, text });
        }
        layers.finish()
    }
}

/// The settings so far, where each was given, and what was wrong.
#[derive(Default)]
pub(super) struct Layers {
    pub config: Config,
    places: HashMap<&'static str, Place>,
    problems: Vec<Problem>,
}

impl Layers {
    pub fn add_file(&mut self, path: &Path) {
        let (given, problems) = file::read(path);
        self.problems.extend(problems);
        for given in given {
            self.add(&given);
        }
    }

    fn add_variables(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| is_ours(name)).collect();
        variables.sort();
        for (variable, text) in variables {
            let place = Place::Variable(variable.clone());
            match SETTINGS.iter().find(|setting| setting.variable() == variable) {
                Some(setting) => self.set(setting, &text, place),
                None => self.problems.push(Problem {
                    place,
                    what: format!("unknown setting: {}", advice(&variable, SETTINGS.iter().map(Setting::variable))),
                }),
            }
        }
    }

    fn add(&mut self, given: &Given) {
        match SETTINGS.iter().find(|setting| setting.name == given.name) {
            Some(setting) => self.set(setting, &given.text, given.place.clone()),
            None => self.problems.push(Problem {
                place: given.place.clone(),
                what: format!(
                    "unknown setting `{}`: {}",
                    given.name,
                    advice(&given.name, SETTINGS.iter().map(|setting| setting.name.to_owned()))
                ),
            }),
        }
    }

    fn set(&mut self, setting: &'static Setting, text: &str, place: Place) {
        match (setting.read)(&mut self.config, setting, text) {
            Ok(()) => {
                self.places.insert(setting.name, place);
            }
            Err(what) => self.problems.push(Problem { place, what }),
        }
    }

    /// The settings, if nothing is wrong with them, also together.
    pub fn finish(mut self) -> Result<Config, ConfigError> {
        for (name, what) in self.config.contradictions() {
            let place = self.places.get(name).cloned().unwrap_or(Place::Default);
            self.problems.push(Problem { place, what: format!("`{name}`: {what}") });
        }
        if self.problems.is_empty() { Ok(self.config) } else { Err(ConfigError(self.problems)) }
    }
}

/// Whether a variable is meant for us. A Kubernetes service named `tidings` puts its addresses into every pod as
/// `TIDINGS_SERVICE_HOST`, `TIDINGS_PORT_8080_TCP` and so on: those are not.
fn is_ours(variable: &str) -> bool {
    let of_kubernetes = || {
        variable.ends_with("_SERVICE_HOST")
            || variable.contains("_SERVICE_PORT")
            || variable.ends_with("_PORT")
            || variable.split_once("_PORT_").is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()))
    };
    variable.starts_with("TIDINGS_") && !OTHER_VARIABLES.contains(&variable) && !of_kubernetes()
}

/// The nearest known name, if one is near; one that ends or begins as `unknown` does in another section is.
fn advice(unknown: &str, known: impl Iterator<Item = String>) -> String {
    let key = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &str| {
        let typing = strsim::damerau_levenshtein(&unknown.to_lowercase(), &name.to_lowercase());
        let misplaced = key(name) == key(unknown) || name.split('.').next() == Some(unknown);
        if misplaced { typing.min(1) } else { typing }
    };
    match known.min_by_key(|name| distance(name)).filter(|name| distance(name) <= 1 + name.len() / 3) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "`tidings config sample` shows all there are".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, io::Write};

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn problems(variables: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        Config::layered(None, pairs(variables), pairs(flags)).expect_err("this must be refused").to_string()
    }

    #[test]
    fn a_later_layer_wins() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "drain_ms = 1\n[rates]\nsends_per_s = 1\nsends_burst = 1\nlogins_burst = 1\n").unwrap();
        let config = Config::layered(
            Some(file.path()),
            pairs(&[("TIDINGS_RATES_SENDS_PER_S", "2"), ("TIDINGS_RATES_SENDS_BURST", "2"), ("HOME", "/")]),
            pairs(&[("rates.sends_burst", "3")]),
        )
        .unwrap();
        let rates = &config.rates;
        assert_eq!(
            [rates.logins_per_s, rates.logins_burst, rates.sends_per_s, rates.sends_burst],
            [20, 1, 2, 3],
            "default, file, environment, flag"
        );
        assert_eq!(config.drain_ms, 1);
    }

    #[test]
    fn each_variable_names_one_setting() {
        let names: HashSet<String> = SETTINGS.iter().map(Setting::variable).collect();
        assert_eq!(names.len(), SETTINGS.len());
        assert!(names.iter().all(|name| is_ours(name)), "a setting looks like a variable of somebody else");
        assert!(names.contains("TIDINGS_AUTH_ALLOW_OPEN_ANYWHERE"));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        assert_eq!(
            problems(&[("TIDINGS_LIMITS_TEXT_BYTE", "1")], &[("limit.fetch", "1")]),
            "TIDINGS_LIMITS_TEXT_BYTE: unknown setting: did you mean `TIDINGS_LIMITS_TEXT_BYTES`?\n\
             --limit.fetch: unknown setting `limit.fetch`: did you mean `limits.fetch`?"
        );
        assert!(problems(&[], &[("colour", "red")]).ends_with("`tidings config sample` shows all there are"));
        let of_others = [
            ("TIDINGS_URL", "x"),
            ("TIDINGS_BIN", "x"),
            ("TIDINGS_SERVICE_HOST", "x"),
            ("TIDINGS_PORT_8080_TCP_ADDR", "x"),
        ];
        assert!(Config::layered(None, pairs(&of_others), []).is_ok());
    }

    #[test]
    fn wrong_values_are_told_with_what_to_write() {
        assert_eq!(
            problems(&[("TIDINGS_RATES_SENDS_PER_S", "0")], &[("limits.text_bytes", "1 GB")]),
            "TIDINGS_RATES_SENDS_PER_S: `rates.sends_per_s` must be a number a second from 1 to 1000000, not \"0\"\n\
             --limits.text_bytes: `limits.text_bytes` must be a size like \"64 KiB\" from 1 B to 512 KiB, not \"1 GB\""
        );
        assert_eq!(
            problems(&[], &[("auth.mode", "ldap"), ("auth.gateways", "10.0.0.0/8, here")]),
            "--auth.mode: `auth.mode` must be \"open\" or \"jwt\" or \"header\", not \"ldap\"\n\
             --auth.gateways: `auth.gateways` must be a list of networks like 10.0.0.0/8 or addresses like 192.0.2.7, \
             not \"10.0.0.0/8, here\""
        );
    }

    #[test]
    fn open_mode_stays_on_this_machine_unless_told_otherwise() {
        for near in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            assert!(Config::layered(None, [], pairs(&[("listen", near)])).is_ok(), "{near}");
        }
        for far in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
            assert!(problems(&[], &[("listen", far)]).starts_with("--listen: "), "{far}");
            let allowed = pairs(&[("listen", far), ("auth.allow_open_anywhere", "true")]);
            let warnings = Config::layered(None, [], allowed).unwrap().warnings();
            assert!(warnings[0].contains("anybody"), "{far}: {warnings:?}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = Config::layered(None, pairs(&[("TIDINGS_ADMIN_TOKEN", "hunter2")]), []).unwrap();
        assert_eq!(config.admin_token.as_ref().unwrap().expose(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
